# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes of instances that exist: new ones, new seed data, and growth."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ...errors import HypervisorError, InvalidInput, Problem
from ...model.instance import Disk, Instance
from ...model.units import format_size
from ...undo import UndoStack
from ..seed import build_seed
from .domain_disks import SEED
from .spawn import SpawnMixin

if TYPE_CHECKING:
    import libvirt


class ResizeMixin(SpawnMixin):
    """Changes of what disks are made of."""

    def change_volumes(
        self,
        current: Instance,
        desired: Instance,
        options: Collection[str],
        new_disks: Sequence[Disk],
        done: UndoStack,
    ) -> Instance:
        """Make what new disks need and write new seed data; ``desired`` with the new disks' places."""
        parts = self._plan_parts(replace(desired, disks=list(new_disks)))
        if parts.pool is not None:
            self.make_folder_pool(parts.pool.name, parts.pool.path, done)
        for volume in parts.volumes:
            self._make_volume(volume, done)
        placed = {disk.device: disk for disk in parts.disks}
        if "cloud_init" in options and desired.cloud_init is not None:
            for disk in desired.disks or []:
                if disk.role == SEED and disk.device not in placed and disk.pool and disk.volume:
                    self._replace_content(disk.pool, disk.volume, build_seed(desired.cloud_init), done)
        if not placed:
            return desired
        return replace(desired, disks=[placed.get(disk.device, disk) for disk in desired.disks or []])

    def _replace_content(self, pool: str, volume: str, data: bytes, done: UndoStack) -> None:
        """Write a volume anew, in place: a guest that runs has it open."""
        with self.guard(f"write the volume {volume!r} in the storage pool {pool!r}"):
            handle = self._lookup_volume(self.conn.storagePoolLookupByName(pool), volume)
            old_bytes = handle.info()[1]
        old = self.download(handle, 0, old_bytes)

        def put_back() -> None:
            self.upload(handle, old)
            if len(data) > old_bytes:
                handle.resize(old_bytes, self.libvirt.VIR_STORAGE_VOL_RESIZE_SHRINK)

        done.push(f"put back what was in the volume {volume}", put_back)
        with self.guard(f"write the volume {volume!r} in the storage pool {pool!r}"):
            if len(data) > old_bytes:
                handle.resize(len(data), 0)
        self.upload(handle, data)

    def grow_disks(
        self,
        name: str,
        running: libvirt.virDomain | None,
        current: Instance,
        desired: Instance,
        done: UndoStack,
    ) -> None:
        """Grow the disks whose size differs: through the guest where it runs, otherwise their volumes."""
        had = {disk.device: disk for disk in current.disks or []}
        for number, disk in enumerate(desired.disks or []):
            old = had.get(disk.device)
            if old is None or disk.size_bytes is None or disk.size_bytes == old.size_bytes or disk.role == SEED:
                continue
            if old.size_bytes is not None and disk.size_bytes < old.size_bytes:
                sizes = f"{format_size(old.size_bytes)} to {format_size(disk.size_bytes)}"
                raise InvalidInput([Problem(f"disks[{number}].size", f"cannot be made smaller, from {sizes}")])
            if running is not None:
                self.require("root_grow_live")
                with self.guard(f"grow disk {disk.device} of instance {name!r}", name):
                    running.blockResize(disk.device, disk.size_bytes, self.libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
                    done.push(f"shrink disk {disk.device}", _refuse_to_shrink)
            else:
                self._grow_volume(name, disk, done)

    def _grow_volume(self, name: str, disk: Disk, done: UndoStack) -> None:
        if disk.pool is not None and disk.volume is not None:
            with self.guard(f"grow disk {disk.device} of instance {name!r}", name):
                handle = self._lookup_volume(self.conn.storagePoolLookupByName(disk.pool), disk.volume)
                self._grow(handle, disk, done)
            return
        folder, file_name = posixpath.split(disk.path or "")
        with self.guard(f"grow disk {disk.device} of instance {name!r}", name):
            # It may be in no pool, or in one that has not heard of it.
            self.in_folder(folder, lambda pool: self._grow(pool.storageVolLookupByName(file_name), disk, done))

    def _grow(self, handle: libvirt.virStorageVol, disk: Disk, done: UndoStack) -> None:
        before, shrink = handle.info()[1], self.libvirt.VIR_STORAGE_VOL_RESIZE_SHRINK
        handle.resize(disk.size_bytes or before, 0)
        if disk.volume is not None:
            done.push(f"give disk {disk.device} its size back", lambda: _drop(handle.resize(before, shrink)))
            return
        folder, file_name = posixpath.split(disk.path or "")

        def put_back() -> None:
            self.in_folder(folder, lambda pool: pool.storageVolLookupByName(file_name).resize(before, shrink))

        done.push(f"give disk {disk.device} its size back", put_back)


def _drop(_result: object) -> None:
    """Undo actions return nothing."""


def _refuse_to_shrink() -> None:
    raise HypervisorError("the guest may be using what it was given")
