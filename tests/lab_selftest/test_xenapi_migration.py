# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs that move: within the pool, with their disks, and to another pool."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import XenAPI

from lab.xenapi.server import XenApiServer
from lab.xenapi_objects import MIB, fails, make_disk, make_vdi, make_vm, network_named, sr_named, start, vif_record
from lab.xenapi_states import host_named

MANAGEMENT = "Pool-wide network associated with eth0"


@pytest.fixture(scope="module")
def running_other_server() -> Iterator[XenApiServer]:
    with XenApiServer() as server:
        yield server


@pytest.fixture
def other_server(running_other_server: XenApiServer) -> XenApiServer:
    running_other_server.reset()
    return running_other_server


@pytest.fixture
def other(other_server: XenApiServer) -> Any:
    """Another pool."""
    session = XenAPI.Session(other_server.url)
    session.login_with_password(other_server.username, other_server.password)
    return session.xenapi


def receiver(xenapi: Any, host: str = "xen1") -> dict[str, str]:
    return dict(xenapi.host.migrate_receive(host_named(xenapi, host), network_named(xenapi, MANAGEMENT), {}))


def local_sr(xenapi: Any, host: str) -> str:
    pbds = xenapi.host.get_PBDs(host_named(xenapi, host))
    [sr] = [sr for sr in map(xenapi.PBD.get_SR, pbds) if xenapi.SR.get_name_label(sr) == "Local storage"]
    return str(sr)


def machine(xenapi: Any, sr: str, **fields: Any) -> tuple[str, str, str]:
    """A running VM on xen1 with a disk and a network interface."""
    vm = make_vm(xenapi, affinity=host_named(xenapi, "xen1"), **fields)
    vdi = make_vdi(xenapi, sr, name_label="disk1", other_config={"mine": "yes"})
    make_disk(xenapi, vm, vdi)
    vif = xenapi.VIF.create(
        vif_record(
            vm,
            network_named(xenapi, "lab"),
            MAC="02:00:00:00:00:01",
            locking_mode="locked",
            ipv4_allowed=["10.88.0.9"],
            ipv6_allowed=[],
        )
    )
    start(xenapi, vm)
    return vm, vdi, vif


def end_of(xenapi: Any, task: str) -> dict[str, Any]:
    while (record := xenapi.task.get_record(task))["status"] in ("pending", "cancelling"):
        time.sleep(0.01)
    return dict(record)


def test_within_the_pool(xenapi):
    vm, _vdi, _vif = machine(xenapi, sr_named(xenapi, "shared"))
    before = xenapi.VM.get_domid(vm)
    xenapi.VM.pool_migrate(vm, host_named(xenapi, "xen2"), {"live": "true"})
    assert xenapi.VM.get_resident_on(vm) == host_named(xenapi, "xen2")
    assert (xenapi.VM.get_power_state(vm), xenapi.VM.get_domid(vm) == before) == ("Running", False)


def test_local_disks_keep_it_from_that(xenapi):
    sr = local_sr(xenapi, "xen1")
    vm, _vdi, _vif = machine(xenapi, sr)
    assert fails(xenapi.VM.pool_migrate, vm, host_named(xenapi, "xen2"), {}) == ["VM_REQUIRES_SR", vm, sr]


def test_another_processor(xenapi, xenapi_server):
    vm, _vdi, _vif = machine(xenapi, sr_named(xenapi, "shared"))
    host = host_named(xenapi, "xen2")
    info = xenapi_server.db.get("host", host, "cpu_info")
    first, _dash, rest = info["features_pv"].partition("-")
    xenapi_server.db.set("host", host, cpu_info={**info, "features_pv": f"{int(first, 16) & ~1:08x}-{rest}"})
    code, *params = fails(xenapi.VM.pool_migrate, vm, host, {})
    assert (code, params[:2]) == ("VM_INCOMPATIBLE_WITH_THIS_HOST", [vm, host])
    xenapi_server.db.set("host", host, cpu_info={**info, "vendor": "AuthenticAMD"})
    assert "vendor" in fails(xenapi.VM.pool_migrate, vm, host, {})[-1]


def test_an_older_host(xenapi, xenapi_server):
    vm, _vdi, _vif = machine(xenapi, sr_named(xenapi, "shared"))
    host = host_named(xenapi, "xen2")
    software = xenapi_server.db.get("host", host, "software_version")
    xenapi_server.db.set("host", host, software_version={**software, "platform_version": "3.1.0"})
    assert fails(xenapi.VM.pool_migrate, vm, host, {}) == ["NOT_SUPPORTED_DURING_UPGRADE"]
    xenapi.VM.suspend(vm)
    assert fails(xenapi.VM.resume_on, vm, host, False, False) == ["NOT_SUPPORTED_DURING_UPGRADE"]
    xenapi.VM.hard_shutdown(vm)
    assert fails(xenapi.VM.start_on, vm, host, False, False) == ["NOT_SUPPORTED_DURING_UPGRADE"]


