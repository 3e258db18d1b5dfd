# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copying volumes from one host's folder to another's: sparse, piece by piece, and compared in the end."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Callable

from ...errors import ChecksumMismatch, VolumeNotFound
from ...model.migration import DiskMove
from ...transfer.content import Hole, Segment
from ...transfer.sparse import length_of
from .core import FakeCore
from .datafiles import NewFile, OpenFile, open_data
from .sharing import HostStore
from .store import VOLUMES, Changes, Record, View
from .volumerecords import DATA, data_of

OnPiece = Callable[[int], None]


def bytes_to_copy(view: View, disk: DiskMove) -> int:
    """Bytes that are no holes, in a disk's volume and its snapshots."""
    files = {state["data"]: state["allocated_bytes"] for state in _states(view, disk) if "data" in state}
    return sum(files.values())


class CopyMixin(FakeCore):
    """Filling the volumes of an instance that arrives."""

    def fill_volumes(
        self, source_folder: str, name: str, disks: Iterable[DiskMove], on_piece: OnPiece = lambda _length: None
    ) -> None:
        """Copy what is in the source's volumes into those that were made for them here.

        Args:
            on_piece: Told before each piece of data how long it is; what it raises ends the copying.

        Raises:
            ChecksumMismatch: what arrived is not what was sent.
        """
        for disk in disks:
            with ExitStack() as stack:
                files: dict[str, OpenFile] = {}
                with HostStore(source_folder, self.options.call_timeout_s).reading() as view:
                    states = _states(view, disk)
                    for state in states:
                        if "data" in state and state["data"] not in files:
                            files[state["data"]] = open_data(source_folder, state["data"])
                            stack.callback(files[state["data"]].close)
                lengths = {state["data"]: state["data_bytes"] for state in states if "data" in state}
                made: dict[str, NewFile] = {}
                for known, file in files.items():
                    made[known] = NewFile(self.folder)
                    stack.callback(made[known].close)
                    self._copy_file(disk, file, lengths[known], made[known], on_piece)
                names = {known: file.name for known, file in made.items()}
                with self._write("migration_fill", name) as changes:
                    _fill(changes, disk, [_with_data(state, names) for state in states])

    def _copy_file(self, disk: DiskMove, source: OpenFile, length: int, file: NewFile, on_piece: OnPiece) -> None:
        sent = hashlib.sha256()
        for segment in source.segments(0, length):
            if not isinstance(segment, Hole):
                on_piece(length_of(segment))
            _add(sent, segment)
            file.write(segment)
        arrived = hashlib.sha256()
        copy = open_data(self.folder, file.name)
        try:
            for segment in copy.segments(0, length):
                _add(arrived, segment)
        finally:
            copy.close()
        if sent.digest() != arrived.digest():
            raise ChecksumMismatch(f"the copy of {disk.source} in {disk.destination} is not what was sent")


def _states(view: View, disk: DiskMove) -> list[Record]:
    """What is in the source's volume, and then in each of its snapshots; with what it leans on, unless the destination
    has that as well."""
    volume = view.get(VOLUMES, disk.source)
    if volume is None:
        raise VolumeNotFound(f"the volume {disk.source} of disk {disk.device} is gone")
    backing = volume["backing"] if disk.how == "copy" else None
    own = {field: volume[field] for field in DATA if field in volume}
    return [{**state, **data_of(view, state, backing)} for state in (own, *volume.get("snapshots", ()))]


def _with_data(state: Record, names: dict[str, str]) -> Record:
    return {**state, "data": names[state["data"]]} if "data" in state else state


def _fill(changes: Changes, disk: DiskMove, states: list[Record]) -> None:
    volume = changes.get(VOLUMES, disk.destination)
    if volume is None:
        raise VolumeNotFound(f"the volume {disk.destination} was removed while it was being filled")
    filled = {**volume, **states[0]}
    changes.put(VOLUMES, disk.destination, {**filled, "snapshots": states[1:]} if states[1:] else filled)


def _add(digest: hashlib._Hash, segment: Segment) -> None:
    digest.update(b"hole %d" % segment.length if isinstance(segment, Hole) else segment)
