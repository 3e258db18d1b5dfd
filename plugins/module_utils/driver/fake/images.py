# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that instances are made from: files of the host, by their path, and those of the image cache, by name."""

from __future__ import annotations

import os
from typing import NamedTuple

from ...model.storage import VolumeKey
from ..imagepath import is_path
from .host import HostMixin
from .hostfile import DEFAULT_POOL, Image
from .store import VOLUMES, Record, View, is_file_name
from .volumerecords import is_complete

_QCOW2_MAGIC = b"QFI\xfb"


class FoundImage(NamedTuple):
    """An image for a volume to be made from.

    Attributes:
        name: What a volume made from it leans on: a path, or ``pool/name``.
        volume: Its record, when it is one of the cache.
    """

    name: str
    size_bytes: int
    volume: Record | None = None


class ImagesMixin(HostMixin):
    """Looking for images."""

    def _default_pool(self, view: View) -> str:
        pools = self._pools(view)
        preferred = (DEFAULT_POOL, *self._settings.pools, *sorted(pools))
        return next((name for name in preferred if name in pools), DEFAULT_POOL)

    def _find_file(self, path: str) -> Image | None:
        """A file that host.json declares, or one that is really there."""
        declared = self._settings.images.get(path)
        if declared is not None:
            return declared
        try:
            with open(path, "rb") as file:
                head = file.read(32)
                size_bytes = os.fstat(file.fileno()).st_size
        except (OSError, ValueError):
            return None
        if head[:4] == _QCOW2_MAGIC and len(head) == 32:
            return Image(int.from_bytes(head[24:32], "big"), "qcow2")
        return Image(size_bytes, "raw")

    def _find_image(self, view: View, image: str, pool: str | None) -> FoundImage | None:
        """A file, or a finished image of this pool's cache or, failing that, of any other active one's."""
        if is_path(image):
            file = self._find_file(image)
            return FoundImage(image, file.size_bytes) if file else None
        pools = self._pools(view)
        for name in (pool or self._default_pool(view), *sorted(pools)):
            if name in pools and pools[name].active and is_file_name(image):
                record = view.get(VOLUMES, str(VolumeKey(name, image)))
                if record is not None and is_complete(record) and "image" in record:
                    return FoundImage(f"{name}/{image}", record["size_bytes"], record)
        return None


def no_image(image: str) -> str:
    """That there is none, in words."""
    return f"there is no file {image!r}" if is_path(image) else f"there is no image {image!r} in the cache of any pool"
