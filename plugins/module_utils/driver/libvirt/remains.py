# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removals under way, so that one that was killed can be finished.

Before a domain is undefined, a tiny volume next to its volumes says which of these are going to be deleted after it; it
is the last to go.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ...undo import UndoStack
from .errors import NO_STORAGE_POOL, NO_STORAGE_VOL, code_of
from .secrets import SecretsMixin
from .uses import UsesMixin, Volume
from .volumerecord import IMAGE_SUFFIX, PART_SUFFIX, REMOVAL_SUFFIX, VOLUME_SUFFIX, RecordsMixin

if TYPE_CHECKING:
    import libvirt

_MOST_BYTES = 1 << 20


class RemainsMixin(SecretsMixin, UsesMixin, RecordsMixin):
    """Notes of what is to be deleted."""

    def find_remains(self, names: Collection[str]) -> set[str]:
        if not names:
            return set()
        noted = {name for name, _note in self._notes()} & set(names)
        if not noted:
            return set()
        with self.guard("list the instances"):
            return noted - {domain.name() for domain in self.conn.listAllDomains(0)}

    def note_removal(self, name: str, volumes: Sequence[Volume], done: UndoStack) -> libvirt.virStorageVol:
        """Leave a note, in the pool of the first volume, that these are going to be deleted with an instance."""
        content = json.dumps([[volume.pool, volume.name] for volume in volumes]).encode()
        pool = volumes[0].pool
        self.remove_volume(pool, name + REMOVAL_SUFFIX)
        note = self.make_volume(pool, name + REMOVAL_SUFFIX, len(content), "raw", done)
        self.upload(note, content)
        return note

    def finish_removal(self, name: str) -> list[str]:
        """Delete the volumes that the notes about a removed instance name, then the notes; what was removed."""
        removed: list[str] = []
        for _name, note in [found for found in self._notes() if found[0] == name]:
            noted = self._read_note(note)
            removed += self.delete_all(self.unneeded(self.existing(noted), but=name))
            for pool, volume in noted:
                self.remove_companions(pool, volume)
            self.drop_note(name, note)
        return removed

    def drop_note(self, name: str, note: libvirt.virStorageVol) -> None:
        """The removal is done."""
        with self.guard(f"delete the note about the removal of instance {name!r}"):
            note.delete(0)

    def delete_all(self, volumes: Sequence[Volume]) -> list[str]:
        """Delete volumes; what was removed, in words."""
        for volume in volumes:
            self.remove_volume(volume.pool, volume.name)
            self.remove_companions(volume.pool, volume.name)
        return [f"volume {volume.pool}/{volume.name}" for volume in volumes]

    def remove_companions(self, pool: str, name: str) -> None:
        """Remove what was kept for a volume, once that is gone: its records and the passphrase of an encrypted one."""
        with self.guard(f"remove the record of the volume {name!r} in the storage pool {pool!r}"):
            try:
                handle = self.conn.storagePoolLookupByName(pool)
                names = set(handle.listVolumes())
                if name in names:
                    return
                if name + PART_SUFFIX in names:
                    self.drop(handle.storageVolLookupByName(name + PART_SUFFIX))
                for suffix in (VOLUME_SUFFIX, IMAGE_SUFFIX):
                    if name + suffix in names:
                        record = handle.storageVolLookupByName(name + suffix)
                        if (self.read_record(record) or {}).get("encrypted"):
                            self.remove_secret(record.path()[: -len(suffix)])
                        self.drop(record)
            except self.libvirt.libvirtError as error:
                if code_of(error) not in (NO_STORAGE_POOL, NO_STORAGE_VOL):
                    raise

    def _notes(self) -> list[tuple[str, libvirt.virStorageVol]]:
        """All notes, each with the name of the instance that it is about. One call for each pool."""
        with self.guard("list the volumes"):
            names = [(volume.name(), volume) for _pool, volume in self.all_volumes()]
        return [(name[: -len(REMOVAL_SUFFIX)], volume) for name, volume in names if name.endswith(REMOVAL_SUFFIX)]

    def _read_note(self, note: libvirt.virStorageVol) -> list[tuple[str, str]]:
        with self.guard("read the note about a removal"):
            size = note.info()[1]
        try:
            pairs = json.loads(self.download(note, 0, min(size, _MOST_BYTES)))
            return [(str(pool), str(volume)) for pool, volume in pairs]
        except ValueError:
            return []  # killed before it was written: nothing was removed yet
