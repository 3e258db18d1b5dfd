# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that people write for the fake: reading them, and words for what is wrong with them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Callable, Generic, TypeVar

from ...errors import HypervisorError
from ...model.units import parse_size

Parsed = TypeVar("Parsed")

NUMBER = "a number that is not negative"
COUNT = "a whole number that is not negative"


class BadSettings(HypervisorError):
    """A file of settings that cannot be understood."""


class SettingsFile(Generic[Parsed]):
    """A JSON file, read again only after it has changed. One that is missing counts as ``{}``."""

    def __init__(self, path: str, parse: Callable[[Mapping[str, Any]], Parsed]) -> None:
        self.path = path
        self._parse = parse
        self._seen: tuple[int, int, int] | None = None
        self._parsed: Parsed | None = None

    @property
    def version(self) -> tuple[int, int, int] | None:
        """Tells which writing of the file was read last; None for a missing one."""
        return self._seen

    def read(self) -> Parsed:
        """What the file says.

        Raises:
            BadSettings: it cannot be understood; the message names file and entry.
        """
        try:
            status = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            if self._seen is not None or self._parsed is None:
                self._seen, self._parsed = None, self._parse({})
            return self._parsed
        seen = (status.st_mtime_ns, status.st_ino, status.st_size)
        if self._parsed is None or seen != self._seen:
            self._parsed = self._read()
            self._seen = seen
        return self._parsed

    def _read(self) -> Parsed:
        try:
            with open(self.path, "rb") as file:
                content = json.loads(file.read())
            if not isinstance(content, dict):
                raise ValueError("it has to be a mapping")
            return self._parse(content)
        except (OSError, ValueError) as error:
            raise BadSettings(f"the fake hypervisor's settings {self.path} cannot be used: {error}") from None


def only_known(where: str, found: Mapping[str, Any], known: Mapping[str, Any] | tuple[str, ...]) -> None:
    """Refuse a misspelt key instead of ignoring it."""
    unknown = sorted(set(found) - set(known))
    if unknown:
        raise ValueError(f"{where} has no entry {', '.join(map(repr, unknown))}; known are {', '.join(sorted(known))}")


def mapping(where: str, value: Any) -> Mapping[str, Any]:
    """``value``, which has to be a mapping."""
    if not isinstance(value, dict):
        raise ValueError(f"{where} has to be a mapping")
    return value


def number(where: str, value: Any) -> float:
    """``value``, which has to be a number of at least zero."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise ValueError(f"{where} has to be {NUMBER}, not {value!r}")
    return value


def count(where: str, value: Any) -> int:
    """``value``, which has to be a whole number of at least zero."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{where} has to be {COUNT}, not {value!r}")
    return value


def truth(where: str, value: Any) -> bool:
    """``value``, which has to be true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{where} has to be true or false, not {value!r}")
    return value


def text(where: str, value: Any) -> str:
    """``value``, which has to be a text."""
    if not isinstance(value, str):
        raise ValueError(f"{where} has to be a text, not {value!r}")
    return value


def texts(where: str, value: Any) -> list[str]:
    """``value``, which has to be a list of texts."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{where} has to be a list of texts")
    return value


def size(where: str, value: Any) -> int:
    """Bytes meant by ``value``, a size such as ``10G``."""
    try:
        return parse_size(value)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
