# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PIF and VLAN messages: the hosts' own interfaces."""

from __future__ import annotations

from lab.xenapi.database import Database, Ref
from lab.xenapi.datamodel import NULL
from lab.xenapi.failures import Failure
from lab.xenapi.registry import Call, message

_VLAN_TAGS = range(1, 4095)
_UNTAGGED = -1


@message("PIF.plug")
def plug(call: Call, pif: Ref) -> None:
    call.db.set("PIF", pif, currently_attached=True)


@message("PIF.unplug")
def unplug(call: Call, pif: Ref) -> None:
    db = call.db
    with db.lock:
        if db.get("PIF", pif, "management"):
            raise Failure("PIF_IS_MANAGEMENT_INTERFACE", pif)
        if db.get("PIF", pif, "disallow_unplug"):
            raise Failure("PIF_DOES_NOT_ALLOW_UNPLUG", pif)
        _check_unused(db, pif)
        db.set("PIF", pif, currently_attached=False)


def _check_unused(db: Database, pif: Ref) -> None:
    network, host = db.get("PIF", pif, "network"), db.get("PIF", pif, "host")
    for vif in db.get("network", network, "VIFs"):
        vm = db.get("VIF", vif, "VM")
        if db.get("VIF", vif, "currently_attached") and db.get("VM", vm, "resident_on") == host:
            raise Failure("VIF_IN_USE", network, vif)


@message("PIF.set_disallow_unplug")
def set_disallow_unplug(call: Call, pif: Ref, value: bool) -> None:
    call.db.set("PIF", pif, disallow_unplug=value)


@message("PIF.reconfigure_ip")
def reconfigure_ip(call: Call, pif: Ref, mode: str, address: str, netmask: str, gateway: str, dns: str) -> None:
    db = call.db
    with db.lock:
        if not db.get("PIF", pif, "managed"):
            raise Failure("PIF_UNMANAGED", pif)
        static = mode == "Static"
        if static and not address:
            raise Failure("INVALID_IP_ADDRESS_SPECIFIED", "IP")
        if static and not netmask:
            raise Failure("INVALID_IP_ADDRESS_SPECIFIED", "netmask")
        if mode == "None" and db.get("PIF", pif, "management"):
            raise Failure("PIF_IS_MANAGEMENT_INTERFACE", pif)
        fields = {"IP": address, "netmask": netmask, "gateway": gateway, "DNS": dns}
        kept = fields if static else dict.fromkeys(fields, "")
        db.set("PIF", pif, ip_configuration_mode=mode, **kept)


@message("PIF.scan")
def scan(call: Call, host: Ref) -> None:
    """There are no interfaces that the pool does not know yet."""


@message("PIF.create_VLAN")
def create_vlan(call: Call, device: str, network: Ref, host: Ref, tag: int) -> Ref:
    with call.db.lock:
        tagged = call.db.find("PIF", host=host, device=device, VLAN=_UNTAGGED)
        if not tagged:
            raise Failure("PIF_DEVICE_NOT_FOUND")
        return _make_vlan(call.db, tagged[0], tag, network)[1]


@message("VLAN.create")
def vlan_create(call: Call, tagged_pif: Ref, tag: int, network: Ref) -> Ref:
    with call.db.lock:
        return _make_vlan(call.db, tagged_pif, tag, network)[0]


def _make_vlan(db: Database, tagged: Ref, tag: int, network: Ref) -> tuple[Ref, Ref]:
    """The VLAN and its PIF."""
    device, host = db.get("PIF", tagged, "device"), db.get("PIF", tagged, "host")
    if tag not in _VLAN_TAGS:
        raise Failure("VLAN_TAG_INVALID", str(tag))
    existing = db.find("PIF", host=host, device=device, VLAN=tag)
    if existing:
        raise Failure("PIF_VLAN_EXISTS", existing[0])
    for pif in db.get("network", network, "PIFs"):
        if db.get("PIF", pif, "host") == host:
            raise Failure("NETWORK_ALREADY_CONNECTED", network, pif)
    pif = db.create(
        "PIF", device=device, host=host, network=network, VLAN=tag, MAC=db.get("PIF", tagged, "MAC"),
        MTU=db.get("PIF", tagged, "MTU"), physical=False, currently_attached=True,
        metrics=db.get("PIF", tagged, "metrics"),
    )  # fmt: skip
    vlan = db.create("VLAN", tagged_PIF=tagged, untagged_PIF=pif, tag=tag)
    db.set("PIF", pif, VLAN_master_of=vlan)
    return vlan, pif


@message("VLAN.destroy")
def vlan_destroy(call: Call, vlan: Ref) -> None:
    with call.db.lock:
        _remove_vlan(call.db, vlan)


@message("PIF.destroy")
def destroy(call: Call, pif: Ref) -> None:
    with call.db.lock:
        vlan = call.db.get("PIF", pif, "VLAN_master_of")
        if vlan == NULL:
            raise Failure("PIF_IS_PHYSICAL", pif)
        _remove_vlan(call.db, vlan)


def _remove_vlan(db: Database, vlan: Ref) -> None:
    pif = db.get("VLAN", vlan, "untagged_PIF")
    _check_unused(db, pif)
    db.destroy("VLAN", vlan)
    db.destroy("PIF", pif)
