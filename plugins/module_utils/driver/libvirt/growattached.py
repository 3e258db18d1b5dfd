# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Growing a volume under the guests that use it."""

from __future__ import annotations

from collections.abc import Iterable

from ...errors import VolumeInUse
from ...model.storage import VolumeUse
from .connection import LibvirtBase


class GrowAttachedMixin(LibvirtBase):
    """Sizes of disks of running domains."""

    def grow_attached(self, what: str, uses: Iterable[VolumeUse], size_bytes: int) -> None:
        """Give a volume another size through each active instance that uses it: their hypervisor has it open, and tells
        the guests.

        Args:
            what: The volume, as messages call it.
            uses: Who uses it; the inactive ones are passed over.

        Raises:
            VolumeInUse: libvirt's driver for this hypervisor cannot do that.
        """
        for use in uses:
            if not use.active:
                continue
            if self.kind != "qemu":
                raise VolumeInUse(
                    f"the libvirt driver cannot give {what} another size while instance {use.instance!r} "
                    f"({use.device}) runs; stop it first"
                )
            with self.guard(f"give {what} another size in instance {use.instance!r}", use.instance):
                domain = self.conn.lookupByName(use.instance)
                domain.blockResize(use.device, size_bytes, self.libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
