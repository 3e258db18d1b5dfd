# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VM messages that make and remove VMs, or turn them into templates and back."""

from __future__ import annotations

from typing import Any

from lab.xenapi import operations, vm_rules
from lab.xenapi.database import Ref
from lab.xenapi.failures import Failure
from lab.xenapi.operations import operation
from lab.xenapi.registry import Call, message
from lab.xenapi.vm_records import create_vm, destroy_vm, now

_FIRST_STATES = ("Halted", "Suspended")


@message("VM.create")
def create(call: Call, args: dict[str, Any]) -> Ref:
    """Neither the order of memory limits nor numbers of processors are checked here; the setters and a start do."""
    if args["power_state"] not in _FIRST_STATES:
        raise Failure("INVALID_VALUE", "power_state", args["power_state"])
    with call.db.lock:
        return create_vm(call.db, **args)


@message("VM.destroy")
def destroy(call: Call, vm: Ref) -> None:
    with operation(call, vm, "destroy"), call.db.lock:
        destroy_vm(call.db, vm)
        call.world.texts.pop(vm, None)
        call.world.sleeping.pop(vm, None)


@message("VM.set_is_a_template")
def set_is_a_template(call: Call, vm: Ref, value: bool) -> None:
    """Making a template needs a halted VM; a template that becomes a VM is installed from then on."""
    db = call.db
    with db.lock:
        record = db.view("VM", vm)
        if record["is_a_snapshot"]:
            raise Failure("VM_IS_SNAPSHOT", vm, "make_into_template")
        if value and not record["is_a_template"]:
            operations.check(db, vm, "make_into_template")
            db.set("VM", vm, ha_always_run=False, ha_restart_priority="")
        if not value:
            db.set("VM_metrics", record["metrics"], install_time=now())
            db.set("VM", vm, is_default_template=False)
        db.set("VM", vm, is_a_template=value)
        operations.refresh(db, vm)


@message("VM.assert_operation_valid")
def assert_operation_valid(call: Call, vm: Ref, name: str) -> None:
    if name not in vm_rules.POWER_STATES:
        raise Failure("OPERATION_NOT_ALLOWED", f"{name} is no operation of its own")
    with call.db.lock:
        operations.check(call.db, vm, name)


@message("VM.update_allowed_operations")
def update_allowed_operations(call: Call, vm: Ref) -> None:
    operations.refresh(call.db, vm)


@message("VM.set_blocked_operations")
def set_blocked_operations(call: Call, vm: Ref, value: dict[str, str]) -> None:
    with call.db.lock:
        call.db.set("VM", vm, blocked_operations=value)
        operations.refresh(call.db, vm)


@message("VM.add_to_blocked_operations")
def add_to_blocked_operations(call: Call, vm: Ref, key: str, value: str) -> None:
    with call.db.lock:
        blocked = call.db.get("VM", vm, "blocked_operations")
        if key in blocked:
            raise Failure("MAP_DUPLICATE_KEY", "VM", "blocked_operations", vm, key)
        set_blocked_operations(call, vm, {**blocked, key: value})


@message("VM.remove_from_blocked_operations")
def remove_from_blocked_operations(call: Call, vm: Ref, key: str) -> None:
    with call.db.lock:
        blocked = call.db.get("VM", vm, "blocked_operations")
        blocked.pop(key, None)
        set_blocked_operations(call, vm, blocked)
