# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What only a pool of XenServer has: names that are not unique, templates, several hosts, device numbers."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import InstanceAmbiguous
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.facts import SUBSETS, gather
from contract.task import done, nic, run, small

if TYPE_CHECKING:
    from contract.platforms.xenapi import XenApiPlatform

pytestmark = pytest.mark.on("xenapi")


# -- names ----------------------------------------------------------------------------------------------------------


def test_two_foreign_machines_of_one_name_are_ambiguous(driver: ComputeDriver, platform: XenApiPlatform):
    platform.define_foreign("twin")
    platform.define_foreign("twin")
    with pytest.raises(InstanceAmbiguous, match="twin"):
        driver.get_instances(["twin"])
    before = platform.snapshot()
    outcome = run(platform, **small(platform, "twin", state="running"))
    assert outcome.kind == InstanceAmbiguous.kind
    assert "2 " in outcome.result["msg"]
    assert platform.snapshot() == before


@pytest.mark.parametrize("patterns", [[], ["*"]])
def test_facts_of_machines_of_one_name(driver: ComputeDriver, platform: XenApiPlatform, patterns: list[str]):
    """What cannot be told apart is listed and no more; where one of them is ours, the name means that one."""
    done(platform, **small(platform, "ours", description="ours"))
    for name in ("twin", "twin", "ours"):
        platform.define_foreign(name)
    found = gather(driver, ["instances", "stats", "config"], patterns)["instances"]
    assert [entry["name"] for entry in found] == ["ours", "twin", "twin"]
    assert [entry["config"]["description"] for entry in found if "config" in entry] == ["ours"]


@pytest.mark.parametrize("patterns", [[], ["*"], ["one"]])
def test_facts_read_each_class_once(driver: ComputeDriver, platform: XenApiPlatform, patterns: list[str]):
    done(platform, **small(platform, "one", state="running", networks=["lab"]))
    platform.define_foreign("two")
    with platform.server.calls.recording() as made:
        found = gather(driver, SUBSETS, patterns)["instances"]
    assert len(found) == (1 if patterns == ["one"] else 2)
    assert all("config" in entry for entry in found)
    names = [call.name.partition(".")[0] for call in made if not call.name.startswith("http:")]
    assert {"pool", "host", "VM", "VBD", "VIF", "SR"} <= set(names)
    again = {name for name in names if names.count(name) > 1}
    assert again <= {"VBD", "VIF"}, "those of some of the instances are read by each who wants them"
    assert driver.list_instances_detail()[0].name == "one"
    platform.define_foreign("three")
    assert len(driver.list_instances()) == 3, "what was seen once is forgotten"


def test_of_two_machines_of_one_name_ours_is_meant(driver: ComputeDriver, platform: XenApiPlatform):
    done(platform, **small(platform, "twin", description="ours"))
    platform.define_foreign("twin")
    assert driver.get_instances(["twin"])["twin"].description == "ours"
    assert done(platform, name="twin", state="absent").changed
    with platform.session() as api:
        [left] = api.VM.get_by_name_label("twin")
        assert api.VM.get_name_description(left) != "ours"


def test_a_copy_that_others_make_is_not_ours(driver: ComputeDriver, platform: XenApiPlatform):
    """It carries our record, and its disks theirs."""
    done(platform, **small(platform, "original", disks=[{"size": "8M"}], locked=True, override_lock=True))
    with platform.session() as api:
        [original] = api.VM.get_by_name_label("original")
        api.VM.clone(original, "copy")
    found = driver.get_instances(["copy"])["copy"]
    assert not found.locked
    assert not any(disk.owned for disk in found.disks or [])
    done(platform, name="original", state="absent", override_lock=True)
    with platform.session() as api:
        [copy] = api.VM.get_by_name_label("copy")
        [disk] = api.VM.get_VBDs(copy)
        assert api.VDI.get_uuid(api.VBD.get_VDI(disk))


def test_templates_snapshots_and_control_domains_are_no_instances(driver: ComputeDriver, platform: XenApiPlatform):
    done(platform, **small(platform, "one"))
    with platform.session() as api:
        [vm] = api.VM.get_by_name_label("one")
        api.VM.snapshot(vm, "snapped")
        api.VM.set_is_a_template(api.VM.clone(vm, "stencil"), True)
        dom0 = next(record["name_label"] for record in api.VM.get_all_records().values() if record["is_control_domain"])
    assert driver.list_instances() == ["one"]
    for name in ("snapped", "stencil", "golden", "Other install media", dom0):
        assert driver.get_instances([name]) == {}
    assert not run(platform, name=dom0, state="absent").changed
    assert done(platform, name="one", state="absent").changed
    with platform.session() as api:
        assert api.VM.get_by_name_label("snapped") == [], "a snapshot goes with its instance"
        assert api.VM.get_by_name_label("stencil"), "a template does not"


