# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks about one object or many: the options of each, and what is wrong with them told once."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..errors import Problem
from .validate import Reader

_OPTION = re.compile(r"\w+")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)


def read_entries(
    params: Mapping[str, Any], many_option: str, task_wide: Collection[str], problems: list[Problem]
) -> list[Reader]:
    """A reader for each object of a task.

    Args:
        params: The module's options.
        many_option: The list of objects, e.g. ``instances``; the options beside it are its entries' defaults.
        task_wide: Options that are no entry's.
        problems: Where the readers note what is wrong.
    """
    many = params.get(many_option)
    if many is None:
        return [Reader(params, "", problems)]
    shared = {key: value for key, value in without_none(params).items() if key not in task_wide}
    return [
        Reader({**shared, **without_none(item)}, f"{many_option}[{number}].", problems)
        for number, item in enumerate(many)
    ]


def told_once(problems: Sequence[Problem], params: Mapping[str, Any], many_option: str) -> list[Problem]:
    """What is wrong with an option that all entries share is that option's problem, not one of each entry."""
    many = params.get(many_option)
    if many is None:
        return list(dict.fromkeys(problems))
    entries: dict[tuple[str, str], set[str]] = {}
    for option, message in problems:
        where, rest = option.partition("].")[::2]
        entries.setdefault((rest, message), set()).add(where)
    told = []
    for option, message in problems:
        rest = option.partition("].")[2]
        key = _OPTION.match(rest)
        is_shared = (
            key is not None and params.get(key[0]) is not None and all(entry.get(key[0]) is None for entry in many)
        )
        in_all = len(entries[rest, message]) == len(many)
        told.append(Problem(rest, message) if is_shared and in_all else Problem(option, message))
    return list(dict.fromkeys(told))


def read_metadata(reader: Reader) -> dict[str, str | None] | None:
    """The option ``metadata``: the user's own keys and values, None for those to be removed."""
    given = reader.mapping("metadata")
    if given is None:
        return None
    metadata: dict[str, str | None] = {}
    for key, value in given.items():
        inner = reader.inner("metadata", {str(key): value})
        if not str(key).strip() or any(ord(character) < 32 for character in str(key)):
            inner.complain(repr(str(key)), "a key must not be empty nor have control characters in it")
        elif isinstance(value, bool):
            metadata[str(key)] = str(value).lower()
        elif value is None:
            metadata[str(key)] = None
        else:
            metadata[str(key)] = inner.text(str(key), lines=True) or ""
    return metadata


def read_headers(reader: Reader, option: str) -> dict[str, str]:
    """Header fields of requests; their values may be secret, so that no message has them."""
    headers: dict[str, str] = {}
    for name, value in (reader.mapping(option) or {}).items():
        if not _HEADER_NAME.fullmatch(str(name)):
            reader.complain(option, f"{name!r} cannot be the name of a header")
        elif value is None or not str(value).isprintable() or not str(value).isascii():
            reader.complain(option, f"the value of {name} has something in it that no header may have")
        else:
            headers[str(name)] = str(value)
    return headers


def without_none(given: Mapping[str, Any]) -> dict[str, Any]:
    """Only what is given."""
    return {key: value for key, value in given.items() if value is not None}
