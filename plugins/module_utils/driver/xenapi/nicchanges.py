# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Network interfaces of instances that exist."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ...model.instance import Nic
from ...undo import UndoStack
from .devicechanges import VIF
from .metadata import BY_BRIDGE, KEY
from .records import Object
from .viflocks import VifLocksMixin
from .vmfields import new_vif

_MOST = 7
"""How many NICs servers are sure to let a VM have; their numbers begin with 0."""


class NicChangesMixin(VifLocksMixin):
    """Changes of network interfaces."""

    def complete_new_nics(self, name: str, wanted: Sequence[Nic], had: Sequence[Nic]) -> list[Nic]:
        """The wanted NICs with a MAC address each, and with what their guest may use: what it had, unless something is
        said of it. Those that are new are looked after: is their network there, and is their address free?"""
        allowed = {nic.mac: nic.addresses for nic in had}
        wanted = [nic if nic.mac is None else replace(nic, mac=nic.mac.lower()) for nic in wanted]
        wanted = [
            replace(nic, addresses=sorted(nic.addresses or ()) or None)
            if nic.addresses is not None
            else replace(nic, addresses=allowed.get(nic.mac))
            for nic in wanted
        ]
        places = {nic.mac: (nic.network, nic.bridge) for nic in had if nic.mac}
        taken = list(places)
        new = [nic for nic in wanted if nic.mac is None or nic.mac not in places]
        moved = [nic for nic in wanted if nic not in new and places[nic.mac or ""] != (nic.network, nic.bridge)]
        self.require_nics(name, [*new, *moved])
        completed = iter(self.complete_nics(name, new, taken))
        return [next(completed) if nic in new else nic for nic in wanted]

    def change_nics(self, ref: str, vm: Object, wanted: Sequence[Nic], filtered: bool, done: UndoStack) -> None:
        """Give a VM, and its guest where that runs, exactly these NICs.

        A NIC is known by its address, which stays when it moves to another network.

        Args:
            filtered: New ones are locked from the beginning; the others are left as they are in this.
        """
        name = vm["name_label"]
        with self.guard(f"change the network interfaces of instance {name!r}", name):
            before = self.devices_of(VIF, ref)
            there = {vif["MAC"].lower(): one for one, vif in before.items()}
            changing = [nic for nic in wanted if nic.mac not in there or self._moves(before[there[nic.mac]], nic)]
            networks = {nic.mac: self.find_network(nic).ref for nic in changing}
            done.push("put back the network interfaces", lambda: self.restore_devices(VIF, ref, name, before))
            macs = {nic.mac for nic in wanted}
            for mac, one in there.items():
                if mac not in macs:
                    self.remove_device(VIF, one, name, before[one])
            numbers = _free_numbers({vif["device"] for vif in before.values() if vif["MAC"].lower() in macs})
            for nic in changing:
                found = there.get(nic.mac or "")
                if found is None:
                    new = str(self.call("VIF.create", new_vif(ref, nic, networks[nic.mac], next(numbers), filtered)))
                    if vm["power_state"] == "Running":
                        self.plug(VIF, new, name)
                else:
                    vif = before[found]
                    self.move_vif(found, vif, networks[nic.mac], _other_config(vif, nic))

    def _moves(self, vif: Object, nic: Nic) -> bool:
        """Whether a NIC is to be elsewhere, or the same place is called by another name. That of one that stays need
        not be looked up: several networks may have its name."""
        if not (nic.network or nic.bridge):
            return False
        network = self.places().networks.get(vif["network"])
        if network is None:
            return True
        is_by_bridge = vif["other_config"].get(KEY) == BY_BRIDGE
        now = (None, network["bridge"]) if is_by_bridge else (network["name_label"], None)
        return now != (nic.network, nic.bridge)


def _free_numbers(taken: set[str]) -> Iterator[int]:
    """Numbers for new NICs: behind those that are there, so that the guest's order stays, as long as there are any."""
    used = {int(number) for number in taken if number.isdecimal()}
    numbers = itertools.chain(range(max(used, default=-1) + 1, _MOST), itertools.count())
    for number in numbers:
        if number not in used:
            used.add(number)
            yield number


def _other_config(vif: Object, nic: Nic) -> dict[str, str]:
    """With a note on how the task names the network."""
    kept = {key: value for key, value in vif["other_config"].items() if key != KEY}
    return {**kept, KEY: BY_BRIDGE} if nic.network is None else kept
