# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of the pools' image caches, as far as volumes are made from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from ...errors import ImageNotFound
from ...model.storage import Image
from .errors import NO_STORAGE_POOL, NO_STORAGE_VOL, OPERATION_INVALID, code_of
from .volumerecord import IMAGE_SUFFIX, Payload, RecordsMixin

if TYPE_CHECKING:
    import libvirt

_ELSEWHERE = ("name", "pool", "path")
"""What a record does not say, since it is where it is."""

NOBODY = "?"
"""The claim of what nobody is fetching."""


class CachedImagesMixin(RecordsMixin):
    """Finding images by their names."""

    def find_image(self, name: str, pools: Sequence[str] | None = None) -> Image | None:
        """The complete image of this name in the first of these pools that has one; None: in any active pool."""
        for pool in self.active_pools(pools):
            image = self.image_in(pool, name)
            if image is not None and image.complete:
                return image
        return None

    def require_image(self, name: str, pool: str | None) -> Image:
        """The complete image of this name, of ``pool`` rather than of another.

        Raises:
            ImageNotFound: there is none.
        """
        image = (self.find_image(name, [pool]) if pool else None) or self.find_image(name)
        if image is None:
            raise ImageNotFound(f"there is no image {name!r} in any pool's image cache; fetch it with virt_image")
        return image

    def active_pools(self, names: Sequence[str] | None) -> Iterator[libvirt.virStoragePool]:
        """Those of the pools that there are and that are active; all of these when no names are given."""
        with self.guard("list the storage pools"):
            pools = self.conn.listAllStoragePools(self.libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE)
        if names is None:
            yield from sorted(pools, key=lambda pool: str(pool.name()))
        else:
            by_name = {pool.name(): pool for pool in pools}
            yield from (by_name[name] for name in names if name in by_name)

    def image_in(self, pool: libvirt.virStoragePool, name: str) -> Image | None:
        """The image of this name, complete or not; None when the pool has none."""
        try:
            record = pool.storageVolLookupByName(name + IMAGE_SUFFIX)
            volume = pool.storageVolLookupByName(name)
            path = volume.path()
        except self.libvirt.libvirtError as error:
            if code_of(error) in (NO_STORAGE_VOL, NO_STORAGE_POOL, OPERATION_INVALID):
                return None
            with self.guard(f"look up the image {name!r} in the storage pool {pool.name()!r}"):
                raise
        return to_image(pool.name(), name, path, self.read_record(record))


def to_image(pool: str, name: str, path: str | None, payload: Payload | None) -> Image:
    """The image that a record tells of. One that was never written is somebody's who is gone, and so is one whose data
    is gone, since a removal was cut short before its record was."""
    if payload is None:
        return Image(name, pool, claim=NOBODY)
    known = {field: value for field, value in payload.items() if field in Image.__dataclass_fields__}
    image = Image(**{**known, "name": name, "pool": pool, "path": path})
    return replace(image, claim=NOBODY) if path is None and image.complete else image


def to_payload(image: Image) -> Payload:
    """What a record says of an image."""
    return {
        field: value for field, value in asdict(image).items() if field not in _ELSEWHERE and value not in (None, "", 0)
    }
