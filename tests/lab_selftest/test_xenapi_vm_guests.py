# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests of VMs: booting, shutting down, sleeping, moving, crashing; what can be seen of them."""

from __future__ import annotations

import re
import time

import pytest

from lab.xenapi.server import XenApiServer
from lab.xenapi.settings import PoolSettings
from lab.xenapi_objects import (
    MIB,
    NULL,
    drive_record,
    fails,
    hvm,
    make_disk,
    make_vdi,
    make_vm,
    network_named,
    sr_named,
    start,
    vif_record,
    wait_for_tools,
)
from lab.xenapi_states import host_named, make_in_state, memory_free, other_host, wait_until

READY = "ANYVIRT GUEST READY\n"


def test_the_console_starts_anew_and_reboots_append(xenapi, xenapi_server):
    vm = make_vm(xenapi)
    assert xenapi_server.console_text("vm1") == ""
    start(xenapi, vm)
    assert xenapi_server.console_text("vm1") == READY
    xenapi.VM.hard_reboot(vm)
    wait_until(lambda: xenapi_server.console_text("vm1") == 2 * READY, "the guest does not boot again")
    xenapi.VM.hard_shutdown(vm)
    assert xenapi_server.console_text("vm1") == 2 * READY
    xenapi.VM.start(vm, False, False)
    wait_until(lambda: xenapi_server.console_text("vm1") == READY, "the console does not start anew")


def test_consoles_are_there_while_it_runs(xenapi, xenapi_server):
    vm = make_vm(xenapi)
    assert xenapi.VM.get_consoles(vm) == []
    start(xenapi, vm)
    consoles = [xenapi.console.get_record(console) for console in xenapi.VM.get_consoles(vm)]
    assert {console["protocol"] for console in consoles} == {"rfb", "vt100"}
    address = xenapi.host.get_address(xenapi.VM.get_resident_on(vm))
    for console in consoles:
        assert console["location"] == f"http://{address}/console?uuid={console['uuid']}"
    xenapi.VM.hard_shutdown(vm)
    assert xenapi.console.get_all() == []


def test_the_domain_is_another_one_after_reboot_resume_and_migration(xenapi):
    vm = make_vm(xenapi)
    assert xenapi.VM.get_domid(vm) == "-1"
    start(xenapi, vm)
    seen = [xenapi.VM.get_domid(vm)]
    for step in (
        lambda: xenapi.VM.clean_reboot(vm),
        lambda: xenapi.VM.hard_reboot(vm),
        lambda: xenapi.VM.pool_migrate(vm, other_host(xenapi, vm), {}),
        lambda: (xenapi.VM.suspend(vm), xenapi.VM.resume(vm, False, False)),
    ):
        step()
        seen.append(xenapi.VM.get_domid(vm))
    assert len(set(seen)) == len(seen)
    xenapi.VM.hard_shutdown(vm)
    assert xenapi.VM.get_domid(vm) == "-1"


def test_pausing_keeps_the_domain(xenapi):
    vm = make_vm(xenapi)
    start(xenapi, vm)
    before = xenapi.VM.get_domid(vm)
    xenapi.VM.pause(vm)
    assert xenapi.VM_metrics.get_state(xenapi.VM.get_metrics(vm)) == ["paused"]
    xenapi.VM.unpause(vm)
    assert xenapi.VM.get_domid(vm) == before


def test_tools_report_what_they_know(xenapi):
    vm = make_vm(xenapi)
    lab, office = network_named(xenapi, "lab"), network_named(xenapi, "Pool-wide network associated with eth0")
    xenapi.VIF.create(vif_record(vm, lab, MAC="02:00:00:00:00:01"))
    xenapi.VIF.create(vif_record(vm, office, device="1", MAC="02:00:00:00:00:02"))
    assert xenapi.VM.get_guest_metrics(vm) == NULL
    start(xenapi, vm)
    metrics = xenapi.VM_guest_metrics.get_record(xenapi.VM.get_guest_metrics(vm))
    assert metrics["PV_drivers_detected"] is True
    assert metrics["PV_drivers_version"]["major"]
    assert metrics["other"]["feature-suspend"] == "1"
    networks = metrics["networks"]
    assert re.fullmatch(r"10\.88\.0\.\d+", networks["0/ip"])
    assert networks["0/ipv4/0"] == networks["0/ip"]
    assert networks["0/ipv6/0"] == "fe80::ff:fe00:1"
    assert "1/ip" not in networks
    xenapi.VM.clean_shutdown(vm)
    assert xenapi.VM.get_guest_metrics(vm) == NULL
    assert xenapi.VM_guest_metrics.get_all() == []
    start(xenapi, vm)
    again = xenapi.VM_guest_metrics.get_networks(xenapi.VM.get_guest_metrics(vm))
    assert again["0/ip"] == networks["0/ip"], "the same address for the same MAC"