def test_local_disks_within_the_pool(xenapi, xenapi_server):
    vm, vdi, vif = machine(xenapi, local_sr(xenapi, "xen1"))
    digest = xenapi_server.snapshot()["world"][vdi]
    target = local_sr(xenapi, "xen2")
    xenapi.VM.migrate_send(vm, receiver(xenapi, "xen2"), True, {vdi: target}, {}, {})
    [vbd] = xenapi.VM.get_VBDs(vm)
    moved = xenapi.VBD.get_VDI(vbd)
    assert (xenapi.VDI.get_SR(moved), xenapi.VDI.get_name_label(moved)) == (target, "disk1")
    assert xenapi.VDI.get_other_config(moved).keys() == {"content_id"}
    assert xenapi_server.snapshot()["world"][moved] == digest
    assert fails(xenapi.VDI.get_uuid, vdi)[0] == "HANDLE_INVALID"
    assert xenapi.VM.get_resident_on(vm) == host_named(xenapi, "xen2")
    assert xenapi.VM.get_VIFs(vm) == [vif]


def test_to_another_pool(xenapi, other, xenapi_server, other_server):
    vm, vdi, vif = machine(xenapi, sr_named(xenapi, "shared"), other_config={"known": "1"})
    uuid, console = xenapi.VM.get_uuid(vm), xenapi_server.console_text("vm1")
    task = xenapi.Async.VM.migrate_send(
        vm, receiver(other, "xen2"), True, {vdi: sr_named(other, "shared")}, {vif: network_named(other, "lab")}, {}
    )
    record = end_of(xenapi, task)
    assert record["status"] == "success", record["error_info"]
    new = other.VM.get_by_uuid(uuid)
    assert record["result"] == f"<value>{new}</value>"
    assert xenapi.VM.get_by_name_label("vm1") == []
    assert fails(xenapi.VDI.get_uuid, vdi)[0] == "HANDLE_INVALID"
    machine_there = other.VM.get_record(new)
    assert (machine_there["power_state"], machine_there["resident_on"]) == ("Running", host_named(other, "xen2"))
    assert machine_there["other_config"]["known"] == "1"
    assert other_server.console_text("vm1") == console
    there = other.VIF.get_record(machine_there["VIFs"][0])
    assert (there["MAC"], there["locking_mode"], there["ipv4_allowed"], there["currently_attached"]) == (
        "02:00:00:00:00:01", "locked", ["10.88.0.9"], True,
    )  # fmt: skip
    other.VM.hard_shutdown(new)
    other.VM.start(new, False, False)


def test_a_halted_one_with_a_snapshot(xenapi, other):
    vm, vdi, vif = machine(xenapi, sr_named(xenapi, "shared"))
    xenapi.VM.hard_shutdown(vm)
    snapshot = xenapi.VM.snapshot(vm, "before")
    uuid = xenapi.VM.get_uuid(snapshot)
    new = xenapi.VM.migrate_send(
        vm, receiver(other), False, {vdi: sr_named(other, "shared")}, {vif: network_named(other, "lab")}, {}
    )
    taken = other.VM.get_record(other.VM.get_by_uuid(uuid))
    assert (taken["snapshot_of"], taken["is_a_snapshot"]) == (new, True)
    [vbd] = taken["VBDs"]
    origin = other.VBD.get_VDI(other.VM.get_VBDs(new)[0])
    assert other.VDI.get_snapshot_of(other.VBD.get_VDI(vbd)) == origin
    assert xenapi.VM.get_by_name_label("before") == []
    other.VM.revert(other.VM.get_by_uuid(uuid))


def test_a_suspended_one(xenapi, other):
    vm, vdi, vif = machine(xenapi, sr_named(xenapi, "shared"))
    xenapi.VM.suspend(vm)
    new = xenapi.VM.migrate_send(
        vm, receiver(other), False, {vdi: sr_named(other, "shared")}, {vif: network_named(other, "lab")}, {}
    )
    assert other.VM.get_power_state(new) == "Suspended"
    other.VM.resume(new, False, False)
    assert other.VM.get_power_state(new) == "Running"


def test_what_is_not_mapped(xenapi, other):
    vm, vdi, vif = machine(xenapi, sr_named(xenapi, "shared"))
    there, dest = sr_named(other, "shared"), receiver(other)
    assert fails(xenapi.VM.assert_can_migrate, vm, dest, True, {}, {}, {}) == ["VDI_NOT_IN_MAP", vdi]
    assert fails(xenapi.VM.migrate_send, vm, dest, True, {vdi: there}, {}, {}) == ["VIF_NOT_IN_MAP", vif]
    wrong = {vdi: "OpaqueRef:none"}
    assert fails(xenapi.VM.migrate_send, vm, dest, True, wrong, {}, {})[0] == "HANDLE_INVALID"
    lab = network_named(xenapi, "lab")
    within = receiver(xenapi, "xen2")
    shared = {vdi: sr_named(xenapi, "shared")}
    assert fails(xenapi.VM.migrate_send, vm, within, True, shared, {vif: lab}, {})[0] == "OPERATION_NOT_ALLOWED"


