# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes that are there: resized, described, read and removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ...errors import HypervisorError, Unsupported, VolumeInUse
from ...model.storage import VolumeKey
from ...model.units import format_size
from ...transfer.content import Segment
from ...undo import Undo, UndoStack
from .growattached import GrowAttachedMixin
from .volumecreation import VolumeCreationMixin
from .volumelist import Found
from .volumerecord import PART_SUFFIX, VOLUME_SUFFIX, Payload
from .volumeuses import some
from .volumexml import volume_document

if TYPE_CHECKING:
    import libvirt

    from .streams import StreamsMixin


class LibvirtVolumeReader:
    """What is in a volume."""

    def __init__(self, driver: StreamsMixin, volume: libvirt.virStorageVol, found: Found, length: int) -> None:
        self.format = found.facts.format
        self.length: int | None = length
        self._driver = driver
        self._volume = volume
        self._found = found

    def segments(self) -> Iterator[Segment]:
        """All of it, once, in order."""
        with self._driver.progress.measure(f"read {self._found.key}", self.length) as meter:
            yield from self._driver.receive(self._volume, meter, sparse=self._found.view.has_files)


class VolumesMixin(VolumeCreationMixin, GrowAttachedMixin):
    """All about volumes."""

    def resize_volume(self, key: VolumeKey, size_bytes: int) -> Undo:
        found = self.require_whole(key)
        before, what = found.facts.size_bytes, f"the volume {str(key)!r}"
        if size_bytes == before:
            return _nothing
        uses = self.volume_uses([key])[key]
        if size_bytes < before:
            users = [use.instance for use in uses.instances] + uses.children
            if users:
                sizes = f"from {format_size(before)} to {format_size(size_bytes)}"
                raise VolumeInUse(f"{what} cannot be made smaller, {sizes}: {some(users)} needs it")
        self.require_well_read(found)
        if not found.view.has_files:
            raise Unsupported(
                f"libvirt cannot give volumes another size in pools of type {found.view.kind}, such as {key.pool!r}; "
                "make a larger one from it, with source.volume"
            )
        if any(use.active for use in uses.instances):
            self.grow_attached(what, uses.instances, size_bytes)
            return _refuse_to_shrink
        self._resize(found.handle, what, size_bytes, before)
        return lambda: self._resize(found.handle, what, before, size_bytes)

    def _resize(self, handle: libvirt.virStorageVol, what: str, size_bytes: int, before: int) -> None:
        flags = self.libvirt.VIR_STORAGE_VOL_RESIZE_SHRINK if size_bytes < before else 0
        with self.guard(f"give {what} another size"):
            self.when_idle(lambda: handle.resize(size_bytes, flags))

    def set_volume_metadata(self, key: VolumeKey, metadata: Mapping[str, str]) -> Undo:
        found = self.require_whole(key)
        record = found.view.volumes.get(key.name + VOLUME_SUFFIX)
        before = {} if record is None else (self.read_record(record) or {})
        payload = {name: value for name, value in before.items() if name != "metadata"}
        if metadata:
            payload["metadata"] = dict(metadata)
        self._remember(found, record, payload)

        def put_back() -> None:
            again = self.require_whole(key)
            self._remember(again, again.view.volumes.get(key.name + VOLUME_SUFFIX), before)

        return put_back

    def _remember(self, found: Found, record: libvirt.virStorageVol | None, payload: Payload) -> None:
        if not payload:
            self.drop(record)
        elif record is None:
            self.make_record(found.view.handle, found.key.name + VOLUME_SUFFIX, payload)
        else:
            self.save_record(record, payload)

    @contextmanager
    def open_volume(self, key: VolumeKey) -> Iterator[LibvirtVolumeReader]:
        found = self.require_whole(key)
        self.require_no_writer(key, "read")
        with UndoStack() as passing:
            # What a child leaves out is in another volume, so a whole copy of it is read.
            handle = found.handle if found.facts.backing is None else self.whole_copy(found, passing)
            yield LibvirtVolumeReader(self, handle, found, self.length_of(handle))
            passing.take_back(f"the passing copy of the volume {key}")

    def whole_copy(self, found: Found, done: UndoStack, volume_format: str | None = None) -> libvirt.virStorageVol:
        """A passing volume beside another one, with all that is in that and in what it leans on, in its own format or
        another one."""
        self.require_well_read(found)
        name, size_bytes = found.key.name + PART_SUFFIX, found.facts.size_bytes
        self.drop(found.view.volumes.get(name))
        with self.progress.measure(f"copy {found.key}", size_bytes) as meter:
            with self.guard(f"make a whole copy of the volume {str(found.key)!r}"):
                document = volume_document(name, size_bytes, volume_format or found.facts.format)
                part = found.view.handle.createXMLFrom(document, found.handle, 0)
            done.push(f"delete the volume {found.view.name}/{name}", lambda: self.drop(part))
            meter.reach(size_bytes)
        return part


def _nothing() -> None:
    """There is nothing to take back."""


def _refuse_to_shrink() -> None:
    raise HypervisorError("the guest may be using what it was given")
