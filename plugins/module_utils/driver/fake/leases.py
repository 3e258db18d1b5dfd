# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest's network cards have got from DHCP."""

from __future__ import annotations

from ...model.instance import Address
from .guest import Look
from .store import Record


def leases_of(record: Record, seen: Look, source: str) -> list[Address]:
    """The addresses of a guest that has booted: those of networks from the lease, of bridges only from within."""
    if not seen.ready:
        return []
    kinds = ("network", "bridge") if source == "agent" else ("network",)
    found = []
    for nic in record["running"].get("nics", []):
        lease = record["leases"].get(nic.get("mac"))
        if lease is not None and any(kind in nic for kind in kinds):
            found.append(Address(nic["mac"], lease["address"], lease["prefix"], source))
    return found