def test_nobody_there(xenapi, other, other_server):
    vm, vdi, vif = machine(xenapi, sr_named(xenapi, "shared"))
    dest, maps = receiver(other), ({vdi: sr_named(other, "shared")}, {vif: network_named(other, "lab")}, {})
    other_server.expire_sessions()
    task = end_of(xenapi, xenapi.Async.VM.migrate_send(vm, dest, True, *maps))
    assert task["error_info"][0] == "SESSION_INVALID"
    other_server.stop_listening()
    try:
        assert fails(xenapi.VM.migrate_send, vm, dest, True, *maps)[0] == "CANNOT_CONTACT_HOST"
    finally:
        other_server.listen_again()


@pytest.mark.parametrize("point", ["mirror", "metadata", "memory", "switch"])
def test_failing_on_the_way_leaves_all_as_it_was(xenapi, other, xenapi_server, other_server, point):
    vm, vdi, vif = machine(xenapi, sr_named(xenapi, "shared"))
    dest, maps = receiver(other), ({vdi: sr_named(other, "shared")}, {vif: network_named(other, "lab")}, {})
    before, there = xenapi_server.snapshot(), other_server.snapshot()
    xenapi_server.faults.fail(f"point:{point}", "VM_MIGRATE_FAILED", vm, "xen1", "xen1", "as asked")
    assert fails(xenapi.VM.migrate_send, vm, dest, True, *maps)[0] == "VM_MIGRATE_FAILED"
    assert xenapi_server.snapshot() == before
    assert other_server.snapshot() == there


def test_cancelling(xenapi, other, xenapi_server, other_server):
    vm, vdi, vif = machine(xenapi, sr_named(xenapi, "shared"))
    there = other_server.snapshot()
    xenapi_server.faults.delay("point:memory", 30)
    task = xenapi.Async.VM.migrate_send(
        vm, receiver(other), True, {vdi: sr_named(other, "shared")}, {vif: network_named(other, "lab")}, {}
    )
    while float(xenapi.task.get_progress(task)) < 0.69:
        time.sleep(0.01)
    assert list(xenapi.VM.get_current_operations(vm).values()) == ["migrate_send"]
    xenapi.task.cancel(task)
    assert end_of(xenapi, task)["status"] == "cancelled"
    assert xenapi.VM.get_power_state(vm) == "Running"
    assert other_server.snapshot() == there


def test_no_room(xenapi, other, other_server):
    vm, vdi, vif = machine(xenapi, sr_named(xenapi, "shared"))
    sr, host = sr_named(other, "shared"), host_named(other, "xen1")
    maps = ({vdi: sr}, {vif: network_named(other, "lab")}, {})
    metrics = other.host.get_metrics(host)
    total = other_server.db.get("host_metrics", metrics, "memory_total")
    other_server.db.set("host_metrics", metrics, memory_total=1200 * MIB)
    refused = fails(xenapi.VM.assert_can_migrate, vm, receiver(other), True, *maps)
    assert refused[0] == "HOST_NOT_ENOUGH_FREE_MEMORY"
    other_server.db.set("host_metrics", metrics, memory_total=total)
    other_server.db.set("SR", sr, physical_size=other_server.db.get("SR", sr, "physical_utilisation"))
    there = other_server.snapshot()
    assert fails(xenapi.VM.migrate_send, vm, receiver(other), True, *maps)[0] == "SR_FULL"
    assert other_server.snapshot() == there


def test_only_three_at_once(xenapi, other, xenapi_server):
    vms = [make_vm(xenapi, f"vm{number}") for number in range(4)]
    xenapi_server.faults.delay("point:switch", 30)
    dest = receiver(other)
    tasks = [xenapi.Async.VM.migrate_send(vm, dest, False, {}, {}, {}) for vm in vms[:3]]
    while not all(xenapi.VM.get_current_operations(vm) for vm in vms[:3]):
        time.sleep(0.01)
    time.sleep(0.05)
    assert fails(xenapi.VM.migrate_send, vms[3], dest, False, {}, {}, {}) == ["TOO_MANY_STORAGE_MIGRATES", "3"]
    for task in tasks:
        xenapi.task.cancel(task)
        end_of(xenapi, task)


def test_the_receiving_network_needs_an_address(xenapi):
    host, lab = host_named(xenapi, "xen2"), network_named(xenapi, "lab")
    assert fails(xenapi.host.migrate_receive, host, lab, {}) == ["HOST_CANNOT_ATTACH_NETWORK", host, lab]


def test_a_disk_alone(xenapi):
    vm, vdi, _vif = machine(xenapi, sr_named(xenapi, "shared"))
    target = local_sr(xenapi, "xen1")
    moved = xenapi.VDI.pool_migrate(vdi, target, {})
    assert (moved != vdi, xenapi.VDI.get_SR(moved)) == (True, target)
    assert xenapi.VM.get_resident_on(vm) == host_named(xenapi, "xen1")
    assert xenapi.VBD.get_VDI(xenapi.VM.get_VBDs(vm)[0]) == moved
