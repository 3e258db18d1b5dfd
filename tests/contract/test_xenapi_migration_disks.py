# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of disks, seeds and media of XenServer's instances that move, beside the disks that they have."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.api import Api
from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import CloudInit, Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import MigrationWishes
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.moving import migrate, moved
from contract.platforms.xenapi import XenApiHost, XenApiPlatform

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.on("xenapi")

Ends = tuple[XenApiPlatform, XenApiPlatform]
LOCAL = "Local storage"


@pytest.fixture
def hosts(platform: XenApiPlatform) -> Iterator[tuple[XenApiHost, XenApiHost]]:
    """Two hosts of one pool."""
    with platform.two_hosts() as both:
        yield both


@pytest.fixture
def pools(platform: XenApiPlatform) -> Ends:
    """Two pools."""
    return platform, platform.partner()


def refused(ends: Ends, words: str, **options: Any) -> None:
    """In check mode and without, and nothing is written."""
    for check in (True, False):
        move = migrate(*ends, check=check, name="web1", **options)
        assert move.kind == "migration_impossible", move.result
        assert words in "; ".join(move.one["problems"])
        assert [call.name for call in move.calls if call.writes] == []


def test_a_volume_that_was_taken_off_stays(pools: Ends):
    """Somebody else has done it, so that it still says whose it was."""
    here, there = pools
    here.spawned(here.migration_driver(), "web1", disks=[Disk(size_bytes=8 * MIB), Disk(size_bytes=4 * MIB)])
    with here.session() as api:
        [vdi] = api.VDI.get_by_name_label("web1.xvdb")
        for vbd in api.VDI.get_VBDs(vdi):
            api.VBD.destroy(vbd)
    move = moved(here, there, name="web1")
    assert (here.volumes(), there.volumes()) == ({"web1.xvdb"}, {"web1.xvda"})
    assert not move.one.get("removed")


def test_a_volume_of_the_same_name_elsewhere_is_no_copy(hosts: Ends):
    """The pools in both hosts have one name, and somebody keeps a volume in the first of which nothing is said."""
    here, there = hosts
    before = here.spawned(here.migration_driver(), "web1", disks=[Disk(size_bytes=8 * MIB)], pool=LOCAL)
    db = here.server.db
    [vdi] = db.find("VDI", name_label="web1.xvda")
    with here.session() as api:
        record = api.VDI.get_record(vdi)
        foreign = api.VDI.create({**record, "other_config": {}})
    assert db.get("VDI", foreign, "SR") == record["SR"]
    here.server.faults.fail("point:switch", "VM_MIGRATE_FAILED", "vm", "here", "there", "as asked")
    assert migrate(here, there, name="web1").kind is not None
    here.server.faults.clear()
    assert db.exists("VDI", foreign)
    assert here.migration_driver().get_instances(["web1"])["web1"] == before
    moved(here, there, name="web1")
    assert db.exists("VDI", foreign)


def test_what_is_kept_with_disks_stays_the_same_when_nothing_has_moved(pools: Ends):
    here, there = pools
    here.spawned(here.migration_driver(), "web1", disks=[Disk(size_bytes=8 * MIB)])
    driver = here.migration_driver()
    driver.face(there.migration_driver())
    db = here.server.db
    [vdi] = db.find("VDI", name_label="web1.xvda")
    record = json.loads(db.get("VDI", vdi, "other_config")["anyvirt"])
    before = {"anyvirt": json.dumps({**record, "vdi": db.get("VDI", vdi, "uuid")})}
    db.set("VDI", vdi, other_config=before)
    instance = driver.get_instances(["web1"])["web1"]
    plan = driver.plan_migrations(there.migration_driver(), {"web1": instance}, MigrationWishes(), False)["web1"]
    driver.begin_migration(plan)
    driver.discard_migration("web1")
    assert db.get("VDI", vdi, "other_config") == before


# -- new data for cloud-init ------------------------------------------------------------------------------------------


def with_waiting_seed(here: XenApiPlatform, pool: str) -> None:
    """Data that was changed while the guest had the old one open."""
    driver = here.migration_driver()
    here.spawned(driver, "web1", power_on=True, cloud_init=CloudInit(user_data="#cloud-config\n"), pool=pool)
    current = driver.get_instances(["web1"])["web1"]
    desired = replace(current, cloud_init=CloudInit(user_data="#cloud-config\nhostname: new\n"))
    driver.update_instance(current, desired, {"cloud_init"}, ())
    assert here.volumes() == {"web1.seed", "web1.seed#2"}


