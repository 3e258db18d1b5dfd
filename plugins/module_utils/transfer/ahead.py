# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading ahead: what comes from one place is fetched while what came before is on its way to another."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from .content import Segment

_PIECES = 8
"""How many segments are held at most; none is longer than ``content.PIECE_BYTES``."""


class _Reader:
    """Takes segments in a thread of its own."""

    def __init__(self, segments: Iterable[Segment]) -> None:
        self._segments = segments
        self._ready: queue.Queue[Segment | None] = queue.Queue(_PIECES)
        self._unwanted = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="anyvirt-read-ahead", daemon=True)
        self._thread.start()

    def segments(self) -> Iterator[Segment]:
        """What was read, as it comes; then the error that ended it, if one did."""
        while True:
            segment = self._ready.get()
            if segment is None:
                break
            yield segment
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """No more is wanted; returns when nothing is read any more."""
        self._unwanted.set()
        while self._thread.is_alive():
            try:
                self._ready.get(timeout=0.05)  # it may be waiting for room
            except queue.Empty:
                continue

    def _work(self) -> None:
        segments = iter(self._segments)
        try:
            for segment in segments:
                self._ready.put(segment)
                if self._unwanted.is_set():
                    break
        except BaseException as error:  # it is the reader's, wherever that is
            self._error = error
        finally:
            close = getattr(segments, "close", None)
            if close is not None:
                close()
            self._ready.put(None)


@contextmanager
def read_ahead(segments: Iterable[Segment]) -> Iterator[Iterator[Segment]]:
    """The same segments, some of them read before they are asked for. When the block ends, nothing more is read."""
    reader = _Reader(segments)
    try:
        yield reader.segments()
    finally:
        reader.stop()
