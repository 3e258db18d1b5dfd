# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what the user wants with hosts, instances and groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .facts import DISK, MEMORY, VCPUS
from .model import STRATEGIES, Wishes
from .reading import Reader, name_of

_MIB_PER_GIB = 1024
_RATIOS = {VCPUS: 4.0, MEMORY: 1.0, DISK: 1.0}
_RESERVED = {VCPUS: 0, "memory_mb": 512, "disk_gb": 0}
_OPTIONS = (
    "instances groups strategy drain exclude_hosts pinned rebalance tolerance max_moves ratios reserved overrides load "
    "shared_pools count_stopped override_lock overhead_mb explain new"
).split()
_INSTANCE_KEYS = "name memory_mb vcpus disk_gb pinned hosts refused".split()
_POLICIES = ("affinity", "anti_affinity")
_GROUP_KEYS = "name policy hard max_per_host members".split()


class Allowance(NamedTuple):
    """What of a host's resources may be given to instances: ``(total - reserved) * ratio``."""

    ratios: Mapping[str, float]
    reserved: Mapping[str, float]

    def capacity(self, resource: str, total: int, reserved: float) -> int:
        """Of what there is in whole; rounded so that 0.1 * 30 is 3."""
        return max(0, int(round((total - reserved) * self.ratios[resource], 6)))


class Sizes(NamedTuple):
    """What the user says of one instance; None and empty where nothing is said."""

    name: str
    memory_mb: int | None
    vcpus: int | None
    disk_mb: int | None
    pinned: bool
    hosts: tuple[str, ...] | None
    refused: Mapping[str, str]


class Group(NamedTuple):
    """Instances that are to be together, or apart."""

    name: str
    together: bool
    hard: bool
    most: int
    members: tuple[str, ...]


class Options(NamedTuple):
    """All options of the filter, but for the facts."""

    wishes: Wishes
    instances: tuple[Sizes, ...]
    groups: tuple[Group, ...]
    drain: tuple[str, ...]
    exclude_hosts: tuple[str, ...]
    pinned: tuple[str, ...]
    allowance: Allowance
    overrides: Mapping[str, Allowance]
    load: frozenset[str]
    shared_pools: tuple[str, ...]
    count_stopped: bool
    override_lock: bool
    overhead_mb: int
    explain: int
    new: bool


def read_options(reader: Reader, given: Mapping[str, Any]) -> Options:
    """The options, by their names; those that are not given have their defaults."""
    reader.known_keys("placement", given, _OPTIONS)
    get = given.get
    percent = reader.number("tolerance", get("tolerance"))
    wishes = Wishes(
        reader.choice("strategy", get("strategy"), STRATEGIES, STRATEGIES[0]),
        reader.truth("rebalance", get("rebalance"), False),
        0.1 if percent is None else percent / 100,
        reader.whole("max_moves", get("max_moves")),
    )
    allowance = _allowance(reader, "", given, Allowance(_RATIOS, _RESERVED))
    explain = reader.whole("explain", get("explain"))
    return Options(
        wishes,
        _instances(reader, get("instances")),
        _groups(reader, get("groups")),
        tuple(reader.words("drain", get("drain"))),
        tuple(reader.words("exclude_hosts", get("exclude_hosts"))),
        tuple(reader.words("pinned", get("pinned"))),
        allowance,
        _overrides(reader, get("overrides"), allowance),
        _load(reader, get("load")),
        tuple(reader.words("shared_pools", get("shared_pools"))),
        reader.truth("count_stopped", get("count_stopped"), True),
        reader.truth("override_lock", get("override_lock"), False),
        reader.whole("overhead_mb", get("overhead_mb")) or 0,
        20 if explain is None else explain,
        reader.truth("new", get("new"), True),
    )


def _allowance(reader: Reader, prefix: str, given: Mapping[str, Any], default: Allowance) -> Allowance:
    found: list[dict[str, float]] = []
    for option, defaults in (("ratios", default.ratios), ("reserved", default.reserved)):
        values = reader.mapping(prefix + option, given.get(option))
        reader.known_keys(prefix + option, values, tuple(defaults))
        found.append(dict(defaults))
        for key in defaults:
            number = reader.number(f"{prefix}{option}.{key}", values.get(key))
            if number is not None:
                found[-1][key] = number
    return Allowance(*found)


def _overrides(reader: Reader, given: Any, default: Allowance) -> dict[str, Allowance]:
    found = {}
    for pattern, entry in reader.mapping("overrides", given).items():
        option = f"overrides.{pattern}"
        values = reader.mapping(option, entry)
        reader.known_keys(option, values, ("ratios", "reserved"))
        found[str(pattern)] = _allowance(reader, f"{option}.", values, default)
    return found


def _load(reader: Reader, given: Any) -> frozenset[str]:
    if given is None:
        return frozenset(_RATIOS)
    words = reader.words("load", given)
    for word in words:
        reader.choice("load", word, tuple(_RATIOS), VCPUS)
    if not words:
        reader.complain("load", "is empty: hosts have to be compared by something")
    return frozenset(words)


def _instances(reader: Reader, given: Any) -> tuple[Sizes, ...]:
    """A list, or a dictionary by names."""
    if isinstance(given, Mapping):
        given = [{"name": name, **reader.mapping(f"instances.{name}", entry)} for name, entry in given.items()]
    found: dict[str, Sizes] = {}
    for number, entry in enumerate(reader.entries("instances", given)):
        option = f"instances[{number}]"
        reader.known_keys(option, entry, _INSTANCE_KEYS)
        name = name_of(entry.get("name"))
        if name is None:
            reader.complain(f"{option}.name", f"must be its name, not {entry.get('name')!r}")
        elif name in found:
            reader.complain(option, f"{name} is given twice")
        else:
            found[name] = _sizes(reader, f"instances.{name}", name, entry)
    return tuple(found.values())


def _sizes(reader: Reader, option: str, name: str, entry: Mapping[str, Any]) -> Sizes:
    disk_gb = reader.number(f"{option}.disk_gb", entry.get("disk_gb"))
    hosts = entry.get("hosts")
    refused = reader.mapping(f"{option}.refused", entry.get("refused"))
    return Sizes(
        name,
        reader.whole(f"{option}.memory_mb", entry.get("memory_mb")),
        reader.whole(f"{option}.vcpus", entry.get("vcpus")),
        None if disk_gb is None else int(-(-disk_gb * _MIB_PER_GIB // 1)),
        reader.truth(f"{option}.pinned", entry.get("pinned"), False),
        None if hosts is None else tuple(reader.words(f"{option}.hosts", hosts)),
        {str(host): str(why) for host, why in refused.items()},
    )


def _groups(reader: Reader, given: Any) -> tuple[Group, ...]:
    found = []
    for number, entry in enumerate(reader.entries("groups", given)):
        name = str(entry.get("name", f"group {number + 1}"))
        option = f"groups.{name}"
        reader.known_keys(option, entry, _GROUP_KEYS)
        together = reader.choice(f"{option}.policy", entry.get("policy", ""), _POLICIES, _POLICIES[1])
        most = reader.whole(f"{option}.max_per_host", entry.get("max_per_host"), least=1)
        if most is not None and together == "affinity":
            reader.complain(f"{option}.max_per_host", "is for the policy anti_affinity only")
        members = tuple(reader.words(f"{option}.members", entry.get("members")))
        if not members:
            reader.complain(f"{option}.members", "names no instances")
        hard = reader.truth(f"{option}.hard", entry.get("hard"), True)
        found.append(Group(name, together == "affinity", hard, most or 1, members))
    return tuple(found)
