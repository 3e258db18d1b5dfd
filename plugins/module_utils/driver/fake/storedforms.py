# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A volume as it would lie in a real pool: its data in the form that its format gives it."""

from __future__ import annotations

from collections.abc import Iterator

from ...transfer.content import Hole, Segment
from .datafiles import OpenFile
from .poolkinds import QCOW2, RAW
from .qcow2 import blank_qcow2
from .store import Record


def stored_length(volume: Record) -> int:
    """How many bytes ``stored_segments`` yields, holes included."""
    if volume["format"] == RAW:
        return int(volume["size_bytes"])
    if "data" in volume:
        return int(volume["data_bytes"])
    return len(_head(volume))


def stored_segments(folder: str, volume: Record) -> Iterator[Segment]:
    """All of a volume, in order."""
    length = stored_length(volume)
    if "data" not in volume:
        head = _head(volume)
        if head:
            yield head
        if length > len(head):
            yield Hole(length - len(head))
        return
    file = OpenFile(folder, volume["data"])
    try:
        within = min(length, volume["data_bytes"])
        yield from file.segments(0, within)
        if length > within:
            yield Hole(length - within)
    finally:
        file.close()


def _head(volume: Record) -> bytes:
    """How a volume begins in which nothing was ever written."""
    return blank_qcow2(volume["size_bytes"], volume["backing"]) if volume["format"] == QCOW2 else b""
