# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clusters as virt_facts shows them, made at random, and a judge of what the filter ``placement`` says about them.

The judge knows nothing of the planner: it carries the moves out on the facts, wave by wave, and looks at each step
whether hosts have more than they may and whether rules are kept.
"""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

Facts = dict[str, Any]

GIB = 1024**3
RATIOS = {"vcpus": 4.0, "memory": 1.0, "disk": 1.0}
RESERVED = {"vcpus": 0, "memory_mb": 512, "disk_gb": 0}


# -- making -----------------------------------------------------------------------------------------------------------


def instance_facts(
    name: str, memory_mb: int | None = 1024, vcpus: int = 1, state: str = "running", **config: Any
) -> dict[str, Any]:
    """An instance; ``disks`` is GiB in pools: ``{"default": 10}``. One that is off has no memory now."""
    entry: dict[str, Any] = {"name": name, "state": state, "memory_mb": memory_mb, "vcpus": vcpus}
    if state in ("shutoff", "suspended"):
        config["memory_mb"], entry["memory_mb"] = memory_mb, 0
    disks = config.pop("disks", {})
    if disks or config:
        entry["config"] = {
            **config,
            "disks": [{"pool": pool, "size_bytes": size * GIB, "kind": "disk"} for pool, size in disks.items()],
        }
    return entry


def host_facts(
    *instances: dict[str, Any],
    vcpus: int = 16,
    memory_mb: int = 16384 + 512,
    pools: Mapping[str, int] | None = None,
    version: str = "1.0.0",
    driver: str = "fake",
    others_mb: int = 0,
) -> Facts:
    """A host; ``pools`` is their sizes in GiB."""
    active_mb = sum(instance["memory_mb"] for instance in instances if instance["state"] == "running")
    used: Counter[str] = Counter()
    for instance in instances:
        for disk in instance.get("config", {}).get("disks", ()):
            used[disk["pool"]] += disk["size_bytes"]
    return {
        "driver": driver,
        "cpu": {"arch": "x86_64"},
        "host": {
            "hypervisor_type": driver,
            "hypervisor_version": version,
            "vcpus": vcpus,
            "memory_mb": memory_mb,
            "memory_mb_used": active_mb + others_mb,
            "pools": [
                {"name": name, "active": True, "total_bytes": size * GIB, "available_bytes": size * GIB - used[name]}
                for name, size in (pools or {}).items()
            ],
        },
        "instances": list(instances),
    }


class RandomCase:
    """A cluster and options, the same for each seed."""

    def __init__(self, seed: int, most_hosts: int = 8) -> None:
        self._random = random.Random(seed)
        self.hosts = self._hosts(self._random.randint(2, most_hosts))
        names = [entry["name"] for facts in self.hosts.values() for entry in facts["instances"]]
        self.options = self._options(names)

    def _hosts(self, number: int) -> dict[str, Facts]:
        chance = self._random
        kinds = ["fake"] if chance.random() < 0.8 else ["fake", "other"]
        hosts: dict[str, Facts] = {}
        counter = 0
        for index in range(number):
            memory_mb = chance.choice([8, 16, 32]) * 1024
            instances: list[dict[str, Any]] = []
            pools = {"default": 400, "fast": 200} if chance.random() < 0.8 else {"default": 500}
            left_mb = memory_mb * chance.choice([0.2, 0.6, 0.9, 1.2])
            while left_mb > 0:
                size_mb = chance.choice([512, 1000, 2048, 3000, 4096])
                disks = {chance.choice(sorted(pools)): chance.randint(1, 40)} if chance.random() < 0.5 else {}
                config = {"locked": True} if chance.random() < 0.04 else {}
                state = chance.choice(["running", "running", "shutoff"])
                name = f"i{counter:03}" if chance.random() < 0.97 else "twin"
                if all(entry["name"] != name for entry in instances):
                    instances.append(
                        instance_facts(name, size_mb, chance.choice([1, 2, 4]), state, disks=disks, **config)
                    )
                counter += 1
                left_mb -= size_mb
            hosts[f"host{index}"] = host_facts(
                *instances,
                vcpus=chance.choice([4, 8, 16]),
                memory_mb=memory_mb + 512,
                pools=pools,
                version=chance.choice(["1.0.0", "1.0.0", "1.10.0"]),
                driver=chance.choice(kinds),
                others_mb=chance.choice([0, 0, 1024]),
            )
        return hosts

    def _options(self, names: list[str]) -> dict[str, Any]:
        chance = self._random
        options: dict[str, Any] = {"strategy": chance.choice(["spread", "pack"]), "explain": chance.choice([2, 20])}
        if chance.random() < 0.7:
            options["drain"] = chance.sample(sorted(self.hosts), 1)
        if chance.random() < 0.2:
            options["exclude_hosts"] = chance.sample(sorted(self.hosts), 1)
        if chance.random() < 0.5:
            options["rebalance"] = True
            if chance.random() < 0.3:
                options["max_moves"] = chance.randint(0, 5)
        options["groups"] = [self._group(number, names) for number in range(chance.randint(0, 4))] if names else []
        options["groups"] = _without_contradictions(options["groups"])
        options["instances"] = {name: self._sizes() for name in chance.sample(names, min(len(names), 3))}
        for number in range(chance.randint(0, 3)):
            options["instances"][f"new{number}"] = {"memory_mb": 2048, "vcpus": 2, **self._sizes()}
            options["instances"][f"new{number}"].pop("pinned", None)
        if chance.random() < 0.2:
            options["ratios"] = {"memory": 1.5, "vcpus": 2}
        if chance.random() < 0.2:
            options["overrides"] = {"host0": {"reserved": {"memory_mb": 4096}}}
        if chance.random() < 0.2:
            options["count_stopped"] = False
        if chance.random() < 0.2:
            options["shared_pools"] = ["fast"]
        return options

    def _group(self, number: int, names: list[str]) -> dict[str, Any]:
        chance = self._random
        group: dict[str, Any] = {
            "name": f"group{number}",
            "policy": chance.choice(["affinity", "anti_affinity"]),
            "hard": chance.random() < 0.6,
            "members": chance.sample(names, min(len(names), chance.randint(1, 4))),
        }
        if group["policy"] == "affinity":
            # Several of one name cannot be together.
            others = [name for name in names if name != "twin"] or ["nobody"]
            group["members"] = [name for name in group["members"] if name != "twin"] or others[:1]
        if group["policy"] == "anti_affinity":
            group["max_per_host"] = chance.choice([1, 1, 2])
        return group

    def _sizes(self) -> dict[str, Any]:
        chance = self._random
        sizes: dict[str, Any] = {}
        if chance.random() < 0.3:
            sizes["hosts"] = chance.sample(sorted(self.hosts), 2)
        if chance.random() < 0.2:
            sizes["pinned"] = True
        if chance.random() < 0.2:
            sizes["refused"] = {chance.choice(sorted(self.hosts)): "does not like it"}
        if chance.random() < 0.2:
            sizes["disk_gb"] = chance.choice([5, 12.5])
        return sizes


def _without_contradictions(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Hard groups of one cluster are either all about being together or all about being apart: both may contradict."""
    hard = [group["policy"] for group in groups if group["hard"]]
    return [group for group in groups if not group["hard"] or group["policy"] == hard[0]]