def test_addresses_follow_the_interfaces(xenapi):
    vm = make_vm(xenapi)
    start(xenapi, vm)
    metrics = xenapi.VM.get_guest_metrics(vm)
    vif = xenapi.VIF.create(vif_record(vm, network_named(xenapi, "lab"), MAC="02:00:00:00:00:01"))
    assert xenapi.VM_guest_metrics.get_networks(metrics) == {}
    xenapi.VIF.plug(vif)
    wait_until(lambda: "0/ip" in xenapi.VM_guest_metrics.get_networks(metrics), "no address of the new interface")
    xenapi.VIF.unplug(vif)
    wait_until(lambda: xenapi.VM_guest_metrics.get_networks(metrics) == {}, "the address does not go")


def test_metrics_of_what_runs(xenapi):
    vm = make_vm(xenapi, VCPUs_max="4", VCPUs_at_startup="2")
    metrics = xenapi.VM.get_metrics(vm)
    assert xenapi.VM_metrics.get_VCPUs_number(metrics) == "0"
    start(xenapi, vm)
    record = xenapi.VM_metrics.get_record(metrics)
    assert (record["VCPUs_number"], record["memory_actual"]) == ("2", str(128 * MIB))
    assert record["state"] == ["running"]
    assert record["current_domain_type"] == "pv"
    assert time.strptime(str(record["start_time"]), "%Y%m%dT%H:%M:%SZ").tm_year > 2000
    sources = {source["name_label"] for source in xenapi.VM.get_data_sources(vm)}
    assert {"cpu0", "cpu1", "memory"} <= sources
    assert xenapi.VM.query_data_source(vm, "cpu0") == pytest.approx(0.1)
    assert fails(xenapi.VM.query_data_source, vm, "nonsense") == ["INVALID_VALUE", "data_source", "nonsense"]
    xenapi.VM.hard_shutdown(vm)
    record = xenapi.VM_metrics.get_record(metrics)
    assert (record["VCPUs_number"], record["memory_actual"], record["state"]) == ("0", "0", [])


def test_devices_are_attached_while_it_runs(xenapi):
    vm = make_in_state(xenapi, "Halted")
    [vbd] = xenapi.VM.get_VBDs(vm)
    vif = xenapi.VIF.create(vif_record(vm, network_named(xenapi, "lab")))
    assert not xenapi.VBD.get_currently_attached(vbd)
    start(xenapi, vm)
    assert xenapi.VBD.get_currently_attached(vbd)
    assert xenapi.VBD.get_device(vbd) == "xvda"
    assert xenapi.VIF.get_currently_attached(vif)
    xenapi.VM.clean_shutdown(vm)
    assert not xenapi.VBD.get_currently_attached(vbd)
    assert not xenapi.VIF.get_currently_attached(vif)


# -- what keeps a VM from starting ----------------------------------------------------------------------------------


def test_a_kernel_must_be_on_the_host(xenapi):
    vm = make_vm(xenapi, PV_kernel="/boot/guest/other")
    assert fails(xenapi.VM.start, vm, False, False)[0] == "DOMAIN_BUILDER_ERROR"
    assert xenapi.VM.get_power_state(vm) == "Halted"


def test_a_kernel_that_goes_is_missed_at_the_next_boot(xenapi):
    vm = make_vm(xenapi)
    start(xenapi, vm)
    xenapi.VM.set_PV_kernel(vm, "/boot/guest/other")
    assert fails(xenapi.VM.hard_reboot, vm)[0] == "DOMAIN_BUILDER_ERROR"
    assert xenapi.VM.get_power_state(vm) == "Halted"


def test_boot_loaders(xenapi):
    vm = make_vm(xenapi, PV_kernel="", PV_ramdisk="", PV_bootloader="lilo")
    assert fails(xenapi.VM.start, vm, False, False) == ["UNKNOWN_BOOTLOADER", vm, "lilo"]
    xenapi.VM.set_PV_bootloader(vm, "pygrub")
    assert fails(xenapi.VM.start, vm, False, False)[:2] == ["BOOTLOADER_FAILED", vm]
    make_disk(xenapi, vm, make_vdi(xenapi, sr_named(xenapi, "shared")), bootable=True)
    xenapi.VM.start(vm, False, False)


