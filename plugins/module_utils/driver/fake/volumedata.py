# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in volumes: bytes flow in and out in pieces, each of which is an operation of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import VolumeInUse
from ...model.storage import VolumeKey
from ...transfer.content import Content, Segment
from ...transfer.sparse import length_of
from .datafiles import NewFile
from .store import VOLUMES, Record
from .storedforms import StoredForm, plain_data
from .volumes import VolumesMixin

RESERVE_BYTES = 64 << 20
"""Room for content of unknown length is reserved in steps of this size."""


class StoredVolume:
    """A volume's data on its way out: a ``VolumeReader``."""

    def __init__(self, driver: VolumeDataMixin, what: str, volume_format: str, form: StoredForm) -> None:
        self.format = volume_format
        self.length: int | None = form.length
        self._driver = driver
        self._what = what
        self._form = form

    def segments(self) -> Iterator[Segment]:
        """All of it, once, in order."""
        with self._driver.progress.measure(self._what, self.length) as meter:
            for segment in self._form.segments():
                self._driver.carry_piece("volume_read")
                yield segment
                meter.advance(length_of(segment))


class VolumeDataMixin(VolumesMixin):
    """Reading and filling."""

    @contextmanager
    def open_volume(self, key: VolumeKey) -> Iterator[StoredVolume]:
        with self._read("volume_open") as view:
            volume = self._volume(view, key)
            writers = [user.instance for user in self._users(view, {str(key)})[str(key)] if user.active]
            if writers:
                raise VolumeInUse(f"the volume {key} may be written to by the active instance {writers[0]!r}; stop it")
            form = StoredForm(self.folder, volume)
        try:
            yield StoredVolume(self, f"volume {key}", volume["format"], form)
        finally:
            form.close()

    def carry_piece(self, operation: str) -> None:
        """One piece of data goes by; trouble may be ordered for it."""
        self._step(operation)

    def _receive(self, operation: str, key: str, uuid: str, content: Content, file: NewFile) -> Record:
        """Write content into a file, with room for it reserved in the record of the volume that it is for; gives the
        part of a record that tells of the file."""
        room = content.length or 0
        with self.progress.measure(content.what, content.length) as meter:
            for segment in content.segments():
                length = length_of(segment)
                if file.length + length > room:
                    room = self._reserve(key, uuid, file.length + length, RESERVE_BYTES)
                self._step(operation)
                file.write(segment)
                meter.advance(length)
        facts = content.facts
        return {
            **plain_data(file),
            "data_format": facts.format,
            "data_size_bytes": file.length if facts.size_bytes is None else facts.size_bytes,
        }

    def _reserve(self, key: str, uuid: str, size_bytes: int, spare_bytes: int = 0) -> int:
        """Have so much room kept for a volume that is being made, and some to spare if there is; tells how much."""
        with self._store.writing() as changes:
            record = changes.get(VOLUMES, key)
            if record is None or record.get("uuid") != uuid:
                return size_bytes  # it is gone, which its maker notices in the end
            has: int = record["reserved_bytes"]
            if size_bytes > has:
                self._require_pool_room(changes, record["pool"], size_bytes - has)
                has = min(size_bytes + spare_bytes, has + self._pool_room(changes, record["pool"]))
                changes.put(VOLUMES, key, {**record, "reserved_bytes": has})
        return has
