# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host takes an instance where the destination is a whole pool of XenServer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.moving import Move, migrate, moved
from contract.platforms.xenapi import XenApiHost, XenApiPlatform
from lab.xenapi.database import Database, Ref

pytestmark = pytest.mark.on("xenapi")

Mischief = Callable[[Database, Ref], object]
BIG, SMALL = "xen2", "xen1"
"""The destination's hosts: the first one has more memory left than the second."""


@pytest.fixture
def ends(platform: XenApiPlatform) -> tuple[XenApiPlatform, XenApiPlatform]:
    """Two pools."""
    there = platform.partner()
    db = there.server.db
    give_memory(db, host(db, SMALL), 4096)
    give_memory(db, host(db, BIG), 8192)
    return platform, there


def host(db: Database, name: str) -> Ref:
    [found] = db.find("host", name_label=name)
    return str(found)


def give_memory(db: Database, ref: Ref, free_mb: int) -> None:
    metrics = db.get("host", ref, "metrics")
    total = db.get("host_metrics", metrics, "memory_total") - db.get("host_metrics", metrics, "memory_free")
    db.set("host_metrics", metrics, memory_total=total + free_mb * MIB, memory_free=free_mb * MIB)


def spawn(here: XenApiPlatform, *names: str, memory_mb: int = 96, power_on: bool = True, pool: str = "shared") -> None:
    driver = here.migration_driver()
    for name in names:
        disks = [Disk(size_bytes=4 * MIB)]
        here.spawned(driver, name, power_on=power_on, memory_mb=memory_mb, disks=disks, nics=[here.nic()], pool=pool)
        if power_on:
            here.wait_ready(driver, name)


def places(there: XenApiPlatform) -> dict[str, str]:
    """The hosts on which the destination's instances run."""
    db = there.server.db
    found = {}
    for ref in db.refs("VM"):
        vm = db.view("VM", ref)
        if vm["power_state"] == "Running" and not vm["is_control_domain"]:
            found[vm["name_label"]] = db.get("host", vm["resident_on"], "name_label")
    return found


def problems(move: Move) -> list[str]:
    assert move.kind == "migration_impossible", move.result
    assert [call.name for call in move.calls if call.writes] == []
    return list(move.one["problems"])


# -- what keeps a host from taking one --------------------------------------------------------------------------------


def no_storage(db: Database, ref: Ref) -> None:
    for pbd in db.get("host", ref, "PBDs"):
        if db.get("SR", db.get("PBD", pbd, "SR"), "name_label") == "shared":
            db.set("PBD", pbd, currently_attached=False)


def no_network(db: Database, ref: Ref) -> None:
    """The network becomes one of the other hosts only."""
    [network] = db.find("network", name_label="lab")
    others = [one for one in db.refs("host") if one != ref]
    own = db.get("host", others[0], "PIFs")
    db.create("PIF", host=others[0], network=network, device="eth7", metrics=db.get("PIF", own[0], "metrics"))


def no_management(db: Database, ref: Ref) -> None:
    for pif in db.get("host", ref, "PIFs"):
        db.set("PIF", pif, management=False)


def old_version(db: Database, ref: Ref) -> None:
    version = db.get("host", ref, "software_version")
    db.set("host", ref, software_version={**version, "platform_version": "1.0.0"})


def other_processor(db: Database, ref: Ref) -> None:
    info = db.get("host", ref, "cpu_info")
    db.set("host", ref, cpu_info={**info, "vendor": "AuthenticAMD"})


def masked_processor(db: Database, ref: Ref) -> None:
    """Only the server looks at that."""
    info = db.get("host", ref, "cpu_info")
    first, _dash, rest = info["features_pv"].partition("-")
    db.set("host", ref, cpu_info={**info, "features_pv": f"{int(first, 16) & ~1:08x}-{rest}"})


def few_processors(db: Database, ref: Ref) -> None:
    for cpu in db.get("host", ref, "host_CPUs"):
        db.destroy("host_cpu", cpu)


def dead(db: Database, ref: Ref) -> None:
    db.set("host_metrics", db.get("host", ref, "metrics"), live=False)


MISCHIEFS: dict[str, tuple[Mischief, str]] = {
    "storage": (no_storage, "not connected with the pool 'shared'"),
    "network": (no_network, "no interface on the network 'lab'"),
    "management": (no_management, "no management interface"),
    "version": (old_version, "older version"),
    "processor": (other_processor, "made by AuthenticAMD"),
    "processor's mask": (masked_processor, "CPU features"),
    "processors": (few_processors, "processors"),
    "disabled": (lambda db, ref: db.set("host", ref, enabled=False), "disabled"),
    "not there": (dead, "not there"),
    "memory": (lambda db, ref: give_memory(db, ref, 8), "8 MiB of memory left"),
}


@pytest.mark.parametrize("case", MISCHIEFS)
def test_the_one_that_can_is_taken(ends: tuple[XenApiPlatform, XenApiPlatform], case: str):
    here, there = ends
    mischief, _words = MISCHIEFS[case]
    spawn(here, "web1")
    mischief(there.server.db, host(there.server.db, BIG))
    moved(here, there, name="web1")
    assert places(there) == {"web1": SMALL}


@pytest.mark.parametrize("case", sorted(MISCHIEFS.keys() - {"network", "storage"}))
def test_all_that_cannot_are_told(ends: tuple[XenApiPlatform, XenApiPlatform], case: str):
    """Networks and storage are on one of them at least, or on none at all."""
    here, there = ends
    mischief, words = MISCHIEFS[case]
    spawn(here, "web1")
    for name in (BIG, SMALL):
        mischief(there.server.db, host(there.server.db, name))
    told = problems(migrate(here, there, check=True, name="web1"))
    for name in (BIG, SMALL):
        assert any(name in problem and words in problem for problem in told), told


