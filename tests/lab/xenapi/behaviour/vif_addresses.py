# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VIF messages about addresses: those that a locked interface may use, and those that its guest is given.

A license is asked for by what turns locking on, never by what turns it off.
"""

from __future__ import annotations

from lab.xenapi import locking_rules
from lab.xenapi.database import Ref
from lab.xenapi.locking_rules import LOCKED
from lab.xenapi.registry import Call, message


@message("VIF.set_locking_mode")
def set_locking_mode(call: Call, vif: Ref, value: str) -> None:
    with call.db.lock:
        if locking_rules.effective_mode(call.db, vif, value) == LOCKED:
            locking_rules.check_no_controller(call.db)
            locking_rules.check_licensed(call.db)
        call.db.set("VIF", vif, locking_mode=value)


@message("VIF.set_ipv4_allowed")
def set_ipv4_allowed(call: Call, vif: Ref, value: list[str]) -> None:
    _set_allowed(call, vif, value, 4)


@message("VIF.set_ipv6_allowed")
def set_ipv6_allowed(call: Call, vif: Ref, value: list[str]) -> None:
    _set_allowed(call, vif, value, 6)


@message("VIF.add_ipv4_allowed")
def add_ipv4_allowed(call: Call, vif: Ref, value: str) -> None:
    _add_allowed(call, vif, value, 4)


@message("VIF.add_ipv6_allowed")
def add_ipv6_allowed(call: Call, vif: Ref, value: str) -> None:
    _add_allowed(call, vif, value, 6)


@message("VIF.remove_ipv4_allowed")
def remove_ipv4_allowed(call: Call, vif: Ref, value: str) -> None:
    _remove_allowed(call, vif, "ipv4_allowed", value)


@message("VIF.remove_ipv6_allowed")
def remove_ipv6_allowed(call: Call, vif: Ref, value: str) -> None:
    _remove_allowed(call, vif, "ipv6_allowed", value)


@message("VIF.configure_ipv4")
def configure_ipv4(call: Call, vif: Ref, mode: str, address: str, gateway: str) -> None:
    _configure(call, vif, 4, mode, address, gateway)


@message("VIF.configure_ipv6")
def configure_ipv6(call: Call, vif: Ref, mode: str, address: str, gateway: str) -> None:
    _configure(call, vif, 6, mode, address, gateway)


def _set_allowed(call: Call, vif: Ref, addresses: list[str], version: int) -> None:
    field = f"ipv{version}_allowed"
    with call.db.lock:
        if addresses:
            locking_rules.check_licensed(call.db)
        for address in addresses:
            locking_rules.check_address(address, version, field)
        call.db.set("VIF", vif, **{field: list(dict.fromkeys(addresses))})


def _add_allowed(call: Call, vif: Ref, address: str, version: int) -> None:
    field = f"ipv{version}_allowed"
    with call.db.lock:
        locking_rules.check_licensed(call.db)
        locking_rules.check_address(address, version, field)
        allowed = call.db.get("VIF", vif, field)
        if address not in allowed:
            call.db.set("VIF", vif, **{field: [*allowed, address]})


def _remove_allowed(call: Call, vif: Ref, field: str, address: str) -> None:
    with call.db.lock:
        allowed = [other for other in call.db.get("VIF", vif, field) if other != address]
        call.db.set("VIF", vif, **{field: allowed})


def _configure(call: Call, vif: Ref, version: int, mode: str, address: str, gateway: str) -> None:
    static = mode == "Static"
    if static:
        locking_rules.check_cidr(address, version, "address")
        locking_rules.check_unlocked_address(call.db, vif, address, version)
    if static and gateway:
        locking_rules.check_address(gateway, version, "gateway")
    prefix = f"ipv{version}"
    call.db.set(
        "VIF",
        vif,
        **{
            f"{prefix}_configuration_mode": mode,
            f"{prefix}_addresses": [address] if static else [],
            f"{prefix}_gateway": gateway if static else "",
        },
    )
