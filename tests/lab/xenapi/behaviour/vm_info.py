# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VM messages that ask: where it could run, what it was booted with, what is measured of it."""

from __future__ import annotations

from typing import Any

from lab.xenapi import migration_rules, placement, vm_boot, vm_devices
from lab.xenapi.data_sources import as_records, value_of
from lab.xenapi.database import Ref
from lab.xenapi.datamodel import NULL
from lab.xenapi.failures import Failure
from lab.xenapi.measures import vm_values
from lab.xenapi.operations import operation
from lab.xenapi.registry import Call, message


@message("VM.assert_can_boot_here")
def assert_can_boot_here(call: Call, vm: Ref, host: Ref) -> None:
    with call.db.lock:
        vm_boot.assert_bootable(call.world, vm)
        placement.assert_can_boot(call.db, vm, host)
        if call.db.get("VM", vm, "resident_on") != NULL:
            migration_rules.check_cpu(call.db, vm, call.db, host)


@message("VM.get_possible_hosts")
def get_possible_hosts(call: Call, vm: Ref) -> list[Ref]:
    return placement.possible_hosts(call.db, vm)


@message("VM.assert_agile")
def assert_agile(call: Call, vm: Ref) -> None:
    """Whether the VM could be restarted on any host: all that it needs is shared."""
    db = call.db
    with db.lock:
        for sr in vm_devices.required_srs(db, vm):
            if not db.get("SR", sr, "shared"):
                raise Failure("HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED", sr)


@message("VM.get_cooperative")
def get_cooperative(call: Call, vm: Ref) -> bool:
    return True


@message("VM.get_boot_record")
def get_boot_record(call: Call, vm: Ref) -> dict[str, Any]:
    """What the running guest was started with: nothing of it can change while it runs."""
    with operation(call, vm, "get_boot_record"):
        return call.db.record("VM", vm)


@message("VM.query_services")
def query_services(call: Call, vm: Ref) -> dict[str, str]:
    return {}


@message("VM.get_data_sources")
def get_data_sources(call: Call, vm: Ref) -> list[dict[str, Any]]:
    return as_records(_values(call, vm))


@message("VM.query_data_source")
def query_data_source(call: Call, vm: Ref, data_source: str) -> float:
    with operation(call, vm, "data_source_op"):
        return value_of(_values(call, vm), data_source)


@message("VM.record_data_source")
def record_data_source(call: Call, vm: Ref, data_source: str) -> None:
    """All are recorded anyway."""
    with operation(call, vm, "data_source_op"):
        value_of(_values(call, vm), data_source)


def _values(call: Call, vm: Ref) -> dict[str, float]:
    with call.db.lock:
        if call.db.get("VM", vm, "power_state") != "Running":
            return {}
        return dict(vm_values(call.db, vm, call.world.guests.get(vm)))
