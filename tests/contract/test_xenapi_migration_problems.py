# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps instances of XenServer from being moved, told before anything is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.moving import migrate, moved
from contract.platforms.xenapi import XenApiPlatform
from lab.xenapi.database import Database, Ref

pytestmark = pytest.mark.on("xenapi")

Mischief = Callable[[Database, Ref], object]


def host(db: Database, name: str) -> Ref:
    [found] = db.find("host", name_label=name)
    return str(found)


def disk(db: Database) -> Ref:
    [found] = db.find("VDI", name_label="web1.xvda")
    return str(found)


def old_version(db: Database, _vm: Ref) -> None:
    """xen2 is upgraded later."""
    version = db.get("host", host(db, "xen2"), "software_version")
    db.set("host", host(db, "xen2"), software_version={**version, "platform_version": "3.1.0"})


def dead_source(db: Database, _vm: Ref) -> None:
    db.set("host_metrics", db.get("host", host(db, "xen1"), "metrics"), live=False)


def masked_processor(db: Database, _vm: Ref) -> None:
    """xen2 lacks something."""
    info = db.get("host", host(db, "xen2"), "cpu_info")
    first, _dash, rest = info["features_pv"].partition("-")
    db.set("host", host(db, "xen2"), cpu_info={**info, "features_pv": f"{int(first, 16) & ~1:08x}-{rest}"})


def little_memory(db: Database, _vm: Ref) -> None:
    """xen2 has little."""
    metrics = db.get("host", host(db, "xen2"), "metrics")
    db.set("host_metrics", metrics, memory_total=1160 * MIB, memory_free=8 * MIB)


def block(db: Database, vm: Ref, operation: str) -> None:
    db.set("VM", vm, blocked_operations={operation: "no"})


def keep(db: Database, vm: Ref, key: str, value: str) -> None:
    db.set("VM", vm, other_config={**db.get("VM", vm, "other_config"), key: value})


def a_snapshot_of_the_volume(db: Database, _vm: Ref) -> None:
    db.create("VDI", name_label="snap", SR=db.get("VDI", disk(db), "SR"), is_a_snapshot=True, snapshot_of=disk(db))


def local_memory(db: Database, vm: Ref) -> None:
    """What was saved of it is in xen1."""
    for pbd in db.get("host", host(db, "xen1"), "PBDs"):
        sr = db.get("PBD", pbd, "SR")
        if db.get("SR", sr, "name_label") == "Local storage":
            db.set("VDI", db.get("VM", vm, "suspend_VDI"), SR=sr)


WITHIN: dict[str, tuple[str, Mischief | None, dict[str, Any]]] = {
    "disabled": ("xen2 is disabled", lambda db, _vm: db.set("host", host(db, "xen2"), enabled=False), {}),
    "processor": ("CPU features", masked_processor, {}),
    "version": ("older version", old_version, {}),
    "version, cold": ("until it is upgraded", old_version, {"mode": "cold"}),
    "a source that is not there": ("xen1, on which it runs, is not there", dead_source, {}),
    "the same, cold": ("xen1, on which it runs, is not there", dead_source, {"mode": "cold"}),
    "memory": ("memory", little_memory, {}),
    "copied to where it is": ("storage: copy", None, {"storage": "copy"}),
    "another network": ("networks", None, {"networks": {"lab": "Pool-wide network associated with eth0"}}),
    "a device of the host": ("a PCI device", lambda db, vm: db.set("VM", vm, attached_PCIs=["OpaqueRef:x"]), {}),
    "a device at its start": ("a PCI device", lambda db, vm: keep(db, vm, "pci", "0/0000:04:01.0"), {"mode": "cold"}),
    "blocked": ("blocked pool_migrate", lambda db, vm: block(db, vm, "pool_migrate"), {}),
    "blocked to start": ("blocked start_on", lambda db, vm: block(db, vm, "start_on"), {"mode": "cold"}),
    "bandwidth": ("bandwidth", None, {"bandwidth": 100}),
    "post_copy": ("post_copy", None, {"post_copy": True}),
    "max_downtime_ms": ("max_downtime_ms", None, {"max_downtime_ms": 100}),
    "listen_address": ("listen_address", None, {"listen_address": "192.0.2.1"}),
    "undefine_source": ("undefine_source", None, {"undefine_source": False}),
    "persist": ("persist", None, {"persist": False}),
}
BETWEEN: dict[str, tuple[str, Mischief | None, dict[str, Any]]] = {
    "shared": ("storage: shared", None, {"storage": "shared"}),
    "used by others": ("other machines use", lambda db, _vm: db.set("VDI", disk(db), sharable=True), {}),
    "a volume's snapshot": ("has snapshots", a_snapshot_of_the_volume, {}),
    "tracked": ("changed block tracking", lambda db, _vm: db.set("VDI", disk(db), cbt_enabled=True), {}),
    "reset at start": ("reset at each start", lambda db, _vm: db.set("VDI", disk(db), on_boot="reset"), {}),
    "blocked": ("blocked migrate_send", lambda db, vm: block(db, vm, "migrate_send"), {}),
    "nothing stays": ("delete_volumes: none", None, {"delete_volumes": "none"}),
}


