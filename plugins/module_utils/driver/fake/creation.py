# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""New volumes: blank ones and children at once; copies and uploads piece by piece, unfinished until the last one."""

from __future__ import annotations

import os
from dataclasses import replace

from ...errors import AlreadyExists, HypervisorError, InvalidInput, Problem
from ...model.storage import Volume
from ...transfer.content import PIECE_BYTES, Content
from ...undo import Undo, UndoStack
from .datafiles import NewFile, is_being_written, sweep
from .store import VOLUMES, Changes, Record
from .volumechecks import fitted
from .volumedata import VolumeDataMixin
from .volumerecords import data_of, is_complete, new_lock


class CreationMixin(VolumeDataMixin):
    """Making volumes."""

    def create_volume(self, volume: Volume, content: Content | None = None) -> Undo:
        source, key = volume.source, str(volume.key)
        if source is not None and (source.path or source.url) and content is None:
            raise InvalidInput([Problem("source", "what is to be uploaded has not been opened")])
        uuid = os.urandom(16).hex()
        with UndoStack() as done:
            if content is not None:
                self._upload(fitted(volume, content.facts), uuid, content, done)
            elif source is None or source.copy_on_write:
                self._add_volume(volume, uuid, {}, done)
            else:
                self._copy(volume, uuid, done)
        return lambda: self._remove_made(key, uuid)

    # -- parts ------------------------------------------------------------------------------------------------------

    def _upload(self, volume: Volume, uuid: str, content: Content, done: UndoStack) -> None:
        key = str(volume.key)
        file = NewFile(self.folder)
        try:
            reserved = max(volume.size_bytes or 0, content.length or 0)
            self._add_volume(volume, uuid, {"making": file.name, "reserved_bytes": reserved}, done)
            data = self._receive("volume_write", key, uuid, content, file)
            size_bytes = volume.size_bytes or file.length
            fitted(replace(volume, size_bytes=size_bytes), content.facts._replace(size_bytes=data["data_size_bytes"]))
            self._finish_volume(key, uuid, {**data, "size_bytes": size_bytes})
        except BaseException:
            file.discard()
            raise
        finally:
            file.close()

    def _copy(self, volume: Volume, uuid: str, done: UndoStack) -> None:
        key = str(volume.key)
        file = NewFile(self.folder)
        try:
            record = self._add_volume(volume, uuid, {"making": file.name}, done)
            left = record.get("allocated_bytes", 0)
            with self.progress.measure(f"volume {key}", left) as meter:
                while left > 0:
                    self._step("volume_copy")
                    piece = min(left, PIECE_BYTES)
                    meter.advance(piece)
                    left -= piece
            self._finish_volume(key, uuid, {})
        finally:
            file.discard()
            file.close()

    def _add_volume(self, volume: Volume, uuid: str, more: Record, done: UndoStack) -> Record:
        """Make the record."""
        key = str(volume.key)
        with self._write("volume_create") as changes:
            volume = self._completed(changes, volume)
            self._require_no_volume(changes, key)
            changes.delete(VOLUMES, key)
            record = {**self._new_record(changes, volume), "uuid": uuid, **more}
            self._require_pool_room(changes, volume.pool, max(record["size_bytes"], more.get("reserved_bytes", 0)))
            changes.put(VOLUMES, key, record)
            done.push(f"remove the volume {key}", lambda: self._remove_made(key, uuid))
        return record

    def _new_record(self, changes: Changes, volume: Volume) -> Record:
        source = self._find_source(changes, volume)
        record: Record = {
            "pool": volume.pool,
            "name": volume.name,
            "size_bytes": volume.size_bytes or 0,
            "format": volume.format,
            "owner": None,
            "backing": None,
            "preallocation": volume.preallocation,
            "shareable": bool(volume.shareable),
            "metadata": dict(volume.metadata or {}),
        }
        if volume.encryption is not None and volume.encryption.passphrase:
            record["lock"] = new_lock(volume.encryption.passphrase)
        if source is not None:
            if "lock" in source.volume:
                record["lock"] = source.volume["lock"]
            if volume.source is not None and volume.source.copy_on_write:
                record["backing"] = source.key
            else:
                record.update(data_of(changes, source.state, source.volume["backing"]))
        return record

    def _require_no_volume(self, changes: Changes, key: str) -> None:
        """Raise AlreadyExists unless the name is free, or has what somebody who was killed had begun."""
        record = changes.get(VOLUMES, key)
        if record is None:
            return
        pool, _slash, name = key.partition("/")
        if is_complete(record):
            raise AlreadyExists(f"there is a volume {name!r} in the pool {pool!r} already")
        if "image" in record:
            raise AlreadyExists(
                f"the name {name!r} in the pool {pool!r} is reserved for an image; fetch it to its end "
                "with virt_image, or remove it there (state: absent)"
            )
        if is_being_written(self.folder, record["making"]):
            raise AlreadyExists(f"the volume {name!r} in the pool {pool!r} is being made right now, by somebody else")

    def _finish_volume(self, key: str, uuid: str, values: Record) -> None:
        """The unfinished volume is whole now."""
        with self._write("volume_finish") as changes:
            record = changes.get(VOLUMES, key)
            if record is None or record.get("uuid") != uuid:
                raise HypervisorError(f"the volume {key} was removed by somebody else while it was being made")
            if "size_bytes" in values:
                more = values["size_bytes"] - max(record["size_bytes"], record.get("reserved_bytes", 0))
                self._require_pool_room(changes, record["pool"], max(0, more))
            kept = {field: value for field, value in record.items() if field not in ("making", "reserved_bytes")}
            changes.put(VOLUMES, key, {**kept, **values})

    def _remove_made(self, key: str, uuid: str) -> None:
        """Remove the volume, unless it is another one by now."""
        with self._write("volume_delete") as changes:
            record = changes.get(VOLUMES, key)
            if record is not None and record.get("uuid") == uuid:
                changes.delete(VOLUMES, key)
        sweep(self._store)