def test_each_has_something_else(ends: tuple[XenApiPlatform, XenApiPlatform]):
    """One has no storage and the other one no memory; what is wrong with the instance itself is told once."""
    here, there = ends
    db = there.server.db
    spawn(here, "web1")
    no_storage(db, host(db, BIG))
    give_memory(db, host(db, SMALL), 8)
    told = problems(migrate(here, there, check=True, name="web1", bandwidth=100))
    assert [problem for problem in told if BIG in problem] == [
        f"{BIG} is not connected with the pool 'shared'; map it with pools"
    ]
    assert len([problem for problem in told if SMALL in problem]) == 1
    assert len([problem for problem in told if "bandwidth" in problem]) == 1
    assert len(told) == 3


def test_what_no_host_can_help_with_is_told_once(ends: tuple[XenApiPlatform, XenApiPlatform]):
    here, there = ends
    spawn(here, "web1")
    db = here.server.db
    [disk] = db.find("VDI", name_label="web1.xvda")
    db.set("VDI", disk, on_boot="reset")
    no_storage(there.server.db, host(there.server.db, BIG))
    assert len(problems(migrate(here, there, check=True, name="web1"))) == 1


def test_storage_of_one_name_in_each_host(ends: tuple[XenApiPlatform, XenApiPlatform]):
    here, there = XenApiHost(ends[0], "xen1"), ends[1]
    spawn(here, "web1", "web2", memory_mb=6000, pool="Local storage")
    there_db = there.server.db
    give_memory(there_db, host(there_db, SMALL), 7000)
    moved(here, there, instances=["web1", "web2"])
    assert places(there) == {"web1": BIG, "web2": SMALL}
    for name, place in places(there).items():
        [vdi] = there_db.find("VDI", name_label=f"{name}.xvda")
        [pbd] = there_db.get("SR", there_db.get("VDI", vdi, "SR"), "PBDs")
        assert there_db.get("host", there_db.get("PBD", pbd, "host"), "name_label") == place


def test_a_local_pool_that_is_full(ends: tuple[XenApiPlatform, XenApiPlatform]):
    here, there = XenApiHost(ends[0], "xen1"), ends[1]
    spawn(here, "web1", pool="Local storage")
    db = there.server.db
    source = here.server.db
    [vdi] = source.find("VDI", name_label="web1.xvda")
    source.set("VDI", vdi, physical_utilisation=4 * MIB)
    for name in (BIG, SMALL):
        [sr] = [
            db.get("PBD", pbd, "SR")
            for pbd in db.get("host", host(db, name), "PBDs")
            if db.get("SR", db.get("PBD", pbd, "SR"), "name_label") == "Local storage"
        ]
        size = db.get("SR", sr, "physical_size")
        if name == BIG:
            db.set("SR", sr, physical_utilisation=size - MIB)
            moved(here, there, check=True, name="web1")
        else:
            db.set("SR", sr, physical_utilisation=size - 2 * MIB)
    told = problems(migrate(here, there, check=True, name="web1"))
    assert [problem.partition(":")[0] for problem in told] == [f"on {BIG}", f"on {SMALL}"]


# -- several ----------------------------------------------------------------------------------------------------------


def test_many_are_spread_by_what_is_left(ends: tuple[XenApiPlatform, XenApiPlatform]):
    here, there = ends
    names = [f"web{number}" for number in range(6)]
    spawn(here, *names, memory_mb=1700)
    moved(here, there, instances=names)
    # 8192 and 4096 MiB: three go to the big one until it has less than the small one.
    assert [places(there)[name] for name in names] == [BIG, BIG, BIG, SMALL, BIG, SMALL]


def test_those_that_are_planned_apart_are_spread_too(ends: tuple[XenApiPlatform, XenApiPlatform]):
    """Since they are to be moved in different ways."""
    here, there = ends
    spawn(here, "web1", "web2", "web3", memory_mb=4000)
    ways = [{"name": "web1"}, {"name": "web2", "mode": "cold"}, {"name": "web3", "mode": "live"}]
    move = migrate(here, there, instances=ways, check=True)
    assert {one["name"]: bool(one["problems"]) for one in move.result["instances"]} == {
        "web1": False, "web2": False, "web3": False,
    }  # fmt: skip
    give_memory(there.server.db, host(there.server.db, SMALL), 3000)
    move = migrate(here, there, instances=ways, check=True)
    [problem] = [problem for one in move.result["instances"] for problem in one["problems"] if BIG in problem]
    assert "8000 MiB of which are for others" in problem


def test_one_that_cannot_move_takes_no_room(ends: tuple[XenApiPlatform, XenApiPlatform]):
    here, there = ends
    spawn(here, "huge", "web1", memory_mb=7000)
    db = here.server.db
    [disk] = db.find("VDI", name_label="huge.xvda")
    db.set("VDI", disk, on_boot="reset")
    move = migrate(here, there, instances=["huge", "web1"])
    assert {one["name"]: bool(one.get("problems")) for one in move.result["instances"]} == {"huge": True, "web1": False}
    assert places(there) == {"web1": BIG}


def test_a_host_that_can_at_once_costs_no_more(ends: tuple[XenApiPlatform, XenApiPlatform]):
    """Nor do hosts that the plan itself leaves out."""
    here, there = ends
    spawn(here, "web1")
    asked = []
    for mischief in (lambda _db, _ref: None, no_storage):
        mischief(there.server.db, host(there.server.db, BIG))
        asked.append(Counter(call.name for call in migrate(here, there, check=True, name="web1").calls))
    assert asked[0] == asked[1]