def spawn(here: XenApiPlatform) -> tuple[Database, Ref]:
    driver = here.migration_driver()
    here.spawned(driver, "web1", power_on=True, disks=[Disk(size_bytes=8 * MIB)], nics=[here.nic()])
    here.wait_ready(driver, "web1")
    db = here.server.db
    [vm] = db.find("VM", name_label="web1")
    return db, vm


def assert_refused(here: XenApiPlatform, there: XenApiPlatform, words: str, **options: Any) -> None:
    before = here.snapshot()
    for check in (True, False):
        move = migrate(here, there, check=check, name="web1", **options)
        assert move.kind == "migration_impossible", move.result
        assert words in "; ".join(move.one["problems"])
        assert [call.name for call in move.calls if call.writes] == []
    assert here.snapshot() == before


@pytest.mark.parametrize("case", WITHIN)
def test_within_a_pool(platform: XenApiPlatform, case: str):
    words, mischief, options = WITHIN[case]
    with platform.two_hosts() as (here, there):
        db, vm = spawn(here)
        if mischief is not None:
            mischief(db, vm)
        assert_refused(here, there, words, **options)


@pytest.mark.parametrize("case", BETWEEN)
def test_between_pools(platform: XenApiPlatform, case: str):
    words, mischief, options = BETWEEN[case]
    db, vm = spawn(platform)
    if mischief is not None:
        mischief(db, vm)
    assert_refused(platform, platform.partner(), words, **options)


@pytest.mark.parametrize("state", ["paused", "suspended"])
def test_states(platform: XenApiPlatform, state: str):
    """Paused guests move nowhere live; what was saved of suspended ones has to be seen where they go."""
    with platform.two_hosts() as (here, there):
        db, vm = spawn(here)
        driver = here.migration_driver()
        if state == "paused":
            driver.pause("web1")
        else:
            driver.suspend("web1")
            local_memory(db, vm)
        assert_refused(here, there, "paused" if state == "paused" else "saved memory")


def test_storage_that_the_destination_has_not(platform: XenApiPlatform):
    """By its name, and by the host that is not connected with it."""
    with platform.two_hosts() as (here, there):
        spawn(here)
        with platform.session() as api:
            [sr] = api.SR.get_by_name_label("shared")
            for pbd in api.SR.get_PBDs(sr):
                if api.host.get_name_label(api.PBD.get_host(pbd)) == "xen2":
                    api.PBD.unplug(pbd)
        assert_refused(here, there, "xen2 is not connected with the pool 'shared'")
        assert_refused(here, there, "'nowhere'", pools={"shared": "nowhere"})
        moved = migrate(here, there, name="web1", pools={"shared": "Local storage"})
        assert moved.kind is None


def test_hosts_that_differ_as_pools_allow_it(platform: XenApiPlatform):
    """A pool whose upgrade has begun, and processors that it has levelled: guests see what all of its hosts have."""
    with platform.two_hosts() as (here, there):
        db, _vm = spawn(here)
        old, new = host(db, "xen1"), host(db, "xen2")
        version, processor = db.get("host", old, "software_version"), db.get("host", new, "cpu_info")
        db.set("host", old, software_version={**version, "product_brand": "Citrix Hypervisor"})
        db.set("host", new, software_version={**version, "product_version": "8.2.0", "product_brand": "XenServer"})
        db.set("host", new, cpu_info={**processor, "flags": "fpu"})
        assert moved(here, there, name="web1", mode="live").one["mode"] == "live"


def test_a_blocked_way_is_not_the_other_one(platform: XenApiPlatform):
    with platform.two_hosts() as (here, there):
        db, vm = spawn(here)
        db.set("VM", vm, blocked_operations={"pool_migrate": "no", "migrate_send": "no"})
        moved(here, there, name="web1", mode="cold")


def test_a_guest_without_tools_is_told_of(platform: XenApiPlatform):
    """Within a pool as well, where the server's own check does not look at it."""
    with platform.two_hosts() as (here, there):
        db, vm = spawn(here)
        db.set("VM", vm, allowed_operations=["clean_shutdown"])
        for mode in ("live", "cold"):
            told = moved(here, there, check=True, name="web1", mode=mode).one["warnings"]
            assert ("tools" in " ".join(told)) is (mode == "live")
