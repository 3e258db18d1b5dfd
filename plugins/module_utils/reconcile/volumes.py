# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""virt_volume: reads what is, compares, plans and applies, for all volumes of a task at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..driver.storage import StorageDriver
from ..errors import AnyvirtError, InvalidInput, Problem, Unsupported, VolumeInUse
from ..model.storage import VolumeKey
from .outcome import add_failure, outcome_of
from .plan import Plan
from .storage import storage_driver
from .task import Task
from .volume_desired import ABSENT, ATTACHED, DETACHED, PRESENT, DesiredVolume
from .volume_options import find_duplicates, read_volumes
from .volume_planned import PlannedVolume, volume_as_dict
from .volume_plans import VolumePlanner, named_as_options
from .volume_world import World, read_world
from .workers import DEFAULT_WORKERS, run_chains

_SOME_POOL = "default"
"""Stands for the default pool while the hypervisor is not asked yet which that is."""


def reconcile_volumes(task: Task) -> dict[str, Any]:
    """Make the volumes, and the disks that they are, as the task wants them; the module's result."""
    driver = storage_driver(task)
    wanted = read_volumes(task.params)
    _check_syntax(driver, wanted)
    with driver:
        _fill_pools(driver, wanted)
        world = read_world(driver, wanted)
        planned = _plan(driver, wanted, world)
        if not task.check_mode:
            workers = task.params.get("workers") or DEFAULT_WORKERS
            todo = [item for item in planned if item.error is None and item.plan]

            def run(item: PlannedVolume) -> None:
                _refuse_after_failure(item, todo)
                item.plan.run()

            run_chains(chains_of(todo), run, min(workers, driver.max_workers or workers))
            _look_again(driver, todo, task)
        return _result(planned, task)


# -- checking -------------------------------------------------------------------------------------------------------


def _check_syntax(driver: StorageDriver, wanted: Sequence[DesiredVolume]) -> None:
    """What the driver can never do; asks no hypervisor."""
    problems: list[Problem] = []
    for item in wanted:
        found: list[Problem] = []
        pool = item.volume.pool or _SOME_POOL
        if item.state in (PRESENT, ATTACHED):
            found += driver.check_volume(replace(item.volume, pool=pool))
        if item.state == ATTACHED:
            found += driver.check_attachment(replace(item.disk, volume=item.name, pool=pool))
        told = {problem.option.partition(".")[0] for problem in found}
        for option, feature in _needs(item):
            try:
                driver.require(feature)
            except Unsupported as error:
                if option not in told:
                    found.append(Problem(option, str(error)))
        problems += named_as_options(item.where, found)
    if problems:
        raise InvalidInput(dict.fromkeys(problems))


def _needs(item: DesiredVolume) -> list[tuple[str, str]]:
    """Options, and the features that they need."""
    needs = [("state", "volumes" if item.state in (PRESENT, ABSENT) else "attach")]
    if item.state in (PRESENT, ATTACHED):
        if item.metadata is not None:
            needs.append(("metadata", "volume_metadata"))
        if item.snapshots is not None:
            needs.append(("snapshots", "volume_snapshots"))
        if item.revert_to is not None:
            needs.append(("revert_to", "volume_snapshots"))
    if item.eject:
        needs.append(("eject", "cdrom_media"))
    return needs


# -- planning -------------------------------------------------------------------------------------------------------


def _fill_pools(driver: StorageDriver, wanted: Sequence[DesiredVolume]) -> None:
    """Volumes that name no pool are in the default one."""
    without = [item for item in wanted if not item.volume.pool]
    if without:
        pool = driver.default_pool()
        for item in without:
            item.volume.pool = pool
        problems = find_duplicates(wanted)
        if problems:
            raise InvalidInput(problems)


def _plan(driver: StorageDriver, wanted: Sequence[DesiredVolume], world: World) -> list[PlannedVolume]:
    """A plan for each volume. Those that cannot be done as things are carry an error instead.

    Raises:
        InvalidInput: the task cannot be right; nothing is done then, for none of the volumes.
    """
    planner = VolumePlanner(driver, world)
    planned = []
    problems: list[Problem] = []
    for item in wanted:
        one = PlannedVolume(item, users=_users(item, world))
        one.before = one.after = planner.show(one)
        one.volume = world.volumes.get(item.key)
        planned.append(one)
        earlier = world.copy()
        try:
            planner.fill(one)
            _refuse_after_failure(one, planned)
            one.after = planner.show(one)
        except InvalidInput as error:
            problems += error.problems
        except AnyvirtError as error:
            one.error, one.plan, one.changes = error, Plan(), []
            world.become(earlier)
    if problems:
        raise InvalidInput(dict.fromkeys(problems))
    return planned


