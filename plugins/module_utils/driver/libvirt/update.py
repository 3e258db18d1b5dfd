# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing what an instance is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ...errors import InvalidInput, InvalidPowerState, Problem, Unsupported
from ...model import power_state
from ...model.instance import Disk, Instance, Nic
from ...undo import Undo, UndoStack
from ..needs import needed_features
from .complete import seed_disk
from .domain import Domain
from .domain_disks import SEED, device_names
from .domain_filters import NWFILTER
from .domain_nics import read_nics
from .filtering import concerns_filters
from .live import PLUGGABLE, LiveMixin
from .resize import ResizeMixin
from .states import to_power_state

if TYPE_CHECKING:
    import libvirt


class UpdateMixin(LiveMixin, ResizeMixin):
    """Configuration and running guest, changed together or apart."""

    def update_instance(
        self, current: Instance, desired: Instance, options: Collection[str], live: Collection[str]
    ) -> Undo:
        name = current.name
        handle = self.lookup(name)
        old_text = self._config_text(name, handle)
        old = Domain.parse(old_text)
        desired = self._complete_changes(old, current, desired, options)
        if "security_groups" in options:
            options = {*options, "firewall"}
        devices = device_names(old.root)
        new_disks = [disk for disk in desired.disks or [] if disk.device not in devices] if _has_disks(options) else []
        active = self._is_pluggable(handle)
        done = UndoStack()
        with done:
            changed = self._begin_filtering(handle, old, desired, options, done)
            desired = self.change_volumes(current, desired, options, new_disks, done)
            new_disks = [disk for disk in desired.disks or [] if disk.device not in devices] if new_disks else []
            config = self._redefine(handle, old, old_text, desired, options, done)
            if "autostart" in options:
                self._set_autostart(name, handle, bool(desired.autostart), done)
            if active and live:
                self.change_running(handle, config, desired, live, new_disks, done)
            if changed is not None:
                self.drop_unplugged(handle, old, changed, done)
                self.refresh_members(self.changed_memberships(old, changed))
            if "disks" in options:
                self.grow_disks(name, handle if active else None, current, desired, done)
        self.forget(name)

        def take_back() -> None:
            self.forget(name)
            done.take_back(f"the changes of {name!r}")

        return take_back

    def balloon_memory(self, name: str, memory_mb: int) -> None:
        self.require("memory_live")
        handle = self.lookup(name)
        with self.guard(f"set the memory of instance {name!r}", name):
            state, most, *_rest = self.info_of(handle)
            if to_power_state(state) not in power_state.EXECUTING:
                raise InvalidPowerState(
                    f"instance {name!r} is {power_state.name(to_power_state(state))}; only a running guest can be "
                    "given memory"
                )
            if not 0 < memory_mb * 1024 <= most:
                limit = f"must be between 1 and its maximum of {most // 1024}"
                raise InvalidInput([Problem("memory_mb", limit)])
            handle.setMemoryFlags(memory_mb * 1024, self.libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def plug_vifs(self, name: str, nics: Sequence[Nic]) -> None:
        now = self._nics_of(name)
        added = self.complete_nics(name, nics, [nic.mac for nic in now if nic.mac])
        self._put_nics(name, [*now, *added])

    def unplug_vifs(self, name: str, macs: Collection[str]) -> None:
        gone = {mac.lower() for mac in macs}
        now = self._nics_of(name)
        kept = [nic for nic in now if nic.mac not in gone]
        if len(kept) != len(now):
            self._put_nics(name, kept)

    # -- parts of an update -----------------------------------------------------------------------------------------

    def _nics_of(self, name: str) -> list[Nic]:
        return read_nics(Domain.parse(self._config_text(name, self.lookup(name))).root)

    def _put_nics(self, name: str, nics: list[Nic]) -> None:
        active = self._is_pluggable(self.lookup(name))
        self.require("nics_live" if active else "nics")
        self.update_instance(Instance(name), Instance(name, nics=nics), {"nics"}, {"nics"} if active else set())

    def _config_text(self, name: str, handle: libvirt.virDomain) -> str:
        """The configuration, with its secrets: without them a new definition would lose them.

        Raises:
            Unsupported: it has none, since it was only started, never defined.
        """
        lib = self.libvirt
        with self.guard(f"read the configuration of instance {name!r}", name):
            if not handle.isPersistent():
                raise Unsupported(
                    f"the libvirt driver cannot change instance {name!r}: it is transient, gone when it stops; "
                    "define it first"
                )
            return str(handle.XMLDesc(lib.VIR_DOMAIN_XML_INACTIVE | lib.VIR_DOMAIN_XML_SECURE))

    def _is_pluggable(self, handle: libvirt.virDomain) -> bool:
        with self.guard("read the state of an instance"):
            return to_power_state(handle.state()[0]) in PLUGGABLE

    def _complete_changes(
        self, old: Domain, current: Instance, desired: Instance, options: Collection[str]
    ) -> Instance:
        """``desired`` with the names that the driver gives to new disks and NICs."""
        for option, feature in needed_features(desired):
            if option.partition("[")[0].partition(".")[0] in options:
                self.require(feature)
        if "firewall" in options:
            desired = replace(desired, firewall=desired.firewall or NWFILTER)
        elif "security_groups" in options:
            desired = replace(desired, firewall=old.record.filtering.firewall or NWFILTER)
        if "nics" in options:
            had = [nic.mac for nic in read_nics(old.root) if nic.mac]
            new = [nic for nic in desired.nics or [] if nic.mac not in had]
            self.require_nics(current.name, new)
            desired = replace(desired, nics=_complete_all(self, current.name, desired.nics or [], had))
        if not _has_disks(options):
            return desired
        known = old.to_instance().disks or []
        disks = list((desired.disks if "disks" in options else None) or known)
        if "cloud_init" in options and not any(disk.role == SEED for disk in disks):
            disks.append(seed_disk())
        taken = device_names(old.root)
        new_disks = [disk for disk in disks if disk.device not in taken]
        whole = replace(desired, name=current.name, pool=desired.pool or current.pool)
        self._require_new_disks(whole, new_disks)
        completed = self.complete_disks(whole, new_disks, self.host_facts(old.to_instance()), taken)
        return replace(whole, disks=[disk for disk in disks if disk.device in taken] + completed)

    def _require_new_disks(self, instance: Instance, new_disks: Sequence[Disk]) -> None:
        if new_disks:
            checked = Instance(instance.name, pool=instance.pool, pool_path=instance.pool_path, disks=list(new_disks))
            self.require_host_has(checked)

    def _begin_filtering(
        self, handle: libvirt.virDomain, old: Domain, desired: Instance, options: Collection[str], done: UndoStack
    ) -> Domain | None:
        """Put the filters in place that the changed configuration is going to need; it, where that concerns any."""
        if not concerns_filters(options):
            return None
        changed = old.copy()
        changed.apply(desired, [option for option in options if concerns_filters([option])])
        if not (old.record.filtering.is_known_to_groups or changed.record.filtering.is_known_to_groups):
            return None
        memberships = self.changed_memberships(old, changed)
        if memberships:
            done.push("put back who is in its groups", lambda: self.refresh_members(memberships))
        self.change_filters(handle, old, changed, done)
        return changed

    def _redefine(
        self,
        handle: libvirt.virDomain,
        old: Domain,
        old_text: str,
        desired: Instance,
        options: Collection[str],
        done: UndoStack,
    ) -> Domain:
        """Write the configuration if anything in it changes; the configuration as libvirt has it then."""
        name = old.name
        before = old.text()
        changed = old.copy()
        changed.apply(desired, options, self.console_log_path(name))
        if changed.text() == before:
            return old
        with self.guard(f"change the configuration of instance {name!r}", name):
            self.conn.defineXML(changed.text())
            done.push("put back the configuration", lambda: self._define_again(name, old_text))
        return Domain.parse(self._config_text(name, handle))

    def _define_again(self, name: str, text: str) -> None:
        with self.guard(f"put back the configuration of instance {name!r}", name):
            self.conn.defineXML(text)

    def _set_autostart(self, name: str, handle: libvirt.virDomain, wanted: bool, done: UndoStack) -> None:
        with self.guard(f"set whether instance {name!r} starts with the host", name):
            before = bool(handle.autostart())
            if before != wanted:
                handle.setAutostart(int(wanted))
                done.push("put back whether it starts with the host", lambda: handle.setAutostart(int(before)) and None)


def _has_disks(options: Collection[str]) -> bool:
    return "disks" in options or "cloud_init" in options


def _complete_all(driver: UpdateMixin, name: str, nics: Sequence[Nic], had: Sequence[str]) -> list[Nic]:
    """NICs that were there keep what they have; new ones get all that the driver decides."""
    old = [nic for nic in nics if nic.mac in had]
    new = iter(driver.complete_nics(name, [nic for nic in nics if nic.mac not in had], had))
    return [nic if nic in old else next(new) for nic in nics]
