# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which operations a VM allows at the moment, and why not the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.xenapi.database import Database, Ref
from lab.xenapi.failures import Failure

_ALL = ("Halted", "Paused", "Suspended", "Running")
_NOT_HALTED = ("Paused", "Suspended", "Running")

POWER_STATES: dict[str, tuple[str, ...]] = {
    "snapshot": _ALL,
    "clone": ("Halted",),
    "copy": ("Halted",),
    "create_template": ("Halted", "Suspended"),
    "revert": _ALL,
    "checkpoint": _NOT_HALTED,
    "snapshot_with_quiesce": ("Running",),
    "provision": ("Halted",),
    "start": ("Halted",),
    "start_on": ("Halted",),
    "pause": ("Running",),
    "unpause": ("Paused",),
    "clean_shutdown": ("Running",),
    "clean_reboot": ("Running",),
    "hard_shutdown": _NOT_HALTED,
    "power_state_reset": _ALL,
    "hard_reboot": ("Paused", "Running"),
    "suspend": ("Running",),
    "resume": ("Suspended",),
    "resume_on": ("Suspended",),
    "pool_migrate": ("Running",),
    "migrate_send": ("Halted", "Suspended", "Running"),
    "get_boot_record": _NOT_HALTED,
    "send_sysrq": ("Running",),
    "send_trigger": ("Running",),
    "query_services": _ALL,
    "shutdown": _NOT_HALTED,
    "call_plugin": ("Running",),
    "changing_memory_live": ("Running",),
    "awaiting_memory_live": ("Running",),
    "changing_dynamic_range": ("Halted", "Running"),
    "changing_static_range": ("Halted",),
    "changing_memory_limits": ("Halted",),
    "changing_shadow_memory": ("Halted",),
    "changing_shadow_memory_live": ("Running",),
    "changing_VCPUs": ("Halted",),
    "changing_VCPUs_live": ("Running",),
    "changing_NVRAM": ("Halted",),
    "data_source_op": ("Running",),
    "make_into_template": ("Halted",),
    "export": ("Halted", "Suspended"),
    "metadata_export": _ALL,
    "destroy": ("Halted", "Suspended"),
}
"""The power states in which each operation is allowed."""

# Never listed in allowed_operations: they are parts of other operations, or reads.
_UNLISTED = ("awaiting_memory_live", "get_boot_record", "data_source_op", "query_services", "snapshot_with_quiesce")

_TEMPLATE_ALLOWS = frozenset(
    "changing_dynamic_range changing_static_range changing_memory_limits changing_shadow_memory changing_VCPUs "
    "changing_NVRAM clone copy create_template export metadata_export provision destroy".split()
)
_SNAPSHOT_ALLOWS = frozenset("revert clone copy create_template hard_shutdown export metadata_export destroy".split())
_CONTROL_DOMAIN_ALLOWS = frozenset(
    "changing_memory_live awaiting_memory_live changing_dynamic_range data_source_op metadata_export "
    "power_state_reset".split()
)
_NEEDED_FEATURE = {
    "clean_shutdown": "feature-shutdown",
    "clean_reboot": "feature-reboot",
    "suspend": "feature-suspend",
    "checkpoint": "feature-suspend",
    "pool_migrate": "feature-suspend",
    "migrate_send": "feature-suspend",
    "changing_VCPUs_live": "feature-vcpus-hotplug",
}

# Operations that may run at the same time, all those in progress being in one of these groups with the new one.
_TOGETHER = (
    frozenset({"clone", "copy", "export"}),
    frozenset({"snapshot", "checkpoint"}),
    frozenset({"get_boot_record"}),
)
_OVERRIDDEN_BY = {
    "hard_shutdown": lambda running: running != "hard_shutdown",
    "hard_reboot": lambda running: running not in ("hard_shutdown", "hard_reboot"),
}
INTERRUPTED_BY_FORCE = frozenset("clean_shutdown clean_reboot hard_reboot pool_migrate suspend shutdown".split())
"""Operations in progress that a hard shutdown or reboot cancels."""


