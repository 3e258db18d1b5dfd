# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image cache: virtual disks with a record that says what they were fetched from, and who is fetching them."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ...errors import AlreadyExists, ImageNotFound, InvalidInput, NotFound, Problem, VolumeInUse
from ...model.storage import Image, VolumeKey
from ...transfer.content import Content, ImageFacts
from ...undo import UndoStack
from .attachments import AttachmentsMixin
from .data import format_problems
from .metadata import DOOMED, FINISHED, VolumeRecord, is_finished, new_id, read_volume_record
from .places import Found
from .shelves import ROUNDED_TO_BYTES, Contents, Shelf, rounded
from .storage import Made, NewVolume
from .volumemaking import STEP_BACK_S, TURNS, Contested
from .volumes import Place

_FACTS = ("format", "size_bytes", "file_bytes", "source", "checksum", "source_checksum", "fetched_s", "claim", "beat")
_NUMBERS = ("size_bytes", "file_bytes", "fetched_s", "beat")


class ImageCacheMixin(AttachmentsMixin):
    """Images."""

    def get_images(self, pools: Sequence[str] | None = None) -> dict[VolumeKey, Image]:
        with self.guard("read the images"):
            named = self.repositories()
            contents = self.read_contents(named)
        images = {}
        for pool, found in named.items():
            meant = self.meant(found)
            if meant is None or not meant.is_active or (pools is not None and pool not in pools):
                continue
            for name, one in _images_in(contents, meant.ref):
                images[VolumeKey(pool, name)] = _to_image(one, VolumeKey(pool, name))
        return dict(sorted(images.items()))

    def check_image(self, pool: str, facts: ImageFacts) -> list[Problem]:
        return list(format_problems(facts, "source"))

    def reserve_image(self, image: Image) -> None:
        for turn in range(TURNS):
            try:
                self._reserve(image)
                return
            except Contested:
                if turn == TURNS - 1:
                    raise
            time.sleep(random.uniform(*STEP_BACK_S))

    def beat_image(self, image: Image) -> None:
        self._write_facts(image, self._claimed(image), beat=image.beat)

    def write_image(self, image: Image, content: Content) -> int:
        problems = self.check_image(image.pool, content.facts)
        if problems:
            raise InvalidInput(problems)
        with self.measured(content, None) as measured:
            one = self._claimed(image)
            size_bytes = rounded(measured.facts.size_bytes or measured.length or 0)
            if size_bytes > int(one.record["virtual_size"]):
                with self.guard(f"make room for the image {image.key}"):
                    self.run_task("VDI.resize", one.ref, str(size_bytes))
            return self.write_content(one.ref, measured, f"the image {image.key}")

    def finish_image(self, image: Image) -> None:
        one = self._claimed(image)
        facts = {name: getattr(image, name) for name in _FACTS}
        with self.guard(f"finish the image {image.key}"):
            uuid = self.call("VDI.get_uuid", one.ref)
            kept = read_volume_record(one.record) or VolumeRecord("")
            size_bytes = int(self.call("VDI.get_virtual_size", one.ref))
            self.write_record(one.ref, replace(kept, vdi=uuid, size_bytes=size_bytes, cached=facts))
        if not self.decide(one.ref, FINISHED):
            raise ImageNotFound(f"the image {image.key} was taken for an abandoned one")
        self.places().forget_vdis()

    def delete_image(self, key: VolumeKey, claim: str = "") -> None:
        place = self.look_at(key)
        found = [one for one in _cached(place.shelf) if not claim or _facts_of(one).get("claim") == claim]
        for one in found:
            if not claim:
                self._require_needless(place, one)
            elif not self.decide(one.ref, DOOMED):
                continue  # it has just become whole
            self.delete_in_use(key, one.ref, "be deleted")
        if found:
            self.clear_marks(place)
        self.places().forget_vdis()

    # -- parts ------------------------------------------------------------------------------------------------------

    def _reserve(self, image: Image) -> None:
        place = self.look_at(image.key)
        if _cached(place.shelf):
            raise AlreadyExists(f"there is an image {image.name!r} in the storage pool {image.pool!r} already")
        self.require_new(place)
        facts: dict[str, Any] = {name: getattr(image, name) for name in _FACTS}
        record = VolumeRecord(place.mark, making=new_id(), unfinished=True, cached=facts)
        new = NewVolume(image.name, image.pool, place.repository.ref, ROUNDED_TO_BYTES, record, None)
        made = Made()
        with UndoStack() as done:
            done.push(f"delete the reservation of the image {image.key}", partial(self.unmake, new, made))
            self.begin_volume(new, made)
            self._require_alone(place, str(made.ref))

    def _require_alone(self, place: Place, ref: str) -> None:
        """Make sure that nobody else has reserved the name at the same moment: who sees another steps back, so that
        who sees none is alone."""
        now = self.look_again(place)
        if ref not in now.contents.vdis or any(one.ref != ref for one in now.shelf.volumes + now.shelf.leftovers):
            raise Contested(f"the image {place.key.name!r} is being fetched into the pool {place.key.pool!r} already")

    def _claimed(self, image: Image) -> Found:
        """The reservation of a fetch.

        Raises:
            ImageNotFound: it is another's by now, or gone.
        """
        for one in _cached(self.look_at(image.key).shelf):
            if image.claim and _facts_of(one).get("claim") == image.claim:
                return one
        raise ImageNotFound(f"the image {image.key} is not reserved for this fetch any more")

    def _write_facts(self, image: Image, one: Found, **changed: Any) -> None:
        kept = read_volume_record(one.record)
        if kept is None or kept.cached is None:
            raise ImageNotFound(f"the image {image.key} is no image any more")
        try:
            with self.guard(f"write the record of the image {image.key}"):
                self.write_record(one.ref, replace(kept, cached={**kept.cached, **changed}))
        except NotFound as error:
            raise ImageNotFound(f"the image {image.key} is gone") from error

    def _require_needless(self, place: Place, one: Found) -> None:
        """Refuse to delete an image that something leans on."""
        children = place.contents.children_of(one.record)
        with self.guard(f"see who uses the image {place.key}"):
            users = sorted({use.instance for use in self.users_of(one.ref, one.record)})
        if children or users:
            raise VolumeInUse(f"the image {place.key} is needed by {', '.join(children + users)}")


def _images_in(contents: Contents, repository: str) -> list[tuple[str, Found]]:
    found = []
    for name in contents.all_names_in(repository):
        found += [(name, one) for one in _cached(contents.shelf(repository, name))[:1]]
    return found


def _cached(shelf: Shelf) -> list[Found]:
    """The images of a name: the usable one, or those in the making."""
    return [one for one in shelf.volumes + shelf.leftovers if _facts_of(one)]


def _facts_of(one: Found) -> dict[str, Any]:
    kept = read_volume_record(one.record)
    if kept is None or kept.cached is None:
        return {}
    return {**kept.cached, "claim": "", "beat": 0} if is_finished(one.record) else kept.cached


def _to_image(one: Found, key: VolumeKey) -> Image:
    """Others may have written into our record: what is no number is none."""
    usable: dict[str, Any] = {
        name: value
        for name, value in _facts_of(one).items()
        if name in _FACTS and isinstance(value, (int, float) if name in _NUMBERS else str)
    }
    return Image(name=key.name, pool=key.pool, **usable)
