# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is special about moving instances of XenServer: from host to host of a pool, and from pool to pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    InvalidInput,
    InvalidUri,
    MigrationImpossible,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk, Instance
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.moving import migrate, moved
from contract.platforms.xenapi import XenApiHost, XenApiPlatform
from contract.secgroup_helpers import OPEN
from contract.task import done
from lab.xenapi import volumes
from lab.xenapi.vdi_store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.on("xenapi")


@pytest.fixture
def hosts(platform: XenApiPlatform) -> Iterator[tuple[XenApiHost, XenApiHost]]:
    """Two hosts of one pool."""
    with platform.two_hosts() as both:
        yield both


@pytest.fixture
def pools(platform: XenApiPlatform) -> tuple[XenApiPlatform, XenApiPlatform]:
    """Two pools."""
    return platform, platform.partner()


@pytest.fixture(params=["hosts", "pools"])
def ends(request: pytest.FixtureRequest, platform: XenApiPlatform) -> Iterator[tuple[XenApiPlatform, XenApiPlatform]]:
    """Both kinds of ends."""
    if request.param == "pools":
        yield platform, platform.partner()
        return
    with platform.two_hosts() as both:
        yield both


def vm_of(platform: XenApiPlatform, name: str) -> dict[str, Any]:
    with platform.session() as api:
        [vm] = api.VM.get_by_name_label(name)
        return dict(api.VM.get_record(vm))


def host_of(platform: XenApiPlatform, name: str) -> str:
    """The name of the host that it runs on."""
    with platform.session() as api:
        return str(api.host.get_name_label(vm_of(platform, name)["resident_on"]))


def read(platform: XenApiPlatform, name: str) -> Instance | None:
    return platform.migration_driver().get_instances([name]).get(name)


def fill(platform: XenApiPlatform, volume: str, byte: int) -> None:
    """Have the guest write something."""
    db = platform.server.db
    with db.lock:
        [vdi] = db.find("VDI", name_label=volume)
        store_of(db).write(volumes.content_name(db, vdi), 0, bytes([byte]) * 4)
        volumes.written(db, vdi)


def content(platform: XenApiPlatform, volume: str) -> bytes:
    """How a volume begins."""
    db = platform.server.db
    [vdi] = db.find("VDI", name_label=volume)
    return store_of(db).read(volumes.content_name(db, vdi), 0, 4)


def written(calls: Any) -> list[str]:
    return [call.name for call in calls if call.writes]


# -- within a pool ----------------------------------------------------------------------------------------------------


def test_live_on_shared_storage(hosts: tuple[XenApiHost, XenApiHost]):
    here, there = hosts
    source = here.migration_driver()
    before = here.spawned(source, "web1", power_on=True, disks=[Disk(size_bytes=8 * MIB)], nics=[here.nic()])
    assert migrate(here, there, name="web1", check=True).one["changed"]
    move = moved(here, there, name="web1")
    assert (move.one["mode"], move.one["changed"]) == ("live", True)
    assert [disk["how"] for disk in move.one["disks"]] == ["shared"]
    assert written(move.calls) == [
        "VM.add_to_other_config", "VM.pool_migrate", "VM.set_affinity", "VM.remove_from_other_config",
    ]  # fmt: skip
    assert host_of(there, "web1") == "xen2"
    after = read(there, "web1")
    assert after is not None
    assert after.hypervisor.pop("affinity") == "xen2"
    assert before.hypervisor.pop("affinity") == "xen1"
    assert after == before
    assert read(here, "web1") is None
    again = moved(here, there, name="web1")
    assert (again.changed, written(again.calls)) == (False, [])


def test_check_mode_writes_nothing(ends: tuple[XenApiPlatform, XenApiPlatform]):
    here, there = ends
    here.spawned(here.migration_driver(), "web1", power_on=True, disks=[Disk(size_bytes=8 * MIB)])
    before, beyond = here.snapshot(), there.snapshot()
    foretold = migrate(here, there, name="web1", check=True)
    assert (foretold.kind, foretold.changed, written(foretold.calls)) == (None, True, [])
    assert (here.snapshot(), there.snapshot()) == (before, beyond)
    assert moved(here, there, name="web1").one["steps"] == foretold.one["steps"]


def test_a_filtered_one_within_a_pool(hosts: tuple[XenApiHost, XenApiHost]):
    """Its interface is locked at each moment, and no group is about two hosts of one pool."""
    here, there = hosts
    source = here.migration_driver()
    source.define_security_group(OPEN)
    nics = [here.nic(addresses=["10.88.0.9"])]
    here.spawned(source, "web1", power_on=True, nics=nics, security_groups=[OPEN.name])
    [vif] = here.server.db.refs("VIF")
    seen = set()
    here.server.let_migrations_take(0.8)
    moved(here, there, name="web1", interrupted=lambda: seen.add(here.server.db.get("VIF", vif, "locking_mode")))
    assert seen == {"locked"}
    assert there.migration_driver().verify_filters() == []
    again = moved(here, there, name="web1")
    assert (again.changed, written(again.calls)) == (False, [])


