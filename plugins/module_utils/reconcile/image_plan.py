# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans for images: which steps lead from what is in a pool's cache to what a task wants of it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from ..driver.storage import StorageDriver
from ..errors import AlreadyExists, AnyvirtError, InvalidInput, PoolNotFound, Problem, VolumeInUse, VolumeNotFound
from ..model.storage import Image, Pool, Volume, VolumeKey, VolumeUses
from ..transfer.fetch import known_checksum, open_content
from ..transfer.options import FetchOptions
from ..undo import Undo
from .image_export import Exported, already_exported, dest_problem, export_volume, taken_back
from .image_fetch import Fetched, fetch_image, is_dead, is_format, require_no_volume
from .image_options import ABSENT, EXPORTED, CleanUp, DesiredImage
from .image_replace import Replacement
from .plan import Plan, Step


@dataclass
class PlannedImage:
    """What is to be done for one image, and what comes of it.

    Attributes:
        before: As it was; None when it did not exist.
        after: As it will be, as far as can be told beforehand.
        by_another: Another run has fetched it meanwhile.
        dest_bytes: Size of the file that it is exported to, before; None when there is none.
        exported: What is in the file that it was exported to, or was there already.
        kept: Why a clean-up leaves it, in words.
        error: Why it cannot be done, or why it failed.
    """

    wanted: DesiredImage
    before: Image | None = None
    after: Image | None = None
    plan: Plan = field(default_factory=Plan)
    by_another: bool = False
    dest_bytes: int | None = None
    exported: Exported | None = None
    kept: str = ""
    error: AnyvirtError | None = None

    @property
    def changed(self) -> bool:
        """Whether anything is different through this task."""
        return bool(self.plan) and not self.by_another


@dataclass
class World:
    """What there is, all read at once."""

    pools: Mapping[str, Pool]
    images: Mapping[VolumeKey, Image]
    volumes: Mapping[VolumeKey, Volume]
    uses: Mapping[VolumeKey, VolumeUses]


