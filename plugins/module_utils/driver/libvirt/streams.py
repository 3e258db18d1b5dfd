# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Data on its way into volumes and out of them, through libvirt's streams."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING

from ...transfer.content import Hole, Segment
from ...transfer.progress import Meter
from .errors import ARGUMENT_UNSUPPORTED, INVALID_ARG, NO_SUPPORT, code_of
from .events import unhurried
from .folders import FoldersMixin

if TYPE_CHECKING:
    import libvirt

_PIECE_BYTES = 1 << 18
"""What fits into one message to the daemon; larger pieces were measured to be slower."""
_AT_HOLE = -3
_NO_SPARSE_STREAMS = (INVALID_ARG, NO_SUPPORT, ARGUMENT_UNSUPPORTED)


class StreamsMixin(FoldersMixin):
    """Reading and writing what is in volumes."""

    def upload(self, volume: libvirt.virStorageVol, data: bytes) -> None:
        """Write ``data`` to the beginning of a volume."""
        self.send(volume, [data])

    def send(
        self,
        volume: libvirt.virStorageVol,
        segments: Iterable[Segment],
        meter: Meter | None = None,
        sparse: bool = True,
    ) -> int:
        """Write data and holes to the beginning of a volume, which grows where it has to.

        Args:
            sparse: Holes are left as they are in the volume, which has to be a new file; otherwise zeros are written.

        Returns:
            The bytes that were sent, holes included.
        """
        sent = 0
        with self.guard("write a volume"), unhurried():
            stream, sparse = self._open_stream(volume, "UPLOAD", sparse)
            try:
                for segment in segments:
                    if not isinstance(segment, Hole):
                        _send(stream, segment)
                        length = len(segment)
                    else:
                        length = segment.length
                        if sparse:
                            stream.sendHole(length)
                        else:
                            _send_zeros(stream, length)
                    sent += length
                    if meter is not None:
                        meter.advance(length)
                stream.finish()
            except BaseException:
                self._abort(stream)
                raise
        return sent

    def receive(
        self, volume: libvirt.virStorageVol, meter: Meter | None = None, sparse: bool = True
    ) -> Generator[Segment, None, None]:
        """All that is in a volume; without ``sparse`` its holes come as zeros."""
        with self.guard("read a volume"), unhurried():
            stream, sparse = self._open_stream(volume, "DOWNLOAD", sparse)
            flags = self.libvirt.VIR_STREAM_RECV_STOP_AT_HOLE if sparse else 0
            try:
                while True:
                    data = stream.recvFlags(_PIECE_BYTES, flags) if sparse else stream.recv(_PIECE_BYTES)
                    segment: Segment = data
                    if data == _AT_HOLE:
                        segment = Hole(stream.recvHole())
                    elif not data:
                        break
                    if meter is not None:
                        meter.advance(segment.length if isinstance(segment, Hole) else len(segment))
                    if not isinstance(segment, Hole) or segment.length:
                        yield segment
                stream.finish()
            except BaseException:
                self._abort(stream)
                raise

    def download(self, volume: libvirt.virStorageVol, offset: int, length: int) -> bytes:
        """Read ``length`` bytes of a volume, fewer where it ends before."""
        if length == 0:
            return b""
        data = bytearray()
        with self.guard("read a volume"):
            stream = self.conn.newStream(0)
            try:
                # A record of another process may just be made.
                self.when_idle(lambda: volume.download(stream, offset, length, 0))
                while True:
                    chunk = stream.recv(_PIECE_BYTES)
                    if not chunk:
                        break
                    data += chunk
                stream.finish()
            except BaseException:
                self._abort(stream)
                raise
        return bytes(data)

    def _open_stream(
        self, volume: libvirt.virStorageVol, direction: str, sparse: bool
    ) -> tuple[libvirt.virStream, bool]:
        """A stream for ``UPLOAD`` or ``DOWNLOAD``, and whether it knows holes, which older daemons do not."""
        known = getattr(self.libvirt, f"VIR_STORAGE_VOL_{direction}_SPARSE_STREAM", 0) if sparse else 0
        for flags in (known, 0):
            stream = self.conn.newStream(0)
            try:
                (volume.upload if direction == "UPLOAD" else volume.download)(stream, 0, 0, flags)
                return stream, bool(flags)
            except self.libvirt.libvirtError as error:
                self._abort(stream)
                if not flags or code_of(error) not in _NO_SPARSE_STREAMS:
                    raise
        raise AssertionError("the last way has no way out but success and failure")

    def _abort(self, stream: libvirt.virStream) -> None:
        with contextlib.suppress(self.libvirt.libvirtError):  # it has ended already
            stream.abort()


def _send(stream: libvirt.virStream, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        # libvirt-python takes bytes only.
        rest = rest[stream.send(bytes(rest[:_PIECE_BYTES])) :]


def _send_zeros(stream: libvirt.virStream, length: int) -> None:
    zeros = bytes(_PIECE_BYTES)
    while length:
        length -= stream.send(zeros[:length])
