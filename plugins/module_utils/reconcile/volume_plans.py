# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans for volumes: which steps lead from what is to what a task wants."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from ..driver.storage import StorageDriver
from ..errors import HypervisorError, InvalidInput, Problem, VolumeInUse, VolumeNotFound
from ..model.storage import Volume, VolumeKey, VolumeSnapshot
from ..model.units import format_size
from ..transfer.content import ImageFacts
from ..transfer.fetch import open_content
from ..undo import Undo
from .attachments import Attachments, say_users
from .plan import Step
from .volume_desired import ABSENT, ATTACHED, DETACHED, PRESENT, DesiredVolume
from .volume_planned import PlannedVolume, volume_as_dict
from .volume_snapshots import Snapshots
from .volume_source import Fitting
from .volume_world import World, child_key


class VolumePlanner:
    """Makes plans for volumes on one host, one after the other, each for the world that those before it leave."""

    def __init__(self, driver: StorageDriver, world: World) -> None:
        self.driver = driver
        self.world = world
        self.snapshots = Snapshots(driver, world)
        self.attachments = Attachments(driver, world)

    def fill(self, planned: PlannedVolume) -> None:
        """Make the plan.

        Raises:
            InvalidInput: the task can never be right.
            AnyvirtError: it cannot be done as things are.
        """
        item = planned.wanted
        planned.touches.add(item.key)
        if item.instance is not None and item.state in (ATTACHED, DETACHED):
            planned.touches.add(item.instance)
        if item.state == ABSENT:
            self._plan_removal(planned)
        elif item.state == DETACHED:
            self.attachments.plan_detached(planned)
        else:
            if item.state == ATTACHED:
                self.world.instance(item.instance or "")
            self._plan_present(planned)
            if item.state == ATTACHED:
                self.attachments.plan_attached(planned)
        self.snapshots.plan_lost(planned)
        for key in [key for key in planned.touches if isinstance(key, VolumeKey)]:
            planned.touches |= self.world.freed.get(key, set())

    # -- volumes that are to be there -------------------------------------------------------------------------------

    def _plan_present(self, planned: PlannedVolume) -> None:
        item = planned.wanted
        volume = self.world.volume(item.key)
        if volume is None:
            self._plan_creation(planned)
        elif volume.is_image:
            if item.state == PRESENT or item.volume.size_bytes or item.metadata or item.snapshots:
                raise InvalidInput([Problem(f"{item.where}name", _is_image(item.key))])
        else:
            self._refuse_differences(item, volume)
            self.snapshots.plan_revert(planned, volume)
            self._plan_size(planned, volume)
            self._plan_metadata(planned, volume)
        self.snapshots.plan_new(planned)

    def _plan_creation(self, planned: PlannedVolume) -> None:
        item, driver = planned.wanted, self.driver
        self.world.refuse_moving(use.instance for use in self.world.users(item.key))
        if item.revert_to is not None or (item.state == ATTACHED and not item.makes):
            hint = "" if item.revert_to else "; with size or source it would be made"
            raise VolumeNotFound(f"there is no volume {item.key}{hint}")
        if not item.makes:
            message = f"is missing: there is no volume {item.key}, and a new one needs size or source"
            raise InvalidInput([Problem(f"{item.where}size", message)])
        origin = _origin_of(item.volume)
        if origin is not None:
            planned.reads.add(origin)
        driver.require("volumes")
        self.world.require_pool(item.key.pool)
        metadata = {key: value for key, value in (item.metadata or {}).items() if value is not None}
        asked = replace(item.volume, metadata=metadata if item.metadata is not None else None)
        foreseen = self._foreseen(planned, asked)

        def create() -> Undo:
            if item.fetch is None:
                whole = driver.complete_volume(asked) if foreseen is asked else foreseen
                return partial(_unless_used, driver, item.key, driver.create_volume(whole))
            with open_content(item.fetch, driver.progress) as content:
                whole = driver.complete_volume(asked, content.facts)
                take_back = driver.create_volume(whole, Fitting(content, whole.size_bytes, item.where))
            return partial(_unless_used, driver, item.key, take_back)

        known = [format_size(foreseen.size_bytes)] if foreseen.size_bytes is not None else []
        known += [foreseen.format] if foreseen.format is not None else []
        details = f" ({', '.join(known)})" if known else ""
        again = " again, which was left unfinished" if item.key in self.world.volumes else ""
        step = Step(f"create {item.key}{again}{details}{_say_source(asked)}", create)
        planned.add(step, "state", ABSENT, PRESENT)
        encrypted = True if asked.encryption is not None else None
        snapshots: list[VolumeSnapshot] | None = [] if item.snapshots is not None else None
        made = replace(foreseen, source=None, encryption=None, encrypted=encrypted, snapshots=snapshots)
        source = foreseen.source
        if source is not None and source.copy_on_write:
            made.backing = str(_origin_of(foreseen))
        self.world.made(made)

    def _foreseen(self, planned: PlannedVolume, asked: Volume) -> Volume:
        """The volume as the driver will make it, as far as that can be told now."""
        item = planned.wanted
        origin = _origin_of(asked)
        if origin in self.world.left:
            raise VolumeNotFound(f"{item.where}source: {origin} is removed before, by this same task")
        if origin in self.world.to_come:  # nobody can look it up yet
            return asked
        facts: ImageFacts | None = None
        if item.fetch is not None and item.fetch.path is not None:
            with open_content(item.fetch) as content:
                facts = content.facts
        try:
            return self.driver.complete_volume(asked, facts)
        except InvalidInput as error:
            raise InvalidInput(named_as_options(item.where, error.problems)) from error

    def _refuse_differences(self, item: DesiredVolume, volume: Volume) -> None:
        """What cannot be changed once a volume is there."""
        problems = []
        for option in ("format", "shareable"):
            new, old = getattr(item.volume, option), getattr(volume, option)
            if new is not None and old is not None and new != old:
                message = f"is {_word(old)} of volume {item.key}, and cannot be changed to {_word(new)} once it exists"
                problems.append(Problem(f"{item.where}{option}", message))
        if item.volume.encryption is not None and volume.encrypted is False:
            message = f"volume {item.key} is not encrypted, and cannot be once it exists"
            problems.append(Problem(f"{item.where}encryption", message))
        if problems:
            raise InvalidInput(problems)

    def _plan_size(self, planned: PlannedVolume, volume: Volume) -> None:
        item, driver, key = planned.wanted, self.driver, planned.wanted.key
        wanted, now = item.volume.size_bytes, volume.size_bytes
        if wanted is None or wanted == now or now is None:
            return
        as_made = driver.complete_volume(Volume(key.name, key.pool, size_bytes=wanted, format=volume.format)).size_bytes
        size_bytes = as_made or wanted
        if size_bytes == now:
            return
        sizes = f"{format_size(now)} -> {format_size(size_bytes)}"
        if size_bytes < now:
            self._refuse_shrinking(item, now)
        users = self.world.users(key)
        self.world.refuse_locked(item, [use.instance for use in users])
        for use in users:
            self.world.refuse_kept(use.instance, use.device)
        verb = "shrink" if size_bytes < now else "grow"

        def resize() -> Undo:
            take_back = driver.resize_volume(key, size_bytes)
            return _only_its_size(key, take_back) if size_bytes < now else take_back

        step = Step(f"{verb} {key} {sizes}", resize)
        planned.add(step, "size", format_size(now), format_size(size_bytes))
        self.world.volumes[key] = replace(self.world.volumes[key], size_bytes=size_bytes)

    def _refuse_shrinking(self, item: DesiredVolume, now: int) -> None:
        key = item.key
        if not item.allow_shrink:
            message = (
                f"volume {key} has {format_size(now)}; what is beyond a smaller size would be lost, so it only shrinks "
                "with allow_shrink: true, while it is detached"
            )
            raise InvalidInput([Problem(f"{item.where}size", message)])
        self.driver.require("volume_shrink")
        users, uses = self.world.users(key), self.world.uses.get(key)
        if users:
            raise VolumeInUse(
                f"volume {key} cannot shrink while it is attached, to {say_users(users)}; detach it first"
            )
        if uses is not None and uses.children:
            raise VolumeInUse(f"volume {key} cannot shrink: volumes lean on it: {', '.join(sorted(uses.children))}")

    def _plan_metadata(self, planned: PlannedVolume, volume: Volume) -> None:
        item, driver = planned.wanted, self.driver
        if item.metadata is None:
            return
        old = volume.metadata or {}
        whole = {key: value for key, value in {**old, **item.metadata}.items() if value is not None}
        differing = [key for key, value in item.metadata.items() if value != old.get(key)]
        if not differing:
            return
        say = f"change metadata of {item.key}: {', '.join(differing)}"
        planned.plan.steps.append(Step(say, lambda: driver.set_volume_metadata(item.key, whole)))
        planned.changes += [(f"metadata.{key}", old.get(key), item.metadata[key]) for key in differing]
        self.world.volumes[item.key] = replace(self.world.volumes[item.key], metadata=whole)

    # -- volumes that are to go -------------------------------------------------------------------------------------

    def _plan_removal(self, planned: PlannedVolume) -> None:
        item, driver = planned.wanted, self.driver
        volume = self.world.volumes.get(item.key)
        if volume is None:
            self.world.require_active(item.key.pool)
            return
        if volume.is_image:
            raise InvalidInput([Problem(f"{item.where}name", _is_image(item.key))])
        leaving = self._with_children(item, item.key)
        for key in leaving:
            planned.touches.add(key)
            users = self.world.users(key)
            if users and not item.detach_first:
                raise VolumeInUse(
                    f"volume {key} is in use by {say_users(users)}; detach it first, or have that done with "
                    "detach_first: true"
                )
            for name in dict.fromkeys(use.instance for use in users):
                instance = self.world.instance(name)
                for disk in self.world.disks_with(key, name):
                    self.attachments.plan_detach(planned, key, instance, disk)
        for key in leaving:
            what = ", which was left unfinished" if volume.unfinished else ""
            planned.add(Step(f"delete {key}{what}", _removing(driver, key)), _state_of(key, item), PRESENT, ABSENT)
            self.world.gone(key)

    def _with_children(self, item: DesiredVolume, key: VolumeKey) -> list[VolumeKey]:
        """The volume and all that lean on it, these first."""
        children = self.world.uses[key].children if key in self.world.uses else []
        if children and not item.delete_children:
            raise VolumeInUse(
                f"volumes lean on {key}: {', '.join(sorted(children))}; delete them first, or have that done with "
                "delete_children: true"
            )
        leaving: list[VolumeKey] = []
        for name in sorted(children):
            child = child_key(name)
            if child is None:
                raise VolumeInUse(f"{name}, which is in no storage pool, leans on {key}; delete it first")
            leaving += [found for found in self._with_children(item, child) if found not in leaving]
        return [*leaving, key]

    def show(self, planned: PlannedVolume) -> dict[str, Any] | None:
        """The volume as it is in the world by now."""
        return volume_as_dict(self.world, planned.wanted, planned.users)


