# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The query language of get_all_records_where: ``field "power_state" = "Running" and not (field "domid" = "0")``.

Comparisons are of strings, as the database stores them: "true", "42", a reference. Fields have the names of the real
database's columns, where name_label is ``name__label``; of other fields with two parts both ways are understood.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from lab.xenapi import wire
from lab.xenapi.database import Database, Ref
from lab.xenapi.datamodel import ModelClass, model
from lab.xenapi.failures import Failure

Test = Callable[[Mapping[str, Any]], bool]
Operand = Callable[[Mapping[str, Any]], str]

_REF = "_ref"
"""What the database calls an object's own reference."""
_OTHERWISE_NAMED = ("name_label", "name_description")
"""No columns of the database."""
_TOKEN = re.compile(r"""\s*(?:(?P<word>field|and|or|not|true|false|=|\(|\))|"(?P<double>[^"]*)"|'(?P<single>[^']*)')""")


def matching(db: Database, cls: str, expression: str) -> list[Ref]:
    """The objects for which the expression holds; INTERNAL_ERROR where it is none."""
    test = _Parser(model().classes[cls], expression).parse()
    with db.lock:
        return [ref for ref in db.refs(cls) if test({_REF: ref, **db.view(cls, ref)})]


class _Parser:
    def __init__(self, cls: ModelClass, text: str) -> None:
        self._cls = cls
        self._text = text
        self._tokens = self._split(text)

    def parse(self) -> Test:
        test = self._any()
        if self._tokens:
            raise self._error()
        return test

    def _split(self, text: str) -> list[tuple[str, str]]:
        tokens, position = [], 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if not match:
                raise self._error()
            word = match["word"]
            tokens.append((word, word) if word else ("string", match["double"] or match["single"] or ""))
            position = match.end()
        return tokens

    def _any(self) -> Test:
        tests = [self._all()]
        while self._accept("or"):
            tests.append(self._all())
        return lambda record: any(test(record) for test in tests)

    def _all(self) -> Test:
        tests = [self._single()]
        while self._accept("and"):
            tests.append(self._single())
        return lambda record: all(test(record) for test in tests)

    def _single(self) -> Test:
        if self._accept("not"):
            negated = self._single()
            return lambda record: not negated(record)
        if self._accept("("):
            inside = self._any()
            self._expect(")")
            return inside
        if self._accept("true"):
            return lambda _record: True
        if self._accept("false"):
            return lambda _record: False
        left = self._operand()
        self._expect("=")
        right = self._operand()
        return lambda record: left(record) == right(record)

    def _operand(self) -> Operand:
        if not self._accept("field"):
            text = self._expect("string")
            return lambda _record: text
        name = self._expect("string")
        if name == _REF:
            return lambda record: str(record[_REF])
        column, name = name, name if name in self._cls.fields else name.replace("__", "_")
        if name not in self._cls.fields or column in _OTHERWISE_NAMED:
            raise Failure("INTERNAL_ERROR", f"{self._cls.name} has no field {column}")
        return lambda record: _as_text(record[name])

    def _accept(self, kind: str) -> bool:
        if self._tokens and self._tokens[0][0] == kind:
            self._tokens.pop(0)
            return True
        return False

    def _expect(self, kind: str) -> str:
        if not self._tokens or self._tokens[0][0] != kind:
            raise self._error()
        return self._tokens.pop(0)[1]

    def _error(self) -> Failure:
        return Failure("INTERNAL_ERROR", f"this is no query: {self._text}")


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return wire.date_text(value) if isinstance(value, datetime) else str(value)
