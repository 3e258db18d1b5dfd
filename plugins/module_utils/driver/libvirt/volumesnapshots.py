# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of volumes that are qcow2 files."""

from __future__ import annotations

from ...errors import (
    AlreadyExists,
    InvalidInput,
    PoolNotFound,
    Problem,
    SnapshotNotFound,
    Unsupported,
    VolumeInUse,
    VolumeNotFound,
)
from ...model.storage import VolumeKey
from ...undo import Undo
from .scratchdomains import ScratchDomainsMixin
from .volumelist import Found, VolumeListMixin
from .volumeuses import VolumeUsesMixin, some


class VolumeSnapshotsMixin(VolumeListMixin, VolumeUsesMixin, ScratchDomainsMixin):
    """States of volumes that can be gone back to."""

    def create_volume_snapshot(self, key: VolumeKey, snapshot: str) -> Undo:
        self.require("volume_snapshots")
        if snapshot.isdigit():  # QEMU numbers snapshots, and a number would stand for another one
            raise InvalidInput([Problem("snapshot", f"{snapshot!r} is a number; give it a letter")])
        found = self._require_quiet_qcow2(key, "given a snapshot")
        if snapshot in self.snapshot_names(found):
            raise AlreadyExists(f"the volume {str(key)!r} has a snapshot {snapshot!r} already")
        with self.scratch_domain(
            found.facts.path, f"make the snapshot {snapshot!r} of the volume {str(key)!r}"
        ) as scratch:
            scratch.create(snapshot)
        return lambda: self.delete_volume_snapshot(key, snapshot)

    def delete_volume_snapshot(self, key: VolumeKey, snapshot: str) -> None:
        self.require("volume_snapshots")
        try:
            found = self._require_quiet_qcow2(key, "rid of a snapshot")
        except (PoolNotFound, VolumeNotFound):
            return
        if snapshot not in self.snapshot_names(found):
            return
        with self.scratch_domain(
            found.facts.path, f"delete the snapshot {snapshot!r} of the volume {str(key)!r}"
        ) as scratch:
            scratch.delete(snapshot)

    def revert_volume(self, key: VolumeKey, snapshot: str) -> None:
        self.require("volume_snapshots")
        found = self._require_quiet_qcow2(key, "reverted", is_reverted=True)
        if snapshot not in self.snapshot_names(found):
            raise SnapshotNotFound(f"the volume {str(key)!r} has no snapshot {snapshot!r}")
        with self.scratch_domain(
            found.facts.path, f"revert the volume {str(key)!r} to the snapshot {snapshot!r}"
        ) as scratch:
            scratch.revert(snapshot)

    def _require_quiet_qcow2(self, key: VolumeKey, what: str, is_reverted: bool = False) -> Found:
        """A qcow2 volume that no active instance has.

        Args:
            is_reverted: What is in it is going to change: under children, and under instances whose memory is saved.
        """
        found = self.require_whole(key)
        if found.facts.format != "qcow2":
            raise Unsupported(
                f"the volume {str(key)!r} is {found.facts.format}, and only qcow2 volumes have snapshots on libvirt; "
                "make a copy of it instead, with source.volume"
            )
        if found.facts.encrypted:
            raise Unsupported(
                f"the volume {str(key)!r} is encrypted, and libvirt has no snapshots of such; make them inside a "
                "guest, or of an instance that runs"
            )
        uses = self.volume_uses([key])[key]
        self.require_quiet(uses.instances, key, what)
        if is_reverted and uses.children:
            raise VolumeInUse(f"the volume {str(key)!r} cannot be {what}: {some(uses.children)} would change with it")
        if is_reverted:
            for use in uses.instances:
                with self.guard(f"look up instance {use.instance!r}", use.instance):
                    if self.conn.lookupByName(use.instance).hasManagedSaveImage():
                        raise VolumeInUse(
                            f"the volume {str(key)!r} cannot be {what} while {use.instance!r} is suspended, since its "
                            "memory knows what is in the volume now; start and stop that first"
                        )
        return found
