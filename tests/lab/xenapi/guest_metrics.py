# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tools in a guest report: its drivers, what it can do, its addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.xenapi import operations, vm_devices
from lab.xenapi.database import Ref
from lab.xenapi.guest import features, link_local
from lab.xenapi.vm_records import now

if TYPE_CHECKING:
    from lab.xenapi.world import World

_SYSTEM = {
    "name": "Lab Linux 1.0",
    "distro": "lab",
    "major": "1",
    "minor": "0",
    "uname": "6.1.0-lab",
}
_DRIVERS = {"major": "8", "minor": "4", "micro": "0", "build": "1"}


def appear(world: World, vm: Ref) -> None:
    """The tools have started. The caller holds the database's lock."""
    db = world.db
    metrics = db.create(
        "VM_guest_metrics",
        os_version=_SYSTEM,
        PV_drivers_version=_DRIVERS,
        PV_drivers_up_to_date=True,
        PV_drivers_detected=True,
        networks=_addresses(world, vm),
        other=features(),
        live=True,
        can_use_hotplug_vbd="yes",
        can_use_hotplug_vif="yes",
        last_updated=now(),
    )
    db.set("VM", vm, guest_metrics=metrics)
    vm_devices.refresh_devices(db, vm)
    operations.refresh(db, vm)


def refresh(world: World, vm: Ref) -> None:
    """Report the addresses anew; nothing where no tools run."""
    db = world.db
    with db.lock:
        metrics = db.get("VM", vm, "guest_metrics")
        if vm in world.guests and db.exists("VM_guest_metrics", metrics):
            addresses = _addresses(world, vm)
            if addresses != db.get("VM_guest_metrics", metrics, "networks"):
                db.set("VM_guest_metrics", metrics, networks=addresses, last_updated=now())


def set_live(world: World, vm: Ref, live: bool) -> None:
    metrics = world.db.get("VM", vm, "guest_metrics")
    if world.db.exists("VM_guest_metrics", metrics):
        world.db.set("VM_guest_metrics", metrics, live=live, last_updated=now())


def _addresses(world: World, vm: Ref) -> dict[str, str]:
    """Every interface has an address of its own making; those on a network with DHCP have one from there too."""
    addresses: dict[str, str] = {}
    for vif in world.db.get("VM", vm, "VIFs"):
        record = world.db.view("VIF", vif)
        if not record["currently_attached"] or record["locking_mode"] == "disabled":
            continue
        device, dhcp = record["device"], world.dhcp.get(record["network"])
        leased = dhcp.address(record["MAC"]) if dhcp else None
        if leased:
            addresses |= {f"{device}/ip": leased, f"{device}/ipv4/0": leased}
        addresses[f"{device}/ipv6/0"] = link_local(record["MAC"])
    return addresses