def _users(item: DesiredVolume, world: World) -> list[str] | None:
    """The instances that the task asks about."""
    if item.state == PRESENT:
        return None
    if item.instance is not None and item.state in (ATTACHED, DETACHED):
        return [item.instance]
    return sorted({use.instance for use in world.users(item.key)})


def chains_of(planned: Sequence[PlannedVolume]) -> list[list[PlannedVolume]]:
    """What is done side by side. Those that share an instance, or a volume that one of them changes, are done one after
    the other."""
    chains: list[tuple[set[VolumeKey | str], set[VolumeKey], list[PlannedVolume]]] = []
    for item in planned:
        touches, reads, chain = set(item.touches), set(item.reads), [item]
        apart = []
        for others, other_reads, earlier in chains:
            if others.isdisjoint(item.touches | item.reads) and other_reads.isdisjoint(item.touches):
                apart.append((others, other_reads, earlier))
            else:
                touches |= others
                reads |= other_reads
                chain = [*earlier, *chain]
        chains = [*apart, (touches, reads, chain)]
    order = {id(item): number for number, item in enumerate(planned)}
    return [sorted(chain, key=lambda item: order[id(item)]) for _touches, _reads, chain in chains]


def _refuse_after_failure(item: PlannedVolume, others: Sequence[PlannedVolume]) -> None:
    """Raise when what the task does before, with the same volumes, has failed: a volume must not be removed after its
    copy could not be made, nor before what leans on it is gone. To detach it does no harm."""
    if not item.plan or item.wanted.state == DETACHED:
        return
    for earlier in others:
        if earlier is item:
            return
        if earlier.error is not None and _share_a_volume(item, earlier):
            raise VolumeInUse(f"not tried, since {earlier.wanted.key}, which the task has before it, failed")


def _share_a_volume(one: PlannedVolume, other: PlannedVolume) -> bool:
    """Whether one changes a volume that the other needs."""
    ours, theirs = ({key for key in item.touches if isinstance(key, VolumeKey)} for item in (one, other))
    return not (ours.isdisjoint(theirs | other.reads) and theirs.isdisjoint(one.reads))


# -- results --------------------------------------------------------------------------------------------------------


def _look_again(driver: StorageDriver, done: Sequence[PlannedVolume], task: Task) -> None:
    """Replace what was foretold by what is, in two reads: pools round sizes, and a failure may leave something."""
    if not done:
        return
    snapshots = any(item.wanted.snapshots is not None for item in done)
    names = sorted({name for item in done for name in item.users or ()})
    try:
        world = World(driver, driver.get_volumes([item.wanted.key for item in done], snapshots))
        if names:
            world.instances = driver.get_instances(names)
    except AnyvirtError as error:
        task.warn(f"what came of it could not be read: {error}")
        return
    for item in done:
        item.volume = world.volumes.get(item.wanted.key)
        item.after = volume_as_dict(world, item.wanted, item.users)


def _result(planned: Sequence[PlannedVolume], task: Task) -> dict[str, Any]:
    results = []
    for item in planned:
        wanted = item.wanted
        result: dict[str, Any] = {
            "name": wanted.name,
            "pool": wanted.volume.pool,
            "changed": bool(item.plan),
            "changes": [{"option": option, "old": old, "new": new} for option, old, new in item.changes],
            "steps": item.plan.lines(),
            "after": item.after,
        }
        if item.plan:
            result["before"] = item.before
        _add_facts(result, item)
        if item.error is not None:
            add_failure(result, item.error, item.error.rolled_back is False or item.after != item.before)
        results.append(result)
    errors = [item.error for item in planned]
    return outcome_of(results, errors, "volume", task.params.get("volumes") is None, task.diff_mode)


def _add_facts(result: dict[str, Any], item: PlannedVolume) -> None:
    """What nobody asks for, and what changes by itself."""
    volume, after = item.volume, item.after
    if volume is not None and after is not None:
        for fact in ("size_bytes", "allocation_bytes", "path"):
            if getattr(volume, fact) is not None:
                result[fact] = getattr(volume, fact)
    attachments = (after or {}).get("attachments")
    if item.wanted.state == ATTACHED and attachments:
        result["device"] = attachments[0].get("device")
