# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading instances from records."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.metadata import (
    KEY,
    Record,
    VolumeRecord,
    with_record,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    InstanceAmbiguous,
    InstanceNotFound,
    InvalidPowerState,
    NotFound,
    Unsupported,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state
from ansible_collections.anyvirt.compute.plugins.module_utils.model.flavor import Flavor
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import (
    Address,
    Boot,
    Console,
    Cpu,
    Disk,
    Nic,
    VncConsole,
)

MIB, GIB = 1024**2, 1024**3


def ours(pool: Any, vm: str, **fields: Any) -> None:
    """Mark a VM as made by us."""
    machine = pool.get("VM", vm)
    record = Record(id="an-id", vm_uuid=machine["uuid"], **fields)
    machine["other_config"] = with_record(machine["other_config"], record)


def test_what_is_an_instance(pool: Any):
    pool.vm("web2")
    pool.vm("web1")
    pool.vm("a template", is_a_template=True)
    pool.vm("web1", is_a_template=True, is_a_snapshot=True)
    pool.vm("Control domain on host: xen1", is_control_domain=True)
    assert pool.driver().list_instances() == ["web1", "web2"]
    assert pool.driver().init_host() == ["web1", "web2"]
    assert [info.name for info in pool.driver().list_instances_detail()] == ["web1", "web2"]
    assert list(pool.driver().get_instances()) == ["web1", "web2"]


def test_a_foreign_vm_is_taken_as_it_is(pool: Any):
    vm = pool.vm("web1", name_description="by hand", VCPUs_max="4", memory_static_max=str(256 * MIB))
    pool.disk(vm, "1", vdi={"name_label": "data"})
    pool.disk(vm, "0", vdi={"name_label": "system", "virtual_size": str(8 * GIB)})
    pool.disk(vm, "3", type="CD", mode="RO", vdi=None)
    pool.nic(vm)
    found = pool.driver().get_instances()["web1"]
    assert (found.memory_mb, found.max_memory_mb, found.vcpus, found.max_vcpus) == (96, 256, 1, 4)
    assert found.disks == [
        Disk("xvda", volume="system", pool="shared", size_bytes=8 * GIB, bus="xen", read_only=False, role="root"),
        Disk("xvdb", volume="data", pool="shared", size_bytes=GIB, bus="xen", read_only=False),
        Disk("xvdd", "cdrom", bus="xen", read_only=True),
    ]
    assert found.nics == [Nic(network="lab", mac="52:54:00:00:00:00")]
    assert (found.description, found.metadata, found.locked, found.protected) == ("by hand", {}, False, False)
    assert (found.autostart, found.unfinished, found.pending) == (False, False, {})
    assert (found.console, found.cpu) == (Console(serial=True, vnc=True), Cpu(mode="default"))
    assert found.boot == Boot(firmware="bios")
    assert found.hypervisor == {"domain_type": "hvm"}


def test_what_we_keep_with_it(pool: Any):
    vm = pool.vm("web1")
    flavor = Flavor("m1.tiny", 512, 1)
    ours(pool, vm, flavor=flavor, image="golden", metadata={"a": "b"}, locked=True, cloud_init_fingerprint="f")
    own = VolumeRecord("an-id", "web1", "root", "golden", 7 * GIB)
    pool.disk(vm, vdi={"virtual_size": str(7 * GIB + MIB), "other_config": with_record({}, own)})
    copied = VolumeRecord("another-id", "web0", "seed")
    pool.disk(vm, "1", vdi={"other_config": with_record({}, copied)})
    found = pool.driver().get_instances()["web1"]
    assert (found.flavor, found.image, found.metadata, found.locked) == (flavor, "golden", {"a": "b"}, True)
    assert found.cloud_init_fingerprint == "f"
    root, other = found.disks or []
    assert (root.owned, root.role, root.image, root.size_bytes) == (True, "root", "golden", 7 * GIB)
    assert (other.owned, other.role) == (False, "data")