def test_disks_on_local_storage_move_along(hosts: tuple[XenApiHost, XenApiHost]):
    here, there = hosts
    disks = [Disk(size_bytes=8 * MIB, pool="Local storage"), Disk(size_bytes=4 * MIB, pool="shared")]
    source = here.migration_driver()
    before = here.spawned(source, "web1", power_on=True, disks=disks, pool="Local storage")
    fill(here, "web1.xvda", 7)
    move = moved(here, there, name="web1")
    assert [disk["how"] for disk in move.one["disks"]] == ["copy", "shared"]
    assert "VM.migrate_send" in written(move.calls)
    after = read(there, "web1")
    assert after is not None
    assert (after.disks, after.power_state) == (before.disks, power_state.RUNNING)
    assert content(there, "web1.xvda") == b"\x07" * 4
    assert done(there, name="web1", state="absent").changed
    assert there.volumes() == set()


def test_one_that_is_off_is_bound_to_its_new_host(hosts: tuple[XenApiHost, XenApiHost]):
    here, there = hosts
    here.spawned(here.migration_driver(), "web1", disks=[Disk(size_bytes=8 * MIB)])
    move = moved(here, there, name="web1")
    assert (move.one["mode"], move.changed) == ("cold", True)
    assert written(move.calls) == ["VM.add_to_other_config", "VM.set_affinity", "VM.remove_from_other_config"]
    assert (read(here, "web1") is None, read(there, "web1") is None) == (True, False)
    assert not moved(here, there, name="web1").changed
    there.migration_driver().power_on("web1")
    assert host_of(there, "web1") == "xen2"


def test_cold_of_one_that_runs(ends: tuple[XenApiPlatform, XenApiPlatform]):
    here, there = ends
    source = here.migration_driver()
    here.spawned(source, "web1", power_on=True, disks=[Disk(size_bytes=8 * MIB)])
    here.wait_ready(source, "web1")
    move = moved(here, there, name="web1", mode="cold")
    assert (move.one["mode"], move.one["power_state"]) == ("cold", "running")
    assert vm_of(there, "web1")["power_state"] == "Running"
    assert read(here, "web1") is None
    assert not moved(here, there, name="web1", mode="cold").changed


def test_what_is_suspended_within_a_pool(hosts: tuple[XenApiHost, XenApiHost]):
    here, there = hosts
    source = here.migration_driver()
    here.spawned(source, "web1", power_on=True, disks=[Disk(size_bytes=8 * MIB)])
    source.suspend("web1")
    assert moved(here, there, name="web1").one["mode"] == "cold"
    there.migration_driver().resume("web1")
    assert host_of(there, "web1") == "xen2"


@pytest.mark.parametrize("bound", ["xen2", None])
@pytest.mark.parametrize("fails", [False, True])
def test_cold_of_one_that_runs_elsewhere_than_it_is_bound_to(
    hosts: tuple[XenApiHost, XenApiHost], bound: str | None, fails: bool
):
    here, there = hosts
    here.spawned(here.migration_driver(), "web1", power_on=True, disks=[Disk(size_bytes=8 * MIB)])
    with here.session() as api:
        [vm] = api.VM.get_by_name_label("web1")
        target = "OpaqueRef:NULL" if bound is None else api.host.get_by_name_label(bound)[0]
        api.VM.set_affinity(vm, target)
    before = here.snapshot()
    if fails:
        here.server.faults.fail("VM.start_on", "INTERNAL_ERROR", "as asked")
        assert migrate(here, there, name="web1", mode="cold").kind is not None
        here.server.faults.clear()
        assert (host_of(here, "web1"), here.snapshot() == before) == ("xen1", True)
    assert moved(here, there, name="web1", mode="cold").one["power_state"] == "running"
    assert host_of(there, "web1") == "xen2"
    assert not moved(here, there, name="web1", mode="cold").changed


def test_from_anywhere_in_the_pool(platform: XenApiPlatform, hosts: tuple[XenApiHost, XenApiHost]):
    """The source is the whole pool, of which the destination is a part."""
    here, there = hosts
    for name, host in (("web1", here), ("web2", there)):
        host.spawned(host.migration_driver(), name, power_on=True)
    platform.spawned(platform.migration_driver(), "idle")
    move = moved(platform, there, instances=["web1", "web2", "idle"])
    assert {one["name"]: one["changed"] for one in move.result["instances"]} == {
        "web1": True, "web2": False, "idle": True,
    }  # fmt: skip
    assert (host_of(platform, "web1"), host_of(platform, "web2")) == ("xen2", "xen2")
    assert not moved(platform, there, instances=["web1", "web2", "idle"]).changed


