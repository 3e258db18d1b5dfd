# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making volumes."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...errors import AlreadyExists, AnyvirtError, InvalidInput, Problem, TransferError, VolumeInUse
from ...model.storage import FALLOC, FULL, METADATA, OFF, Volume, VolumeUses
from ...model.units import format_size
from ...transfer.content import PIECE_BYTES, Content, Segment
from ...undo import Undo, UndoStack
from .errors import NO_STORAGE_VOL, code_of
from .volumelist import PoolView
from .volumeplans import QCOW2, RAW, Origin, VolumePlansMixin
from .volumerecord import PART_SUFFIX, VOLUME_SUFFIX, Payload
from .volumeremoval import VolumeRemovalMixin
from .volumeuses import some
from .volumexml import Backing, volume_document

if TYPE_CHECKING:
    import libvirt

_FRESH_BYTES = 1 << 20
"""A fresh qcow2 image has nothing but zeros behind this, unless it holds many terabytes."""
_ATTEMPTS = 4
_PASSING_FAULT = "Unable to get accurate CPU usage"
"""What QEMU says when it cannot measure how fast it derives keys, as may happen on a busy host."""


class VolumeCreationMixin(VolumeRemovalMixin, VolumePlansMixin):
    """New volumes, whatever they begin with."""

    def create_volume(self, volume: Volume, content: Content | None = None) -> Undo:
        problems = self.check_volume(volume)
        if problems:
            raise InvalidInput(problems)
        view = self.require_pool_view(volume.pool)
        if volume.encryption is not None and volume.name not in view.volumes:
            # One that libvirt has not heard of must not lose its passphrase to this.
            self.look_again(view.handle)
            view = self.require_pool_view(volume.pool)
        origin = self.find_origin(volume)
        existing = self.describe(view, volume.name)
        if existing is not None:
            if existing.is_image or not existing.unfinished:
                raise AlreadyExists(f"there is a volume {volume.name!r} in the storage pool {volume.pool!r} already")
            self._require_leftover(view, volume)
            with self.guard(f"remove what is left of the volume {str(volume.key)!r}"):
                self.when_idle(lambda: self._remove_leftover(volume))
            view = self.require_pool_view(volume.pool)
        remembered = _remembered(volume, view)
        with UndoStack() as done:
            if remembered or _takes_time(volume):
                self._make_recorded(view, volume, origin, content, remembered, done)
            else:
                self._begin(view, volume, origin, content, done)
        return lambda: self.delete_volume(volume.key)

    def _make_recorded(
        self,
        view: PoolView,
        volume: Volume,
        origin: Origin | None,
        content: Content | None,
        remembered: Payload,
        done: UndoStack,
    ) -> None:
        """Make a volume with a record that says until the end that it is unfinished, and whose it is."""
        claim = uuid.uuid4().hex
        record = self.make_record(view.handle, volume.name + VOLUME_SUFFIX, {**remembered, "unfinished": claim})
        done.push(f"remove the record of the volume {volume.key}", lambda: self.drop(record))
        try:
            self._begin(view, volume, origin, content, done)
            if (self.read_record(record) or {}).get("unfinished") != claim:
                raise AlreadyExists(f"another process took the volume {str(volume.key)!r} for a leftover, and makes it")
        except BaseException:
            if self._is_anothers(record, claim):
                done.forget()  # what has the name now is that one's
            raise
        if remembered:
            self.save_record(record, remembered)
        else:
            self.drop(record)

    def _is_anothers(self, record: libvirt.virStorageVol, claim: str) -> bool:
        try:
            found = self.read_record(record)
        except AnyvirtError:
            return False
        return found is not None and found.get("unfinished") != claim

    def _require_leftover(self, view: PoolView, volume: Volume) -> None:
        """Raise VolumeInUse when what looks half made is needed: somebody replaced it, and its record stayed."""
        uses = self.volume_uses([volume.key])[volume.key] if volume.name in view.volumes else VolumeUses()
        users = [use.instance for use in uses.instances] + uses.children
        if users:
            raise VolumeInUse(
                f"the volume {str(volume.key)!r} looks half made, and is not made again, since {some(users)} needs it; "
                f"delete the volume {volume.name + VOLUME_SUFFIX!r} beside it if it is whole"
            )

    def _remove_leftover(self, volume: Volume) -> None:
        """Raise AlreadyExists when somebody is done with it by now: the one who has been making it all the while."""
        view = self.require_pool_view(volume.pool)
        existing = self.describe(view, volume.name)
        if existing is not None and not existing.unfinished:
            raise AlreadyExists(f"another process has just made the volume {str(volume.key)!r}")
        handle = view.volumes.get(volume.name)
        if handle is not None:
            try:
                handle.delete(0)
            except self.libvirt.libvirtError as error:
                if code_of(error) != NO_STORAGE_VOL:
                    raise
        self.remove_all_of(view, volume.name)

    # -- what it begins with ----------------------------------------------------------------------------------------

    def _begin(
        self, view: PoolView, volume: Volume, origin: Origin | None, content: Content | None, done: UndoStack
    ) -> None:
        if content is not None:
            self._make_from_content(view, volume, content, done)
        elif origin is None:
            self._make_blank(view, volume, done)
        elif volume.source is not None and volume.source.copy_on_write:
            backing = Backing(origin.path, origin.format)
            document = volume_document(volume.name, volume.size_bytes or 0, QCOW2, backing)
            self.make_described(view, volume.name, document, 0, done)
        elif volume.source is not None and volume.source.snapshot is not None:
            self._make_from_snapshot(view, volume, origin, volume.source.snapshot, done)
        else:
            self.copy(view, volume, origin.found.handle, done)

    def _make_blank(self, view: PoolView, volume: Volume, done: UndoStack) -> None:
        size_bytes, how = volume.size_bytes or 0, volume.preallocation or OFF
        locked = None
        if volume.encryption is not None:
            locked = self.lock_for(view.path_of(volume.name), volume.encryption, done)
        document = volume_document(
            volume.name,
            size_bytes,
            volume.format or RAW,
            allocation_bytes=size_bytes if how in (FALLOC, FULL) or not view.has_files else 0,
            locked=locked,
        )
        # With this flag libvirt has QEMU allocate a qcow2 file as far as <allocation> says.
        is_allocated = volume.format == QCOW2 and how in (METADATA, FALLOC)
        flags = self.libvirt.VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA if is_allocated else 0
        made = self.make_described(view, volume.name, document, flags, done)
        if how == FULL:
            with self.progress.measure(f"fill {volume.key}", size_bytes) as meter:
                self.send(made, _zeros(size_bytes), meter)

    def copy(
        self, view: PoolView, volume: Volume, source: libvirt.virStorageVol, done: UndoStack
    ) -> libvirt.virStorageVol:
        """A whole copy of another volume, in the format of ``volume``."""
        size_bytes = volume.size_bytes or 0
        document = volume_document(
            volume.name, size_bytes, volume.format or RAW, allocation_bytes=0 if view.has_files else size_bytes
        )
        what = f"make the volume {volume.name!r} in the storage pool {volume.pool!r}"
        with self.progress.measure(f"copy {volume.key}", size_bytes) as meter:
            with self.guard(what):
                made = self._copied(view, document, source)
            done.push(f"delete the volume {volume.key}", lambda: self.drop(made))
            meter.reach(size_bytes)
        self._grow_to(made, size_bytes)
        return made

    def _copied(self, view: PoolView, document: str, source: libvirt.virStorageVol) -> libvirt.virStorageVol:
        """As a reflink where the file system has them: at once, and sharing its blocks with the source."""
        reflink = getattr(self.libvirt, "VIR_STORAGE_VOL_CREATE_REFLINK", 0)
        if reflink and view.has_files:
            with contextlib.suppress(self.libvirt.libvirtError):
                return view.handle.createXMLFrom(document, source, reflink)
        return view.handle.createXMLFrom(document, source, 0)

    def _make_from_snapshot(
        self, view: PoolView, volume: Volume, origin: Origin, snapshot: str, done: UndoStack
    ) -> None:
        """Through a copy of the whole file, snapshots included, that is taken back to the snapshot."""
        name = volume.name + PART_SUFFIX
        with UndoStack() as passing:
            part = self.make_described(
                view, name, volume_document(name, origin.found.facts.size_bytes, QCOW2), 0, passing
            )
            segments = self.receive(origin.found.handle)
            with self.progress.measure(f"copy {volume.key}") as meter:
                self.send(part, over_fresh(segments), meter)
            with self.scratch_domain(view.path_of(name), f"take {name} back to {snapshot!r}") as scratch:
                scratch.revert(snapshot)
            self.copy(view, volume, part, done)
            passing.take_back(f"the passing volume {name}")

    def _make_from_content(self, view: PoolView, volume: Volume, content: Content, done: UndoStack) -> None:
        made = self.make_filled(view, volume.name, volume.format or RAW, volume.size_bytes, content, done)
        if volume.size_bytes is not None:
            self._grow_to(made, volume.size_bytes)

    def make_filled(
        self,
        view: PoolView,
        name: str,
        volume_format: str,
        size_bytes: int | None,
        content: Content,
        done: UndoStack,
    ) -> libvirt.virStorageVol:
        """Make a volume and fill it, as it comes, with content of this format."""
        is_qcow2 = volume_format == QCOW2
        # What comes as a qcow2 file says itself how large its disk is.
        disk_bytes = (content.facts.size_bytes if is_qcow2 else size_bytes or content.facts.size_bytes) or 0
        document = volume_document(
            name, disk_bytes, volume_format, allocation_bytes=0 if view.has_files else disk_bytes
        )
        made = self.make_described(view, name, document, 0, done)
        segments = content.segments()
        with self.progress.measure(content.what, content.length) as meter:
            sent = self.send(made, over_fresh(segments) if is_qcow2 else segments, meter, sparse=view.has_files)
        if content.length is not None and sent != content.length:
            raise TransferError(f"{content.what} ended after {sent} of {content.length} bytes")
        if not is_qcow2 and size_bytes is not None and sent > size_bytes:
            raise InvalidInput([Problem("size", f"what it is filled with needs {format_size(sent)}")])
        return made

    # -- parts ------------------------------------------------------------------------------------------------------

    def make_described(
        self, view: PoolView, name: str, document: str, flags: int, done: UndoStack
    ) -> libvirt.virStorageVol:
        """Make a volume as libvirt's document says, and nothing beside it."""
        attempt = 1
        while True:
            try:
                made = view.handle.createXML(document, flags)
                break
            except self.libvirt.libvirtError as error:
                if _PASSING_FAULT not in str(error) or attempt == _ATTEMPTS:
                    with self.guard(f"make the volume {name!r} in the storage pool {view.name!r}"):
                        raise
            attempt += 1
        done.push(f"delete the volume {view.name}/{name}", lambda: self.drop(made))
        return made

    def _grow_to(self, volume: libvirt.virStorageVol, size_bytes: int) -> None:
        with self.guard(f"grow the volume {volume.name()!r}"):
            if volume.info()[1] < size_bytes:
                self.when_idle(lambda: volume.resize(size_bytes, 0))


