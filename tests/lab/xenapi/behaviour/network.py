# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""network messages."""

from __future__ import annotations

import itertools
from typing import Any

from lab.xenapi import locking_rules, vm_devices
from lab.xenapi.database import Database, Ref
from lab.xenapi.failures import Failure
from lab.xenapi.registry import Call, message

_RESERVED = ("xen", "xapi", "vif", "tap", "eth")
_LONGEST_NAME = 15
_USUAL_MTU = 1500
_INTERNAL = "is_host_internal_management_network"
_OPPOSITE = {"nbd": "insecure_nbd", "insecure_nbd": "nbd"}


@message("network.create")
def create(call: Call, args: dict[str, Any]) -> Ref:
    db = call.db
    with db.lock:
        bridges = {db.get("network", network, "bridge") for network in db.refs("network")}
        bridge = args["bridge"] or _next_bridge(bridges)
        if args["bridge"] and (len(bridge) > _LONGEST_NAME or bridge.startswith(_RESERVED)):
            raise Failure("INVALID_VALUE", "bridge", bridge)
        if bridge in bridges:
            raise Failure("BRIDGE_NAME_EXISTS", bridge)
        mtu = args["MTU"] if args["MTU"] > 0 else _USUAL_MTU
        return db.create("network", **{**args, "bridge": bridge, "MTU": mtu})


def _next_bridge(bridges: set[str]) -> str:
    return next(name for name in (f"xapi{number}" for number in itertools.count()) if name not in bridges)


@message("network.destroy")
def destroy(call: Call, network: Ref) -> None:
    """Remove a network, and the interfaces of halted VMs on it."""
    db = call.db
    with db.lock:
        vifs = db.get("network", network, "VIFs")
        attached = _attached(db, vifs)
        if attached:
            raise Failure("NETWORK_CONTAINS_VIF", attached[0])
        pifs = db.get("network", network, "PIFs")
        if pifs:
            raise Failure("NETWORK_CONTAINS_PIF", pifs[0])
        if db.get("network", network, "other_config").get(_INTERNAL) == "true":
            raise Failure("CANNOT_DESTROY_SYSTEM_NETWORK", network)
        for vif in vifs:
            vm_devices.destroy_vif(db, vif)
        db.destroy("network", network)


def _attached(db: Database, vifs: list[Ref]) -> list[Ref]:
    return [vif for vif in vifs if db.get("VIF", vif, "currently_attached")]


@message("network.set_default_locking_mode")
def set_default_locking_mode(call: Call, network: Ref, value: str) -> None:
    with call.db.lock:
        if value == locking_rules.DISABLED:
            locking_rules.check_licensed(call.db)
            locking_rules.check_no_controller(call.db)
        attached = _attached(call.db, call.db.get("network", network, "VIFs"))
        if attached:
            raise Failure("VIF_IN_USE", network, attached[0])
        call.db.set("network", network, default_locking_mode=value)


@message("network.add_purpose")
def add_purpose(call: Call, network: Ref, value: str) -> None:
    db = call.db
    with db.lock:
        taken = {purpose for other in db.refs("network") for purpose in db.get("network", other, "purpose")}
        if _OPPOSITE[value] in taken:
            raise Failure("NETWORK_INCOMPATIBLE_PURPOSES", value, _OPPOSITE[value])
        purposes = db.get("network", network, "purpose")
        if value not in purposes:
            db.set("network", network, purpose=[*purposes, value])


@message("network.remove_purpose")
def remove_purpose(call: Call, network: Ref, value: str) -> None:
    with call.db.lock:
        kept = [purpose for purpose in call.db.get("network", network, "purpose") if purpose != value]
        call.db.set("network", network, purpose=kept)
