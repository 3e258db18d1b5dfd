# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making volumes."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from ...errors import (
    AlreadyExists,
    ImageNotFound,
    InvalidInput,
    Problem,
    SnapshotNotFound,
    Unsupported,
    VolumeInUse,
    VolumeNotFound,
)
from ...model.storage import OFF, Volume, VolumeKey, VolumeSource
from ...model.units import format_size
from ...transfer.content import Content, ImageFacts
from ...undo import Undo, UndoStack
from ..volumesource import source_problems
from .data import DataMixin, format_problems
from .metadata import FINISHED, VolumeRecord, new_id, read_volume_record
from .places import Found
from .shelves import VHD, is_cached, rounded, to_volume
from .storage import Made, NewVolume
from .syntax import name_problems
from .volumes import Place

TURNS = 5
"""How often two who make a volume of one name step back from each other before they give up."""
STEP_BACK_S = (0.1, 0.6)


class Contested(AlreadyExists):
    """Somebody else has begun to make a volume of this name at the same moment."""


class VolumeMakingMixin(DataMixin):
    """New volumes.

    XenAPI lets names be taken twice. So who makes a volume gives it its name while it is unfinished, and then looks who
    else has that name; who sees another steps back, so that who sees none is alone.
    """

    def check_volume(self, volume: Volume) -> list[Problem]:
        problems = list(name_problems("name", volume.name))
        if volume.format not in (None, VHD):
            problems.append(
                Problem("format", f"{volume.format!r} cannot be chosen: storage repositories keep volumes as {VHD}")
            )
        if volume.preallocation not in (None, OFF):
            problems.append(
                Problem(
                    "preallocation", "cannot be chosen: a pool of kind lvm keeps room for all of a volume, others none"
                )
            )
        if volume.encryption is not None:
            problems += self.unmet("encryption", "volume_encryption")
        if volume.source is not None:
            problems += source_problems(volume.source)
        return problems

    def complete_volume(self, volume: Volume, facts: ImageFacts | None = None) -> Volume:
        source = None if volume.source is None else replace(volume.source)
        completed = replace(volume, pool=volume.pool or self.default_pool(), format=VHD, source=source)
        least: int | None = None
        if source is not None and (source.path or source.url):
            if facts is None:
                return completed
            _require_format(facts, "source")
            least = facts.size_bytes
        elif source is not None:
            place, origin = self._find_source(completed, source)
            kept = read_volume_record(origin.record)
            least = int(origin.record["virtual_size"])
            if kept is not None and kept.size_bytes is not None:
                key = VolumeKey(completed.pool, origin.record["name_label"])
                least = to_volume(origin, key, place.contents, place.repository.record, False).size_bytes
            if source.copy_on_write is None:
                source.copy_on_write = source.image is not None and origin.record["SR"] == place.repository.ref
            elif source.copy_on_write and origin.record["SR"] != place.repository.ref:
                words = (
                    "a child has to be in the pool of what it is made from; name no other pool, or have a whole copy"
                )
                raise InvalidInput([Problem("source.copy_on_write", words)])
        completed.size_bytes = self._completed_size(volume.size_bytes, least)
        return completed

    def create_volume(self, volume: Volume, content: Content | None = None) -> Undo:
        if volume.encryption is not None:
            self.require("volume_encryption")
        problems = self.check_volume(volume)
        if problems:
            raise InvalidInput(problems)
        if content is not None:
            _require_format(content.facts, "source")
            with self.measured(content, volume.size_bytes) as content:
                return self._create_volume(volume, content)
        return self._create_volume(volume, None)

    # -- parts ------------------------------------------------------------------------------------------------------

    def _create_volume(self, volume: Volume, content: Content | None) -> Undo:
        place = self.look_at(volume.key)
        self.require_new(place)
        new = self._plan_new(volume, place, content)
        for turn in range(TURNS):
            try:
                with UndoStack() as done:
                    self._make_one(new, place, content, volume, done)
                break
            except Contested:
                if turn == TURNS - 1:
                    raise
            time.sleep(random.uniform(*STEP_BACK_S))
            self.require_new(self.look_again(place))
        self.places().forget_vdis()
        return partial(done.take_back, f"the volume {volume.key}")

    def _completed_size(self, asked: int | None, least: int | None) -> int | None:
        if asked is None and least is None:
            raise InvalidInput([Problem("size", "is needed for a new volume")])
        if asked is not None and least is not None and asked < least:
            raise InvalidInput([Problem("size", f"must be at least {format_size(least)}, which its source has")])
        return rounded(asked or least or 0)

    def _find_source(self, volume: Volume, source: VolumeSource) -> tuple[Place, Found]:
        """The place of the new volume, and the virtual disk that it is made from."""
        place = self.look_at(volume.key)
        if source.image is not None:
            return place, self._find_cached(place, source)
        name = source.volume or ""
        its = place if source.pool in (None, volume.pool) else self.look_at(VolumeKey(str(source.pool), name))
        origin = Place(VolumeKey(source.pool or str(volume.pool), name), its.repository, place.contents).volume
        if source.snapshot is None:
            return place, origin
        for one in place.contents.snapshots_of(origin.record):
            kept = read_volume_record(one.record)
            if kept is not None and kept.snapshot == source.snapshot:
                return place, one
        raise SnapshotNotFound(f"the volume {name!r} has no snapshot {source.snapshot!r}")

    def _find_cached(self, place: Place, source: VolumeSource) -> Found:
        """An image: of the pool that the source names, else of the volume's own, else of any."""
        name = str(source.image)
        here = place if source.pool in (None, place.key.pool) else self.look_at(VolumeKey(str(source.pool), name))
        try:
            return Place(VolumeKey(here.key.pool, name), here.repository, place.contents).volume
        except VolumeNotFound as error:
            if source.pool is not None:
                raise ImageNotFound(f"there is no image {name!r} in the storage pool {source.pool!r}") from error
        return self.find_image(name, None)

    def require_new(self, place: Place) -> None:
        """Remove what is left of a volume of the name, and refuse one that is there."""
        shelf = place.shelf
        if shelf.volumes:
            raise AlreadyExists(f"there is a volume {place.key.name!r} in the storage pool {place.key.pool!r} already")
        if any(is_cached(one) for one in shelf.leftovers):
            words = f"an image {place.key.name!r} is being fetched into the storage pool {place.key.pool!r}"
            raise AlreadyExists(f"{words}; removing the image takes away what is left of it")
        # Where a source is marked, a clone of it may still be on its way.
        if shelf.leftovers or shelf.waiting or place.contents.marked_sources(place.mark):
            try:
                self.clear_leftovers(place)
            except VolumeInUse as error:
                raise AlreadyExists(str(error)) from error

    def _plan_new(self, volume: Volume, place: Place, content: Content | None) -> NewVolume:
        source: Found | None = None
        if volume.source is not None and content is None:
            if volume.source.path or volume.source.url:
                raise InvalidInput([Problem("source", "its content is not opened")])
            source = self._find_source(volume, volume.source)[1]
        size_bytes = volume.size_bytes or (None if content is None else content.facts.size_bytes)
        if source is not None:
            size_bytes = max(size_bytes or 0, int(source.record["virtual_size"]))
        if not size_bytes:
            raise InvalidInput([Problem("size", "is needed for a new volume")])
        record = VolumeRecord(
            place.mark,
            image=None if volume.source is None else volume.source.image,
            size_bytes=volume.size_bytes or size_bytes,
            making=new_id(),
            unfinished=True,
            metadata=dict(volume.metadata or {}),
        )
        whole = volume.source is not None and not volume.source.copy_on_write
        return NewVolume(
            *(volume.name, place.key.pool, place.repository.ref, size_bytes, record, source, whole),
            sharable=bool(volume.shareable),
        )

    def _make_one(self, new: NewVolume, place: Place, content: Content | None, volume: Volume, done: UndoStack) -> None:
        made = Made()
        done.push(f"delete the volume {volume.key}", partial(self.unmake, new, made))
        self.begin_volume(new, made)
        ref = str(made.ref)
        uuid = self.claim_name(place, ref)
        if content is not None:
            self.write_content(ref, content, str(volume.key))
        else:
            self.fill_volume(new, ref)
        with self.guard(f"finish the volume {volume.key}"):
            if new.is_clone:
                self.call("VDI.set_sharable", ref, new.sharable)
            parent = new.source.record["uuid"] if isinstance(new.source, Found) and new.is_clone else None
            self.write_record(ref, replace(new.record, vdi=uuid, parent=parent))
        if not self.decide(ref, FINISHED):
            raise AlreadyExists(f"somebody else has begun to make the volume {volume.key} meanwhile")

    def claim_name(self, place: Place, ref: str) -> str:
        """Make sure that nobody else has the name of what was just begun; its uuid.

        Raises:
            Contested: somebody has.
        """
        now = self.look_again(place)
        shelf = now.shelf
        if any(one.ref != ref for one in shelf.volumes):
            raise AlreadyExists(f"there is a volume {place.key.name!r} in the storage pool {place.key.pool!r} already")
        # Who begins at the same moment may have taken ours for what a killed run has left.
        if ref not in now.contents.vdis or any(one.ref != ref for one in shelf.leftovers):
            raise Contested(f"a volume {place.key.name!r} is being made in the storage pool {place.key.pool!r} already")
        return str(now.contents.vdis[ref]["uuid"])

    def unmet(self, option: str, feature: str) -> Iterator[Problem]:
        try:
            self.require(feature)
        except Unsupported as error:
            yield Problem(option, str(error))


def _require_format(facts: ImageFacts, option: str) -> None:
    problems = list(format_problems(facts, option))
    if problems:
        raise InvalidInput(problems)