def allowed(db: Database, vm: Ref) -> list[str]:
    """The VM's ``allowed_operations``. The caller holds the database's lock."""
    return [name for name in POWER_STATES if name not in _UNLISTED and refusal(db, vm, name) is None]


def refusal(db: Database, vm: Ref, operation: str, part_of: str = "") -> Failure | None:
    """Why the VM does not allow the operation now; None when it does. The caller holds the database's lock.

    `part_of` is the key of the operation in progress that this one is a part of.
    """
    record = db.view("VM", vm)
    blocked = record["blocked_operations"].get(operation)
    if blocked is not None:
        return Failure("OPERATION_BLOCKED", vm, blocked)
    return (
        _wrong_power_state(vm, record, operation)
        or _in_progress(vm, record, operation, part_of)
        or _wrong_kind(vm, record, operation)
        or _lacking_feature(db, vm, record, operation)
    )


def bad_power_state(vm: Ref, expected: tuple[str, ...], actual: str) -> Failure:
    return Failure("VM_BAD_POWER_STATE", vm, ", ".join(expected).lower(), actual.lower())


def is_default_template(record: Mapping[str, Any]) -> bool:
    return bool(record["is_default_template"]) or record["other_config"].get("default_template") == "true"


def _wrong_power_state(vm: Ref, record: Mapping[str, Any], operation: str) -> Failure | None:
    expected = POWER_STATES[operation]
    if operation in ("clone", "copy") and record["is_a_snapshot"]:
        expected = ("Halted", "Suspended")
    state = record["power_state"]
    return None if state in expected else bad_power_state(vm, expected, state)


def _in_progress(vm: Ref, record: Mapping[str, Any], operation: str, part_of: str) -> Failure | None:
    running = {task: other for task, other in record["current_operations"].items() if task != part_of}
    overrides = _OVERRIDDEN_BY.get(operation)
    for task, other in running.items():
        if overrides is not None and overrides(other):
            continue
        if not any(operation in group and group.issuperset(running.values()) for group in _TOGETHER):
            return Failure("OTHER_OPERATION_IN_PROGRESS", "VM", vm, other, task)
    return None


def _wrong_kind(vm: Ref, record: Mapping[str, Any], operation: str) -> Failure | None:
    """What snapshots, templates and control domains refuse, and what only they allow."""
    if record["is_a_snapshot"]:
        return None if operation in _SNAPSHOT_ALLOWS else Failure("VM_IS_SNAPSHOT", vm, operation)
    if record["is_a_template"]:
        if operation == "destroy" and is_default_template(record):
            return Failure("VM_CANNOT_DELETE_DEFAULT_TEMPLATE", vm)
        return None if operation in _TEMPLATE_ALLOWS else Failure("VM_IS_TEMPLATE", vm)
    if record["is_control_domain"] and operation not in _CONTROL_DOMAIN_ALLOWS:
        return Failure("OPERATION_NOT_ALLOWED", "This operation is not allowed on dom0")
    if operation == "provision":
        return Failure("PROVISION_ONLY_ALLOWED_ON_TEMPLATE")
    if operation == "revert":
        return Failure("REVERT_ONLY_ALLOWED_ON_SNAPSHOT")
    return None


def _lacking_feature(db: Database, vm: Ref, record: Mapping[str, Any], operation: str) -> Failure | None:
    """What needs the guest's help; kernels that know that they are paravirtual give it without tools."""
    needed = _NEEDED_FEATURE.get(operation)
    if needed is None or record["power_state"] != "Running" or not db.view("VM_metrics", record["metrics"])["hvm"]:
        return None
    metrics = record["guest_metrics"]
    told = db.view("VM_guest_metrics", metrics)["other"] if db.exists("VM_guest_metrics", metrics) else {}
    return None if told.get(needed) == "1" else Failure("VM_LACKS_FEATURE", vm)
