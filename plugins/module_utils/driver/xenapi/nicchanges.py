# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Network interfaces of instances that exist."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ...model.instance import Nic
from ...undo import UndoStack
from .devicechanges import VIF, DeviceChangesMixin
from .metadata import BY_BRIDGE, KEY
from .records import Object
from .vmfields import new_vif


class NicChangesMixin(DeviceChangesMixin):
    """Changes of network interfaces."""

    def complete_new_nics(self, name: str, wanted: Sequence[Nic], had: Sequence[Nic]) -> list[Nic]:
        """The wanted NICs with an address each. Those that are new are looked after: is their network there, and is
        their address free?"""
        taken = [nic.mac for nic in had if nic.mac]
        new = [nic for nic in wanted if nic.mac is None or nic.mac.lower() not in taken]
        moved = [nic for nic in wanted if nic not in new and nic not in had]
        self.require_nics(name, [*new, *moved])
        completed = iter(self.complete_nics(name, new, taken))
        return [next(completed) if nic in new else nic for nic in wanted]

    def change_nics(self, ref: str, vm: Object, wanted: Sequence[Nic], done: UndoStack) -> None:
        """Give a VM, and its guest where that runs, exactly these NICs.

        A NIC is known by its address, which stays when it moves to another network.
        """
        name = vm["name_label"]
        networks = {nic.mac: self.find_network(nic).ref for nic in wanted if nic.network or nic.bridge}
        with self.guard(f"change the network interfaces of instance {name!r}", name):
            before = self.devices_of(VIF, ref)
            done.push("put back the network interfaces", lambda: self.restore_devices(VIF, ref, name, before))
            there = {vif["MAC"].lower(): one for one, vif in before.items()}
            macs = {nic.mac for nic in wanted}
            for mac, one in there.items():
                if mac not in macs:
                    self.remove_device(VIF, one, before[one])
            numbers = _free_numbers({vif["device"] for vif in before.values() if vif["MAC"].lower() in macs})
            for nic in wanted:
                found = there.get(nic.mac or "")
                if found is None:
                    new = str(self.call("VIF.create", new_vif(ref, nic, networks[nic.mac], next(numbers))))
                    if vm["power_state"] == "Running":
                        self.plug(VIF, new, name)
                elif nic.mac in networks:
                    vif = before[found]
                    self.move_vif(found, vif, networks[nic.mac], _other_config(vif, nic))


def _free_numbers(taken: set[str]) -> itertools.filterfalse[int]:
    return itertools.filterfalse(lambda number: str(number) in taken, itertools.count())


def _other_config(vif: Object, nic: Nic) -> dict[str, str]:
    """With a note on how the task names the network."""
    kept = {key: value for key, value in vif["other_config"].items() if key != KEY}
    return {**kept, KEY: BY_BRIDGE} if nic.network is None else kept
