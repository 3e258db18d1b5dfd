# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image cache: images are volumes with a record of where they are from; a claimed one is still being fetched."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ...errors import AlreadyExists, ImageNotFound, InvalidInput, Problem, VolumeInUse
from ...model.storage import Image, VolumeKey
from ...transfer.content import Content, ImageFacts
from .creation import CreationMixin
from .datafiles import NewFile, sweep
from .poolkinds import KINDS
from .store import VOLUMES, Record, View, is_file_name
from .volumerecords import to_image

_TOLD = ("source", "checksum", "source_checksum", "fetched_s", "claim", "beat", "file_bytes")
"""Fields of an image that are kept as they are told."""


class ImageCacheMixin(CreationMixin):
    """Images, from the reservation of their name to their end."""

    def get_images(self, pools: Sequence[str] | None = None) -> dict[VolumeKey, Image]:
        with self._read("images") as view:
            active = {name: pool for name, pool in self._pools(view).items() if pool.active}
            wanted = active if pools is None else {name: active[name] for name in pools if name in active}
            return {
                VolumeKey(record["pool"], record["name"]): to_image(record, wanted[record["pool"]].path)
                for record in view.all(VOLUMES).values()
                if "image" in record and record["pool"] in wanted
            }

    def check_image(self, pool: str, facts: ImageFacts) -> list[Problem]:
        with self._read("images") as view:
            formats = KINDS[self._require_active_pool(view, pool).kind].formats
        if facts.format in formats:
            return []
        return [Problem("pool", f"{pool!r} holds {' and '.join(formats)}, and the image is {facts.format}")]

    def reserve_image(self, image: Image) -> None:
        key = str(image.key)
        if not is_file_name(image.name):
            raise InvalidInput([Problem("name", f"{image.name!r} cannot be an image's name")])
        with self._write("image_reserve") as changes:
            pool = self._require_active_pool(changes, image.pool)
            if not KINDS[pool.kind].makes_volumes:
                raise InvalidInput([Problem("pool", f"{image.pool!r} has the volumes that its server has")])
            if changes.get(VOLUMES, key) is not None:
                raise AlreadyExists(f"there is a volume or an image {image.name!r} in the pool {image.pool!r} already")
            record: Record = {
                "pool": image.pool,
                "name": image.name,
                "size_bytes": image.size_bytes or 0,
                "format": image.format,
                "owner": None,
                "backing": None,
                "uuid": os.urandom(16).hex(),
                "reserved_bytes": 0,
                "image": _told(image),
            }
            changes.put(VOLUMES, key, record)

    def beat_image(self, image: Image) -> None:
        with self._write("image_beat") as changes:
            record = self._claimed(changes, image)
            changes.put(VOLUMES, str(image.key), {**record, "image": {**record["image"], "beat": image.beat}})

    def write_image(self, image: Image, content: Content) -> int:
        key = str(image.key)
        with self._read("images") as view:
            uuid = self._claimed(view, image)["uuid"]
        problems = self.check_image(image.pool, content.facts)
        if problems:
            raise InvalidInput(problems)
        file = NewFile(self.folder)
        try:
            self._reserve(key, uuid, content.length or 0)
            self._mark_making(image, file.name)
            sweep(self._store)
            data = self._receive("image_write", key, uuid, content, file)
            size_bytes = content.facts.size_bytes or file.length
            with self._store.writing() as changes:
                record = self._claimed(changes, image)
                kept = {field: value for field, value in record.items() if field != "making"}
                changes.put(VOLUMES, key, {**kept, **data, "size_bytes": size_bytes, "format": content.facts.format})
            return file.length
        except BaseException:
            file.discard()
            raise
        finally:
            file.close()

    def finish_image(self, image: Image) -> None:
        with self._write("image_finish") as changes:
            record = self._claimed(changes, image)
            if "data" not in record:
                raise InvalidInput([Problem("name", f"the image {image.name!r} was never written")])
            kept = {field: value for field, value in record.items() if field != "reserved_bytes"}
            told = {**_told(image), "claim": "", "file_bytes": image.file_bytes or record["data_bytes"]}
            changes.put(
                VOLUMES,
                str(image.key),
                {
                    **kept,
                    "size_bytes": image.size_bytes or record["size_bytes"],
                    "format": image.format or record["format"],
                    "image": told,
                },
            )

    def delete_image(self, key: VolumeKey, claim: str = "") -> None:
        with self._read("images") as view:
            is_there = _is_meant(view.get(VOLUMES, str(key)), claim)
        if is_there:
            with self._write("image_delete") as changes:
                if _is_meant(changes.get(VOLUMES, str(key)), claim):
                    self._require_no_need(changes, key)
                    changes.delete(VOLUMES, str(key))
        sweep(self._store)

    # -- parts ------------------------------------------------------------------------------------------------------

    def _claimed(self, view: View, image: Image) -> Record:
        """The record of what this fetch has reserved."""
        self._require_active_pool(view, image.pool)
        record = view.get(VOLUMES, str(image.key))
        if record is None or not image.claim or record.get("image", {}).get("claim") != image.claim:
            raise ImageNotFound(
                f"the image {image.name!r} in the pool {image.pool!r} is not reserved for this fetch any more"
            )
        return record

    def _mark_making(self, image: Image, file: str) -> None:
        """From now on this file is needed; what an earlier attempt wrote is not."""
        with self._store.writing() as changes:
            record = {field: value for field, value in self._claimed(changes, image).items() if field != "data"}
            changes.put(VOLUMES, str(image.key), {**record, "making": file})

    def _require_no_need(self, view: View, key: VolumeKey) -> None:
        """Raise VolumeInUse when the image is needed."""
        users = sorted(user.instance for user in self._users(view, {str(key)})[str(key)])
        children = [child for child, record in view.all(VOLUMES).items() if record["backing"] == str(key)]
        if users:
            raise VolumeInUse(f"the image {key} is in use by {', '.join(map(repr, users))}")
        if children:
            more = f" and {len(children) - 5} more" if len(children) > 5 else ""
            raise VolumeInUse(f"the image {key} is needed by volumes made from it: {', '.join(children[:5])}{more}")


def _is_meant(record: Record | None, claim: str) -> bool:
    """Whether the record is an image, and with ``claim`` one that this fetch has reserved."""
    return record is not None and "image" in record and (not claim or record["image"]["claim"] == claim)


def _told(image: Image) -> Record:
    return {field: getattr(image, field) for field in _TOLD}
