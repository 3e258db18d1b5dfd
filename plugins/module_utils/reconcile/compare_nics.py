# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which network interfaces an instance has, and which ones a task wants."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..model.instance import Instance, Nic
from .desired import Desired

if TYPE_CHECKING:
    from .compare import Comparison


def compare_nics(current: Instance, wanted: Desired, found: Comparison) -> None:
    """A NIC is known by its MAC address; one declared without is any on the declared network. One that fits none is
    added, and those that no declaration fits stay, unless ``purge_networks`` takes them away."""
    declared = wanted.instance.nics or []
    nics = list(current.nics or [])
    pairs = _match(declared, nics)
    whole: list[Nic] = list(nics)
    changed: list[tuple[str, Any, Any]] = []
    allowed: list[tuple[str, Any, Any]] = []
    for number, (nic, index) in enumerate(zip(declared, pairs)):
        option = f"networks[{number}]"
        if index is None:
            whole.append(nic)
            changed.append((option, None, nic_as_dict(nic)))
            continue
        old = nics[index]
        place: dict[str, Any] = {"network": nic.network, "bridge": nic.bridge}
        if place != {"network": old.network, "bridge": old.bridge}:
            changed.append((option, nic_as_dict(old), nic_as_dict(replace(old, **place))))
            whole[index] = replace(whole[index], **place)
        if nic.model is not None and nic.model != old.model:
            changed.append((f"{option}.model", old.model, nic.model))
            whole[index] = replace(whole[index], model=nic.model)
        if nic.addresses is not None and nic.addresses != sorted(old.addresses or ()):
            allowed.append((f"{option}.addresses", old.addresses, nic.addresses))
            whole[index] = replace(whole[index], addresses=nic.addresses)
    if wanted.purge_networks:
        kept = {index for index in pairs if index is not None}
        gone = [index for index in range(len(nics)) if index not in kept]
        changed += [("networks", nic_as_dict(nics[index]), None) for index in gone]
        whole = [nic for index, nic in enumerate(whole) if index not in gone]
    for option, old_value, new_value in [*changed, *allowed]:
        found.add(option, "nics", old_value, new_value, whole)
    if changed or allowed:
        found.declared.nics = declared
    if allowed and not changed:
        found.unfelt.add("nics")


def _match(declared: list[Nic], nics: list[Nic]) -> list[int | None]:
    """For each declared NIC the index of the one that it is, if any."""
    free = set(range(len(nics)))
    pairs: list[int | None] = [None] * len(declared)
    named = {nic.mac: number for number, nic in enumerate(declared) if nic.mac is not None}
    for index, nic in enumerate(nics):
        number = named.get(nic.mac.lower()) if nic.mac else None
        if number is not None:
            pairs[number] = index
            free.discard(index)
    for number, nic in enumerate(declared):
        if nic.mac is None:
            fitting = [
                index
                for index in sorted(free)
                if (nics[index].network, nics[index].bridge) == (nic.network, nic.bridge)
            ]
            if fitting:
                pairs[number] = fitting[0]
                free.discard(fitting[0])
    return pairs


def nic_as_dict(nic: Nic) -> dict[str, Any]:
    """As the option ``networks`` has it."""
    return {key: value for key, value in vars(nic).items() if value is not None}