class ImagePlanner:
    """Makes plans for images."""

    def __init__(self, driver: StorageDriver, world: World) -> None:
        self.driver = driver
        self.world = world

    def plan(self, wanted: DesiredImage) -> PlannedImage:
        """The plan for one image; what is wrong with it alone is its ``error``.

        Raises:
            InvalidInput: the task cannot be meant so.
        """
        current = self.world.images.get(wanted.key)
        planned = PlannedImage(wanted, before=current, after=current)
        try:
            self._require_pool(wanted)
            if wanted.state == ABSENT:
                self._plan_removal(planned, current)
            elif wanted.state == EXPORTED:
                self._plan_export(planned, current)
            else:
                self._plan_fetch(planned, current)
        except InvalidInput:
            raise
        except AnyvirtError as error:
            planned.plan, planned.after, planned.error = Plan(), current, error
        return planned

    def _require_pool(self, wanted: DesiredImage) -> None:
        pool = self.world.pools.get(wanted.pool)
        if pool is None and wanted.state != ABSENT:
            raise PoolNotFound(f"{wanted.where}pool: there is no storage pool {wanted.pool!r}")
        if pool is not None and not pool.active:
            raise PoolNotFound(f"{wanted.where}pool: the storage pool {wanted.pool!r} is not active; start it first")

    # -- present ----------------------------------------------------------------------------------------------------

    def _plan_fetch(self, planned: PlannedImage, current: Image | None) -> None:
        wanted = planned.wanted
        if current is None:
            require_no_volume(wanted, self.world.volumes.get(wanted.key))
        if current is not None and current.complete:
            difference = self._difference(current, wanted)
            if difference is None:
                return
            if not wanted.force:
                raise AlreadyExists(
                    f"the image {current.key} is there already, and {difference}; fetch it again with force: true, or "
                    "give the other one another name"
                )
        options = _source_of(wanted)
        if current is not None and current.complete:
            self._refuse_needed(wanted.key)
            self._plan_replacement(planned, Replacement(self.driver, wanted, current, options))
        else:
            planned.plan.steps.append(
                Step(
                    f"fetch the image {wanted.name} from {options.what}", lambda: self._fetch(planned, wanted, options)
                )
            )
        planned.after = Image(wanted.name, wanted.pool, format=wanted.format, source=options.what)

    def _difference(self, image: Image, wanted: DesiredImage) -> str | None:
        """What tells the image that is there from the wanted one, in words; None when nothing does."""
        if image.format is not None and not is_format(image.format, wanted):
            return f"it is {image.format}, not {wanted.format}"
        if wanted.fetch is None:
            return None
        checksum = known_checksum(wanted.fetch)
        if checksum is not None:
            found = {image.checksum, image.source_checksum} - {None}
            if str(checksum) in found:
                return None
            known = ", ".join(sorted(str(text) for text in found)) or "no checksum"
            return f"it has {known}, not {checksum}"
        if wanted.force:
            return "it is to be fetched again"
        if image.source not in (None, wanted.fetch.what):
            return f"it is from {image.source}"
        return None

    def _plan_replacement(self, planned: PlannedImage, replacement: Replacement) -> None:
        wanted, what = planned.wanted, replacement.options.what

        def write() -> None:
            fetched = replacement.write()
            self._note(planned, wanted, fetched, fetched.by_us or replacement.removed)

        planned.plan.steps += [
            Step(f"fetch the image {wanted.name} from {what} into a temporary file", replacement.fetch),
            Step(f"remove the image {wanted.name} that is there", replacement.remove),
            Step(f"write the image {wanted.name} from the temporary file", write),
        ]

    def _fetch(self, planned: PlannedImage, wanted: DesiredImage, options: FetchOptions) -> Undo:
        opening = partial(open_content, options, self.driver.progress)
        fetched = fetch_image(self.driver, wanted, options.what, opening)
        self._note(planned, wanted, fetched, fetched.by_us)
        return (lambda: self.driver.delete_image(wanted.key)) if fetched.by_us else (lambda: None)

    def _note(self, planned: PlannedImage, wanted: DesiredImage, fetched: Fetched, changed: bool) -> None:
        """Raise AlreadyExists when another run has put something else into the image's place."""
        planned.after = fetched.image
        planned.by_another = not changed
        if fetched.by_us:
            return
        difference = self._difference(fetched.image, replace(wanted, force=False))
        if difference is not None:
            raise AlreadyExists(f"another run has just fetched the image {wanted.key}, and {difference}")

    # -- absent -----------------------------------------------------------------------------------------------------

    def _plan_removal(self, planned: PlannedImage, current: Image | None) -> None:
        wanted = planned.wanted
        if current is None:
            return
        if current.complete:
            self._refuse_needed(wanted.key)
            planned.plan.steps.append(self._removal(wanted, f"remove the image {wanted.name}"))
        else:
            planned.plan.steps.append(self._removal_of_unfinished(wanted, current))
        planned.after = None

    def _refuse_needed(self, key: VolumeKey) -> None:
        needed = self._need(key)
        if needed:
            raise VolumeInUse(f"the image {key} is needed by {needed}; remove or detach these first")

    def _need(self, key: VolumeKey) -> str:
        """Who needs it, in words; empty when nobody does."""
        uses = self.world.uses.get(key, VolumeUses())
        instances = sorted({use.instance for use in uses.instances})
        found = [f"the volumes {_some(uses.children)} made from it"] if uses.children else []
        return " and ".join([*found, f"the instances {_some(instances)}"] if instances else found)

    def _removal(self, wanted: DesiredImage, say: str) -> Step:
        return Step(say, lambda: self.driver.delete_image(wanted.key))

    def _removal_of_unfinished(self, wanted: DesiredImage, current: Image) -> Step:
        def remove() -> None:
            if not is_dead(self.driver, current, wanted.takeover_s):
                raise VolumeInUse(f"the image {wanted.key} is just being fetched, by {current.claim}")
            self.driver.delete_image(wanted.key, current.claim)

        return Step(f"remove what an interrupted fetch of {wanted.name} left", remove)

    def plan_clean_up(self, wanted: CleanUp) -> list[PlannedImage]:
        """Plans for all images of the pool that are old enough."""
        now = time.time()
        planned = []
        for key, image in sorted(self.world.images.items()):
            if not _is_older(image, now - wanted.older_than_s):
                continue
            item = PlannedImage(
                DesiredImage("", key.name, key.pool, ABSENT, takeover_s=wanted.takeover_s), before=image, after=image
            )
            item.kept = self._need(key) and f"it is needed by {self._need(key)}"
            if not item.kept:
                self._plan_removal(item, image)
                item.plan = Plan([replace(step, do=partial(_remove_or_keep, item, step)) for step in item.plan.steps])
            planned.append(item)
        return planned

    # -- exported ---------------------------------------------------------------------------------------------------

    def _plan_export(self, planned: PlannedImage, current: Image | None) -> None:
        wanted = planned.wanted
        volume = self.world.volumes.get(wanted.key)
        if volume is None:
            raise VolumeNotFound(f"{wanted.where}name: there is no volume or image {wanted.name!r} in {wanted.pool!r}")
        if (current is not None and not current.complete) or volume.unfinished:
            raise VolumeNotFound(f"{wanted.where}name: {wanted.name!r} in {wanted.pool!r} is not finished yet")
        problem = dest_problem(wanted.where, wanted.dest)
        if problem is not None:
            raise InvalidInput([problem])
        if os.path.exists(wanted.dest):
            planned.dest_bytes = os.stat(wanted.dest).st_size
        if not wanted.force:
            planned.exported = already_exported(self.driver, wanted.key, current, wanted.dest)
            if planned.exported is not None:
                return

        def export() -> Undo:
            was_there = os.path.lexists(wanted.dest)
            planned.exported = export_volume(self.driver, wanted.key, wanted.dest)
            return lambda: taken_back(wanted.dest, was_there)

        planned.plan.steps.append(Step(f"export {wanted.key} to {wanted.dest}", export))


def _remove_or_keep(planned: PlannedImage, step: Step) -> None:
    """An image that somebody has begun to need meanwhile, or that turns out to be just being fetched, is no failure."""
    try:
        step.do()
    except VolumeInUse as error:
        planned.plan, planned.kept = Plan(), str(error)


def _is_older(image: Image, than_s: float) -> bool:
    """Whether it was fetched before; an interrupted fetch may not even have left when it began."""
    return not image.complete if image.fetched_s is None else image.fetched_s <= than_s


def _source_of(wanted: DesiredImage) -> FetchOptions:
    if wanted.fetch is None or (wanted.fetch.url is None and wanted.fetch.path is None):
        raise InvalidInput(
            [
                Problem(
                    f"{wanted.where}url",
                    f"is missing: {wanted.key} has to be fetched; give a url, or a path where the module runs",
                )
            ]
        )
    return wanted.fetch


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
