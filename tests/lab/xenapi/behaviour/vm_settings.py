# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VM messages that write one setting, under a rule or none."""

from __future__ import annotations

from lab.xenapi.database import Ref
from lab.xenapi.datamodel import NULL
from lab.xenapi.failures import Failure
from lab.xenapi.operations import operation
from lab.xenapi.registry import Call, message
from lab.xenapi.vm_records import HVM_BOOT_POLICY, domain_type_of
from lab.xenapi.vm_rules import bad_power_state


@message("VM.set_HVM_boot_policy")
def set_hvm_boot_policy(call: Call, vm: Ref, value: str) -> None:
    """The old way to choose between HVM and PV: the domain type follows."""
    with call.db.lock:
        _check_halted(call, vm)
        kind = call.db.get("VM", vm, "domain_type")
        if domain_type_of(value) != ("hvm" if kind == "hvm" else "pv"):
            kind = domain_type_of(value)
        call.db.set("VM", vm, HVM_boot_policy=value, domain_type=kind)


@message("VM.set_domain_type")
def set_domain_type(call: Call, vm: Ref, value: str) -> None:
    with call.db.lock:
        _check_halted(call, vm)
        policy = call.db.get("VM", vm, "HVM_boot_policy")
        if value == "unspecified":
            value = domain_type_of(policy)
        policy = (policy or HVM_BOOT_POLICY) if value == "hvm" else ""
        call.db.set("VM", vm, domain_type=value, HVM_boot_policy=policy)


@message("VM.set_HVM_shadow_multiplier")
def set_hvm_shadow_multiplier(call: Call, vm: Ref, value: float) -> None:
    if value < 1.0:
        raise Failure("INVALID_VALUE", "multiplier", str(value))
    with operation(call, vm, "changing_shadow_memory"):
        call.db.set("VM", vm, HVM_shadow_multiplier=value)


@message("VM.set_shadow_multiplier_live")
def set_shadow_multiplier_live(call: Call, vm: Ref, multiplier: float) -> None:
    if multiplier < 1.0:
        raise Failure("INVALID_VALUE", "multiplier", str(multiplier))
    with operation(call, vm, "changing_shadow_memory_live"):
        call.db.set("VM", vm, HVM_shadow_multiplier=multiplier)


@message("VM.set_has_vendor_device")
def set_has_vendor_device(call: Call, vm: Ref, value: bool) -> None:
    with call.db.lock:
        _check_halted(call, vm)
        call.db.set("VM", vm, has_vendor_device=value)


@message("VM.set_bios_strings")
def set_bios_strings(call: Call, vm: Ref, value: dict[str, str]) -> None:
    with call.db.lock:
        _check_halted(call, vm)
        if call.db.get("VM", vm, "bios_strings"):
            raise Failure("VM_BIOS_STRINGS_ALREADY_SET")
        call.db.set("VM", vm, bios_strings=value)


@message("VM.copy_bios_strings")
def copy_bios_strings(call: Call, vm: Ref, host: Ref) -> None:
    set_bios_strings(call, vm, call.db.get("host", host, "bios_strings"))


@message("VM.set_NVRAM")
def set_nvram(call: Call, vm: Ref, value: dict[str, str]) -> None:
    with operation(call, vm, "changing_NVRAM"):
        call.db.set("VM", vm, NVRAM=value)


@message("VM.add_to_NVRAM")
def add_to_nvram(call: Call, vm: Ref, key: str, value: str) -> None:
    with operation(call, vm, "changing_NVRAM"), call.db.lock:
        content = call.db.get("VM", vm, "NVRAM")
        if key in content:
            raise Failure("MAP_DUPLICATE_KEY", "VM", "NVRAM", vm, key)
        call.db.set("VM", vm, NVRAM={**content, key: value})


@message("VM.remove_from_NVRAM")
def remove_from_nvram(call: Call, vm: Ref, key: str) -> None:
    with operation(call, vm, "changing_NVRAM"), call.db.lock:
        content = call.db.get("VM", vm, "NVRAM")
        content.pop(key, None)
        call.db.set("VM", vm, NVRAM=content)


@message("VM.set_actions_after_crash")
def set_actions_after_crash(call: Call, vm: Ref, value: str) -> None:
    call.db.set("VM", vm, actions_after_crash=value)


@message("VM.set_suspend_VDI")
def set_suspend_vdi(call: Call, vm: Ref, value: Ref) -> None:
    """Another VDI of the same content is the suspended VM's memory from now on."""
    with call.db.lock:
        state = call.db.get("VM", vm, "power_state")
        if state != "Suspended":
            raise bad_power_state(vm, ("Suspended",), state)
        if value != NULL and call.db.get("VDI", value, "type") != "suspend":
            raise Failure("VDI_INCOMPATIBLE_TYPE", value, call.db.get("VDI", value, "type"))
        call.db.set("VM", vm, suspend_VDI=value)


@message("VM.set_start_delay")
def set_start_delay(call: Call, vm: Ref, value: int) -> None:
    _set_non_negative(call, vm, "start_delay", value)


@message("VM.set_shutdown_delay")
def set_shutdown_delay(call: Call, vm: Ref, value: int) -> None:
    _set_non_negative(call, vm, "shutdown_delay", value)


@message("VM.set_order")
def set_order(call: Call, vm: Ref, value: int) -> None:
    _set_non_negative(call, vm, "order", value)


@message("VM.set_ha_restart_priority")
def set_ha_restart_priority(call: Call, vm: Ref, value: str) -> None:
    if value not in ("", "restart", "best-effort"):
        raise Failure("INVALID_VALUE", "ha_restart_priority", value)
    call.db.set("VM", vm, ha_restart_priority=value)


@message("VM.set_ha_always_run")
def set_ha_always_run(call: Call, vm: Ref, value: bool) -> None:
    call.db.set("VM", vm, ha_always_run=value)


def _set_non_negative(call: Call, vm: Ref, field: str, value: int) -> None:
    if value < 0:
        raise Failure("INVALID_VALUE", field, str(value))
    call.db.set("VM", vm, **{field: value})


def _check_halted(call: Call, vm: Ref) -> None:
    state = call.db.get("VM", vm, "power_state")
    if state != "Halted":
        raise bad_power_state(vm, ("Halted",), state)
