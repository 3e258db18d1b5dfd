# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of instances as only XenAPI has them: what waits in our record, devices, uploads."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import NONE, ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions, get_connection
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import HypervisorError
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import CloudInit, Disk, Instance, Nic
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.helpers import bring_to
from contract.task import done
from lab.xenapi.server import XenApiServer
from lab.xenapi.settings import PoolSettings

if TYPE_CHECKING:
    from contract.platforms.xenapi import XenApiPlatform

pytestmark = pytest.mark.on("xenapi")

FIRST, SECOND, THIRD = (f"52:54:00:0a:00:0{number}" for number in (1, 2, 3))
OTHER_NETWORK = "Pool-wide network associated with eth0"
RUNNING = pytest.mark.parametrize("running", [False, True], ids=["off", "running"])
NEW_SEED = CloudInit(user_data="#cloud-config\n# new\n")


def current(driver: ComputeDriver, name: str = "one") -> Instance:
    return driver.get_instances([name])[name]


def change(driver: ComputeDriver, **changed: Any) -> Any:
    """Change the instance "one", in the running guest as far as that is possible; how to take it back."""
    now = current(driver)
    desired = replace(now, **changed)
    return driver.update_instance(now, desired, set(changed), driver.live_options(now, desired, set(changed)))


def spawned(driver: ComputeDriver, platform: XenApiPlatform, running: bool = True, **over: Any) -> Instance:
    instance = platform.spawned(driver, "one", power_on=running, **over)
    if running:
        platform.wait_ready(driver, "one")
    return instance


# -- network interfaces ---------------------------------------------------------------------------------------------


@RUNNING
def test_network_interfaces_keep_their_order(driver: ComputeDriver, platform: XenApiPlatform, running: bool):
    spawned(driver, platform, running, nics=[platform.nic(mac=FIRST), platform.nic(mac=SECOND)])
    before = platform.snapshot()
    undo = change(driver, nics=[platform.nic(mac=SECOND), platform.nic(mac=THIRD)])
    assert [nic.mac for nic in current(driver).nics or []] == [SECOND, THIRD]
    assert current(driver).pending == {}
    undo()
    assert platform.snapshot() == before


@RUNNING
def test_a_network_interface_moves_with_its_address(driver: ComputeDriver, platform: XenApiPlatform, running: bool):
    spawned(driver, platform, running, nics=[platform.nic(mac=FIRST), platform.nic(mac=SECOND)])
    before, interfaces = platform.snapshot(), platform.server.db.refs("VIF")
    undo = change(driver, nics=[Nic(network=OTHER_NETWORK, mac=FIRST), Nic(bridge="xenbr0", mac=SECOND)])
    assert current(driver).nics == [Nic(network=OTHER_NETWORK, mac=FIRST), Nic(bridge="xenbr0", mac=SECOND)]
    assert current(driver).pending == {}
    assert platform.server.db.refs("VIF") == interfaces
    undo()
    assert platform.snapshot() == before


def test_networks_of_one_name_do_not_matter_where_nothing_moves(driver: ComputeDriver, platform: XenApiPlatform):
    spawned(driver, platform, running=False, nics=[platform.nic(mac=FIRST)])
    with platform.session() as api:
        [vm] = api.VM.get_by_name_label("one")
        [there] = [api.VIF.get_network(vif) for vif in api.VM.get_VIFs(vm)]
        record = {"name_label": "lab", "name_description": "", "MTU": "1500", "other_config": {}, "tags": []}
        api.network.create(record)
    driver.plug_vifs("one", [Nic(bridge="xenbr0", mac=SECOND)])
    with platform.session() as api:
        networks = {api.VIF.get_MAC(vif): api.VIF.get_network(vif) for vif in api.VM.get_VIFs(vm)}
    assert networks[FIRST] == there
    assert set(networks) == {FIRST, SECOND}


# -- what waits for the next start ----------------------------------------------------------------------------------