def test_new_data_that_would_be_left_in_a_pool(pools: Ends):
    here, there = pools
    with_waiting_seed(here, "shared")
    refused(pools, "new data for cloud-init waits")
    driver = here.migration_driver()
    driver.power_off("web1")
    refused(pools, "new data for cloud-init waits")
    driver.power_on("web1")
    moved(here, there, name="web1")
    assert (here.volumes(), there.volumes()) == (set(), {"web1.seed"})


def test_new_data_that_would_be_left_on_a_host(hosts: Ends):
    with_waiting_seed(hosts[0], LOCAL)
    refused(hosts, "new data for cloud-init waits")


def test_new_data_that_both_hosts_see(hosts: Ends):
    here, there = hosts
    with_waiting_seed(here, "shared")
    moved(here, there, name="web1")
    driver = there.migration_driver()
    driver.power_off("web1")
    driver.power_on("web1")
    assert driver.get_instances(["web1"])["web1"].pending == {}
    assert there.volumes() == {"web1.seed"}


# -- what the server says ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["hosts", "pools"])
def test_what_is_paused_moves_cold(platform: XenApiPlatform, hosts: Ends, kind: str):
    """The server moves none that is paused, and this one is off by then."""
    here, there = hosts if kind == "hosts" else (platform, platform.partner())
    pool = LOCAL if kind == "hosts" else "shared"
    driver = here.migration_driver()
    here.spawned(driver, "web1", power_on=True, disks=[Disk(size_bytes=8 * MIB)], pool=pool)
    driver.pause("web1")
    move = moved(here, there, name="web1", mode="cold")
    assert (move.one["mode"], move.one["warnings"]) == ("cold", [])
    assert there.migration_driver().get_instances(["web1"])["web1"].power_state in power_state.ACTIVE


@pytest.mark.parametrize("end", ["source", "destination"])
def test_what_is_paused_is_not_stopped_for_a_kind_of_pool_that_cannot_be_moved(pools: Ends, end: str):
    """The server's own check sees but that it is paused."""
    here = pools[0]
    driver = here.migration_driver()
    here.spawned(driver, "web1", power_on=True, disks=[Disk(size_bytes=8 * MIB)])
    driver.pause("web1")
    db = pools[end == "destination"].server.db
    [kind] = db.find("SM", type="nfs")
    able = [name for name in db.get("SM", kind, "capabilities") if name != "VDI_SNAPSHOT"]
    db.set("SM", kind, capabilities=able, features=dict.fromkeys(able, 1))
    words = "to which" if end == "destination" else "from which"
    refused(pools, f"the pool 'shared' is of a kind (nfs) {words} nothing can be moved", mode="cold")


@pytest.mark.parametrize("code", ["VM_IS_IMMOBILE", "VM_HAS_SRIOV_VIF", "VM_IS_USING_NESTED_VIRT"])
def test_what_only_keeps_a_guest_that_runs(pools: Ends, code: str):
    here, there = pools
    here.spawned(here.migration_driver(), "web1", power_on=True, disks=[Disk(size_bytes=8 * MIB)])
    here.wait_ready(here.migration_driver(), "web1")
    for mode in ("live", "cold"):
        here.server.faults.fail("VM.assert_can_migrate", code, "OpaqueRef:x", times=None)
        move = migrate(here, there, name="web1", mode=mode)
        assert move.kind == ("migration_impossible" if mode == "live" else None)
        assert bool(move.one["problems"]) is (mode == "live")
    assert move.one["power_state"] == "running"


def test_memory_that_storage_motion_wants_for_what_is_off(hosts: Ends):
    here, _there = hosts
    here.spawned(here.migration_driver(), "web1", disks=[Disk(size_bytes=8 * MIB)], pool=LOCAL)
    db = here.server.db
    [host] = db.find("host", name_label="xen2")
    metrics = db.get("host", host, "metrics")
    db.set("host_metrics", metrics, memory_total=1160 * MIB, memory_free=8 * MIB)
    refused(hosts, "memory")