@pytest.mark.parametrize(("order", "boots"), [("c", False), ("d", True), ("cd", True), ("n", False)])
def test_firmware_boots_what_is_in_the_boot_order(xenapi, xenapi_server, order, boots):
    vm = make_vm(xenapi, **hvm(HVM_boot_params={"order": order}))
    xenapi.VBD.create(drive_record(vm, xenapi.VDI.get_by_name_label("tools.iso")[0]))
    xenapi.VM.start(vm, False, False)
    wait_until(lambda: xenapi_server.console_text("vm1") != "", "nothing on the console")
    assert (xenapi_server.console_text("vm1") == READY) == boots


def test_numbers_of_processors_are_checked_at_the_start(xenapi):
    none = make_vm(xenapi, "none", VCPUs_max="0", VCPUs_at_startup="0")
    assert fails(xenapi.VM.start, none, False, False) == ["VM_NO_VCPUS", none]
    many = make_vm(xenapi, "many", VCPUs_max="1", VCPUs_at_startup="2")
    assert fails(xenapi.VM.start, many, False, False) == ["INVALID_VALUE", "VCPUs_at_startup", "2"]
    odd = make_vm(xenapi, "odd", VCPUs_max="3", platform={"cores-per-socket": "2"})
    assert fails(xenapi.VM.start, odd, False, False) == ["VCPU_MAX_NOT_CORES_PER_SOCKET_MULTIPLE", "3", "2"]


def test_the_order_of_memory_limits_is_checked_at_the_start(xenapi):
    vm = make_vm(xenapi, memory_dynamic_max=str(64 * MIB))
    assert fails(xenapi.VM.start, vm, False, False) == ["MEMORY_CONSTRAINT_VIOLATION_ORDER"]


def test_a_disk_that_another_writes(xenapi):
    first, second = make_vm(xenapi, "first"), make_vm(xenapi, "second")
    vdi = make_vdi(xenapi, sr_named(xenapi, "shared"))
    for vm in (first, second):
        make_disk(xenapi, vm, vdi)
    xenapi.VM.start(first, False, False)
    assert fails(xenapi.VM.start, second, False, False)[:2] == ["VDI_IN_USE", vdi]
    xenapi.VM.hard_shutdown(first)
    xenapi.VM.start(second, False, False)


def test_an_sr_that_is_nowhere_plugged(xenapi):
    vm = make_in_state(xenapi, "Halted")
    shared = sr_named(xenapi, "shared")
    for pbd in xenapi.SR.get_PBDs(shared):
        xenapi.PBD.unplug(pbd)
    assert fails(xenapi.VM.start, vm, False, False) == ["SR_HAS_NO_PBDS", shared]


# -- shutting down --------------------------------------------------------------------------------------------------


@pytest.fixture
def impatient():
    """A pool that waits only a moment for guests to react."""
    with XenApiServer(PoolSettings(shutdown_ack_timeout_s=0.2)) as server:
        yield server


@pytest.fixture
def impatient_xenapi(impatient):
    import XenAPI

    session = XenAPI.Session(impatient.url)
    session.login_with_password(impatient.username, impatient.password)
    return session.xenapi


def test_deaf_guests_do_not_shut_down(impatient_xenapi):
    xenapi = impatient_xenapi
    vm = make_vm(xenapi, PV_args="console=hvc0 lab.deaf")
    start(xenapi, vm)
    assert fails(xenapi.VM.clean_shutdown, vm) == ["VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT", vm]
    assert fails(xenapi.VM.clean_reboot, vm) == ["VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT", vm]
    assert xenapi.VM.get_power_state(vm) == "Running"
    xenapi.VM.shutdown(vm)
    assert xenapi.VM.get_power_state(vm) == "Halted"


def test_a_guest_that_still_boots_is_waited_for(xenapi):
    vm = make_vm(xenapi)
    xenapi.VM.start(vm, False, False)
    xenapi.VM.clean_shutdown(vm)
    assert xenapi.VM.get_power_state(vm) == "Halted"


@pytest.mark.parametrize(
    ("action", "state"),
    [("destroy", "Halted"), ("restart", "Running"), ("preserve", "Paused"), ("coredump_and_restart", "Running")],
)
def test_what_becomes_of_a_crashed_guest(xenapi, xenapi_server, action, state):
    vm = make_vm(xenapi)
    xenapi.VM.set_actions_after_crash(vm, action)
    start(xenapi, vm)
    domid = xenapi.VM.get_domid(vm)
    xenapi_server.crash("vm1")
    assert xenapi.VM.get_power_state(vm) == state
    assert (xenapi.VM.get_domid(vm) == domid) == (state == "Paused")
    if state == "Running":
        wait_for_tools(xenapi, vm)


