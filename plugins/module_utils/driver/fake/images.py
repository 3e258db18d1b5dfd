# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that instances are made from: files of the host, by their path, and those of the image cache, by name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from ...errors import AnyvirtError, ImageNotFound, InvalidInput, Problem, UnsafeImage
from ...model.storage import VolumeKey
from ...model.units import format_size
from ...transfer import headers
from ..imagepath import is_path
from .host import HostMixin
from .hostfile import DEFAULT_POOL
from .store import VOLUMES, Record, View, is_file_name
from .volumerecords import is_complete


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

    def _has_file(self, path: str) -> bool:
        """Whether host.json declares such a file, or there really is one."""
        return path in self._settings.images or (
            "\0" not in path and os.access(path, os.R_OK) and not os.path.isdir(path)
        )

    def _disk_size_in(self, path: str) -> int | None:
        """Bytes of the disk in an image file; None when there is no such file.

        Raises:
            UnsafeImage: it leans on other files, or is otherwise not to be trusted.
        """
        declared = self._settings.images.get(path)
        if declared is not None:
            return declared.size_bytes
        try:
            with open(path, "rb") as file:
                length = os.fstat(file.fileno()).st_size
                head = file.read(headers.HEAD_BYTES)
                file.seek(max(0, length - headers.TAIL_BYTES))
                tail = file.read(headers.TAIL_BYTES)
        except (OSError, ValueError):
            return None
        try:
            facts = headers.inspect(head, length, tail)
        except UnsafeImage as error:
            raise UnsafeImage(f"the image {path!r} cannot be used: {error}") from None
        return length if facts.size_bytes is None else facts.size_bytes

    def _find_image(self, view: View, image: str, pool: str | None) -> FoundImage | None:
        """A file, or a finished image of this pool's cache or, failing that, of any other active one's.

        Raises:
            UnsafeImage: the file is not to be trusted.
        """
        if is_path(image):
            size_bytes = self._disk_size_in(image)
            return None if size_bytes is None else FoundImage(image, size_bytes)
        pools = self._pools(view)
        for name in (pool or self._default_pool(view), *sorted(pools)):
            if name in pools and pools[name].active and is_file_name(image):
                record = view.get(VOLUMES, str(VolumeKey(name, image)))
                if record is not None and is_complete(record) and "image" in record:
                    return FoundImage(f"{name}/{image}", record["size_bytes"], record)
        return None

    def _image_findings(
        self, view: View, option: str, image: str, pool: str | None, size_bytes: int | None
    ) -> Iterator[tuple[Problem, type[AnyvirtError]]]:
        """Why no disk of this size can be made from the image that an option names."""
        try:
            found = self._find_image(view, image, pool)
        except UnsafeImage as error:
            yield Problem(option, str(error)), UnsafeImage
            return
        if found is None:
            yield Problem(option, no_image(image)), ImageNotFound
        elif size_bytes is not None and size_bytes < found.size_bytes:
            size = format_size(found.size_bytes)
            yield Problem(f"{option.rpartition('.')[0]}.size", f"the image {image!r} needs {size}"), InvalidInput


def no_image(image: str) -> str:
    """That there is none, in words."""
    return f"there is no file {image!r}" if is_path(image) else f"there is no image {image!r} in the cache of any pool"
