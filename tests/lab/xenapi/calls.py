# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts the calls that clients make."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import NamedTuple

_READING = ("get_", "assert_", "query_", "compute_", "retrieve_", "maximise_", "migrate_receive")
# Logging in and out, waiting for events and keeping house among one's tasks change nothing that a pool is there for.
_HOUSEKEEPING = ("session", "event", "task")


class Made(NamedTuple):
    name: str  # "VM.start" for Async.VM.start as well; "http:/import_raw_vdi"
    writes: bool
    asynchronous: bool


class Calls:
    """Every call is counted while somebody records."""

    def __init__(self) -> None:
        self._records: list[list[Made]] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def recording(self) -> Iterator[list[Made]]:
        """The calls made until the end of the with block, in their order."""
        record: list[Made] = []
        with self._lock:
            self._records.append(record)
        try:
            yield record
        finally:
            with self._lock:
                self._records[:] = [other for other in self._records if other is not record]

    def made(self, call: Made) -> None:
        with self._lock:
            for record in self._records:
                record.append(call)


def writes(name: str) -> bool:
    """Whether a message changes anything, by its name."""
    cls, _dot, message = name.partition(".")
    return cls not in _HOUSEKEEPING and not message.startswith(_READING)