def test_what_waits_is_applied_by_a_reboot(driver: ComputeDriver, platform: XenApiPlatform):
    spawned(driver, platform)
    change(driver, memory_mb=128, max_memory_mb=160, nics=[platform.nic(mac=FIRST)], hypervisor=EXTRAS)
    found = current(driver)
    assert (found.memory_mb, found.max_memory_mb) == (128, 160)
    assert set(found.pending) == {"memory_mb", "max_memory_mb", "hypervisor"}
    assert found.pending["memory_mb"] == (96, 128)
    assert found.hypervisor["platform"]["viridian"] == "true"
    with platform.session() as api:
        [vm] = api.VM.get_by_name_label("one")
        assert api.VM.get_other_config(vm)["folder"] == "/guests"
        assert "viridian" not in api.VM.get_platform(vm)
    driver.reboot("one")
    found = current(driver)
    assert found.pending == {}
    assert (found.memory_mb, found.max_memory_mb) == (128, 160)
    with platform.session() as api:
        assert api.VM.get_memory_static_max(vm) == str(160 * MIB)
        assert api.VM.get_platform(vm)["viridian"] == "true"


EXTRAS = {"platform": {"viridian": True}, "other_config": {"folder": "/guests"}}


def test_what_waits_is_applied_by_a_change_while_off(driver: ComputeDriver, platform: XenApiPlatform):
    spawned(driver, platform)
    change(driver, vcpus=2, max_vcpus=2)
    assert current(driver).pending["vcpus"] == (1, 2)
    driver.force_off("one")
    change(driver, description="new")
    with platform.session() as api:
        [vm] = api.VM.get_by_name_label("one")
        assert (api.VM.get_VCPUs_at_startup(vm), api.VM.get_VCPUs_max(vm)) == ("2", "2")
    driver.power_on("one")
    assert (current(driver).vcpus, current(driver).pending) == (2, {})


def test_what_is_taken_back_waits_no_more(driver: ComputeDriver, platform: XenApiPlatform):
    spawned(driver, platform)
    before = platform.snapshot()
    change(driver, memory_mb=128, max_memory_mb=128)
    change(driver, memory_mb=96, max_memory_mb=96)
    assert current(driver).pending == {}
    assert platform.snapshot() == before


def test_a_start_that_fails_lets_it_wait_on(driver: ComputeDriver, platform: XenApiPlatform):
    spawned(driver, platform, cloud_init=CloudInit(user_data="#cloud-config\n"))
    change(driver, memory_mb=128, max_memory_mb=128, cloud_init=NEW_SEED)
    driver.force_off("one")
    before = platform.snapshot()
    platform.server.faults.fail("VM.start", "HOST_DISABLED", "OpaqueRef:NULL")
    with pytest.raises(HypervisorError) as caught:
        driver.power_on("one")
    assert caught.value.not_undone == []
    assert platform.snapshot() == before
    driver.power_on("one")
    assert current(driver).pending == {}
    assert platform.volumes() == {"one.seed"}


def test_memory_that_others_have_set_a_least_for(driver: ComputeDriver, platform: XenApiPlatform):
    """Such a limit cannot be changed while the guest runs."""
    spawned(driver, platform, running=False, memory_mb=128)
    with platform.session() as api:
        [vm] = api.VM.get_by_name_label("one")
        api.VM.set_memory_static_min(vm, str(96 * MIB))
    bring_to(driver, "one", "running")
    now = current(driver)
    assert driver.live_options(now, replace(now, memory_mb=100), {"memory_mb"}) == {"memory_mb"}
    assert driver.live_options(now, replace(now, memory_mb=64), {"memory_mb"}) == set()
    change(driver, memory_mb=64)
    assert current(driver).pending == {"memory_mb": (128, 64)}
    driver.reboot("one", "hard")
    assert (current(driver).memory_mb, current(driver).pending) == (64, {})


# -- cloud-init -----------------------------------------------------------------------------------------------------


