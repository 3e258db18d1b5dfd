# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wanted volumes: what is wrong with them, and what the driver decides about them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from ...errors import ImageNotFound, InvalidInput, Problem, SnapshotNotFound, UnsafeImage, Unsupported
from ...model.storage import FALLOC, FULL, METADATA, OFF, Volume, VolumeKey, VolumeSource
from ...model.units import MIB, format_size
from ...transfer.content import ImageFacts
from ..volumesource import source_problems
from .cachedimages import CachedImagesMixin
from .secrets import CIPHER
from .syntax import MAX_NAME_BYTES
from .volumelist import Found, PoolView, VolumeListMixin
from .volumerecord import is_hidden
from .volumeuses import VolumeUsesMixin
from .volumexml import to_libvirt_format

QCOW2, RAW, ISO = "qcow2", "raw", "iso"
MAKING_KINDS = ("dir", "fs", "netfs", "gluster", "vstorage", "logical")
"""Types of pools that volumes can be made in."""

_FORMATS = (QCOW2, RAW)
_PREALLOCATIONS = (OFF, METADATA, FALLOC, FULL)
_KIB = 1024
"""What libvirt counts in when it has QEMU make a file."""
_EXTENT = 4 * MIB
"""What LVM rounds to, unless its volume group was made with another size of extents."""


class Origin(NamedTuple):
    """A volume or image that a volume is made from; its format is what the hypervisor is told."""

    found: Found
    format: str

    @property
    def path(self) -> str:
        """Where its data is."""
        return self.found.facts.path