def test_a_host_is_drained(platform: XenApiPlatform, hosts: tuple[XenApiHost, XenApiHost]):
    here, there = hosts
    driver = here.migration_driver()
    for number in range(4):
        pool = "Local storage" if number % 2 else "shared"
        disks = [Disk(size_bytes=4 * MIB, pool=pool)]
        here.spawned(driver, f"web{number}", power_on=number < 3, disks=disks)
    platform.spawned(platform.migration_driver(), "anywhere")
    move = moved(here, there, all=True, workers=3)
    assert sorted(one["name"] for one in move.result["instances"]) == ["web0", "web1", "web2", "web3"]
    assert here.migration_driver().list_instances() == []
    assert len(there.migration_driver().list_instances()) == 4
    assert not moved(here, there, all=True).changed
    with platform.session() as api:
        [host] = api.host.get_by_name_label("xen1")
        api.host.disable(host)
        api.host.assert_can_evacuate(host)


def test_an_end_that_is_a_part_of_the_other(platform: XenApiPlatform, hosts: tuple[XenApiHost, XenApiHost]):
    here, _there = hosts
    assert migrate(here, platform, name="web1").kind == InvalidUri.kind
    assert migrate(here, here, name="web1").kind == InvalidInput.kind


# -- between pools ----------------------------------------------------------------------------------------------------


def test_live_to_another_pool(pools: tuple[XenApiPlatform, XenApiPlatform]):
    here, there = pools
    source = here.migration_driver()
    source.define_security_group(OPEN)
    disks = [Disk(size_bytes=8 * MIB), Disk(size_bytes=4 * MIB)]
    before = here.spawned(
        source, "web1", power_on=True, disks=disks, nics=[here.nic(addresses=["10.88.0.9"])],
        security_groups=[OPEN.name], metadata={"team": "blue"}, autostart=True, description="moves",
    )  # fmt: skip
    here.wait_ready(source, "web1")
    fill(here, "web1.xvdb", 5)
    move = moved(here, there, name="web1")
    assert move.one["mode"] == "live"
    assert [disk["how"] for disk in move.one["disks"]] == ["copy", "copy"]
    assert (read(here, "web1"), here.volumes()) == (None, set())
    assert read(there, "web1") == before
    assert content(there, "web1.xvdb") == b"\x05" * 4
    target = there.migration_driver()
    assert target.verify_filters() == []
    assert target.get_security_groups()[OPEN.name] == OPEN
    assert there.console(target, "web1") != b""
    again = moved(here, there, name="web1")
    assert (again.changed, written(again.calls)) == (False, [])
    assert done(there, name="web1", state="absent").changed
    assert there.volumes() == set()


@pytest.mark.parametrize("state", ["off", "suspended"])
def test_one_without_a_guest_goes_to_another_pool(pools: tuple[XenApiPlatform, XenApiPlatform], state: str):
    here, there = pools
    source = here.migration_driver()
    before = here.spawned(source, "web1", power_on=state == "suspended", disks=[Disk(size_bytes=8 * MIB)])
    if state == "suspended":
        source.suspend("web1")
    move = moved(here, there, name="web1")
    assert move.one["mode"] == "cold"
    after = read(there, "web1")
    assert after is not None
    assert (after.disks, after.migration) == (before.disks, None)
    assert after.power_state == (power_state.SUSPENDED if state == "suspended" else power_state.SHUTOFF)
    there.migration_driver().power_on("web1")
    assert not moved(here, there, name="web1").changed


def test_and_back(pools: tuple[XenApiPlatform, XenApiPlatform]):
    here, there = pools
    before = here.spawned(here.migration_driver(), "web1", power_on=True, disks=[Disk(size_bytes=8 * MIB)])
    moved(here, there, name="web1")
    moved(there, here, name="web1")
    assert read(here, "web1") == before
    assert there.volumes() == set()


def test_other_names_there(pools: tuple[XenApiPlatform, XenApiPlatform]):
    here, there = pools
    with there.session() as api:
        [sr], [network] = api.SR.get_by_name_label("shared"), api.network.get_by_name_label("lab")
        api.SR.set_name_label(sr, "elsewhere")
        api.network.set_name_label(network, "farm")
    here.spawned(here.migration_driver(), "web1", power_on=True, disks=[Disk(size_bytes=8 * MIB)], nics=[here.nic()])
    refused = migrate(here, there, name="web1", check=True)
    assert refused.kind == MigrationImpossible.kind
    assert "'shared'" in refused.result["msg"]
    assert "'lab'" in refused.result["msg"]
    maps = {"pools": {"shared": "elsewhere"}, "networks": {"lab": "farm"}}
    moved(here, there, name="web1", **maps)
    after = read(there, "web1")
    assert after is not None
    assert [disk.pool for disk in after.disks or ()] == [after.pool] == ["elsewhere"]
    assert [nic.network for nic in after.nics or ()] == ["farm"]
    assert not moved(here, there, name="web1", **maps).changed


def test_a_medium_comes_along(pools: tuple[XenApiPlatform, XenApiPlatform]):
    here, there = pools
    drive = Disk(kind="cdrom", pool="ISO library", volume="tools.iso")
    here.spawned(here.migration_driver(), "web1", power_on=True, disks=[Disk(size_bytes=4 * MIB), drive])
    moved(here, there, name="web1")
    after = read(there, "web1")
    assert after is not None
    assert [disk.volume for disk in after.disks or ()] == ["web1.xvda", "tools.iso"]