# -- judging ----------------------------------------------------------------------------------------------------------


class Judge:
    """Judges an answer; the methods raise AssertionError, with what is wrong."""

    def __init__(self, hosts: Mapping[str, Facts], options: Mapping[str, Any]) -> None:
        self.hosts = hosts
        self.options = options
        self.drained = set(options.get("drain", ()))
        self.closed = self.drained | set(options.get("exclude_hosts", ()))
        self.entries: dict[tuple[str, str | None], dict[str, Any]] = {
            (entry["name"], host): entry for host, facts in hosts.items() for entry in facts["instances"]
        }
        existing = {name for name, _host in self.entries}
        for name, sizes in options.get("instances", {}).items():
            if name not in existing:
                self.entries[name, None] = {"name": name, "state": "running", **sizes}
        self.start = {key: key[1] for key in self.entries}

    def judge(self, answer: Mapping[str, Any]) -> None:
        """All that can be said of an answer, whatever was asked."""
        where = self._carry_out(answer)
        self._judge_who_moves(answer, where)
        self._judge_affinity(where)
        for stay in answer["stays"]:
            self._judge_stay(stay, where)
        for host, told in answer["hosts"].items():
            for told_then, then in ((told["before"], self.start), (told["after"], where)):
                used = self.used(host, then)
                assert told_then["instances"] == sum(1 for place in then.values() if place == host)
                assert told_then["vcpus"] == used["vcpus"], (host, told_then, used)
                assert told_then["memory_mb"] == used["memory"], (host, told_then, used)

    def apply(self, answer: Mapping[str, Any]) -> dict[str, Facts]:
        """The facts as they are afterwards; new instances are made."""
        hosts = copy.deepcopy(dict(self.hosts))
        where = self._carry_out(answer)
        for facts in hosts.values():
            facts["instances"] = []
        for key, place in where.items():
            if place is not None:
                hosts[place]["instances"].append(self.entries[key])
        for name, facts in hosts.items():
            before, after = self._active_mb(name, self.start), self._active_mb(name, where)
            facts["host"]["memory_mb_used"] += after - before
            for pool in facts["host"]["pools"]:
                disk = f"disk in {pool['name']}"
                grown = self.used(name, where)[disk] - self.used(name, self.start)[disk]
                pool["available_bytes"] -= grown * 1024**2
        return hosts

    def can_go(self, key: tuple[str, str | None], host: str, where: Mapping[Any, str | None]) -> bool:
        """Whether one instance alone can go to ``host``."""
        if host in self.closed or host == where[key] or not self._may_go(key, host):
            return False
        return self._fits([key], host, where) and not self._too_close([key], host, where)

    def used(self, host: str, where: Mapping[Any, str | None]) -> Counter[str]:
        found: Counter[str] = Counter()
        for key, place in where.items():
            if place == host:
                found.update(self.demand(key))
        return found

    def demand(self, key: tuple[str, str | None]) -> dict[str, int]:
        entry = self.entries[key]
        sizes = self._sizes(key)
        demand: Counter[str] = Counter()
        if "disk_gb" in sizes:
            demand["disk"] = int(sizes["disk_gb"] * 1024)
        else:
            for disk in entry.get("config", {}).get("disks", ()):
                if disk["pool"] not in self.options.get("shared_pools", ()):
                    demand[f"disk in {disk['pool']}"] += disk["size_bytes"] // 1024**2
        if entry["state"] == "running" or self.options.get("count_stopped", True):
            demand["vcpus"] = sizes.get("vcpus", entry["vcpus"])
            demand["memory"] = sizes.get("memory_mb", entry.get("config", {}).get("memory_mb", entry["memory_mb"]))
        return {name: amount for name, amount in demand.items() if amount}

    def capacity(self, host: str, resource: str) -> int:
        """Of pools what may be given to those that come, beside those that were there at the start."""
        facts = self.hosts[host]["host"]
        overrides = self.options.get("overrides", {}).get(host, {})
        ratios = {**RATIOS, **self.options.get("ratios", {}), **overrides.get("ratios", {})}
        reserved = {**RESERVED, **self.options.get("reserved", {}), **overrides.get("reserved", {})}
        if resource == "vcpus":
            return int((facts["vcpus"] - reserved["vcpus"]) * ratios["vcpus"])
        if resource == "memory":
            others = facts["memory_mb_used"] - self._active_mb(host, self.start)
            return int((facts["memory_mb"] - max(reserved["memory_mb"], others)) * ratios["memory"])
        pools = [
            pool
            for pool in facts["pools"]
            if resource in ("disk", f"disk in {pool['name']}")
            and pool["name"] not in self.options.get("shared_pools", ())
        ]
        room = sum(pool["available_bytes"] for pool in pools) // 1024**2
        return room + self.used(host, self.start)[resource] if pools else 0

    def _carry_out(self, answer: Mapping[str, Any]) -> dict[tuple[str, str | None], str | None]:
        """Where everything is afterwards. In each wave, all have come before the first has gone."""
        where = dict(self.start)
        done = set()
        for wave in range(1, answer["waves"] + 1):
            meanwhile: dict[Any, str | None] = dict(where)
            arrivals: dict[str, list[tuple[str, str | None]]] = {}
            for move in (*answer["moves"], *answer["new"]):
                if move["wave"] == wave:
                    key = (move["instance"], move["source"])
                    assert self.start[key] == move["source"]
                    assert key not in done
                    done.add(key)
                    arrivals.setdefault(move["destination"], []).append(key)
            assert arrivals, f"nothing happens in wave {wave}"
            for host, keys in arrivals.items():
                assert host not in self.closed
                for key in keys:
                    assert self._may_go(key, host), (key, host)
                assert self._fits(keys, host, meanwhile), (keys, host)
                assert not self._too_close(keys, host, meanwhile), (keys, host)
            for host, keys in arrivals.items():
                where.update(dict.fromkeys(keys, host))
        assert len(done) == len(answer["moves"]) + len(answer["new"])
        return where

    def _judge_who_moves(self, answer: Mapping[str, Any], where: Mapping[Any, str | None]) -> None:
        stays = {(stay["instance"], stay["source"]) for stay in answer["stays"]}
        for key, place in where.items():
            moved = place != self.start[key]
            assert not (moved and (self._pinned(key) or key in stays)), key
            if self.start[key] is None or self.start[key] in self.drained:
                assert moved or key in stays, f"{key} is forgotten"
            elif moved and not self.options.get("rebalance"):
                assert any(self.start[other] in (*self.drained, None) for other in self._company(key)), (
                    f"{key} was moved for nothing"
                )
        if "max_moves" in self.options:
            free = {key for key in where if self.start[key] is None or self.start[key] in self.drained}
            extra = [key for key in where if where[key] != self.start[key] and key not in free]
            without_company = [key for key in extra if not free & self._company(key)]
            assert len(without_company) <= self.options["max_moves"]

    def _judge_affinity(self, where: Mapping[Any, str | None]) -> None:
        """Those who were together are together, and those who move go to others of their group."""
        for group in self._groups("affinity", hard=True):
            members = self._members(group)
            before = {self.start[key] for key in members}
            after = {where[key] for key in members}
            if any(where[key] != self.start[key] for key in members):
                assert len(after - {None}) <= max(1, len(before - {None})), (group, before, after)

    def _judge_stay(self, stay: Mapping[str, Any], where: Mapping[Any, str | None]) -> None:
        key = (stay["instance"], stay["source"])
        assert stay["why"]
        assert where[key] == self.start[key]
        if stay["by_wish"]:
            assert self._pinned(key) or self._held(key), stay
        elif len(self._company(key)) == 1:
            assert not [host for host in self.hosts if self.can_go(key, host, where)], stay

    def _may_go(self, key: tuple[str, str | None], host: str) -> bool:
        home = key[1]
        sizes = self._sizes(key)
        facts = self.hosts[host]
        if host not in sizes.get("hosts", [host]) or host in sizes.get("refused", {}):
            return False
        if home is None:
            return True
        own = self.hosts[home]
        newer = _version(facts) >= _version(own)
        return facts["driver"] == own["driver"] and (newer or self.entries[key]["state"] != "running")

    def _fits(self, keys: Collection[Any], host: str, where: Mapping[Any, str | None]) -> bool:
        used = self.used(host, where)
        wanted: Counter[str] = Counter()
        for key in keys:
            wanted.update(self.demand(key))
        return all(used[name] + amount <= self.capacity(host, name) for name, amount in wanted.items())

    def _too_close(self, keys: Collection[Any], host: str, where: Mapping[Any, str | None]) -> bool:
        there = {key for key, place in where.items() if place == host}.union(keys)
        names = Counter(name for name, _home in there)
        if any(names[name] > 1 for name, _home in keys):
            return True
        for group in self._groups("anti_affinity", hard=True):
            members = self._members(group)
            coming = members.intersection(keys)
            there = {key for key in members if where[key] == host}
            if coming and len(coming | there) > group.get("max_per_host", 1):
                return True
        return False

    def _groups(self, policy: str, hard: bool) -> Iterator[Mapping[str, Any]]:
        for group in self.options.get("groups", ()):
            if group["policy"] == policy and group.get("hard", True) == hard:
                yield group

    def _members(self, group: Mapping[str, Any]) -> set[tuple[str, str | None]]:
        return {key for key in self.entries if any(fnmatchcase(key[0], pattern) for pattern in group["members"])}

    def _company(self, key: tuple[str, str | None]) -> set[tuple[str, str | None]]:
        """All that have to be with it."""
        found = {key}
        while True:
            more = [self._members(group) for group in self._groups("affinity", hard=True)]
            grown = found.union(*(members for members in more if members & found))
            if grown == found:
                return found
            found = grown

    def _pinned(self, key: tuple[str, str | None]) -> bool:
        locked = self.entries[key].get("config", {}).get("locked") and not self.options.get("override_lock")
        return bool(self._sizes(key).get("pinned") or locked or key[0] in self.options.get("pinned", ()))

    def _held(self, key: tuple[str, str | None]) -> bool:
        """Whether one that it has to be with stays, and none of them is where others may come. When rebalancing, those
        of them who may go are wanted elsewhere, and do not count."""
        company = self._company(key) - {key}
        pinned = set(filter(self._pinned, company))
        those = pinned if self.options.get("rebalance") else company
        return bool(pinned) and all(self.start[other] in (*self.closed, None) for other in those)

    def _sizes(self, key: tuple[str, str | None]) -> Mapping[str, Any]:
        sizes: Mapping[str, Any] = self.options.get("instances", {}).get(key[0], {})
        return sizes

    def _active_mb(self, host: str, where: Mapping[Any, str | None]) -> int:
        return sum(
            entry["memory_mb"]
            for key, entry in self.entries.items()
            if where[key] == host and entry["state"] == "running"
        )


def _version(facts: Facts) -> list[int]:
    return [int(part) for part in facts["host"]["hypervisor_version"].split(".")]
