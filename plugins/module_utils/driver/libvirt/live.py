# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What running guests can be given, and giving it to them, with the way back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ...model import power_state
from ...model.instance import DISK, Disk, Instance, Nic
from ...undo import Undo, UndoStack
from .check import CheckMixin
from .domain import Domain
from .domain_filters import NWFILTER
from .domain_nics import change_nic, nic_elements, read_nic
from .filtering import waits_for_restart
from .filterrecord import FILTER_OPTIONS
from .hotplug import HotplugMixin, by_device, by_mac, fresh_device, text_of_device

if TYPE_CHECKING:
    import libvirt

UNFELT = frozenset({"flavor", "image", "pool", "autostart", "description", "metadata", "locked", "protected"})
"""What the guest does not notice of its configuration."""

PLUGGABLE = power_state.ACTIVE - {power_state.SHUTDOWN}
"""States in which a guest can be given memory, processors and devices."""

_HOT_BUSES = ("virtio", "scsi", "usb", "xen")


class LiveMixin(CheckMixin, HotplugMixin):
    """Changes that a running guest feels at once."""

    def live_options(self, current: Instance, desired: Instance, options: Collection[str]) -> set[str]:
        if current.power_state in power_state.OFF:
            return set(options)
        live = {option for option in options if option in UNFELT}
        live |= self._filters_fit(current, desired, options)
        if current.power_state in PLUGGABLE:
            live |= {option for option in options if self._fits_running(current, desired, option)}
        return live

    def _fits_running(self, current: Instance, desired: Instance, option: str) -> bool:
        running = {name: values[0] for name, values in current.pending.items()}

        def has(name: str) -> int:
            return int(running.get(name, getattr(current, name)) or 0)

        if option == "memory_mb":
            fits = desired.memory_mb is not None and desired.memory_mb <= has("max_memory_mb")
            return fits and self.supports("memory_live")
        if option == "vcpus":
            # QEMU cannot take away the processors that a guest was started with.
            least = has("vcpus") if self.kind == "qemu" else 1
            fits = desired.vcpus is not None and least <= desired.vcpus <= has("max_vcpus")
            return fits and self.supports("vcpus_live")
        if option == "nics":
            return self.supports("nics_live") and not _models_change(
                running.get("nics", current.nics) or [], desired.nics or []
            )
        return option == "disks" and self._disks_fit(current, desired)

    def _filters_fit(self, current: Instance, desired: Instance, options: Collection[str]) -> set[str]:
        """The options about filters, which no guest feels. Containers that run cannot be given their first ones."""
        named = set(options) & set(FILTER_OPTIONS)
        firewall = (desired.firewall if "firewall" in options else current.firewall) or NWFILTER
        now = current.pending.get("firewall", (current.firewall,))[0]
        groups = current.security_groups if desired.security_groups is None else desired.security_groups
        had = now if current.security_groups is not None else None
        if groups is not None and waits_for_restart(self.kind, had, firewall):
            named -= {"firewall", "security_groups"}
        if "nics" in options and _without_addresses(current.nics) == _without_addresses(desired.nics):
            named.add("nics")
        return named

    def _disks_fit(self, current: Instance, desired: Instance) -> bool:
        if self.kind == "lxc":
            return False
        had = {disk.device: disk for disk in current.disks or []}
        for disk in desired.disks or []:
            old = None if disk.device is None else had.get(disk.device)
            if old is None:
                if disk.kind != DISK or (disk.bus is not None and disk.bus not in _HOT_BUSES):
                    return False
            elif disk.size_bytes != old.size_bytes and not self.supports("root_grow_live"):
                return False
        return True

    def change_running(
        self,
        handle: libvirt.virDomain,
        config: Domain,
        desired: Instance,
        live: Collection[str],
        new_disks: Sequence[Disk],
        done: UndoStack,
    ) -> None:
        """Give the running guest the ``live`` options.

        Args:
            config: The configuration with the changes in it.
            new_disks: Disks that are new in it.
        """
        with self.guard(f"change the running instance {config.name!r}", config.name):
            running = Domain.parse(handle.XMLDesc(self.libvirt.VIR_DOMAIN_XML_SECURE))
            if "disks" in live:
                for disk in new_disks:
                    self._plug_disk(handle, running, config, disk.device or "", done)
            if "nics" in live:
                self._change_nics(handle, running, config, desired.nics or [], done)
            self._change_sizes(handle, running.to_instance(), desired, live, done)

    def _plug_disk(
        self, handle: libvirt.virDomain, running: Domain, config: Domain, device: str, done: UndoStack
    ) -> None:
        element = by_device(device)(config.root)
        if element is not None:
            self.plug(handle, running.root, element)
            done.push(f"unplug disk {device}", lambda: self.unplug(handle, f"disk {device}", by_device(device)))

    def _change_nics(
        self, handle: libvirt.virDomain, running: Domain, config: Domain, wanted: Sequence[Nic], done: UndoStack
    ) -> None:
        had = {read_nic(element).mac: element for element in nic_elements(running.root)}
        macs = {nic.mac for nic in wanted}
        for mac, element in had.items():
            if mac is not None and mac not in macs:
                self.unplug(handle, f"NIC {mac}", by_mac(mac))
                text = text_of_device(fresh_device(element))
                done.push(f"plug NIC {mac} in again", self._attaching(handle, text))
        for nic in wanted:
            if nic.mac is None:
                continue
            old, new = had.get(nic.mac), by_mac(nic.mac)(config.root)
            if old is None and new is not None:
                self.plug(handle, running.root, new)
                done.push(f"unplug NIC {nic.mac}", self._unplugging(handle, nic.mac))
            elif old is not None and _place(read_nic(old)) != _place(nic):
                flag = self.libvirt.VIR_DOMAIN_AFFECT_LIVE
                handle.updateDeviceFlags(text_of_device(change_nic(old, nic)), flag)
                done.push(f"put NIC {nic.mac} back", self._updating(handle, text_of_device(old)))

    def _change_sizes(
        self, handle: libvirt.virDomain, now: Instance, desired: Instance, live: Collection[str], done: UndoStack
    ) -> None:
        flag = self.libvirt.VIR_DOMAIN_AFFECT_LIVE
        old_mb, new_mb = now.memory_mb, desired.memory_mb
        if "memory_mb" in live and old_mb is not None and new_mb is not None and new_mb != old_mb:
            handle.setMemoryFlags(new_mb * 1024, flag)
            done.push("give the guest the memory it had", lambda: _drop(handle.setMemoryFlags(old_mb * 1024, flag)))
        old, new = now.vcpus, desired.vcpus
        if "vcpus" in live and old is not None and new is not None and new != old:
            handle.setVcpusFlags(new, flag)
            done.push("give the guest the vCPUs it had", lambda: _drop(handle.setVcpusFlags(old, flag)))

    def _attaching(self, handle: libvirt.virDomain, text: str) -> Undo:
        return lambda: _drop(handle.attachDeviceFlags(text, self.libvirt.VIR_DOMAIN_AFFECT_LIVE))

    def _updating(self, handle: libvirt.virDomain, text: str) -> Undo:
        return lambda: _drop(handle.updateDeviceFlags(text, self.libvirt.VIR_DOMAIN_AFFECT_LIVE))

    def _unplugging(self, handle: libvirt.virDomain, mac: str) -> Undo:
        return lambda: self.unplug(handle, f"NIC {mac}", by_mac(mac))


def _place(nic: Nic) -> tuple[str | None, str | None]:
    return nic.network, nic.bridge


def _without_addresses(nics: Sequence[Nic] | None) -> list[Nic]:
    return [replace(nic, addresses=None) for nic in nics or ()]


def _models_change(running: Sequence[Nic], wanted: Sequence[Nic]) -> bool:
    models = {nic.mac: nic.model for nic in running}
    return any(nic.model not in (None, models.get(nic.mac, nic.model)) for nic in wanted)


def _drop(_result: object) -> None:
    """Undo actions return nothing."""