def test_a_seed_that_somebody_deletes_keeps_nothing_from_starting(driver: ComputeDriver, platform: XenApiPlatform):
    instance = spawned(driver, platform, cloud_init=CloudInit(user_data="#cloud-config\n"))
    change(driver, cloud_init=NEW_SEED)
    assert current(driver).cloud_init_fingerprint == NEW_SEED.fingerprint()
    with platform.session() as api:
        [waiting] = [ref for ref in api.VDI.get_by_name_label("one.seed") if not api.VDI.get_VBDs(ref)]
        api.VDI.destroy(waiting)
    driver.force_off("one")
    driver.power_on("one")
    assert current(driver).cloud_init_fingerprint == instance.cloud_init_fingerprint
    change(driver, cloud_init=NEW_SEED)
    with platform.session() as api:
        [waiting] = [ref for ref in api.VDI.get_by_name_label("one.seed") if not api.VDI.get_VBDs(ref)]
        api.VDI.destroy(waiting)
    change(driver, cloud_init=NEW_SEED)
    driver.reboot("one", "hard")
    assert current(driver).cloud_init_fingerprint == NEW_SEED.fingerprint()
    assert current(driver).pending == {}
    assert platform.volumes() == {"one.seed"}


def test_a_seed_that_does_not_fit_into_the_old_one(driver: ComputeDriver, platform: XenApiPlatform):
    """XenAPI cannot make a disk smaller again, so it must not become larger."""
    spawned(driver, platform, running=False, cloud_init=CloudInit(user_data="#cloud-config\n"))
    before = platform.snapshot()
    large = CloudInit(user_data="#cloud-config\n#" + "x" * 3 * MIB)
    undo = change(driver, cloud_init=large)
    assert current(driver).cloud_init_fingerprint == large.fingerprint()
    undo()
    assert platform.snapshot() == before
    change(driver, cloud_init=large)
    driver.power_on("one")
    assert current(driver).pending == {}
    with platform.session() as api:
        [seed] = api.VDI.get_by_name_label("one.seed")
        assert len(api.VDI.get_VBDs(seed)) == 1
        assert int(api.VDI.get_virtual_size(seed)) > 3 * MIB


def test_nothing_of_the_old_seed_stays(driver: ComputeDriver, platform: XenApiPlatform):
    spawned(driver, platform, running=False, cloud_init=CloudInit(user_data="#cloud-config\n# " + "secret" * 50_000))
    change(driver, cloud_init=NEW_SEED)
    [seed] = platform.server.db.find("VDI", name_label="one.seed")
    connection: Any = driver
    content = connection.http_request("GET", "/export_raw_vdi", {"vdi": seed, "format": "raw"})
    assert b"# new" in content
    assert b"secretsecret" not in content


# -- uploads --------------------------------------------------------------------------------------------------------


def test_a_disk_made_by_others_grows_to_a_size_that_is_rounded_up(driver: ComputeDriver, platform: XenApiPlatform):
    platform.spawned(driver, "one", power_on=False, disks=[Disk(size_bytes=MIB)])
    driver.destroy("one", NONE)
    given = Disk(volume="one.xvda", pool="shared")
    platform.spawned(driver, "one", power_on=False, disks=[given])
    task: dict[str, Any] = {"name": "one", "state": "stopped", "disks": [{"size": "3000001"}]}
    assert done(platform, **task).changed
    assert not done(platform, **task).changed
    assert [disk.owned for disk in current(driver).disks or []] == [False]
    driver.destroy("one")
    assert platform.volumes() == {"one.xvda"}


def test_an_upload_that_breaks_off_after_the_server_has_said_yes(tmp_path: Path):
    """The repository is full, which turns out in the middle."""
    image = tmp_path / "large.img"
    image.write_bytes(os.urandom(MIB) * 24)
    with XenApiServer(PoolSettings(sr_bytes=12 * MIB)) as server:
        options = ConnectionOptions(server.uri, username=server.username, password=server.password)
        with get_connection(options) as driver:
            before = server.snapshot()
            disk = Disk(role="root", image=str(image))
            with pytest.raises(HypervisorError, match=r"one\.xvda") as caught:
                driver.spawn(Instance("one", memory_mb=96, vcpus=1, pool="shared", disks=[disk]), power_on=False)
            assert "VDI_IO_ERROR" in str(caught.value)
            assert caught.value.not_undone == []
            assert server.snapshot() == before
            assert server.db.refs("task") == []
