# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What running guests can be given without a restart."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from ...model import power_state
from ...model.instance import DISK, Instance, Nic
from .extras import HVM, differing

UNFELT = frozenset(
    {
        *("flavor", "image", "pool", "autostart", "description", "metadata", "locked", "protected"),
        *("firewall", "security_groups", "project", "allow_project_net_traffic"),
    }
)
"""What the guest does not notice of its configuration."""
UNFELT_EXTRAS = frozenset({"template", "other_config", "affinity", "xenstore_data"})
"""The same of the options that only this driver knows. Of ``xenstore_data`` the guest hears where the server can tell
it, and otherwise when it starts."""


def live_options(current: Instance, desired: Instance, options: Collection[str]) -> set[str]:
    """Which of ``options`` can be given their ``desired`` value at once."""
    if current.power_state in power_state.OFF:
        return set(options)
    live = {option for option in options if option in UNFELT}
    if "hypervisor" in options and differing(current.hypervisor, desired.hypervisor) <= UNFELT_EXTRAS:
        live.add("hypervisor")
    if "nics" in options and "nics" not in current.pending and _hardware(current) == _hardware(desired):
        live.add("nics")
    if current.power_state in power_state.EXECUTING:  # the server changes nothing of a paused guest
        live |= {option for option in options if _fits_running(current, desired, option)}
    return live


def split_extras(extras: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those that the guest does not feel, and the others."""
    unfelt = {key: value for key, value in extras.items() if key in UNFELT_EXTRAS}
    return unfelt, {key: value for key, value in extras.items() if key not in UNFELT_EXTRAS}


def _hardware(instance: Instance) -> list[Nic]:
    """What a guest sees of its NICs."""
    return [replace(nic, mac=(nic.mac or "").lower(), addresses=None) for nic in instance.nics or []]


def _fits_running(current: Instance, desired: Instance, option: str) -> bool:
    running = {name: values[0] for name, values in current.pending.items()}

    def has(name: str) -> int:
        return int(running.get(name, getattr(current, name)) or 0)

    if option == "memory_mb":
        return desired.memory_mb is not None and desired.memory_mb <= has("max_memory_mb")
    if option == "vcpus":
        # Guests rarely let go of processors that they have once seen.
        return desired.vcpus is not None and has("vcpus") <= desired.vcpus <= has("max_vcpus")
    if option == "disks":
        return _disks_fit(current, desired)
    return option == "nics"


def _disks_fit(current: Instance, desired: Instance) -> bool:
    """Whether a running guest can be given the new disks. Drives of HVM guests are there from the start, and so are
    disks that these may only read; growth waits for the guest to be off."""
    had = {disk.device: disk for disk in current.disks or []}
    is_hvm = current.hypervisor.get("domain_type") == HVM
    for disk in desired.disks or []:
        old = None if disk.device is None else had.get(disk.device)
        if old is not None:
            if disk.size_bytes not in (None, old.size_bytes):
                return False
        elif disk.kind != DISK or (is_hvm and disk.read_only):
            return False
    return True
