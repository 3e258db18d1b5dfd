# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flavors as tasks give them: by name, as a dictionary, and collections of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import Problem
from ..model.flavor import BUILT_IN, Flavor
from .validate import Reader

MEMORY_MB = (1, 1024 * 1024 * 1024)
VCPUS = (1, 4096)
ROOT_GB = (0, 1024 * 1024)
SWAP_MB = (0, 16 * 1024 * 1024)

_SYNONYMS = {
    "root_gb": ("root_gb", "local_gb", "disk_gb"),
    "swap_mb": ("swap_mb", "swap"),
    "rxtx": ("rxtx", "rxtx_factor"),
}
_KNOWN = {"name", "memory_mb", "vcpus", *(word for words in _SYNONYMS.values() for word in words)}


def read_flavors(params: Mapping[str, Any], problems: list[Problem]) -> dict[str, Flavor]:
    """The built-in flavors and those of the option ``flavors``: a dictionary by name, or a list of dictionaries."""
    known = dict(BUILT_IN)
    given = params.get("flavors")
    reader = Reader(params, "", problems)
    if given is None:
        return known
    if isinstance(given, Mapping):
        items = [
            (f"flavors.{name}", {"name": name, **item} if isinstance(item, Mapping) else item)
            for name, item in given.items()
        ]
    elif isinstance(given, list):
        items = [(f"flavors[{number}]", item) for number, item in enumerate(given)]
    else:
        reader.complain("flavors", "has to be a dictionary of flavors by name, or a list of flavors")
        return known
    mine: set[str] = set()
    for place, item in items:
        if not isinstance(item, Mapping):
            reader.complain(place, "has to be a dictionary with memory_mb and vcpus")
            continue
        flavor = _read(reader.inner(place, item), None)
        if flavor is None:
            continue
        if flavor.name in mine:
            reader.complain(f"{place}.name", f"there are two flavors named {flavor.name!r}")
        mine.add(flavor.name)
        known[flavor.name] = flavor
    return known


def read_flavor(reader: Reader, known: Mapping[str, Flavor]) -> Flavor | None:
    """The option ``flavor``: the name of a known one, or one's dictionary."""
    given = reader.data.get("flavor")
    if given is None:
        return None
    if isinstance(given, Mapping):
        return _read(reader.inner("flavor", given), "custom")
    flavor = known.get(str(given))
    if flavor is None:
        reader.complain("flavor", f"there is no flavor {str(given)!r}; there are {', '.join(sorted(known))}")
    return flavor


def _read(reader: Reader, default_name: str | None) -> Flavor | None:
    before = len(reader.problems)
    reader.only_known(_KNOWN)
    values: dict[str, Any] = {}
    for field, words in _SYNONYMS.items():
        used = [word for word in words if reader.given(word)]
        if len(used) > 1:
            reader.complain(used[1], f"is another word for {used[0]}; give one of them")
        elif used and field == "rxtx":
            values[field] = reader.share(used[0])
        elif used:
            values[field] = reader.whole(used[0], *(ROOT_GB if field == "root_gb" else SWAP_MB))
    values["name"] = reader.name("name") if reader.given("name") else default_name
    values["memory_mb"] = reader.whole("memory_mb", *MEMORY_MB)
    values["vcpus"] = reader.whole("vcpus", *VCPUS)
    for option in ("name", "memory_mb", "vcpus"):
        if values[option] is None and not reader.given(option):
            reader.complain(option, "a flavor needs it")
    return Flavor(**values) if len(reader.problems) == before else None
