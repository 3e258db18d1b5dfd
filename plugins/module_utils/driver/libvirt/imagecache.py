# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image cache: images that are fetched once into a pool, and that copy-on-write volumes lean on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...errors import AlreadyExists, ImageNotFound, InvalidInput, Problem, Unsupported, VolumeInUse
from ...model.storage import Image, Volume, VolumeKey
from ...transfer.content import Content, ImageFacts
from ...undo import UndoStack
from .cachedimages import to_image, to_payload
from .volumecreation import VolumeCreationMixin
from .volumelist import PoolView
from .volumerecord import IMAGE_SUFFIX, VOLUME_SUFFIX
from .volumeuses import some
from .volumexml import to_libvirt_format

if TYPE_CHECKING:
    import libvirt


class ImageCacheMixin(VolumeCreationMixin):
    """Images and the reservations of those that fetch them."""

    def get_images(self, pools: Sequence[str] | None = None) -> dict[VolumeKey, Image]:
        found = {}
        for handle in self.active_pools(pools):
            view = self.look(handle.name())
            if view is None:
                continue
            for record_name in sorted(name for name in view.volumes if name.endswith(IMAGE_SUFFIX)):
                image = self._recorded(view, record_name[: -len(IMAGE_SUFFIX)])
                found[image.key] = image
        return found

    def check_image(self, pool: str, facts: ImageFacts) -> list[Problem]:
        return []  # pools of files, which alone have images, take whatever can be read

    def reserve_image(self, image: Image) -> None:
        problems = self.check_volume(Volume(image.name, image.pool))
        if problems:
            raise InvalidInput(problems)
        view = self.require_pool_view(image.pool)
        if not view.has_files:
            raise Unsupported(
                f"the libvirt driver keeps images in pools of files; {image.pool!r} is of type {view.kind}"
            )
        if image.name in view.volumes or image.name + VOLUME_SUFFIX in view.volumes:
            raise AlreadyExists(f"there is a volume {image.name!r} in the storage pool {image.pool!r} already")
        self.make_record(view.handle, image.name + IMAGE_SUFFIX, to_payload(image))

    def beat_image(self, image: Image) -> None:
        _view, record = self._reservation(image)
        self.save_record(record, to_payload(image))

    def write_image(self, image: Image, content: Content) -> int:
        view, _record = self._reservation(image)
        self.drop(view.volumes.get(image.name))
        with UndoStack() as done:
            made = self.make_filled(view, image.name, to_libvirt_format(content.facts.format), None, content, done)
            return self.length_of(made) if content.length is None else content.length

    def finish_image(self, image: Image) -> None:
        view, record = self._reservation(image)
        handle = view.volumes.get(image.name)
        if handle is None:
            raise ImageNotFound(f"nothing was written yet to the image {image.name!r} in the pool {image.pool!r}")
        finished = to_payload(image)
        finished.pop("claim", None)
        finished.pop("beat", None)
        finished.setdefault("fetched_s", time.time())
        finished.setdefault("file_bytes", self.length_of(handle))
        facts = self.facts_of(handle)
        if facts is not None:
            finished.setdefault("format", facts.format)
            finished.setdefault("size_bytes", facts.size_bytes)
        self.save_record(record, finished)

    def delete_image(self, key: VolumeKey, claim: str = "") -> None:
        view = self.look(key.pool)
        if view is None or key.name + IMAGE_SUFFIX not in view.volumes:
            return
        image = self._recorded(view, key.name)
        if claim and image.claim not in (claim, "?"):
            return  # that reservation is gone
        uses = self.volume_uses([key])[key]
        users = [use.instance for use in uses.instances] + uses.children
        if users:
            raise VolumeInUse(f"the image {str(key)!r} cannot be removed: {some(sorted(set(users)))} needs it")
        self.remove_all_of(view, key.name)

    def _reservation(self, image: Image) -> tuple[PoolView, libvirt.virStorageVol]:
        """The record of a reserved image.

        Raises:
            ImageNotFound: it is another's by now, or gone.
        """
        view = self.look(image.pool)
        record = None if view is None else view.volumes.get(image.name + IMAGE_SUFFIX)
        payload = None if record is None else self.read_record(record)
        if view is None or record is None or (payload or {}).get("claim", "") != image.claim:
            raise ImageNotFound(
                f"the name {image.name!r} in the pool {image.pool!r} is not reserved for this fetch any more; somebody "
                "else has taken it over"
            )
        return view, record

    def _recorded(self, view: PoolView, name: str) -> Image:
        path = view.path_of(name) if name in view.volumes else None
        return to_image(view.name, name, path, self.read_record(view.volumes[name + IMAGE_SUFFIX]))