# -- sleeping and moving --------------------------------------------------------------------------------------------


def test_suspending_writes_an_image_and_frees_the_host(xenapi, xenapi_server):
    vm = make_vm(xenapi)
    start(xenapi, vm)
    host = xenapi.VM.get_resident_on(vm)
    xenapi.VM.suspend(vm)
    image = xenapi.VM.get_suspend_VDI(vm)
    assert xenapi.VDI.get_type(image) == "suspend"
    assert int(xenapi.VDI.get_virtual_size(image)) >= 128 * MIB
    assert xenapi.VM.get_resident_on(vm) == NULL
    assert memory_free(xenapi, host) == memory_free(xenapi, other_host(xenapi, vm))
    xenapi.VM.resume(vm, False, False)
    assert xenapi.VM.get_suspend_VDI(vm) == NULL
    assert fails(xenapi.VDI.get_record, image) == ["HANDLE_INVALID", "VDI", image]
    assert xenapi_server.console_text("vm1") == READY, "it does not boot again"
    xenapi.VM.clean_shutdown(vm)


def test_resuming_paused(xenapi):
    vm = make_in_state(xenapi, "Suspended")
    xenapi.VM.resume(vm, True, False)
    assert xenapi.VM.get_power_state(vm) == "Paused"


def test_ending_a_suspended_vm_removes_the_image(xenapi):
    vm = make_in_state(xenapi, "Suspended")
    image = xenapi.VM.get_suspend_VDI(vm)
    xenapi.VM.hard_shutdown(vm)
    assert xenapi.VM.get_suspend_VDI(vm) == NULL
    assert fails(xenapi.VDI.get_record, image)[0] == "HANDLE_INVALID"


def test_nowhere_to_suspend_to(xenapi):
    vm = make_vm(xenapi)
    start(xenapi, vm)
    xenapi.pool.set_suspend_image_SR(xenapi.pool.get_all()[0], NULL)
    for host in xenapi.host.get_all():
        xenapi.host.set_suspend_image_sr(host, NULL)
    assert fails(xenapi.VM.suspend, vm) == ["VM_NO_SUSPEND_SR", vm]
    assert xenapi.VM.get_power_state(vm) == "Running"
    xenapi.VM.set_suspend_SR(vm, sr_named(xenapi, "shared"))
    xenapi.VM.suspend(vm)


def test_migration_takes_memory_and_console_along(xenapi, xenapi_server):
    vm = make_vm(xenapi)
    start(xenapi, vm)
    source, target = xenapi.VM.get_resident_on(vm), other_host(xenapi, vm)
    before = memory_free(xenapi, target)
    xenapi.VM.pool_migrate(vm, target, {"live": "true"})
    assert xenapi.VM.get_resident_on(vm) == target
    assert memory_free(xenapi, source) == before
    assert memory_free(xenapi, target) < before
    assert xenapi_server.console_text("vm1") == READY
    [location, _other] = [xenapi.console.get_location(console) for console in xenapi.VM.get_consoles(vm)]
    assert xenapi.host.get_address(target) in location


def test_local_disks_stay_where_they_are(xenapi):
    vm = make_vm(xenapi)
    home = host_named(xenapi, "xen2")
    local = next(
        xenapi.PBD.get_SR(pbd)
        for pbd in xenapi.host.get_PBDs(home)
        if xenapi.SR.get_name_label(xenapi.PBD.get_SR(pbd)) == "Local storage"
    )
    make_disk(xenapi, vm, make_vdi(xenapi, local))
    elsewhere = host_named(xenapi, "xen1")
    assert xenapi.VM.get_possible_hosts(vm) == [home]
    assert fails(xenapi.VM.assert_agile, vm) == ["HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED", local]
    refused = ["VM_REQUIRES_SR", vm, local]
    assert fails(xenapi.VM.start_on, vm, elsewhere, False, False) == refused
    assert fails(xenapi.VM.assert_can_boot_here, vm, elsewhere) == refused
    start(xenapi, vm)
    assert xenapi.VM.get_resident_on(vm) == home
    assert fails(xenapi.VM.pool_migrate, vm, elsewhere, {}) == refused
    xenapi.host.disable(home)
    xenapi.VM.hard_shutdown(vm)
    assert fails(xenapi.VM.start, vm, False, False) == ["NO_HOSTS_AVAILABLE"]
