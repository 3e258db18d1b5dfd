# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses of instances: what the agents in the guests tell the pool."""

from __future__ import annotations

import re
from collections.abc import Collection

from ...model import power_state
from ...model.instance import Address
from .instances import InstancesMixin, choose
from .records import Object, state_of

_KEY = re.compile(r"(\d+)/(?:ip|ipv[46]/\d+)")
"""VIF's device, and which of its addresses: ``0/ip`` is the first one once more."""


class AddressesMixin(InstancesMixin):
    """Finding addresses."""

    def get_addresses(self, names: Collection[str], ask_guest: bool = False) -> dict[str, list[Address]]:
        """As the contract says. What the guests' agents tell is known to the pool, so none is asked."""
        with self.guard("read the instances' addresses"):
            vms = choose(self.find_vms(names), strictly=False)
            active = {ref: vm for ref, vm in vms.items() if state_of(vm) in power_state.ACTIVE}
            told = self.fetch_of("VM_guest_metrics", active.values(), "guest_metrics")
            vifs = self.fetch_devices("VIF", [ref for ref, vm in active.items() if vm["guest_metrics"] in told])
        return {
            vm["name_label"]: _addresses(told[vm["guest_metrics"]], vifs[ref]) if ref in vifs else []
            for ref, vm in active.items()
        }


def _addresses(metrics: Object, vifs: Collection[Object]) -> list[Address]:
    macs = {vif["device"]: vif["MAC"].lower() for vif in vifs}
    found: dict[Address, None] = {}
    for key, text in sorted(metrics["networks"].items()):
        match = _KEY.fullmatch(key)
        if match is not None and match.group(1) in macs:
            found[Address(macs[match.group(1)], text, None, "metrics")] = None
    return list(found)
