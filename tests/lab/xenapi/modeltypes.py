# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The types of the data model, as they are written in its published form: ``(string -> VM ref set) map``."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

PLAIN = ("string", "int", "float", "bool", "datetime", "void")
_TOKEN = re.compile(r"\(|\)|->|\w+")


@dataclass(frozen=True)
class Type:
    """One type.

    ``kind`` is one of PLAIN or ``ref``, ``record``, ``enum`` (``name`` says of what), ``set``, ``option`` (of
    ``item``), ``map`` (from ``key`` to ``item``), or ``batch``, the answer of event.from.
    """

    kind: str
    name: str = ""
    item: Type | None = None
    key: Type | None = None

    @property
    def inner(self) -> Type:
        """What a set, a map or an option holds."""
        assert self.item is not None, f"{self} holds nothing"
        return self.item

    @property
    def map_key(self) -> Type:
        assert self.key is not None, f"{self} is no map"
        return self.key

    def __str__(self) -> str:
        if self.kind in PLAIN:
            return self.kind
        if self.kind == "batch":
            return "an event batch"
        if self.kind == "enum":
            return f"enum {self.name}"
        if self.kind == "map":
            return f"({self.key} -> {self.item}) map"
        if self.kind in ("set", "option"):
            return f"{self.item} {self.kind}"
        return f"{self.name} {self.kind}"


@functools.cache
def parse_type(text: str) -> Type:
    """The type that ``text`` describes; ValueError when it describes none."""
    if text == "an event batch":
        return Type("batch")
    tokens = iter(_TOKEN.findall(text))
    parsed, rest = _parse(tokens, next(tokens, ""))
    if rest:
        raise ValueError(f"{text!r} goes on after the type {parsed}")
    return parsed


def _parse(tokens: Iterator[str], first: str) -> tuple[Type, str]:
    """The type that starts with ``first``, and the token after it."""
    if first == "(":
        key, arrow = _parse(tokens, next(tokens, ""))
        item, closing = _parse(tokens, next(tokens, ""))
        if (arrow, closing, next(tokens, "")) != ("->", ")", "map"):
            raise ValueError(f"a map is written (key -> value) map, after {key}")
        parsed = Type("map", item=item, key=key)
    elif first == "enum":
        parsed = Type("enum", next(tokens, ""))
    elif first in PLAIN:
        parsed = Type(first)
    else:
        kind = next(tokens, "")
        if not first.isidentifier() or kind not in ("ref", "record"):
            raise ValueError(f"{first!r} is no type")
        parsed = Type(kind, first)
    after = next(tokens, "")
    while after in ("set", "option"):
        parsed = Type(after, item=parsed)
        after = next(tokens, "")
    return parsed, after