def test_a_disk_that_was_grown_by_others(pool: Any):
    vm = pool.vm("web1")
    ours(pool, vm)
    own = VolumeRecord("an-id", "web1", "root", None, GIB)
    pool.disk(vm, vdi={"virtual_size": str(2 * GIB), "other_config": with_record({}, own)})
    [disk] = pool.driver().get_instances()["web1"].disks
    assert disk.size_bytes == 2 * GIB


def test_a_kernel(pool: Any):
    pool.vm("web1", HVM_boot_policy="", PV_kernel="/boot/guest/vmlinuz", PV_args="quiet")
    found = pool.driver().get_instances()["web1"]
    assert found.boot == Boot(kernel="/boot/guest/vmlinuz", cmdline="quiet")
    assert found.hypervisor == {"domain_type": "pv"}


def test_hvm(pool: Any):
    platform = {"cores-per-socket": "2"}
    params = {"order": "dcn", "firmware": "uefi"}
    pool.vm("web1", HVM_boot_params=params, platform=platform, VCPUs_max="4", affinity=pool.host)
    found = pool.driver().get_instances(["web1"])["web1"]
    assert found.boot == Boot(order=["cdrom", "disk", "network"], firmware="uefi")
    assert found.cpu == Cpu(mode="default", sockets=2, cores=2, threads=1)
    assert found.hypervisor["affinity"] == "xen1"


def test_a_nic_by_its_bridge(pool: Any):
    vm = pool.vm("web1")
    pool.nic(vm, "10")
    pool.nic(vm, "2", other_config={KEY: "bridge"})
    assert pool.driver().get_instances()["web1"].nics == [
        Nic(bridge="xapi0", mac="52:54:00:00:00:02"),
        Nic(network="lab", mac="52:54:00:00:00:010"),
    ]


def test_autostart_takes_the_pool_too(pool: Any):
    pool.vm("web1", other_config={"auto_poweron": "true"})
    driver = pool.driver()
    assert driver.get_info("web1").autostart is False
    assert driver.get_instances()["web1"].autostart is False
    pool.get("pool", pool.pool)["other_config"]["auto_poweron"] = "true"
    assert driver.get_info("web1").autostart is True
    assert driver.get_instances()["web1"].autostart is True
    assert driver.list_instances_detail()[0].autostart is True


@pytest.mark.parametrize(
    ("state", "expected"),
    [("Halted", "shutoff"), ("Paused", "paused"), ("Running", "running"), ("Suspended", "suspended")],
)
def test_states(pool: Any, state: str, expected: str):
    pool.vm("web1", power_state=state)
    assert power_state.name(pool.driver().get_info("web1").state) == expected


def test_the_sizes_of_one_that_runs(pool: Any):
    pool.vm("web1", active=True, memory_static_max=str(128 * MIB), vcpus_now="2", VCPUs_at_startup="3", VCPUs_max="4")
    info = pool.driver().get_info("web1")
    assert (info.mem_kib, info.max_mem_kib, info.num_cpu, info.cpu_time_ns) == (96 * 1024, 128 * 1024, 2, None)
    assert pool.driver().list_instances_detail(["web1"]) == [info]
    assert pool.driver().get_instances()["web1"].pending == {"vcpus": (2, 3)}


def test_the_sizes_of_one_that_is_off(pool: Any):
    vm = pool.vm("web1")
    ours(pool, vm, deferred={"vcpus": 2, "max_memory_mb": 200})
    info = pool.driver().get_info("web1")
    assert (info.mem_kib, info.max_mem_kib, info.num_cpu, info.cpu_time_ns) == (0, 200 * 1024, 2, 0)
    found = pool.driver().get_instances()["web1"]
    assert (found.vcpus, found.max_memory_mb, found.pending) == (2, 200, {})


def test_what_waits_for_the_next_start(pool: Any):
    vm = pool.vm("web1", active=True)
    ours(pool, vm, deferred={"max_vcpus": 4})
    pool.disk(vm)
    pool.disk(vm, "1", currently_attached=False)
    found = pool.driver().get_instances()["web1"]
    assert found.max_vcpus == 4
    assert found.pending["max_vcpus"] == (1, 4)
    has, configured = found.pending["disks"]
    assert (len(has), len(configured)) == (1, 2)


