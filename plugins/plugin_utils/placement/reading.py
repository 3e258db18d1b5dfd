# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what a user gives: each complaint names the option, and all of them come at once."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import translate
from typing import Any, Callable, TypeVar

Number = TypeVar("Number", int, float)

_WILDCARDS = re.compile(r"[*?\[]")


class BadInput(ValueError):
    """Options or facts of which no plan can be made; ``problems`` says everything that is wrong with them."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class Reader:
    """Takes values and collects complaints; a value that is wrong reads as its default."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def complain(self, option: str, problem: str) -> None:
        self.problems.append(f"{option}: {problem}")

    def warn_of(self, option: str, words: str) -> None:
        """What is worth knowing, and keeps nobody from planning."""
        self.warnings.append(f"{option}: {words}")

    def finish(self) -> None:
        """
        Raises:
            BadInput: there were complaints.
        """
        if self.problems:
            raise BadInput(self.problems)

    def known_keys(self, option: str, given: Mapping[str, Any], known: Iterable[str]) -> None:
        for key in sorted(set(map(str, given)) - set(known)):
            self.complain(option, f"there is no option {key}; there are {', '.join(known)}")

    def mapping(self, option: str, value: Any) -> Mapping[str, Any]:
        if value is None:
            return {}
        if isinstance(value, Mapping):
            return value
        self.complain(option, f"must be a dictionary, not {_shown(value)}")
        return {}

    def entries(self, option: str, value: Any) -> list[Mapping[str, Any]]:
        """A list of dictionaries."""
        if value is None:
            return []
        if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
            self.complain(option, f"must be a list of dictionaries, not {_shown(value)}")
            return []
        return [self.mapping(f"{option}[{number}]", entry) for number, entry in enumerate(value)]

    def words(self, option: str, value: Any) -> list[str]:
        """A list of texts; one text alone is split at its commas, as Ansible does it for options of modules."""
        if value is None:
            return []
        if isinstance(value, str):
            return [word for word in map(str.strip, value.split(",")) if word]
        if isinstance(value, Mapping) or not isinstance(value, Iterable):
            self.complain(option, f"must be a list of names, not {_shown(value)}")
            return []
        entries = list(value)
        for number, entry in enumerate(entries):
            if name_of(entry) is None:
                self.complain(f"{option}[{number}]", f"must be a name, not {_shown(entry)}")
        return [str(entry) for entry in entries]

    def choice(self, option: str, value: Any, choices: Sequence[str], default: str) -> str:
        if value is None:
            return default
        if value not in choices:
            self.complain(option, f"must be one of {', '.join(choices)}, not {_shown(value)}")
            return default
        return str(value)

    def truth(self, option: str, value: Any, default: bool) -> bool:
        if value is None:
            return default
        if not isinstance(value, bool):
            self.complain(option, f"must be true or false, not {_shown(value)}")
            return default
        return value

    def whole(self, option: str, value: Any, least: int = 0) -> int | None:
        return self._number(option, value, int, least)

    def number(self, option: str, value: Any, least: float = 0.0) -> float | None:
        return self._number(option, value, float, least)

    def _number(self, option: str, value: Any, kind: Callable[[Any], Number], least: Number) -> Number | None:
        """A number, or a text that is one: templates make texts of numbers."""
        if value is None:
            return None
        try:
            if isinstance(value, bool):
                raise ValueError
            number = kind(value)
            if number != float(value) or not least <= number < float("inf"):
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            what = "a whole number" if kind is int else "a number"
            self.complain(option, f"must be {what}, {least:g} or more, not {_shown(value)}")
            return None
        return number


class Names:
    """Finds names by patterns with the wildcards of a shell; what is a name itself is that name too."""

    def __init__(self, names: Iterable[str]) -> None:
        self._positions: dict[str, list[int]] = {}
        for position, name in enumerate(names):
            self._positions.setdefault(name, []).append(position)
        self._sorted = sorted(self._positions)
        self._known: dict[str, tuple[int, ...]] = {}

    def matching(self, pattern: str) -> tuple[int, ...]:
        """Positions of the names that fit, ascending."""
        if pattern not in self._known:
            self._known[pattern] = tuple(sorted(self._look_up(pattern)))
        return self._known[pattern]

    def _look_up(self, pattern: str) -> Iterable[int]:
        found = list(self._positions.get(pattern, ()))
        wildcard = _WILDCARDS.search(pattern)
        if wildcard:
            fits = re.compile(translate(pattern)).match
            for name in self._beginning_with(pattern[: wildcard.start()]):
                if name != pattern and fits(name):
                    found.extend(self._positions[name])
        return found

    def _beginning_with(self, text: str) -> Iterable[str]:
        """A thousand patterns for ten thousands of names would take long if each looked at all of them."""
        for number in range(bisect_left(self._sorted, text), len(self._sorted)):
            if not self._sorted[number].startswith(text):
                return
            yield self._sorted[number]

    def matching_any(self, patterns: Iterable[str]) -> frozenset[int]:
        return frozenset(position for pattern in patterns for position in self.matching(pattern))

    def doubles(self) -> dict[str, list[int]]:
        """Names that there are several of."""
        return {name: found for name, found in self._positions.items() if len(found) > 1}


def name_of(value: Any) -> str | None:
    """A name; YAML makes numbers of names that look like numbers. None for what cannot be one."""
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        return None
    return str(value)


def _shown(value: Any) -> str:
    for kind in (dict, list):
        if isinstance(value, kind):
            return kind.__name__  # Ansible's own kinds of them have names that say nothing to users
    text = repr(value) if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."
