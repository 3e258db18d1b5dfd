# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in volumes: written from images, and read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import InsufficientCapacity, Problem, TransferError, VolumeInUse
from ...model.storage import VolumeKey
from ...model.units import format_size
from ...transfer.content import PIECE_BYTES, Content, ImageFacts, Segment
from ...transfer.progress import Meter
from ...transfer.sparse import file_segments, length_of, write_segments
from ..storage import VolumeReader
from .connection import UNKNOWN_FORMAT
from .errors import details_of
from .shelves import ISO, RAW, VHD
from .sparse import Extent, VhdStream, chunks_of, extents_of
from .transport import HttpRefused
from .volumes import VolumesMixin

_WRITE_FAILED = "VDI_IO_ERROR"


def format_problems(facts: ImageFacts, option: str) -> Iterator[Problem]:
    """Why no volume can be filled with an image."""
    if facts.format not in (RAW, ISO, VHD):
        yield Problem(
            option,
            f"it is a {facts.format} image, and XenServer takes raw and dynamic VHD ones: convert it with "
            "qemu-img convert -O raw (or -O vpc)",
        )


class _Reader:
    """A disk on its way from the pool."""

    format = RAW

    def __init__(self, driver: DataMixin, ref: str, what: str, size_bytes: int) -> None:
        self.length: int | None = size_bytes
        self._driver = driver
        self._ref = ref
        self._what = what
        self._size_bytes = size_bytes

    def segments(self) -> Iterator[Segment]:
        """All of it, once, in order."""
        done = 0
        with (
            self._driver.progress.measure(f"download of {self._what}", self._size_bytes) as meter,
            self._driver.guard(f"read {self._what}"),
        ):
            for segment in self._driver.read_disk(self._ref, self._what):
                done += length_of(segment)
                meter.advance(length_of(segment))
                yield segment
        if done != self._size_bytes:
            raise TransferError(f"{self._what} has {self._size_bytes} bytes, and {done} came")


class _Spooled:
    """Content that is in a file by now, so that its length is known."""

    def __init__(self, content: Content, path: str, length: int) -> None:
        self.what = content.what
        self.facts = ImageFacts(content.facts.format, content.facts.size_bytes or length)
        self.length: int | None = length
        self._path = path

    def segments(self) -> Iterator[Segment]:
        """All of it, once, in order."""
        yield from file_segments(self._path)


class _Arriving:
    """Content on its way, counted."""

    def __init__(self, content: Content, meter: Meter) -> None:
        self.length = 0
        self._begun = False
        self._content = content
        self._meter = meter

    def segments(self) -> Iterator[Segment]:
        """All of it, once, in order."""
        if self._begun:
            what = self._content.what
            raise TransferError(f"the pool did not take {what} at once, and it is not read twice; try again")
        self._begun = True
        for segment in self._content.segments():
            self.length += length_of(segment)
            self._meter.advance(length_of(segment))
            yield segment

    def extents(self, size_bytes: int) -> Iterator[Extent]:
        """What of it has to be written into an empty disk of this size.

        Raises:
            TransferError: there is more in it.
        """
        if self._content.facts.format == VHD:
            stream = VhdStream(self._data(), self._content.what)
            found = stream.extents()
        else:
            found = extents_of(self.segments())
        for extent in found:
            if extent.offset + len(extent.data) > size_bytes:
                raise TransferError(f"{self._content.what} is larger than {format_size(size_bytes)}, as it said to be")
            yield extent

    def _data(self) -> Iterator[bytes]:
        for segment in self.segments():
            if isinstance(segment, bytes):
                yield segment
            else:
                yield from _zeros(segment.length)


class DataMixin(VolumesMixin):
    """Uploads and downloads."""

    @contextmanager
    def open_volume(self, key: VolumeKey) -> Iterator[VolumeReader]:
        one = self.look_at(key).volume
        with self.guard(f"see who uses the volume {key}"):
            uses = self.users_of(one.ref, one.record)
        writers = sorted({use.instance for use in uses if use.active and not use.read_only})
        if writers:
            raise VolumeInUse(f"the volume {key} cannot be read while {', '.join(writers)} may be writing to it")
        yield _Reader(self, one.ref, f"the volume {key}", int(one.record["virtual_size"]))

    def read_disk(self, ref: str, what: str) -> Iterator[Segment]:
        """What is in a virtual disk; to be used within ``guard``."""
        try:
            yield from VhdStream(self.download(ref, VHD), f"what the server sends of {what}").segments()
        except HttpRefused as refused:
            if refused.status != UNKNOWN_FORMAT:
                raise
            # Servers of ten years ago send raw disks only.
            yield from self.download(ref, RAW)

    @contextmanager
    def measured(self, content: Content, size_bytes: int | None) -> Iterator[Content]:
        """Content whose size is known; what does not tell it beforehand is kept in a sparse file meanwhile, since a
        virtual disk has to be made as large as it is to be.

        Args:
            size_bytes: The size of the disk that it is for, where that is known.
        """
        if size_bytes or content.facts.size_bytes or content.length is not None:
            yield content
            return
        with tempfile.TemporaryDirectory(prefix="anyvirt-") as folder:
            path = os.path.join(folder, "content")
            yield _Spooled(content, path, write_segments(path, content.segments()))

    def write_content(self, ref: str, content: Content, what: str) -> int:
        """Fill an empty virtual disk; how many bytes came, holes included.

        Raises:
            TransferError: it is larger than the disk, or breaks off.
            InsufficientCapacity: the pool is full.
        """
        with self.guard(f"write {what}"), self.progress.measure(f"upload of {what}", content.length) as meter:
            vdi = self.call("VDI.get_record", ref)
            size_bytes = int(vdi["virtual_size"])
            arriving = _Arriving(content, meter)
            try:
                self.upload_sparse(ref, lambda: chunks_of(arriving.extents(size_bytes)), self._address_near(vdi["SR"]))
            except self.api.library.Failure as failure:
                if any(_WRITE_FAILED in told for told in details_of(failure)) and self._is_full(ref):
                    raise InsufficientCapacity(f"cannot write {what}: its storage pool is full") from failure
                raise
        return arriving.length

    def _address_near(self, repository: str) -> str | None:
        """The address of a host that has the repository at hand; None where the master has. A master that has it not
        would send us there, which content that can be read once does not bear."""
        near = self.places().hosts_of(repository)
        if not near or self.places().pool.record["master"] in near:
            return None
        return str(self.places().hosts[min(near)]["address"])

    def _is_full(self, ref: str) -> bool:
        """Whether the repository has less room than the virtual disk may still need."""
        vdi = self.call("VDI.get_record", ref)
        repository = self.call("SR.get_record", vdi["SR"])
        free = int(repository["physical_size"]) - int(repository["physical_utilisation"])
        return free < int(vdi["virtual_size"]) - int(vdi["physical_utilisation"])


def _zeros(length: int) -> Iterator[bytes]:
    piece = bytes(min(length, PIECE_BYTES))
    for start in range(0, length, len(piece)):
        yield piece[: length - start]
