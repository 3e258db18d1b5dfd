# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""host messages: taking hosts out of use and emptying them, and asking them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from lab.xenapi import placement
from lab.xenapi.behaviour.vm_run import migrate
from lab.xenapi.data_sources import as_records, value_of
from lab.xenapi.database import Database, Ref
from lab.xenapi.datamodel import NULL, model
from lab.xenapi.failures import Failure
from lab.xenapi.measures import host_values
from lab.xenapi.operations import operation
from lab.xenapi.registry import Call, message
from lab.xenapi.vm_records import now
from lab.xenapi.vm_rules import refusal


@message("host.disable")
def disable(call: Call, host: Ref) -> None:
    """No guest starts there any more; those that run go on."""
    call.db.set(
        "host", host, enabled=False, allowed_operations=["provision", "evacuate", "enable", "reboot", "shutdown"]
    )


@message("host.enable")
def enable(call: Call, host: Ref) -> None:
    call.db.set(
        "host", host, enabled=True, allowed_operations=["vm_migrate", "evacuate", "provision", "vm_resume", "vm_start"]
    )


@message("host.evacuate")
def evacuate(call: Call, host: Ref, network: Ref, evacuate_batch_size: int) -> None:
    """Move every guest to another host."""
    assert_can_evacuate(call, host)
    guests = _guests(call.db, host)
    for done, vm in enumerate(guests, start=1):
        with operation(call, vm, "pool_migrate") as current:
            migrate(current, _elsewhere(call.db, vm, host))
        call.progress(done / len(guests))


@message("host.assert_can_evacuate")
def assert_can_evacuate(call: Call, host: Ref) -> None:
    obstacles = get_vms_which_prevent_evacuation(call, host)
    if obstacles:
        raise Failure("CANNOT_EVACUATE_HOST", "|".join(",".join(words) for words in obstacles.values()))


@message("host.get_vms_which_prevent_evacuation")
def get_vms_which_prevent_evacuation(call: Call, host: Ref) -> dict[Ref, list[str]]:
    """Each guest that cannot leave, with the error that keeps it."""
    obstacles: dict[Ref, list[str]] = {}
    db = call.db
    with db.lock:
        for vm in _guests(db, host):
            failure = refusal(db, vm, "pool_migrate")
            if failure is None and _elsewhere(db, vm, host) == NULL:
                failure = Failure("NO_HOSTS_AVAILABLE")
            if failure is not None:
                obstacles[vm] = failure.details
    return obstacles


@message("host.get_uncooperative_resident_VMs")
def get_uncooperative_resident_vms(call: Call, host: Ref) -> list[Ref]:
    return []


@message("host.compute_free_memory")
def compute_free_memory(call: Call, host: Ref) -> int:
    with call.db.lock:
        return placement.free_memory(call.db, host)


@message("host.compute_memory_overhead")
def compute_memory_overhead(call: Call, host: Ref) -> int:
    return int(call.db.get("host", host, "memory_overhead"))


@message("host.get_servertime")
def get_servertime(call: Call, host: Ref) -> datetime:
    return now()


@message("host.get_server_localtime")
def get_server_localtime(call: Call, host: Ref) -> datetime:
    return now()


@message("host.list_methods")
def list_methods(call: Call) -> list[str]:
    """Those that follow from the fields are not listed, as they are not in the model either."""
    return [message.full_name for cls in model().classes.values() for message in cls.messages.values()]


@message("host.get_management_interface")
def get_management_interface(call: Call, host: Ref) -> Ref:
    with call.db.lock:
        for pif in call.db.get("host", host, "PIFs"):
            if call.db.get("PIF", pif, "management"):
                return str(pif)
    raise Failure("HOST_HAS_NO_MANAGEMENT_IP")


@message("host.set_hostname_live")
def set_hostname_live(call: Call, host: Ref, hostname: str) -> None:
    if not hostname or any(char.isspace() for char in hostname):
        raise Failure("HOST_NAME_INVALID", "it must be a name without blanks")
    call.db.set("host", host, hostname=hostname)


@message("host.call_plugin")
def call_plugin(call: Call, host: Ref, plugin: str, fn: str, args: dict[str, str]) -> str:
    raise Failure("XENAPI_MISSING_PLUGIN", plugin)


@message("host.has_extension")
def has_extension(call: Call, host: Ref, name: str) -> bool:
    return False


@message("host.get_data_sources")
def get_data_sources(call: Call, host: Ref) -> list[dict[str, Any]]:
    with call.db.lock:
        return as_records(dict(host_values(call.db, host)))


@message("host.query_data_source")
def query_data_source(call: Call, host: Ref, data_source: str) -> float:
    with call.db.lock:
        return value_of(dict(host_values(call.db, host)), data_source)


@message("host.sync_data")
def sync_data(call: Call, host: Ref) -> None:
    """The database is one for all hosts."""


def _guests(db: Database, host: Ref) -> list[Ref]:
    with db.lock:
        return [vm for vm in db.get("host", host, "resident_VMs") if not db.get("VM", vm, "is_control_domain")]


def _elsewhere(db: Database, vm: Ref, host: Ref) -> Ref:
    """The best other host for the VM; NULL where none can take it."""
    return next((other for other in placement.possible_hosts(db, vm) if other != host), NULL)
