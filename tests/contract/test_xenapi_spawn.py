# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making and removing instances on a pool of XenServers: what only it knows, and replies that get lost."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import NONE, ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AlreadyExists,
    AnyvirtError,
    InsufficientCapacity,
    InvalidInput,
    NotFound,
    PoolNotFound,
    Unsupported,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import CDROM, Boot, Disk, Instance
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import GIB, MIB
from contract.helpers import state_of
from contract.platforms.base import Platform
from contract.platforms.xenapi import XenApiPlatform
from contract.task import done, nic, run
from contract.test_kill import again
from contract.test_undo import rich

pytestmark = pytest.mark.on("xenapi")


def hvm(name: str, **over: Any) -> Instance:
    return Instance(name, **{"memory_mb": 96, "vcpus": 1, "pool": "shared", **over})


def devices(found: Instance) -> list[str | None]:
    return [disk.device for disk in found.disks or []]


def test_the_fourth_disk_does_not_take_the_place_of_the_dvd_drive(driver: ComputeDriver, platform: XenApiPlatform):
    disks = [*(Disk(size_bytes=MIB) for _number in range(4)), Disk(kind=CDROM, volume="tools.iso", pool="ISO library")]
    driver.spawn(driver.complete(hvm("one", disks=disks)))
    found = driver.get_instances(["one"])["one"]
    assert devices(found) == ["xvda", "xvdb", "xvdc", "xvdd", "xvde"]
    assert [disk.kind for disk in found.disks or []][3] == CDROM
    driver.destroy("one", "all")
    assert driver.validate_parameters([driver.complete(hvm("two", disks=disks))]) == {}, "the CD is still there"


def test_an_instance_from_a_template(driver: ComputeDriver, platform: XenApiPlatform):
    before = platform.snapshot()
    task: dict[str, Any] = {
        "name": "one",
        "memory_mb": 128,
        "vcpus": 2,
        "description": "cloned",
        "disks": [{"size": "16M"}, {"size": "8M", "pool": "shared"}],
        "networks": [nic(platform)],
        "xenapi": {"template": "golden", "xenstore_data": {"vm-data/role": "web"}, "platform": {"viridian": True}},
        "state": "running",
    }
    assert done(platform, **task).changed
    repeated = done(platform, **task)
    assert not repeated.changed, repeated.steps
    assert repeated.calls.writes == []
    found = driver.get_instances(["one"])["one"]
    assert devices(found) == ["xvda", "xvdb", "xvdd"]
    assert [disk.size_bytes for disk in found.disks or []] == [16 * MIB, 8 * MIB, None]
    assert found.disks is not None
    assert (found.disks[0].role, found.disks[0].owned, found.disks[0].volume) == ("root", True, "one.xvda")
    assert (found.memory_mb, found.vcpus, found.description) == (128, 2, "cloned")
    assert found.hypervisor["xenstore_data"]["vm-data/role"] == "web"
    assert done(platform, name="one", state="absent").changed
    assert platform.snapshot() == before


def test_a_template_that_plans_its_disks(driver: ComputeDriver, platform: XenApiPlatform):
    before = platform.snapshot()
    extras = {"template": "Debian Bookworm 12"}
    driver.spawn(driver.complete(hvm("one", hypervisor=extras)))
    [disk] = driver.get_instances(["one"])["one"].disks or []
    assert (disk.size_bytes, disk.pool, disk.owned) == (10 * GIB, "shared", True)
    driver.destroy("one")
    assert platform.snapshot() == before


def test_there_is_no_such_template(driver: ComputeDriver, platform: XenApiPlatform):
    wanted = driver.complete(hvm("one", hypervisor={"template": "nowhere"}))
    assert [str(problem) for problem in driver.validate_parameters([wanted])["one"]] == [
        "hypervisor.template: there is no template 'nowhere' in the pool"
    ]
    with pytest.raises(NotFound, match="nowhere"):
        driver.spawn(wanted)


def content_of(platform: XenApiPlatform, name: str) -> bytes:
    from lab.xenapi import volumes
    from lab.xenapi.vdi_store import store_of

    db = platform.server.db
    [vdi] = db.find("VDI", name_label=name)
    return bytes(store_of(db).read(volumes.content_name(db, vdi), 0, int(db.get("VDI", vdi, "virtual_size"))))