def test_two_networks_of_one_name_are_an_error_that_says_so(platform: XenApiPlatform):
    with platform.session() as api:
        texts = {"name_label": "lab", "name_description": "", "MTU": "1500", "bridge": ""}
        api.network.create({**texts, "other_config": {}, "managed": True, "tags": [], "purpose": []})
    before = platform.snapshot()
    outcome = run(platform, **small(platform, "one", networks=["lab"]))
    assert outcome.kind == "invalid_input"
    assert "networks[0]" in outcome.result["msg"]
    assert platform.snapshot() == before
    bridge = {"bridge": "xapi0"}
    assert done(platform, **small(platform, "one", networks=[bridge])).changed
    assert not done(platform, **small(platform, "one", networks=[bridge])).changed


# -- where disks come from ------------------------------------------------------------------------------------------


def content(api: Any, platform: XenApiPlatform, volume: str) -> bytes:
    """What is in a volume, through the pool's HTTP handler."""
    import urllib.request

    [vdi] = api.VDI.get_by_name_label(volume)
    login = f"session_id={api._Dispatcher__send.__self__._session}"
    url = f"{platform.server.url}/export_raw_vdi?{login}&vdi={api.VDI.get_uuid(vdi)}&format=raw"
    with urllib.request.urlopen(url, timeout=20) as answer:
        return bytes(answer.read())


def test_an_image_file_is_uploaded(driver: ComputeDriver, platform: XenApiPlatform, tmp_path: Path):
    image = tmp_path / "disk.raw"
    image.write_bytes(b"\0" * MIB + b"boot me" + b"\0" * MIB + b"\xff" * 1000)
    params = small(platform, "one", image=str(image))
    assert done(platform, **params).changed
    assert not done(platform, **params).changed
    [disk] = driver.get_instances(["one"])["one"].disks or []
    with platform.session() as api:
        data = content(api, platform, disk.volume or "")
    assert hashlib.sha256(data[: image.stat().st_size]).digest() == hashlib.sha256(image.read_bytes()).digest()


@pytest.mark.parametrize("magic", [b"QFI\xfb\0\0\0\3", b"KDMV\1\0\0\0", b"conectix"])
def test_an_image_that_is_not_raw_is_refused(platform: XenApiPlatform, tmp_path: Path, magic: bytes):
    image = tmp_path / "disk.img"
    image.write_bytes(magic + b"\0" * MIB)
    before = platform.snapshot()
    outcome = run(platform, **small(platform, "one", image=str(image)))
    assert outcome.kind == "invalid_input"
    assert outcome.result["msg"].startswith("image: ")
    assert "raw" in outcome.result["msg"]
    assert platform.snapshot() == before


def test_from_a_template_with_its_disks(driver: ComputeDriver, platform: XenApiPlatform):
    params = {"name": "one", "memory_mb": 128, "state": "running", "networks": [nic(platform)]}
    params["xenapi"] = {"template": "golden"}
    assert done(platform, **params).changed
    again = done(platform, **params)
    assert not again.changed, again.steps
    assert again.calls.writes == []
    found = driver.get_instances(["one"])["one"]
    assert (found.memory_mb, len(found.nics or [])) == (128, 1)
    assert [disk.owned for disk in found.disks or [] if disk.kind == "disk"] == [True]
    before = platform.volumes()
    assert len(before) == 1
    assert done(platform, name="one", state="absent").changed
    assert platform.volumes() == set()


def test_from_a_template_of_the_distribution(driver: ComputeDriver, platform: XenApiPlatform):
    """It says what disks to make in a language of its own; the task's disks are made instead."""
    params = {"name": "one", "memory_mb": 128, "root_gb": 1, "xenapi": {"template": "Debian Bookworm 12"}}
    assert done(platform, **params).changed
    assert not done(platform, **params).changed
    sizes = [disk.size_bytes for disk in driver.get_instances(["one"])["one"].disks or [] if disk.kind == "disk"]
    assert sizes == [1024 * MIB]


# -- device numbers -------------------------------------------------------------------------------------------------


def test_the_fourth_disk_does_not_take_the_dvd_drives_number(platform: XenApiPlatform):
    cdrom = {"kind": "cdrom"}
    params = {"name": "one", "memory_mb": 96, "disks": [{"size": "8M"}, cdrom, *[{"size": "8M"}] * 4]}
    assert done(platform, **params).changed
    assert not done(platform, **params).changed
    with platform.session() as api:
        [vm] = api.VM.get_by_name_label("one")
        drives = [api.VBD.get_record(vbd) for vbd in api.VM.get_VBDs(vm)]
    numbers = {drive["userdevice"]: drive["type"] for drive in drives}
    assert numbers.pop("3") == "CD"
    assert set(numbers.values()) == {"Disk"}
    assert len(numbers) == 5


