# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copying the disks of an instance that is off from one host to another, through us."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ...errors import MigrationFailed
from ...model.migration import MigrationPlan, MigrationProgress, MigrationResult
from ...model.units import MIB
from ...transfer.ahead import read_ahead
from ...transfer.content import PIECE_BYTES, Hole, Segment
from ...undo import UndoStack
from ..oversight import Oversight
from .migrationdiskplans import MigrationDiskPlansMixin
from .migrationdisks import DiskCopy, DiskPlan
from .migrationvolumes import Passing
from .qcow2table import with_backing

if TYPE_CHECKING:
    import libvirt

_DISKS = "disks"
_TELL_EVERY_S = 0.2
_HEAD_BYTES = 1 << 16
"""The name of what a qcow2 image leans on is in its first bytes."""


class ColdCopyMixin(MigrationDiskPlansMixin):
    """On the source: moving what is off."""

    def copy_volumes(
        self, destination: ColdCopyMixin, plan: MigrationPlan, disks: DiskPlan, oversight: Oversight
    ) -> MigrationResult:
        """Copy what is in the volumes of ``disks.copies`` into those that ``make_arriving_volumes`` made, sparse, and
        compare what has arrived. The source's volumes are only read, but for those of ``disks.growths``, which both
        hosts see.

        Raises:
            MigrationAborted, TimeoutExpired: ``oversight`` said so.
            MigrationFailed: somebody has started the instance here.
            ChecksumMismatch: something else arrived than was sent.
            InsufficientCapacity: the destination's disk is full.
        """
        began = time.monotonic()
        self._require_still_off(plan.name)
        copies = [copy for copy in disks.copies if not copy.at_once]
        with UndoStack() as passing:
            originals = [self._original_of(copy, passing) for copy in copies]
            total = sum(self.length_of(original) for original in originals)
            watch = _Watch(oversight, total, plan.wishes.bandwidth_mib_s)
            for copy, original in zip(copies, originals):
                with read_ahead(self.receive(original)) as segments:
                    destination.receive_copy(copy, watch.over(segments), watch.beside)
            passing.take_back("the passing copies of volumes")
        self._require_still_off(plan.name)  # or it would soon run on both hosts
        if disks.variables is not None:
            destination.write_file(disks.variables, self.read_file(disks.variables))
        with UndoStack() as done:
            for path, size_bytes in disks.growths.values():
                self._grow_shared(path, size_bytes, done)
        return MigrationResult(total_ms=int((time.monotonic() - began) * 1000), disk_bytes=watch.sent)

    def _require_still_off(self, name: str) -> None:
        with self.guard(f"look whether instance {name!r} is off", name):
            is_active = bool(self.lookup(name).isActive())
        if is_active:
            raise MigrationFailed(
                f"somebody has started instance {name!r} on the source while it was moved cold, so it stays there, and "
                "what was copied of its disks is of no use; run the task again"
            )

    def receive_copy(self, copy: DiskCopy, segments: Iterable[Segment], beside: Passing) -> None:
        """On the destination: fill a volume that was made for it.

        Args:
            beside: What is read again, to compare it, passes through it.
        """
        if copy.backing is not None:
            segments = leaning_on(segments, copy.backing.path)
        with self.guard(f"look up the volume {str(copy.destination)!r}"):
            pool = self.conn.storagePoolLookupByName(copy.destination.pool)
            made = pool.storageVolLookupByName(copy.destination.name)
        self.fill_from(segments, made, copy, beside)
        if copy.grow_to_bytes is not None:
            self.look_again(pool)
            with self.guard(f"grow the volume {str(copy.destination)!r}"):
                made.resize(copy.grow_to_bytes, 0)

    def _original_of(self, copy: DiskCopy, passing: UndoStack) -> libvirt.virStorageVol:
        """The volume whose bytes are to be sent: a passing one where they would mean nothing on the destination."""
        with self.guard(f"look up the volume at {copy.source_path!r}"):
            handle = self.conn.storageVolLookupByPath(copy.source_path)
        if (not copy.is_flattened and copy.source_format == copy.format) or copy.encrypted:
            return handle
        if copy.source is None:
            raise MigrationFailed(f"the data of disk {copy.device} is in no storage pool")
        return self.whole_copy(self.require_whole(copy.source), passing, copy.format)

    def _grow_shared(self, path: str, size_bytes: int, done: UndoStack) -> None:
        with self.guard(f"grow the volume at {path!r}"):
            handle = self.conn.storageVolLookupByPath(path)
            before = int(handle.info()[1])
            if before < size_bytes:
                shrink = self.libvirt.VIR_STORAGE_VOL_RESIZE_SHRINK
                done.push(f"give the volume at {path} its size back", lambda: handle.resize(before, shrink))
                self.when_idle(lambda: handle.resize(size_bytes, 0))


class _Watch:
    """Lets data pass as fast as it may, tells how far it is, and stops it when it is to stop.

    Args:
        total_bytes: Of all that is going to pass, holes included.
        bandwidth_mib_s: At most so many MiB of data a second; None: no limit.
    """

    def __init__(self, oversight: Oversight, total_bytes: int, bandwidth_mib_s: int | None) -> None:
        self.sent = 0
        """Bytes of data so far, without holes."""
        self._oversight = oversight
        self._total = total_bytes
        self._done = 0
        self._rate = None if bandwidth_mib_s is None else bandwidth_mib_s * MIB
        self._began = time.monotonic()
        self._told = self._began - _TELL_EVERY_S

    def over(self, segments: Iterable[Segment]) -> Iterator[Segment]:
        """The same segments.

        Raises:
            MigrationAborted, TimeoutExpired: it is to stop.
        """
        for segment in segments:
            yield segment
            if isinstance(segment, Hole):
                self._done += segment.length
            else:
                self._done += len(segment)
                self.sent += len(segment)
            now = self._tell_now_and_then()
            if self._rate is not None:
                time.sleep(max(0.0, self._began + self.sent / self._rate - now))

    def beside(self, segments: Iterable[Segment]) -> Iterator[Segment]:
        """Segments that do not count.

        Raises:
            MigrationAborted, TimeoutExpired: it is to stop.
        """
        for segment in segments:
            yield segment
            self._tell_now_and_then()

    def _tell_now_and_then(self) -> float:
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY_S:
            self._told = now
            self._tell(now - self._began)
        return now

    def _tell(self, elapsed_s: float) -> None:
        done = min(self._done, self._total)
        progress = MigrationProgress(
            _DISKS,
            percent=100.0 * done / self._total if self._total else 100.0,
            total_bytes=self._total,
            done_bytes=done,
            left_bytes=self._total - done,
            rate=int(self.sent / elapsed_s) if elapsed_s > 0 else None,
            elapsed_s=elapsed_s,
        )
        if self._oversight.heed(progress) is not None:
            raise self._oversight.aborted()


def leaning_on(segments: Iterable[Segment], path: str) -> Iterator[Segment]:
    """A qcow2 image that names another place of what it leans on."""
    head, rest = b"", 0
    left = iter(segments)
    for segment in left:  # an image of small clusters may be shorter than its head
        if isinstance(segment, Hole):
            filled = min(segment.length, _HEAD_BYTES)
            head, rest = head + bytes(filled), segment.length - filled
        else:
            head += segment
        if len(head) >= _HEAD_BYTES:
            break
    try:
        head = with_backing(head, path)
    except ValueError as error:
        raise MigrationFailed(str(error)) from error
    for at in range(0, len(head), PIECE_BYTES):
        yield head[at : at + PIECE_BYTES]
    if rest:
        yield Hole(rest)
    yield from left