def test_one_of_several(pool: Any):
    pool.vm("web1")
    mine = pool.vm("web1")
    driver = pool.driver()
    for ask in (driver.lookup, driver.get_info, lambda name: driver.get_instances([name])):
        with pytest.raises(InstanceAmbiguous, match=r"2 VMs are named 'web1'.*uuid-of-VM-0, uuid-of-VM-1"):
            ask("web1")
    assert driver.list_instances() == ["web1"]
    assert len(driver.list_instances_detail()) == 2
    assert driver.get_instances() == {}
    ours(pool, mine)
    assert driver.lookup("web1")[0] == mine
    assert list(driver.get_instances(["web1"])) == ["web1"]
    assert len(driver.list_instances_detail()) == 1


def test_what_is_told_by_name_is_of_the_one_that_is_meant(pool: Any):
    told = pool.add("VM_guest_metrics", networks={"0/ip": "10.0.0.5"})
    pool.nic(pool.vm("web1", active=True, guest_metrics=told))
    ours(pool, pool.vm("web1"))
    driver = pool.driver()
    assert [info.state for info in driver.list_instances_detail()] == [power_state.SHUTOFF]
    assert driver.get_addresses(["web1"]) == {}
    assert driver.get_all_diagnostics() == {}


def test_nobody(pool: Any):
    driver = pool.driver()
    with pytest.raises(InstanceNotFound, match="ghost"):
        driver.lookup("ghost")
    assert driver.get_instances(["ghost"]) == {}
    assert driver.get_instances([]) == {}
    assert driver.list_instances_detail([]) == []
    assert driver.get_addresses([]) == {}


def test_odd_names(pool: Any):
    name = 'say "hi" or \\ bye'
    pool.vm(name)
    assert pool.driver().get_info(name).name == name
    assert list(pool.driver().get_instances([name])) == [name]


@pytest.mark.parametrize("only", [None, ["web1"]])
def test_a_constant_number_of_calls(pool: Any, only: list[str] | None):
    def calls() -> int:
        pool.made.clear()
        driver = pool.driver()
        driver.get_instances(only)
        driver.list_instances_detail(only)
        return len(pool.made)

    def more(first: int, end: int) -> None:
        for number in range(first, end):
            vm = pool.vm(f"web{number}", active=True)
            pool.disk(vm)
            pool.nic(vm)

    more(0, 3)
    few = calls()
    more(3, 30)
    assert calls() == few


def test_addresses(pool: Any):
    told = pool.add(
        "VM_guest_metrics",
        networks={"0/ip": "10.0.0.5", "0/ipv4/0": "10.0.0.5", "0/ipv6/0": "fe80::1", "7/ip": "10.0.0.9", "error": "x"},
    )
    pool.nic(pool.vm("web1", active=True, guest_metrics=told))
    pool.nic(pool.vm("mute", active=True))
    pool.nic(pool.vm("off", guest_metrics=told))
    mac = "52:54:00:00:00:00"
    assert pool.driver().get_addresses(["web1", "mute", "off", "ghost"]) == {
        "web1": [Address(mac, "10.0.0.5", None, "metrics"), Address(mac, "fe80::1", None, "metrics")],
        "mute": [],
    }


def test_consoles(pool: Any):
    vm = pool.vm("web1", active=True)
    pool.add("console", VM=vm, protocol="vt100", location="https://10.0.0.1/console?uuid=text")
    driver = pool.driver()
    with pytest.raises(NotFound, match="web1"):
        driver.get_vnc_console("web1")
    url = "https://10.0.0.1/console?uuid=c1"
    pool.add("console", VM=vm, protocol="rfb", location=url)
    assert driver.get_vnc_console("web1") == VncConsole("10.0.0.1", 443, url)
    pool.vm("off")
    with pytest.raises(InvalidPowerState, match="off"):
        driver.get_vnc_console("off")
    with pytest.raises(Unsupported, match=r"xenapi.*web1"):
        driver.get_console_output("web1")
