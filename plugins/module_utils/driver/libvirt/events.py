# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The thread that runs libvirt's event loop, which keepalive and events need: one for all connections."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_PAUSE_S = 0.02

_lock = threading.Lock()
_threads: list[threading.Thread] = []
_streams: list[object] = []


def start(library: Any) -> None:
    """Have it run, once a process; connections that are opened later are looked after."""
    with _lock:
        if not _threads:
            library.virEventRegisterDefaultImpl()
            thread = threading.Thread(target=_run, args=(library,), name="anyvirt-events", daemon=True)
            thread.start()
            _threads.append(thread)


@contextmanager
def unhurried() -> Iterator[None]:
    """While much data flows, events may come a moment later.

    Each message of a stream wakes the loop twice, if it waits just then. That was measured to cost a third of the time
    of an upload, and more on a busy machine.
    """
    stream = object()
    _streams.append(stream)
    try:
        yield
    finally:
        _streams.remove(stream)


def _run(library: Any) -> None:
    while True:
        library.virEventRunDefaultImpl()
        if _streams:
            time.sleep(_PAUSE_S)
