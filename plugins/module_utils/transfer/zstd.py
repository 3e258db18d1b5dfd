# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Zstandard, by whatever this machine has for it: Python 3.14's own, the library zstandard, or the program zstd."""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from shutil import which
from typing import IO, Any, cast

from ..errors import LibraryMissing, TransferError
from .content import PIECE_BYTES
from .decompress import ZSTD, members

_WINDOW_LOG = 27
"""What one stream may make us hold, as a power of two; ``zstd`` itself takes no more either unless told to."""

_SIP_BYTES = 1024
"""How much the library zstandard is given at once: it limits no answer, and one may be 2^15 times as long."""


def unpack(pieces: Iterable[bytes], what: str) -> Iterator[bytes]:
    """What was compressed; the stream is called ``what``.

    Raises:
        TransferError: it is damaged, or ends in the middle.
        LibraryMissing: nothing here can read it.
    """
    try:
        from compression import zstd
    except ImportError:
        pass
    else:
        limit = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
        return _of_standard_library(zstd, limit, pieces, what)
    try:
        import zstandard
    except ImportError:
        pass
    else:
        return _of_library(zstandard, pieces, what)
    program = which("zstd")
    if program is None:
        raise LibraryMissing(
            f"{what}: it is compressed with zstd, which needs Python 3.14, or the Python library zstandard "
            "(pip install zstandard), or the program zstd where the module runs"
        )
    return _of_program(program, pieces, what)


def _of_standard_library(zstd: Any, limit: dict[Any, int], pieces: Iterable[bytes], what: str) -> Iterator[bytes]:
    try:
        yield from members(lambda: zstd.ZstdDecompressor(options=limit), pieces, ZSTD, what)
    except zstd.ZstdError as error:
        raise _damaged(what, error) from error


class _Readable:
    """Pieces as something to read from."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """The next bytes, as many as come at once."""
        data = self._rest or next(self._pieces, b"")
        self._rest = data[size:] if 0 <= size < len(data) else b""
        return data[: len(data) - len(self._rest)]


def _of_library(library: Any, pieces: Iterable[bytes], what: str) -> Iterator[bytes]:
    """Frame by frame: only then does the library tell that the last one was cut short."""
    decompressor = library.ZstdDecompressor(max_window_size=1 << _WINDOW_LOG)
    source = _Readable(pieces)
    rest = b""
    try:
        while rest or (rest := source.read()):
            frame = decompressor.decompressobj()
            while not frame.eof:
                data, rest = rest or source.read(PIECE_BYTES), b""
                if not data:
                    raise _cut_short(what)
                for at in range(0, len(data), _SIP_BYTES):
                    part = frame.decompress(data[at : at + _SIP_BYTES])
                    if part:
                        yield part
                    if frame.eof:
                        rest = frame.unused_data + data[at + _SIP_BYTES :]
                        break
    except library.ZstdError as error:
        raise _damaged(what, error) from error


def _of_program(program: str, pieces: Iterable[bytes], what: str) -> Iterator[bytes]:
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            [program, "--decompress", "--stdout", "--quiet", f"--memory={1 << _WINDOW_LOG}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            close_fds=True,
        )
        feeder = _Feeder(pieces, process)
        try:
            yield from feeder.parts()
            process.wait()
        finally:
            feeder.stop()
        feeder.check()
        if process.returncode:
            complaints.seek(0)
            words = complaints.read(500).decode(errors="replace").strip()
            raise _damaged(what, words or f"zstd ended with {process.returncode}")


class _Feeder:
    """Gives a program its input in a thread of its own, while its output is read here."""

    def __init__(self, pieces: Iterable[bytes], process: subprocess.Popen[bytes]) -> None:
        self._pieces = pieces
        self._process = process
        self._input = cast(IO[bytes], process.stdin)
        self._output = cast(IO[bytes], process.stdout)
        self._error: BaseException | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._feed, name="input of zstd", daemon=True)

    def parts(self) -> Iterator[bytes]:
        """The program's output."""
        self._thread.start()
        while part := self._output.read(PIECE_BYTES):
            yield part

    def _feed(self) -> None:
        try:
            for piece in self._pieces:
                if self._stopped:
                    break
                with suppress(BrokenPipeError):  # its end says more about why
                    self._input.write(piece)
        except BaseException as error:  # raised again where it is waited for
            self._error = error
        finally:
            with suppress(OSError):
                self._input.close()

    def stop(self) -> None:
        """Nobody wants any more."""
        self._stopped = True
        if self._process.poll() is None:
            self._process.kill()
        if self._thread.ident is not None:
            self._thread.join()
        self._process.wait()
        self._output.close()

    def check(self) -> None:
        """Raise what the input ended with, if that was an error."""
        if self._error is not None:
            raise self._error


def _damaged(what: str, why: object) -> TransferError:
    return TransferError(f"{what}: its {ZSTD} data is damaged: {why}")


def _cut_short(what: str) -> TransferError:
    return TransferError(f"{what}: its {ZSTD} data ends in the middle")
