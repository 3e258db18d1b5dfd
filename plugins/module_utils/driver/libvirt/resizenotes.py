# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a domain's record says of a resize that can be taken back, and its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ...errors import AnyvirtError
from ...model.instance import Disk
from ...model.resize import CONFIRMED, ResizeRecord
from .domain import Domain
from .keeping import KeepingMixin
from .recordkeeping import keep_record

if TYPE_CHECKING:
    import libvirt


class ResizeNotesMixin(KeepingMixin):
    """Writing down how far a resize is, and clearing away what it kept."""

    def described(self, name: str, handle: libvirt.virDomain) -> Domain:
        """The configuration, also of a transient domain."""
        lib = self.libvirt
        with self.guard(f"read the configuration of instance {name!r}", name):
            return Domain.parse(handle.XMLDesc(lib.VIR_DOMAIN_XML_INACTIVE | lib.VIR_DOMAIN_XML_SECURE))

    def note_resize(self, handle: libvirt.virDomain, resize: ResizeRecord | None) -> None:
        """Write down how far a resize is; None forgets it."""
        name = handle.name()
        domain = self.described(name, handle)
        domain.record.resize = resize
        with self.guard(f"write the record of instance {name!r}", name):
            keep_record(self.libvirt, self.conn, handle, domain.record)
        self.forget(name)

    def clear_resize(self, handle: libvirt.virDomain, domain: Domain) -> None:
        """Delete what is kept for taking back a resize, and forget that; nothing to do where there is none."""
        record = domain.record.resize
        if record is None:
            return
        if not record.is_over:
            self.note_resize(handle, replace(record, phase=CONFIRMED))
        try:
            for disk, state in kept_disks(domain, record):
                self.delete_kept(handle, disk, state)
            self.note_resize(handle, None)
        except AnyvirtError as error:
            error.rolled_back = False
            error.not_undone.append(f"the resize of {domain.name} is over; the next run deletes what is left of it")
            raise


def kept_disks(domain: Domain, record: ResizeRecord) -> Iterator[tuple[Disk, str]]:
    """The disks of which something is kept, with what that is called."""
    disks = {disk.device: disk for disk in domain.to_instance().disks or []}
    for device, state in record.kept:
        if device in disks:
            yield disks[device], state
