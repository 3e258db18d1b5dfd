# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing instances."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...errors import AnyvirtError, InvalidInput, Problem
from ...model.instance import DISK
from ...model.migration import DEPARTED
from ...model.storage import VolumeKey
from ...undo import UndoStack
from ..base import ALL, NONE, OWN
from .domain import Domain
from .domain_disks import SEED, disk_elements, source_of
from .errors import INVALID_ARG, NO_DOMAIN, NO_SUPPORT, OPERATION_INVALID, code_of
from .filtering import FilteringMixin
from .logs import LogsMixin
from .remains import RemainsMixin
from .resizenotes import ResizeNotesMixin
from .uses import Volume

if TYPE_CHECKING:
    import libvirt

_PAUSED = 3
_UNDEFINE_FLAGS = {
    "qemu": ("MANAGED_SAVE", "SNAPSHOTS_METADATA", "NVRAM", "CHECKPOINTS_METADATA", "TPM"),
    "xen": ("MANAGED_SAVE",),
    "lxc": (),
}
"""What may hang on a domain and is to go with it; the newest flags last, since older daemons refuse those."""


class DestroyMixin(LogsMixin, RemainsMixin, ResizeNotesMixin, FilteringMixin):
    """The end of instances."""

    def destroy(self, name: str, delete_volumes: str = OWN) -> list[str]:
        if delete_volumes not in (OWN, ALL, NONE):
            raise InvalidInput([Problem("delete_volumes", f"{delete_volumes!r} is not one of {OWN}, {ALL}, {NONE}")])
        handle = self.find_domain(name)
        if handle is None:
            return self.finish_removal(name)
        with self.guard(f"read the configuration of instance {name!r}", name):
            state, persistent = handle.state()[0], bool(handle.isPersistent())
            active = bool(handle.isActive())
            domain = Domain.parse(handle.XMLDesc(self.libvirt.VIR_DOMAIN_XML_INACTIVE))
        self.require_reachable(domain)
        leaving = self.leaving_of(handle, domain)
        doomed = self.unneeded(self._candidates(domain, delete_volumes), but=name)
        with UndoStack() as done:
            note = self.note_removal(name, doomed, done) if doomed else None
            # The start of an unfinished one may still go on in the daemon, and undefining would not wait for it.
            if active or domain.record.unfinished:
                done.push("put it back into its groups", lambda: self.refresh_members_of(domain))
                self._cut_off(name, handle)
                if active and persistent:
                    done.push("start the instance anew", lambda: self._start_again(handle, state == _PAUSED))
            # Before the domain is gone, which tells whose they are.
            self.drop_filters(domain, leaving, done)
            self.refresh_members_of(domain)
            if self.has_console_log(domain):
                self.remove_console_log(name)  # here, since nothing would tell of it after the domain
            self.clear_resize(handle, domain)
            moving = domain.record.moving
            self.undefine(name, handle, moving is not None and moving.shares_variables)
        self.forget(name)
        try:
            removed = [f"instance {name}", *self.delete_all(doomed)]
            if note is not None:
                self.drop_note(name, note)
        except AnyvirtError as error:
            error.rolled_back = False
            error.not_undone.append(f"instance {name}: it is removed; removing it again deletes what is left of it")
            raise
        return removed

    def undefine(self, name: str, handle: libvirt.virDomain, keeps_variables: bool = False) -> None:
        """Undefine a domain with all that libvirt keeps for it; fine when it is gone.

        Args:
            keeps_variables: The variables of its UEFI firmware are another host's, too.
        """
        names = ["KEEP_NVRAM" if flag == "NVRAM" and keeps_variables else flag for flag in _UNDEFINE_FLAGS[self.kind]]
        flags = [getattr(self.libvirt, f"VIR_DOMAIN_UNDEFINE_{flag}", 0) for flag in names]
        with self.guard(f"undefine instance {name!r}", name):
            while True:
                try:
                    if any(flags):
                        handle.undefineFlags(sum(flags))
                    else:
                        handle.undefine()
                    return
                except self.libvirt.libvirtError as error:
                    if code_of(error) == NO_DOMAIN:
                        return
                    if code_of(error) not in (INVALID_ARG, NO_SUPPORT) or not flags:
                        raise
                flags.pop()

    def find_domain(self, name: str) -> libvirt.virDomain | None:
        """The domain; None where there is none."""
        try:
            handle = self.conn.lookupByName(name)
            return None if self.is_host_itself(handle) else handle
        except self.libvirt.libvirtError as error:
            if code_of(error) == NO_DOMAIN:
                return None
            with self.guard(f"look up instance {name!r}", name):
                raise

    def _candidates(self, domain: Domain, delete_volumes: str) -> list[Volume]:
        """The volumes that go with a domain if nothing else needs them."""
        record = domain.record
        if record.moving is not None and record.moving.migration.phase == DEPARTED:
            # Others than those that it left here it may have where it lives.
            return self.existing(VolumeKey(*key.split("/", 1)) for key in record.moving.migration.volumes)
        owned = [
            (volume.pool, volume.volume)
            for volume in record.owned
            if record.unfinished or delete_volumes != NONE or volume.role == SEED
        ]
        volumes = self.existing(owned)
        if delete_volumes == ALL:
            known = {volume.path for volume in volumes}
            volumes += [volume for volume in self._writable_volumes(domain) if volume.path not in known]
        return volumes

    def _writable_volumes(self, domain: Domain) -> Iterator[Volume]:
        """Volumes of a domain that are no CDs and that nobody shares with it."""
        for disk in disk_elements(domain.root):
            if disk.get("device", DISK) != DISK or any(disk.find(tag) is not None for tag in ("readonly", "shareable")):
                continue
            source, path = disk.find("source"), source_of(disk)
            if path is not None:
                found = self.at_path(path)
                if found is not None:
                    yield found
            elif source is not None and source.get("pool") and source.get("volume"):
                yield from self.existing([(source.get("pool", ""), source.get("volume", ""))])

    def _cut_off(self, name: str, handle: libvirt.virDomain) -> None:
        with self.guard(f"power off instance {name!r}", name):
            try:
                handle.destroy()
            except self.libvirt.libvirtError as error:
                if code_of(error) not in (NO_DOMAIN, OPERATION_INVALID):  # it went off by itself meanwhile
                    raise

    def _start_again(self, handle: libvirt.virDomain, paused: bool) -> None:
        paused = paused and self.supports("start_paused")
        handle.createWithFlags(self.libvirt.VIR_DOMAIN_START_PAUSED if paused else 0)