def test_a_disk_added_to_a_running_machine_is_plugged(driver: ComputeDriver, platform: XenApiPlatform):
    disks = [{"size": "8M"}]
    done(platform, **small(platform, "one", disks=disks, state="running"))
    platform.wait_ready(driver, "one")
    outcome = done(platform, **small(platform, "one", disks=[*disks, {"size": "16M"}]))
    assert outcome.changed
    assert outcome.result["instances"][0]["pending"] == {}
    with platform.session() as api:
        [vm] = api.VM.get_by_name_label("one")
        drives = [api.VBD.get_record(vbd) for vbd in api.VM.get_VBDs(vm)]
    assert len(drives) == 2
    assert all(drive["currently_attached"] for drive in drives)


# -- hosts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("member", ["xen1", "xen2"])
def test_an_instance_starts_on_the_host_that_the_uri_names(platform: XenApiPlatform, member: str):
    platform_uri = platform.uri
    platform.uri = f"{platform_uri}?host={member}"
    try:
        done(platform, **small(platform, "one", state="running"))
        stats = platform.driver().get_host_stats()
        assert (stats.hostname, stats.running_instances) == (member, 1)
    finally:
        platform.uri = platform_uri
    with platform.session() as api:
        [vm] = api.VM.get_by_name_label("one")
        assert api.host.get_name_label(api.VM.get_resident_on(vm)) == member


def test_the_pool_has_what_its_hosts_have(driver: ComputeDriver, platform: XenApiPlatform):
    whole = driver.get_host_stats()
    parts = [platform.driver(uri=f"{platform.uri}?host={host}").get_host_stats() for host in ("xen1", "xen2")]
    assert whole.vcpus == sum(part.vcpus for part in parts)
    assert whole.memory_mb == sum(part.memory_mb for part in parts)
    assert whole.memory_mb_free == sum(part.memory_mb_free for part in parts)


def test_facts_of_a_host_tell_of_its_own_instances(platform: XenApiPlatform):
    """Otherwise a drain would find each instance on all hosts of the pool. One that is off and can start anywhere is
    of none."""
    done(platform, **small(platform, "anywhere", state="present"))
    for host in ("xen1", "xen2"):
        near = platform.driver(uri=f"{platform.uri}?host={host}")
        near.spawn(platform.small(f"on-{host}"))
        near.power_on(f"on-{host}")
        done(platform, **small(platform, f"bound-to-{host}", state="present", xenapi={"affinity": host}))
    for host in ("xen1", "xen2"):
        near = platform.driver(uri=f"{platform.uri}?host={host}")
        found = gather(near, ["instances", "config"], [])["instances"]
        assert [entry["name"] for entry in found] == [f"bound-to-{host}", f"on-{host}"]
        assert all(entry["config"]["memory_mb"] for entry in found)
        assert [entry["name"] for entry in gather(near, ["instances"], ["on-*"])["instances"]] == [f"on-{host}"]
    assert len(gather(platform.driver(), ["instances"], [])["instances"]) == 5


def test_a_host_that_is_not_there_is_told(platform: XenApiPlatform):
    problems = platform.closed_driver(uri=f"{platform.uri}?host=xen9").verify()
    assert any("xen9" in problem for problem in problems)


# -- bulk -----------------------------------------------------------------------------------------------------------


def test_starting_many_waits_with_one_loop(platform: XenApiPlatform):
    """Tasks of the pool, and one call that hears of the end of all of them; nobody asks for each."""
    instances = [{"name": f"many{number}"} for number in range(30)]
    shared = small(platform, "x")
    del shared["name"]
    with platform.server.calls.recording() as made:
        done(platform, **shared, instances=instances, state="running")
    names = [call.name for call in made]
    assert sum(call.asynchronous and call.name in ("VM.start", "VM.start_on") for call in made) == 30
    assert not any(name.startswith("task.get_") for name in names)
    assert names.count("event.from") <= 2 * 30 + 10
    assert sum("login" in name for name in names) == sum("logout" in name for name in names) == 1


def test_parameter_records_of_xenstore(driver: ComputeDriver, platform: XenApiPlatform):
    params = small(platform, "one", networks=[nic(platform)], xenapi={"xenstore_data": {"vm-data/role": "web"}})
    assert done(platform, **params).changed
    assert not done(platform, **params).changed
    with platform.session() as api:
        [vm] = api.VM.get_by_name_label("one")
        data = api.VM.get_xenstore_data(vm)
    assert data["vm-data/role"] == "web"
    assert data["vm-data/hostname"] == "one"
    assert any(key.startswith("vm-data/networking/") for key in data)
    other = {**params, "xenapi": {"xenstore_data": {"vm-data/role": "database"}}}
    assert done(platform, **other).changed
    assert not done(platform, **other).changed
