# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking values out of a task's options, and noting everything that is wrong with them instead of stopping at once."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Mapping
from typing import Any

from ..errors import Problem
from ..model.mac import normalize_mac
from ..model.units import parse_size

_NAME_LIMIT = 120
_SECTOR = 512
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CONTROL_IN_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class Reader:
    """Some options of a task, all at one place.

    Every method that takes a value returns None when the option is not given, or is wrong and has been noted.

    Attributes:
        where: What stands in front of an option's name, e.g. ``instances[2].``.
        problems: What was found wrong; shared by all readers of a task.
    """

    def __init__(self, data: Mapping[str, Any], where: str, problems: list[Problem]) -> None:
        self.data = data
        self.where = where
        self.problems = problems

    def inner(self, option: str, data: Mapping[str, Any], index: int | None = None) -> Reader:
        """A reader for the options inside of one, or of a list's entry."""
        place = option if index is None else f"{option}[{index}]"
        return Reader(data, f"{self.where}{place}.", self.problems)

    def complain(self, option: str, message: str) -> None:
        """Note that an option is wrong."""
        self.problems.append(Problem(self.where + option, message))

    def given(self, option: str) -> bool:
        """Whether it has any value."""
        return self.data.get(option) is not None

    def only_known(self, known: Collection[str]) -> None:
        """Options that do not exist are wrong, not ignored."""
        for option in self.data:
            if option not in known:
                self.complain(str(option), f"there is no such option; there are {', '.join(sorted(known))}")

    def text(self, option: str, lines: bool = False) -> str | None:
        """A text without control characters; with ``lines`` it may have line breaks."""
        value = self.data.get(option)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            self.complain(option, f"has to be a text, not {_kind(value)}")
            return None
        text = str(value)
        if (_CONTROL_IN_TEXT if lines else _CONTROL).search(text):
            self.complain(
                option, "has a line break or control character in it" if not lines else "has a control character in it"
            )
            return None
        return text

    def name(self, option: str) -> str | None:
        """A name for something on the hypervisor."""
        value = self.text(option)
        if value is None:
            return None
        problem = problem_with_name(value)
        if problem:
            self.complain(option, problem)
            return None
        return value

    def choice(self, option: str, choices: Collection[str]) -> str | None:
        """One of ``choices``."""
        value = self.text(option)
        if value is not None and value not in choices:
            self.complain(option, f"has to be one of {', '.join(choices)}, not {value!r}")
            return None
        return value

    def truth(self, option: str) -> bool | None:
        """True or false."""
        value = self.data.get(option)
        if value is None or isinstance(value, bool):
            return value
        word = str(value).lower()
        if word in ("yes", "true", "on", "1"):
            return True
        if word in ("no", "false", "off", "0"):
            return False
        self.complain(option, f"has to be true or false, not {value!r}")
        return None

    def whole(self, option: str, least: int, most: int) -> int | None:
        """A whole number in a range."""
        value = self.data.get(option)
        if value is None:
            return None
        try:
            number = int(str(value))
        except ValueError:
            self.complain(option, f"has to be a whole number, not {value!r}")
            return None
        if isinstance(value, bool):
            self.complain(option, f"has to be a whole number, not {value!r}")
            return None
        if number < least:
            self.complain(option, f"has to be at least {least}, not {number}")
            return None
        if number > most:
            self.complain(option, f"has to be at most {most}, not {number}")
            return None
        return number

    def seconds(self, option: str) -> float | None:
        """A span of time of more than zero; never endless."""
        value = self.data.get(option)
        if value is None:
            return None
        try:
            number = float(value)
        except (TypeError, ValueError):
            self.complain(option, f"has to be a number of seconds, not {value!r}")
            return None
        if not 0 < number <= 7 * 86400:
            self.complain(option, f"has to be more than 0 and at most {7 * 86400} seconds, not {value}")
            return None
        return number

    def share(self, option: str) -> float | None:
        """A number of more than zero, in comparison with those of others."""
        value = self.data.get(option)
        if value is None:
            return None
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = 0.0
        if isinstance(value, bool) or not 0 < number < float("inf"):
            self.complain(option, f"has to be a number of more than 0, not {value!r}")
            return None
        return number

    def size(self, option: str) -> int | None:
        """Bytes meant by a size such as ``10G``, in whole sectors: no disk can have another size."""
        value = self.data.get(option)
        if value is None:
            return None
        try:
            return -(-parse_size(value) // _SECTOR) * _SECTOR
        except ValueError as error:
            self.complain(option, str(error))
            return None

    def path(self, option: str) -> str | None:
        """An absolute path on the hypervisor's host."""
        value = self.text(option)
        if value is None:
            return None
        if not value.startswith("/"):
            self.complain(option, f"has to be an absolute path on the hypervisor's host, not {value!r}")
            return None
        if ".." in value.split("/"):
            self.complain(option, f"must not have '..' in it: {value!r}")
            return None
        return posixpath.normpath(value)

    def path_or_name(self, option: str) -> str | None:
        """An absolute path, or a name; which of the two a hypervisor knows is its driver's matter."""
        value = self.text(option)
        if value is None or value.startswith("/"):
            return self.path(option)
        if not value.strip():
            self.complain(option, "must not be empty")
            return None
        return value

    def path_or_empty(self, option: str) -> str | None:
        """A path, or the empty text that takes away what is there."""
        return "" if self.data.get(option) == "" else self.path(option)

    def mac(self, option: str) -> str | None:
        """A unicast MAC address."""
        if isinstance(self.data.get(option), int):
            self.complain(option, "has to be quoted: YAML takes a MAC address of digits alone for a number")
            return None
        value = self.text(option)
        if value is None:
            return None
        try:
            return normalize_mac(value)
        except ValueError as error:
            self.complain(option, str(error))
            return None

    def mapping(self, option: str) -> Mapping[str, Any] | None:
        """A dictionary."""
        value = self.data.get(option)
        if value is None or isinstance(value, Mapping):
            return value
        self.complain(option, f"has to be a dictionary, not {_kind(value)}")
        return None

    def entries(self, option: str) -> list[Any] | None:
        """A list."""
        value = self.data.get(option)
        if value is None or isinstance(value, list):
            return value
        self.complain(option, f"has to be a list, not {_kind(value)}")
        return None


def problem_with_name(name: str) -> str | None:
    """Why this cannot be the name of an instance, pool, volume or network."""
    if not name:
        return "must not be empty"
    if ".." in name:
        return f"must not have '..' in it: {name!r}"
    if len(name) > _NAME_LIMIT:
        return f"has {len(name)} characters; at most {_NAME_LIMIT} are allowed"
    if "/" in name or name[0] in ".-" or name != name.strip() or not name.isprintable():
        return (
            f"{name!r} is not a name: it must not begin with a dot or dash, begin or end with a space, or have slashes "
            "or unprintable characters in it"
        )
    return None


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a dictionary"
    if isinstance(value, (list, tuple)):
        return "a list"
    return "a text" if isinstance(value, str) else repr(value)