def named_as_options(where: str, problems: list[Problem]) -> list[Problem]:
    """A driver's problems, with the names by which the task's author knows the options."""
    return [Problem(where + option.replace("size_bytes", "size"), message) for option, message in problems]


def _removing(driver: StorageDriver, key: VolumeKey) -> Any:
    return lambda: driver.delete_volume(key)


def _unless_used(driver: StorageDriver, key: VolumeKey, take_back: Undo) -> None:
    """Undo that a volume was made: not when an instance has it in spite of the failure, as when only the reply to its
    attachment was lost, nor when somebody else has begun to need it."""
    uses = driver.volume_uses([key])[key]
    if uses.instances or uses.children:
        raise VolumeInUse(f"it is needed by {say_users(uses.instances) or ', '.join(sorted(uses.children))} by now")
    take_back()


def _only_its_size(key: VolumeKey, take_back: Undo) -> Undo:
    """How to take back that a volume has shrunk, which says what cannot be."""

    def undo() -> None:
        take_back()
        raise HypervisorError(f"{key} has its old size again, but what was beyond the smaller one is lost")

    return undo


def _state_of(key: VolumeKey, item: DesiredVolume) -> str:
    return "state" if key == item.key else f"{key}.state"


def _is_image(key: VolumeKey) -> str:
    return f"{key} is an image of the image cache, which virt_image manages"


def _origin_of(volume: Volume) -> VolumeKey | None:
    """The volume or image that a new one is made from."""
    source = volume.source
    name = None if source is None else source.volume or source.image
    return None if source is None or name is None else VolumeKey(source.pool or volume.pool, name)


def _say_source(volume: Volume) -> str:
    source = volume.source
    if source is None:
        return ""
    if source.volume is not None:
        then = f" as of snapshot {source.snapshot}" if source.snapshot is not None else ""
        return f" from volume {source.pool or volume.pool}/{source.volume}{then}"
    if source.image is not None:
        return f" from image {source.image}"
    return f" from {source.path}" if source.path is not None else " from a URL"


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
