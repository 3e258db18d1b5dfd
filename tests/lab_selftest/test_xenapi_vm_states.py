# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which operation a VM allows in which power state: the whole table, tried."""

from __future__ import annotations

import pytest

from lab.xenapi_objects import MIB, NULL, fails, hvm, make_vm, start, wait_for_tools
from lab.xenapi_states import STATES, host_named, make_in_state

_M = str(128 * MIB)
# What is called for each operation, and the states in which it is allowed, as published.
_CALLS = {
    "start": ("Halted", lambda x, vm: x.VM.start(vm, False, False)),
    "start_on": ("Halted", lambda x, vm: x.VM.start_on(vm, host_named(x, "xen2"), False, False)),
    "make_into_template": ("Halted", lambda x, vm: x.VM.set_is_a_template(vm, True)),
    "changing_static_range": ("Halted", lambda x, vm: x.VM.set_memory_static_max(vm, _M)),
    "changing_memory_limits": ("Halted", lambda x, vm: x.VM.set_memory_limits(vm, _M, _M, _M, _M)),
    "changing_VCPUs": ("Halted", lambda x, vm: x.VM.set_VCPUs_max(vm, "1")),
    "suspend": ("Running", lambda x, vm: x.VM.suspend(vm)),
    "pause": ("Running", lambda x, vm: x.VM.pause(vm)),
    "clean_shutdown": ("Running", lambda x, vm: x.VM.clean_shutdown(vm)),
    "clean_reboot": ("Running", lambda x, vm: x.VM.clean_reboot(vm)),
    "pool_migrate": ("Running", lambda x, vm: x.VM.pool_migrate(vm, host_named(x, "xen1"), {})),
    "changing_VCPUs_live": ("Running", lambda x, vm: x.VM.set_VCPUs_number_live(vm, "1")),
    "changing_memory_live": ("Running", lambda x, vm: x.VM.set_memory_target_live(vm, _M)),
    "unpause": ("Paused", lambda x, vm: x.VM.unpause(vm)),
    "resume": ("Suspended", lambda x, vm: x.VM.resume(vm, False, False)),
    "resume_on": ("Suspended", lambda x, vm: x.VM.resume_on(vm, host_named(x, "xen2"), False, False)),
    "hard_reboot": ("Paused, Running", lambda x, vm: x.VM.hard_reboot(vm)),
    "hard_shutdown": ("Paused, Suspended, Running", lambda x, vm: x.VM.hard_shutdown(vm)),
    "shutdown": ("Paused, Suspended, Running", lambda x, vm: x.VM.shutdown(vm)),
    "checkpoint": ("Paused, Suspended, Running", lambda x, vm: x.VM.checkpoint(vm, "checkpoint")),
    "destroy": ("Halted, Suspended", lambda x, vm: x.VM.destroy(vm)),
    "clone": ("Halted", lambda x, vm: x.VM.clone(vm, "clone")),
    "copy": ("Halted", lambda x, vm: x.VM.copy(vm, "copy", NULL)),
    "changing_dynamic_range": ("Halted, Running", lambda x, vm: x.VM.set_memory_dynamic_range(vm, _M, _M)),
    "snapshot": ("Halted, Paused, Suspended, Running", lambda x, vm: x.VM.snapshot(vm, "snapshot", [])),
    "power_state_reset": ("Halted, Paused, Suspended, Running", lambda x, vm: x.VM.power_state_reset(vm)),
}
_AFTERWARDS = {
    "start": "Running",
    "start_on": "Running",
    "suspend": "Suspended",
    "pause": "Paused",
    "clean_shutdown": "Halted",
    "clean_reboot": "Running",
    "unpause": "Running",
    "resume": "Running",
    "resume_on": "Running",
    "hard_reboot": "Running",
    "hard_shutdown": "Halted",
    "shutdown": "Halted",
    "power_state_reset": "Halted",
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("operation", _CALLS)
def test_operations_in_each_power_state(xenapi, operation, state):
    vm = make_in_state(xenapi, state)
    allowed, call = _CALLS[operation]
    listed = operation in xenapi.VM.get_allowed_operations(vm)
    assert listed == (state in allowed.split(", "))
    if listed:
        xenapi.VM.assert_operation_valid(vm, operation)
        call(xenapi, vm)
        if operation != "destroy":
            assert xenapi.VM.get_power_state(vm) == _AFTERWARDS.get(operation, state)
            assert xenapi.VM.get_current_operations(vm) == {}
    else:
        refused = ["VM_BAD_POWER_STATE", vm, allowed.lower(), state.lower()]
        assert fails(xenapi.VM.assert_operation_valid, vm, operation) == refused
        assert fails(call, xenapi, vm) == refused
        assert xenapi.VM.get_power_state(vm) == state


@pytest.mark.parametrize("operation", ["start", "start_on", "make_into_template"])
def test_templates_do_not_run(xenapi, operation):
    template = xenapi.VM.get_by_name_label("golden")[0]
    assert operation not in xenapi.VM.get_allowed_operations(template)
    assert fails(xenapi.VM.assert_operation_valid, template, operation) == ["VM_IS_TEMPLATE", template]


def test_default_templates_stay(xenapi):
    template = xenapi.VM.get_by_name_label("Other install media")[0]
    assert fails(xenapi.VM.destroy, template) == ["VM_CANNOT_DELETE_DEFAULT_TEMPLATE", template]
    assert fails(xenapi.VM.start, template, False, False) == ["VM_IS_TEMPLATE", template]


def test_a_template_made_of_a_vm_can_become_one_again(xenapi):
    vm = make_vm(xenapi)
    xenapi.VM.set_is_a_template(vm, True)
    assert "provision" in xenapi.VM.get_allowed_operations(vm)
    assert fails(xenapi.VM.start, vm, False, False) == ["VM_IS_TEMPLATE", vm]
    xenapi.VM.set_is_a_template(vm, False)
    assert fails(xenapi.VM.provision, vm) == ["PROVISION_ONLY_ALLOWED_ON_TEMPLATE"]
    xenapi.VM.start(vm, False, False)


def test_snapshots_do_not_run(xenapi):
    vm = make_vm(xenapi)
    snapshot = xenapi.VM.snapshot(vm, "snapshot", [])
    assert fails(xenapi.VM.start, snapshot, False, False) == ["VM_IS_SNAPSHOT", snapshot, "start"]
    assert fails(xenapi.VM.set_is_a_template, snapshot, False)[0] == "VM_IS_SNAPSHOT"
    assert fails(xenapi.VM.assert_operation_valid, vm, "revert") == ["REVERT_ONLY_ALLOWED_ON_SNAPSHOT"]


def test_control_domains_are_left_alone(xenapi):
    dom0 = xenapi.host.get_control_domain(host_named(xenapi, "xen1"))
    for call in (xenapi.VM.hard_shutdown, xenapi.VM.clean_reboot, xenapi.VM.suspend, xenapi.VM.pause):
        assert fails(call, dom0)[0] == "OPERATION_NOT_ALLOWED"
    assert fails(xenapi.VM.power_state_reset, dom0) == ["CANNOT_RESET_CONTROL_DOMAIN", dom0]
    assert fails(xenapi.VM.destroy, dom0) == ["VM_BAD_POWER_STATE", dom0, "halted, suspended", "running"]
    assert xenapi.VM.get_domid(dom0) == "0"


def test_blocked_operations_come_first(xenapi):
    vm = make_vm(xenapi)
    xenapi.VM.add_to_blocked_operations(vm, "start", "because")
    assert fails(xenapi.VM.start, vm, False, False) == ["OPERATION_BLOCKED", vm, "because"]
    assert "start" not in xenapi.VM.get_allowed_operations(vm)
    assert fails(xenapi.VM.add_to_blocked_operations, vm, "start", "again")[0] == "MAP_DUPLICATE_KEY"
    xenapi.VM.set_blocked_operations(vm, {"hard_shutdown": "no"})
    xenapi.VM.start(vm, False, False)
    assert fails(xenapi.VM.hard_shutdown, vm) == ["OPERATION_BLOCKED", vm, "no"]
    xenapi.VM.remove_from_blocked_operations(vm, "hard_shutdown")
    xenapi.VM.hard_shutdown(vm)


@pytest.mark.parametrize("call", ["clean_shutdown", "clean_reboot", "suspend"])
def test_hvm_guests_without_tools_lack_features(xenapi, xenapi_server, call):
    vm = make_vm(xenapi, **hvm(), xenstore_data={"vm-data/lab": "lab.notools"})
    xenapi.VM.start(vm, False, False)
    assert fails(getattr(xenapi.VM, call), vm) == ["VM_LACKS_FEATURE", vm]
    assert fails(xenapi.VM.pool_migrate, vm, host_named(xenapi, "xen2"), {}) == ["VM_LACKS_FEATURE", vm]
    assert xenapi.VM.get_guest_metrics(vm) == NULL
    xenapi.VM.shutdown(vm)
    assert xenapi.VM.get_power_state(vm) == "Halted"


def test_paravirtual_guests_need_no_tools(xenapi):
    vm = make_vm(xenapi, PV_args="console=hvc0 lab.notools")
    xenapi.VM.start(vm, False, False)
    xenapi.VM.clean_shutdown(vm)
    assert xenapi.VM.get_power_state(vm) == "Halted"


def test_starting_paused(xenapi, xenapi_server):
    vm = make_vm(xenapi)
    xenapi.VM.start(vm, True, False)
    assert xenapi.VM.get_power_state(vm) == "Paused"
    assert xenapi.VM.get_domid(vm) != "-1"
    assert xenapi_server.console_text("vm1") == ""
    xenapi.VM.unpause(vm)
    wait_for_tools(xenapi, vm)
    assert xenapi_server.console_text("vm1") == "ANYVIRT GUEST READY\n"


def test_destroy_keeps_the_disks(xenapi):
    vm = make_in_state(xenapi, "Halted")
    [vbd] = xenapi.VM.get_VBDs(vm)
    vdi, metrics = xenapi.VBD.get_VDI(vbd), xenapi.VM.get_metrics(vm)
    xenapi.VM.destroy(vm)
    assert fails(xenapi.VM.get_record, vm) == ["HANDLE_INVALID", "VM", vm]
    assert fails(xenapi.VBD.get_record, vbd)[0] == fails(xenapi.VM_metrics.get_record, metrics)[0] == "HANDLE_INVALID"
    assert xenapi.VDI.get_VBDs(vdi) == []


def test_messages_that_nobody_wrote_say_so(xenapi):
    vm = make_vm(xenapi)
    start(xenapi, vm)
    assert fails(xenapi.VM.send_sysrq, vm, "b") == ["NOT_IMPLEMENTED", "VM.send_sysrq"]
    host = host_named(xenapi, "xen1")
    assert fails(xenapi.host.call_plugin, host, "mine", "run", {}) == ["XENAPI_MISSING_PLUGIN", "mine"]