def test_a_root_disk_uploaded_from_a_file(driver: ComputeDriver, platform: XenApiPlatform, tmp_path: Path):
    image = tmp_path / "disk.raw"
    content = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(100_000))[: 3 * MIB + 100]
    image.write_bytes(content)
    driver.spawn(driver.complete(hvm("one", image=str(image), disks=[Disk(role="root", image=str(image))])))
    found = driver.get_instances(["one"])["one"]
    assert found.image == str(image)
    [disk] = found.disks or []
    assert disk.size_bytes == -(-len(content) // 512) * 512
    assert content_of(platform, "one.xvda")[: len(content)] == content


def test_what_cannot_be_uploaded_is_refused_with_what_to_do(
    driver: ComputeDriver, platform: XenApiPlatform, tmp_path: Path
):
    image = tmp_path / "disk.raw"
    image.write_bytes(b"QFI\xfb\0\0\0\3" + b"\0" * 512)
    before = platform.snapshot()
    outcome = run(platform, name="one", memory_mb=96, image=str(image))
    assert outcome.kind == "invalid_input"
    assert "image:" in outcome.result["msg"]
    assert "qemu-img convert -O raw" in outcome.result["msg"]
    with pytest.raises(InvalidInput, match="qcow2"):
        driver.spawn(driver.complete(hvm("one", image=str(image))))
    assert platform.snapshot() == before


def test_a_cloned_image_is_left_as_it_was(driver: ComputeDriver, platform: XenApiPlatform):
    before = platform.server.db.find("VDI", name_label="golden-image")
    config = platform.server.db.get("VDI", before[0], "other_config")
    driver.spawn(driver.complete(hvm("one", image="golden-image")), power_on=False)
    assert platform.server.db.find("VDI", name_label="golden-image") == before
    assert platform.server.db.get("VDI", before[0], "other_config") == config
    assert content_of(platform, "one.xvda") == content_of(platform, "golden-image")


def test_an_image_is_copied_to_other_storage(driver: ComputeDriver, platform: XenApiPlatform):
    before = platform.snapshot()
    wanted = hvm("one", image="golden-image", pool="Local storage", hypervisor={"affinity": "xen2"})
    driver.spawn(driver.complete(wanted))
    [disk] = driver.get_instances(["one"])["one"].disks or []
    assert (disk.pool, disk.size_bytes) == ("Local storage", 8 * MIB)
    assert content_of(platform, "one.xvda") == content_of(platform, "golden-image")
    driver.destroy("one")
    assert platform.snapshot() == before


def test_a_name_that_several_have(driver: ComputeDriver, platform: XenApiPlatform):
    wanted = driver.complete(hvm("one", pool="Local storage", disks=[Disk(size_bytes=MIB)]))
    [problem] = driver.validate_parameters([wanted])["one"]
    assert "2 storage repositories are named 'Local storage'" in str(problem)
    with pytest.raises(PoolNotFound, match="UUIDs"):
        driver.spawn(wanted)
    near = platform.driver(uri=f"{platform.uri}?host=xen2")
    near.spawn(near.complete(wanted))
    assert near.get_instances(["one"])["one"].power_state


def test_many_problems_are_told_at_once(driver: ComputeDriver, platform: XenApiPlatform):
    with platform.calls.recording() as calls:
        outcome = run(
            platform,
            pool="shared",
            memory_mb=96,
            instances=[
                {"name": f"one{number}", "image": "nowhere", "networks": ["nowhere"], "xenapi": {"affinity": "xen9"}}
                for number in range(20)
            ],
        )
    told = [problem["option"] for problem in outcome.result["error"]["problems"]]
    assert len(told) == 60
    assert set(told[:3]) == {"instances[0].xenapi.affinity", "instances[0].image", "instances[0].networks[0].network"}
    assert len(calls) <= 12


def test_a_pool_is_not_made_on_demand(driver: ComputeDriver, platform: XenApiPlatform):
    outcome = run(platform, name="one", memory_mb=96, pool="new", pool_path="/srv/new")
    assert outcome.kind == "invalid_input"
    assert outcome.result["msg"].startswith("pool_path: the xenapi driver does not support this")
    with pytest.raises(Unsupported):
        driver.complete(hvm("one", pool_path="/srv/new"))


def test_instances_that_start_with_their_host_need_the_pool_to_let_them(
    driver: ComputeDriver, platform: XenApiPlatform
):
    driver.spawn(driver.complete(hvm("one", autostart=True)), power_on=False)
    [pool] = platform.server.db.refs("pool")
    assert platform.server.db.get("pool", pool, "other_config")["auto_poweron"] == "true"
    assert driver.get_instances(["one"])["one"].autostart


def test_too_little_storage(driver: ComputeDriver, platform: XenApiPlatform):
    before = platform.snapshot()
    platform.server.faults.fail("VDI.create", "SR_FULL", str(GIB), str(MIB), skip=1)
    with pytest.raises(InsufficientCapacity, match="shared"):
        driver.spawn(driver.complete(hvm("one", disks=[Disk(size_bytes=MIB), Disk(size_bytes=GIB)])))
    assert platform.snapshot() == before


def test_too_little_memory(driver: ComputeDriver, platform: XenApiPlatform):
    before = platform.snapshot()
    with pytest.raises(InsufficientCapacity):
        driver.spawn(driver.complete(hvm("one", memory_mb=1024 * 1024)))
    assert platform.snapshot() == before


def test_snapshots_go_with_their_instance(driver: ComputeDriver, platform: XenApiPlatform):
    before = platform.snapshot()
    driver.spawn(driver.complete(hvm("one", disks=[Disk(size_bytes=MIB)])))
    platform.wait_ready(driver, "one")
    with platform.session() as api:
        [vm] = api.VM.get_by_name_label("one")
        api.VM.snapshot(vm, "before the change", [])
        api.VM.checkpoint(vm, "as it runs")
    removed = driver.destroy("one")
    assert "snapshot before the change" in removed
    assert platform.snapshot() == before


def test_kept_volumes_are_nobodys(driver: ComputeDriver, platform: XenApiPlatform):
    driver.spawn(driver.complete(hvm("one", disks=[Disk(size_bytes=MIB)])), power_on=False)
    driver.destroy("one", NONE)
    driver.spawn(driver.complete(hvm("one", disks=[Disk(volume="one.xvda", pool="shared")])), power_on=False)
    [disk] = driver.get_instances(["one"])["one"].disks or []
    assert not disk.owned
    driver.destroy("one")
    assert platform.volumes() == {"one.xvda"}


def test_copies_by_other_tools_keep_their_disks(driver: ComputeDriver, platform: XenApiPlatform):
    driver.spawn(driver.complete(hvm("one", disks=[Disk(size_bytes=MIB)])), power_on=False)
    with platform.session() as api:
        [vm] = api.VM.get_by_name_label("one")
        api.VM.clone(vm, "copy")
    driver.destroy("one")
    copied = driver.get_instances(["copy"])["copy"]
    assert copied.disks is not None
    assert not copied.disks[0].owned
    assert len(platform.volumes()) == 1
    driver.destroy("copy")
    assert len(platform.volumes()) == 1


def test_names_with_quotation_marks(driver: ComputeDriver, platform: XenApiPlatform):
    before = platform.snapshot()
    name = 'the "big" one \\ é'
    driver.spawn(driver.complete(hvm(name, disks=[Disk(size_bytes=MIB)])))
    assert state_of(driver, name) == "running"
    driver.destroy(name)
    assert platform.snapshot() == before


def test_threads_that_spawn_one_name(driver: ComputeDriver, platform: XenApiPlatform):
    """Names need not be unique in a pool, so nobody but us sees to it."""
    instance = driver.complete(hvm("contested", disks=[Disk(size_bytes=MIB)]))

    def spawn(_number: int) -> str:
        try:
            driver.spawn(instance, power_on=False)
        except AlreadyExists:
            return "refused"
        return "made"

    with ThreadPoolExecutor(4) as pool:
        for _turn in range(5):
            assert sorted(pool.map(spawn, range(4))) == ["made", *["refused"] * 3]
            assert len(platform.server.db.find("VM", name_label="contested")) == 1
            driver.destroy("contested")


FROM_TEMPLATE = Instance(
    "rich",
    memory_mb=96,
    vcpus=1,
    pool="shared",
    disks=[Disk(size_bytes=16 * MIB), Disk(size_bytes=8 * MIB)],
    hypervisor={"template": "golden"},
)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", ["image", "template"])
def test_replies_that_get_lost(driver: ComputeDriver, platform: XenApiPlatform, what: str, when: str):
    """Each connection of a spawn breaks in turn: the next run ends with the one instance, and nothing beside it."""
    instance = rich(platform, driver) if what == "image" else driver.complete(FROM_TEMPLATE)
    driver.spawn(instance)
    whole = kinds_of(platform)
    driver.destroy("rich")
    empty = platform.snapshot()
    with platform.calls.recording() as calls:
        driver.spawn(instance)
    driver.destroy("rich")
    for number in range(len(calls)):
        told = f"call {number + 1} of {len(calls)}: {calls[number].name}"
        platform.server.faults.drop("*", when, skip=number, but=("session.*", "event.*"))
        fresh = platform.driver(call_timeout_s=5.0)
        try:
            fresh.spawn(instance)
        except AnyvirtError as error:
            assert error.kind in ("hypervisor_unavailable", "hypervisor_error", "timeout"), told
        finally:
            platform.server.faults.clear()
        again(fresh, instance)
        assert kinds_of(platform) == whole, told
        fresh.destroy("rich")
        assert platform.snapshot() == empty, told


def kinds_of(platform: Platform) -> dict[str, int]:
    """How many objects of each class there are."""
    return {name: len(records) for name, records in platform.snapshot().items() if isinstance(records, dict)}


@pytest.mark.slow
def test_undo_of_a_spawn_from_a_template(driver: ComputeDriver, platform: XenApiPlatform):
    instance = driver.complete(FROM_TEMPLATE)
    driver.spawn(instance)
    driver.destroy("rich")
    before = platform.snapshot()
    with platform.calls.recording() as calls:
        driver.spawn(instance)
    driver.destroy("rich")
    for number in range(1, len(calls) + 1):
        told = f"call {number} of {len(calls)}: {calls[number - 1].name}"
        try:
            with platform.calls.recording(fail_at=number):
                driver.spawn(instance)
        except AnyvirtError as error:
            assert error.not_undone == [], told
        else:
            driver.destroy("rich")
        assert platform.snapshot() == before, told


def test_a_clone_that_was_cut_short_is_no_instance(driver: ComputeDriver, platform: XenApiPlatform):
    before = platform.snapshot()
    with platform.session() as api:
        [template] = api.VM.get_by_name_label("golden")
        api.VM.clone(template, "rich.anyvirt-creating")
    assert driver.list_instances() == []
    assert driver.find_remains(["rich", "poor"]) == {"rich"}
    with pytest.raises(AlreadyExists, match="in the making"):
        driver.spawn(driver.complete(FROM_TEMPLATE))
    assert driver.destroy("rich")
    assert platform.snapshot() == before


def test_how_many_calls_a_spawn_makes(driver: ComputeDriver, platform: XenApiPlatform):
    boot = Boot(kernel="/boot/guest/vmlinuz", initrd="/boot/guest/initrd.img")
    names = [f"many{number}" for number in range(4)]
    instances = [driver.complete(hvm(name, boot=boot, image="golden-image", nics=[platform.nic()])) for name in names]
    assert driver.validate_parameters(instances) == {}
    driver.spawn(instances[0])
    with platform.calls.recording() as calls:
        for instance in instances[1:]:
            driver.spawn(instance)
    assert len(calls) <= 20 * len(instances[1:]), calls.names


def test_the_seed_of_a_guest_with_firmware_is_no_read_only_disk(driver: ComputeDriver, platform: XenApiPlatform):
    """It could not start with one."""
    task: dict[str, Any] = {
        "name": "one",
        "memory_mb": 96,
        "pool": "shared",
        "image": "golden-image",
        "cloud_init": {"user_data": "#cloud-config\n"},
        "state": "running",
    }
    assert done(platform, **task).changed
    assert not done(platform, **task).changed
    db = platform.server.db
    [vdi] = db.find("VDI", name_label="one.seed")
    [vbd] = db.get("VDI", vdi, "VBDs")
    assert (db.get("VBD", vbd, "mode"), db.get("VBD", vbd, "type")) == ("RW", "Disk")


def test_read_only_disks_of_a_guest_with_firmware(driver: ComputeDriver, platform: XenApiPlatform):
    before = platform.snapshot()
    with pytest.raises(InvalidInput, match="read_only"):
        driver.spawn(driver.complete(hvm("one", disks=[Disk(size_bytes=MIB, read_only=True)])))
    assert platform.snapshot() == before


def test_a_disk_that_is_too_small_for_its_template(driver: ComputeDriver, platform: XenApiPlatform):
    outcome = run(platform, name="one", memory_mb=96, xenapi={"template": "golden"}, disks=[{"size": "4M"}])
    assert outcome.kind == "invalid_input"
    assert outcome.result["msg"] == "disks[0].size: the template 'golden' brings 8M"
    assert driver.list_instances() == []
