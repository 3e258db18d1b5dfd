# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be remembered of a volume: libvirt keeps no metadata of volumes, so a small volume beside it does.

Such a record is made before its volume and removed after it, so one without a volume tells of work that was cut short.
libvirt makes a volume only where there is none of its name: a record is also a lock that one process gets.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ...errors import InvalidInput, Problem, VolumeNotFound
from .errors import NO_STORAGE_VOL, code_of
from .storage import StorageMixin
from .volumexml import volume_document

if TYPE_CHECKING:
    import libvirt

VOLUME_SUFFIX = ".anyvirt-volume"
IMAGE_SUFFIX = ".anyvirt-image"
PART_SUFFIX = ".anyvirt-part"
"""Of a passing volume, which another volume is made from."""
REMOVAL_SUFFIX = ".anyvirt-removing"
"""Of a note about an instance that is being removed."""
KEPT_SUFFIX = ".anyvirt-kept"
"""Of a copy that is kept of a volume, so that a resize can be taken back."""
_HIDDEN = (VOLUME_SUFFIX, IMAGE_SUFFIX, PART_SUFFIX, REMOVAL_SUFFIX, KEPT_SUFFIX)

_MAGIC = b"anyvirt record 1\n"
_MOST_BYTES = 1 << 16
_BLOCK = 4096

Payload = dict[str, Any]


class RecordsMixin(StorageMixin):
    """Records beside volumes."""

    def make_record(self, pool: libvirt.virStoragePool, name: str, payload: Payload) -> libvirt.virStorageVol:
        """Make the record of this full name.

        Raises:
            AlreadyExists: there is one.
        """
        data = encode(payload)
        with self.guard(f"make the volume {name!r} in the storage pool {pool.name()!r}"):
            record = pool.createXML(volume_document(name, _MOST_BYTES, "raw", allocation_bytes=_MOST_BYTES), 0)
        try:
            self.upload(record, data)
        except BaseException:
            self.drop(record)
            raise
        return record

    def save_record(self, record: libvirt.virStorageVol, payload: Payload) -> None:
        """Replace what is in a record; whoever is killed meanwhile leaves the old or the new."""
        self.upload(record, encode(payload))

    def read_record(self, record: libvirt.virStorageVol) -> Payload | None:
        """What is in a record; None for one that was never written, or is gone."""
        try:
            with self.guard("read the record of a volume"):
                return decode(self.download(record, 0, _MOST_BYTES))
        except VolumeNotFound:
            return None

    def drop(self, volume: libvirt.virStorageVol | None) -> None:
        """Delete a volume; fine when there is none, or it is gone."""
        if volume is None:
            return
        try:
            self.when_idle(lambda: volume.delete(0))
        except self.libvirt.libvirtError as error:
            if code_of(error) != NO_STORAGE_VOL:
                with self.guard(f"delete the volume {volume.name()!r}"):
                    raise


def is_hidden(name: str) -> bool:
    """Whether a volume of this name is ours alone."""
    return name.endswith(_HIDDEN)


def encode(payload: Payload) -> bytes:
    """A record's bytes: whole blocks, so that one write replaces all of an older one's."""
    data = _MAGIC + json.dumps(payload, separators=(",", ":")).encode() + b"\0"
    if len(data) > _MOST_BYTES:
        raise InvalidInput([Problem("metadata", f"takes more than {_MOST_BYTES // 1024} KiB")])
    return data + bytes(-len(data) % _BLOCK)


def decode(data: bytes) -> Payload | None:
    """What the bytes say; None when they are no record."""
    if not data.startswith(_MAGIC):
        return None
    try:
        payload = json.loads(data[len(_MAGIC) :].partition(b"\0")[0])
    except ValueError:
        return None
    return payload if isinstance(payload, dict) else None
