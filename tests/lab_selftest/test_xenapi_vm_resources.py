# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory and processors of VMs: the rules of their limits, and what hosts have left."""

from __future__ import annotations

import pytest

from lab.xenapi_objects import MIB, NULL, fails, hvm, make_vm, start
from lab.xenapi_states import host_named, make_in_state, memory_free, other_host

GIB = 1024 * MIB
_ORDER = ["MEMORY_CONSTRAINT_VIOLATION_ORDER"]
_FIELDS = ("memory_static_min", "memory_dynamic_min", "memory_dynamic_max", "memory_static_max")


def mib(number: int) -> str:
    return str(number * MIB)


def limits(xenapi, vm):
    record = xenapi.VM.get_record(vm)
    return tuple(int(record[name]) // MIB for name in _FIELDS)


@pytest.fixture
def vm(xenapi):
    """Halted, with the limits 64 <= 128 <= 256 <= 512 MiB."""
    vm = make_vm(xenapi)
    xenapi.VM.set_memory_limits(vm, mib(64), mib(512), mib(128), mib(256))
    return vm


# -- memory limits --------------------------------------------------------------------------------------------------


def test_create_does_not_check_the_order(xenapi):
    vm = make_vm(xenapi, memory_static_max=mib(1), memory_static_min=mib(2))
    assert limits(xenapi, vm) == (2, 128, 128, 1)


def test_each_setter(xenapi, vm):
    assert limits(xenapi, vm) == (64, 128, 256, 512)
    xenapi.VM.set_memory_static_min(vm, mib(32))
    xenapi.VM.set_memory_static_max(vm, mib(600))
    xenapi.VM.set_memory_dynamic_min(vm, mib(100))
    xenapi.VM.set_memory_dynamic_max(vm, mib(300))
    assert limits(xenapi, vm) == (32, 100, 300, 600)
    xenapi.VM.set_memory_static_range(vm, mib(64), mib(512))
    xenapi.VM.set_memory_dynamic_range(vm, mib(200), mib(200))
    assert limits(xenapi, vm) == (64, 200, 200, 512)
    xenapi.VM.set_memory(vm, mib(1024))
    assert limits(xenapi, vm) == (64, 1024, 1024, 1024)


@pytest.mark.parametrize(
    ("setter", "values"),
    [
        ("set_memory_static_min", [129]),
        ("set_memory_static_max", [255]),
        ("set_memory_dynamic_min", [257]),
        ("set_memory_dynamic_min", [63]),
        ("set_memory_dynamic_max", [127]),
        ("set_memory_dynamic_max", [513]),
        ("set_memory_static_range", [64, 200]),
        ("set_memory_dynamic_range", [300, 200]),
        ("set_memory", [63]),
        ("set_memory_limits", [512, 64, 64, 64]),
        ("set_memory_static_min", [-1]),
    ],
)
def test_the_order_is_kept(xenapi, vm, setter, values):
    assert fails(getattr(xenapi.VM, setter), vm, *map(mib, values)) == _ORDER
    assert limits(xenapi, vm) == (64, 128, 256, 512)


def test_dynamic_limits_change_live_within_the_static_ones(xenapi, vm):
    start(xenapi, vm)
    metrics = xenapi.VM.get_metrics(vm)
    assert xenapi.VM_metrics.get_memory_actual(metrics) == mib(256)
    xenapi.VM.set_memory_dynamic_range(vm, mib(400), mib(512))
    assert xenapi.VM.get_memory_target(vm) == xenapi.VM_metrics.get_memory_actual(metrics) == mib(512)
    assert fails(xenapi.VM.set_memory_dynamic_range, vm, mib(400), mib(513)) == _ORDER
    xenapi.VM.set_memory_target_live(vm, mib(96))
    xenapi.VM.wait_memory_target_live(vm)
    assert limits(xenapi, vm) == (64, 96, 96, 512)
    assert xenapi.VM_metrics.get_memory_actual(metrics) == mib(96)
    for setter in ("set_memory_static_max", "set_memory_static_min", "set_memory"):
        assert fails(getattr(xenapi.VM, setter), vm, mib(96)) == ["VM_BAD_POWER_STATE", vm, "halted", "running"]


def test_the_overhead_follows(xenapi, vm):
    before = int(xenapi.VM.get_memory_overhead(vm))
    xenapi.VM.set_memory_static_max(vm, str(64 * GIB))
    assert int(xenapi.VM.get_memory_overhead(vm)) > before
    assert xenapi.VM.compute_memory_overhead(vm) == xenapi.VM.get_memory_overhead(vm)


# -- memory of hosts ------------------------------------------------------------------------------------------------


def test_hosts_count_what_their_guests_take(xenapi, vm):
    host = host_named(xenapi, "xen2")
    before = memory_free(xenapi, host)
    assert before == int(xenapi.host.compute_free_memory(host))
    xenapi.VM.start_on(vm, host, False, False)
    overhead = int(xenapi.VM.get_memory_overhead(vm))
    assert before - memory_free(xenapi, host) == 256 * MIB + overhead
    assert before - int(xenapi.host.compute_free_memory(host)) == 128 * MIB + overhead
    xenapi.VM.hard_shutdown(vm)
    assert memory_free(xenapi, host) == before


def test_guests_are_squeezed_until_another_one_fits(xenapi, vm):
    host = host_named(xenapi, "xen1")
    xenapi.VM.start_on(vm, host, False, False)
    rest = memory_free(xenapi, host) - 2 * 1024 * MIB // 128
    big = make_vm(xenapi, "big", **dict.fromkeys(_FIELDS, str(rest // MIB * MIB)))
    xenapi.VM.start_on(big, host, False, False)
    assert 128 * MIB <= int(xenapi.VM.get_memory_target(vm)) < 256 * MIB
    assert memory_free(xenapi, host) < 4 * MIB
    xenapi.VM.hard_shutdown(big)
    assert xenapi.VM.get_memory_target(vm) == mib(256)


def test_a_vm_goes_where_there_is_room(xenapi):
    hosts = set()
    for name in ("first", "second"):
        vm = make_vm(xenapi, name, **dict.fromkeys(_FIELDS, str(10 * GIB)))
        xenapi.VM.start(vm, False, False)
        hosts.add(xenapi.VM.get_resident_on(vm))
    assert hosts == set(xenapi.host.get_all())
    third = make_vm(xenapi, "third", **dict.fromkeys(_FIELDS, str(10 * GIB)))
    assert xenapi.VM.get_possible_hosts(third) == []
    assert fails(xenapi.VM.start, third, False, False) == ["NO_HOSTS_AVAILABLE"]
    host = host_named(xenapi, "xen1")
    free = xenapi.host.compute_free_memory(host)
    needed = str(10 * GIB + int(xenapi.VM.get_memory_overhead(third)))
    refused = ["HOST_NOT_ENOUGH_FREE_MEMORY", needed, free]
    assert fails(xenapi.VM.start_on, third, host, False, False) == refused
    assert fails(xenapi.VM.assert_can_boot_here, third, host) == refused
    assert xenapi.VM.get_scheduled_to_be_resident_on(third) == NULL
    xenapi.VM.suspend(vm)
    xenapi.VM.start(third, False, False)
    assert fails(xenapi.VM.resume, vm, False, False) == ["NO_HOSTS_AVAILABLE"]


@pytest.mark.parametrize("name", ["xen1", "xen2"])
def test_a_vm_has_a_favourite_host(xenapi, name):
    host = host_named(xenapi, name)
    vm = make_vm(xenapi, affinity=host)
    xenapi.VM.start(vm, False, False)
    assert xenapi.VM.get_resident_on(vm) == host
    assert vm in xenapi.host.get_resident_VMs(host)


def test_a_disabled_host_takes_no_guests(xenapi):
    first, second = xenapi.host.get_all()
    vm = make_vm(xenapi, affinity=first)
    xenapi.host.disable(first)
    assert xenapi.host.get_enabled(first) is False
    assert fails(xenapi.VM.start_on, vm, first, False, False) == ["HOST_DISABLED", first]
    xenapi.VM.start(vm, False, False)
    assert xenapi.VM.get_resident_on(vm) == second
    assert fails(xenapi.VM.pool_migrate, vm, first, {}) == ["HOST_DISABLED", first]
    xenapi.host.disable(second)
    assert fails(xenapi.VM.start, make_vm(xenapi, "other"), False, False) == ["NO_HOSTS_AVAILABLE"]
    xenapi.host.enable(first)
    xenapi.VM.pool_migrate(vm, first, {})


def test_emptying_a_host(xenapi):
    vms = [make_vm(xenapi, f"vm{number}") for number in range(3)]
    for vm in vms:
        xenapi.VM.start(vm, False, False)
    host, other = xenapi.VM.get_resident_on(vms[0]), other_host(xenapi, vms[0])
    xenapi.host.disable(host)
    xenapi.host.evacuate(host, NULL, "0")
    assert {xenapi.VM.get_resident_on(vm) for vm in vms} == {other}
    assert xenapi.host.get_resident_VMs(host) == [xenapi.host.get_control_domain(host)]
    assert fails(xenapi.host.evacuate, other, NULL, "0")[0] == "CANNOT_EVACUATE_HOST"
    assert set(xenapi.host.get_vms_which_prevent_evacuation(other)) == set(vms)


# -- processors -----------------------------------------------------------------------------------------------------


def test_numbers_of_processors_are_set_while_halted(xenapi, vm):
    xenapi.VM.set_VCPUs_max(vm, "4")
    xenapi.VM.set_VCPUs_at_startup(vm, "3")
    assert fails(xenapi.VM.set_VCPUs_at_startup, vm, "5") == ["INVALID_VALUE", "VCPUs_at_startup", "5"]
    assert fails(xenapi.VM.set_VCPUs_at_startup, vm, "0") == ["INVALID_VALUE", "VCPUs_at_startup", "0"]
    assert fails(xenapi.VM.set_VCPUs_max, vm, "2") == ["INVALID_VALUE", "VCPUs_max", "2"]
    start(xenapi, vm)
    for setter in (xenapi.VM.set_VCPUs_max, xenapi.VM.set_VCPUs_at_startup):
        assert fails(setter, vm, "3") == ["VM_BAD_POWER_STATE", vm, "halted", "running"]


def test_processors_come_and_go_live(xenapi):
    vm = make_vm(xenapi, VCPUs_max="4", VCPUs_at_startup="2")
    assert fails(xenapi.VM.set_VCPUs_number_live, vm, "1") == ["VM_BAD_POWER_STATE", vm, "running", "halted"]
    start(xenapi, vm)
    metrics = xenapi.VM.get_metrics(vm)
    for number in ("4", "1", "3"):
        xenapi.VM.set_VCPUs_number_live(vm, number)
        assert xenapi.VM_metrics.get_VCPUs_number(metrics) == number
        assert xenapi.VM.get_VCPUs_at_startup(vm) == number
    for number in ("0", "5"):
        assert fails(xenapi.VM.set_VCPUs_number_live, vm, number) == ["INVALID_VALUE", "VCPUs_number", number]
    assert xenapi.VM.get_VCPUs_max(vm) == "4"


def test_hvm_guests_need_tools_for_it(xenapi):
    vm = make_vm(xenapi, **hvm(VCPUs_max="2"), xenstore_data={"vm-data/lab": "lab.notools"})
    xenapi.VM.start(vm, False, False)
    assert fails(xenapi.VM.set_VCPUs_number_live, vm, "2") == ["VM_LACKS_FEATURE", vm]


def test_more_processors_than_a_host_has(xenapi):
    vm = make_vm(xenapi, VCPUs_max="9")
    host = host_named(xenapi, "xen1")
    assert fails(xenapi.VM.start_on, vm, host, False, False) == ["HOST_NOT_ENOUGH_PCPUS", "9", "8"]


# -- settings that have rules ---------------------------------------------------------------------------------------


def test_the_way_of_booting_is_set_while_halted(xenapi):
    vm = make_vm(xenapi)
    xenapi.VM.set_HVM_boot_policy(vm, "BIOS order")
    assert xenapi.VM.get_domain_type(vm) == "hvm"
    xenapi.VM.set_domain_type(vm, "pv")
    assert xenapi.VM.get_HVM_boot_policy(vm) == ""
    xenapi.VM.start(vm, False, False)
    refused = ["VM_BAD_POWER_STATE", vm, "halted", "running"]
    assert fails(xenapi.VM.set_domain_type, vm, "hvm") == refused
    assert fails(xenapi.VM.set_HVM_boot_policy, vm, "BIOS order") == refused


def test_delays_are_not_negative(xenapi, vm):
    for name in ("start_delay", "shutdown_delay", "order"):
        getattr(xenapi.VM, f"set_{name}")(vm, "3")
        assert getattr(xenapi.VM, f"get_{name}")(vm) == "3"
        assert fails(getattr(xenapi.VM, f"set_{name}"), vm, "-1") == ["INVALID_VALUE", name, "-1"]


def test_bios_strings_are_set_once(xenapi, vm):
    xenapi.VM.copy_bios_strings(vm, host_named(xenapi, "xen1"))
    assert xenapi.VM.get_bios_strings(vm)["system-manufacturer"] == "Lab"
    assert fails(xenapi.VM.set_bios_strings, vm, {"bios-vendor": "other"}) == ["VM_BIOS_STRINGS_ALREADY_SET"]


def test_a_suspend_image_can_be_replaced_while_suspended(xenapi):
    vm = make_in_state(xenapi, "Suspended")
    image = xenapi.VM.get_suspend_VDI(vm)
    copy = xenapi.VDI.copy(image, xenapi.VDI.get_SR(image))
    xenapi.VM.set_suspend_VDI(vm, copy)
    xenapi.VDI.destroy(image)
    xenapi.VM.resume(vm, False, False)
    assert fails(xenapi.VM.set_suspend_VDI, vm, NULL) == ["VM_BAD_POWER_STATE", vm, "suspended", "running"]