def test_an_older_pool_takes_none_that_is_off_either(pools: Ends):
    """Nothing is stopped first."""
    here, there = pools
    here.spawned(here.migration_driver(), "web1", power_on=True, disks=[Disk(size_bytes=8 * MIB)])
    db = there.server.db
    for host in db.refs("host"):
        version = db.get("host", host, "software_version")
        db.set("host", host, software_version={**version, "platform_version": "1.0.0"})
    refused(pools, "older version", mode="cold")


def test_what_the_server_says_of_a_disk_is_not_said_of_its_copy(pools: Ends):
    here, there = pools
    here.spawned(here.migration_driver(), "web1", disks=[Disk(size_bytes=8 * MIB)])
    with here.session() as api:
        [vdi] = api.VDI.get_by_name_label("web1.xvda")
        api.VDI.add_to_other_config(vdi, "content_id", "before")
        api.VDI.add_to_other_config(vdi, "backup", "nightly")
    moved(here, there, name="web1")
    with there.session() as api:
        [vdi] = api.VDI.get_by_name_label("web1.xvda")
        kept = api.VDI.get_other_config(vdi)
    assert kept["backup"] == "nightly"
    assert kept["content_id"] != "before"


@pytest.mark.parametrize("kind", ["VM", "VDI"])
def test_what_others_write_in_between_stays(pools: Ends, kind: str):
    """Each time that the driver is about to write what somebody keeps with a machine or a disk."""
    here, there = pools
    here.spawned(here.migration_driver(), "web1", disks=[Disk(size_bytes=8 * MIB)])
    db, real, count = there.server.db, Api.call_on, itertools.count()

    def call_on(self: Api, line: Any, method: str, *params: Any) -> Any:
        if method.startswith(f"{kind}.") and method.endswith("_other_config") and ".get_" not in method:
            ref = params[0]
            if db.exists(kind, ref):
                keys = {**db.get(kind, ref, "other_config"), f"backup{next(count)}": "nightly"}
                db.set(kind, ref, other_config=keys)
        return real(self, line, method, *params)

    with mock.patch.object(Api, "call_on", call_on):
        moved(here, there, name="web1")
    [ref] = db.find(kind, name_label="web1" if kind == "VM" else "web1.xvda")
    keys = db.get(kind, ref, "other_config")
    assert next(count) > 0
    assert {key for key in keys if key.startswith("backup")} == {f"backup{number}" for number in range(next(count) - 1)}
    assert "anyvirt" in keys
    assert "anyvirt-migration" not in keys


# -- media ------------------------------------------------------------------------------------------------------------


def test_a_medium_of_one_without_disks(pools: Ends):
    here, there = pools
    drive = Disk(kind="cdrom", pool="ISO library", volume="tools.iso")
    here.spawned(here.migration_driver(), "web1", power_on=True, disks=[drive])
    moved(here, there, name="web1")
    [disk] = there.migration_driver().get_instances(["web1"])["web1"].disks or ()
    assert disk.volume == "tools.iso"


def test_a_medium_stays_in_within_a_pool(hosts: Ends):
    here, there = hosts
    drive = Disk(kind="cdrom", pool="ISO library", volume="tools.iso")
    here.spawned(here.migration_driver(), "web1", power_on=True, disks=[Disk(size_bytes=4 * MIB), drive], pool=LOCAL)
    move = moved(here, there, name="web1")
    assert move.one["warnings"] == []
    assert {"VBD.eject", "VBD.insert"}.isdisjoint(call.name for call in move.calls)
    after = there.migration_driver().get_instances(["web1"])["web1"]
    assert [disk.volume for disk in after.disks or ()] == ["web1.xvda", "tools.iso"]


# -- how much is asked ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["hosts", "pools"])
def test_many_cost_no_more_than_one(platform: XenApiPlatform, hosts: Ends, kind: str):
    """But for the server's own check, which is about one machine."""
    here, there = hosts if kind == "hosts" else (platform, platform.partner())
    driver, pool = here.migration_driver(), LOCAL if kind == "hosts" else "shared"
    drive = Disk(kind="cdrom", pool="ISO library", volume="tools.iso")
    names = [f"web{number}" for number in range(4)]
    for name in names:
        here.spawned(driver, name, disks=[Disk(size_bytes=4 * MIB), drive], nics=[here.nic()], pool=pool)
    asked = [Counter(call.name for call in migrate(here, there, check=True, instances=some).calls) for some in
             (names[:1], names)]  # fmt: skip
    assert asked[1] - asked[0] == Counter({"VM.assert_can_migrate": 3})