def _remembered(volume: Volume, view: PoolView) -> Payload:
    """What a volume's record says when it is done; nothing is a record that need not be."""
    payload: Payload = {}
    if volume.format == RAW and view.has_files:
        payload["format"] = RAW  # libvirt would take it for what its guest makes it look like
    if volume.metadata:
        payload["metadata"] = dict(volume.metadata)
    if volume.shareable:
        payload["shareable"] = True
    if volume.encryption is not None:
        payload["encrypted"] = True
    return payload


def _takes_time(volume: Volume) -> bool:
    """Whether making it is more than one call, so that it may be cut short."""
    child = volume.source is not None and volume.source.copy_on_write
    return (volume.source is not None and not child) or volume.preallocation not in (None, OFF)


def _zeros(length: int) -> Iterator[Segment]:
    zeros = bytes(PIECE_BYTES)
    while length > 0:
        yield zeros[:length]
        length -= PIECE_BYTES


def over_fresh(segments: Iterator[Segment]) -> Iterator[Segment]:
    """The same over a fresh qcow2 file: what that has in its beginning is overwritten by zeros where holes are."""
    left = _FRESH_BYTES
    for segment in segments:
        if isinstance(segment, bytes):
            left -= len(segment)
            yield segment
            continue
        filled = max(0, min(left, segment.length))
        yield from _zeros(filled)
        left -= filled
        if segment.length > filled:
            yield segment._replace(length=segment.length - filled)