class VolumePlansMixin(CachedImagesMixin, VolumeListMixin, VolumeUsesMixin):
    """What can be known before a volume is made."""

    def check_volume(self, volume: Volume) -> list[Problem]:
        problems = list(_problems(volume))
        if volume.source is not None and volume.source.snapshot is not None and not self.supports("volume_snapshots"):
            problems.append(Problem("source.snapshot", "there are none on this kind of connection"))
        return problems

    def complete_volume(self, volume: Volume, facts: ImageFacts | None = None) -> Volume:
        view = self.require_pool_view(volume.pool)
        return self._completed(view, _fitted(volume, facts), self.find_origin(volume))

    def _completed(self, view: PoolView, volume: Volume, origin: Origin | None) -> Volume:
        source, size_bytes, volume_format = volume.source, volume.size_bytes, volume.format
        usual = QCOW2 if view.has_files else RAW
        if source is not None and origin is not None:
            is_child = source.copy_on_write
            if is_child is None:
                is_child = source.image is not None and view.has_files and volume_format in (None, QCOW2)
            source = replace(source, copy_on_write=is_child)
            smallest = origin.found.facts.size_bytes
            if size_bytes is not None and size_bytes < smallest:
                raise InvalidInput([Problem("size", f"what it is made from needs {format_size(smallest)}")])
            size_bytes = size_bytes or smallest
            own = origin.format if view.has_files and origin.format in _FORMATS else usual
            volume_format = volume_format or (QCOW2 if is_child else own)
        elif source is None:
            # Only raw volumes can be shared by writers, or be written in advance through libvirt.
            must_be_raw = volume.shareable or volume.preallocation == FULL
            volume_format = volume_format or (RAW if must_be_raw else usual)
            if size_bytes is None:
                raise InvalidInput([Problem("size", "is needed for a new volume without a source")])
        grain = _KIB if view.has_files else _EXTENT
        completed = replace(
            volume,
            source=source,
            size_bytes=None if size_bytes is None else -(-size_bytes // grain) * grain,
            format=volume_format,
            preallocation=volume.preallocation or OFF,
            shareable=bool(volume.shareable),
            metadata=dict(volume.metadata or {}),
        )
        problems = [*_problems(completed), *_pool_problems(completed, view)]
        if problems:
            raise InvalidInput(problems)
        return completed

    def find_origin(self, volume: Volume) -> Origin | None:
        """What a volume is made from, when that is a volume or an image.

        Raises:
            PoolNotFound, VolumeNotFound, ImageNotFound, SnapshotNotFound: it is not there.
            VolumeInUse: it may be changing.
            Unsupported: it cannot be copied.
        """
        source = volume.source
        if source is None or (source.volume is None and source.image is None):
            return None
        if source.image is not None:
            return self._find_image(source.image, source.pool, volume.pool)
        key = VolumeKey(source.pool or volume.pool, source.volume or "")
        found = self.require_whole(key)
        if found.facts.encrypted:
            raise Unsupported(
                f"the libvirt driver cannot copy the encrypted volume {str(key)!r}, since its passphrase cannot be "
                "read; copy what is in it from inside a guest"
            )
        if not source.copy_on_write:  # a child is told the format of what it leans on
            self.require_well_read(found)
        if source.snapshot is not None and source.snapshot not in self.snapshot_names(found):
            raise SnapshotNotFound(f"the volume {key} has no snapshot {source.snapshot!r}")
        if source.copy_on_write:
            self.require_unwritten(key)
        else:
            self.require_no_writer(key, "copied")
        return Origin(found, found.facts.format)

    def require_well_read(self, found: Found) -> None:
        """Raise UnsafeImage when libvirt would follow what a guest has written into its raw disk.

        Costs as much as reading all instances where the volume seems to lean on another.
        """
        misread = found.misread
        if not misread and found.facts.backing is not None:
            told = {disk.format for disk in self.all_disks() if disk.chain[:1] == (self.real_path(found.facts.path),)}
            misread = "raw" in told
        if misread:
            raise UnsafeImage(
                f"the volume {str(found.key)!r} is raw, and a guest has made its beginning look like another format, "
                "which libvirt would believe; clear that, or copy the data from inside a guest"
            )

    def _find_image(self, name: str, pool: str | None, target: str) -> Origin:
        if pool is None:
            image = self.require_image(name, target)
        else:
            found = self.find_image(name, [pool])
            if found is None:
                raise ImageNotFound(f"there is no image {name!r} in the cache of the pool {pool!r}")
            image = found
        return Origin(self.require_whole(image.key), to_libvirt_format(image.format or RAW))


def _fitted(volume: Volume, facts: ImageFacts | None) -> Volume:
    """A volume with the format and, if known, the size of what it is filled with."""
    if facts is None:
        return volume
    stored = RAW if facts.format == ISO else facts.format
    if stored not in _FORMATS:
        raise InvalidInput(
            [Problem("source", f"is {stored}; the libvirt driver takes {' and '.join(_FORMATS)}: convert it first")]
        )
    if volume.format not in (None, stored):
        wrong = f"what it is filled with is {facts.format}, and is not converted; leave the format out"
        raise InvalidInput([Problem("format", wrong)])
    least = facts.size_bytes
    if volume.size_bytes is not None and least is not None and volume.size_bytes < least:
        raise InvalidInput([Problem("size", f"what it is filled with needs {format_size(least)}")])
    return replace(volume, format=stored, size_bytes=volume.size_bytes or least)


def _problems(volume: Volume) -> Iterator[Problem]:
    """What is wrong in any pool."""
    for option, value in (("name", volume.name), ("pool", volume.pool)):
        if not value or value[0] in "." or "/" in value or not value.isprintable():
            yield Problem(option, f"{value!r} cannot be its name")
        elif len(value.encode()) > MAX_NAME_BYTES:
            yield Problem(option, f"must not be longer than {MAX_NAME_BYTES} bytes")
    if is_hidden(volume.name):
        yield Problem("name", f"{volume.name!r} ends like the records that the collection keeps beside volumes")
    if volume.format is not None and volume.format not in _FORMATS:
        yield Problem("format", f"libvirt makes {' and '.join(_FORMATS)} volumes here, not {volume.format}")
    if volume.preallocation is not None:
        yield from _preallocation_problems(volume, volume.preallocation)
    if volume.shareable and volume.format not in (None, RAW):
        yield Problem("shareable", f"only {RAW} volumes can be written to by several instances at once")
    if volume.encryption is not None:
        if not volume.encryption.passphrase:
            yield Problem("encryption.passphrase", "is needed")
        if volume.source is not None:
            yield Problem("encryption", "can only be given to a new blank volume")
        if volume.encryption.cipher is not None and not CIPHER.fullmatch(volume.encryption.cipher):
            yield Problem("encryption.cipher", f"{volume.encryption.cipher!r} is not of the form aes-256-xts")
    if volume.source is not None:
        yield from _source_problems(volume, volume.source)


def _preallocation_problems(volume: Volume, preallocation: str) -> Iterator[Problem]:
    if preallocation not in _PREALLOCATIONS:
        yield Problem("preallocation", f"{preallocation!r} is not one of {', '.join(_PREALLOCATIONS)}")
    elif preallocation == OFF:
        return
    elif preallocation == METADATA and volume.format == RAW:
        yield Problem("preallocation", f"{METADATA} is for {QCOW2} volumes only; {RAW} ones have {FALLOC} and {FULL}")
    elif preallocation == FULL and volume.format == QCOW2:
        yield Problem("preallocation", f"libvirt offers {METADATA} and {FALLOC} for {QCOW2} volumes")
    elif volume.source is not None:
        yield Problem("preallocation", "is for new blank volumes only")
    elif volume.encryption is not None and volume.format == RAW:
        yield Problem("preallocation", f"libvirt has none for encrypted {RAW} volumes")


def _source_problems(volume: Volume, source: VolumeSource) -> Iterator[Problem]:
    yield from source_problems(source)
    if source.copy_on_write:
        if source.snapshot is not None:
            yield Problem("source.copy_on_write", "nothing can lean on a snapshot; make a whole copy of it")
        if volume.format not in (None, QCOW2):
            yield Problem("source.copy_on_write", f"a {volume.format} volume cannot be a child of another")


def _pool_problems(volume: Volume, view: PoolView) -> Iterator[Problem]:
    """What is wrong in this pool."""
    if view.kind not in MAKING_KINDS:
        yield Problem(
            "pool", f"{volume.pool!r} is of type {view.kind}, whose volumes are made where its data is served"
        )
    elif not view.has_files and volume.source is not None and volume.source.copy_on_write:
        yield Problem(
            "source.copy_on_write", f"the pool {volume.pool!r} is of type {view.kind}, which holds whole volumes only"
        )
    elif not view.has_files and volume.format not in (None, RAW):
        yield Problem("format", f"the pool {volume.pool!r} is of type {view.kind}, which holds {RAW} volumes only")
    elif not view.has_files and volume.encryption is not None:
        yield Problem(
            "encryption", f"libvirt encrypts volumes in pools of files; {volume.pool!r} is of type {view.kind}"
        )
