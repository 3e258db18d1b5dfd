# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""virt_pool: reads what is, compares, plans and applies, for all storage pools of a task at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from ..driver.storage import StorageDriver
from ..errors import AnyvirtError, InvalidInput, PoolNotEmpty, PoolNotFound, Problem, VolumeInUse
from ..model.instance import Instance
from ..model.migration import DEPARTED
from ..model.storage import Pool, VolumeKey, VolumeUses
from ..undo import Undo
from .moving import refuse_migrating
from .outcome import add_failure, outcome_of
from .plan import Plan, Step
from .pool_options import ABSENT, PRESENT, RUNNING, STOPPED, DesiredPool, read_pools
from .storage import storage_driver
from .task import Task
from .volume_world import child_key
from .workers import DEFAULT_WORKERS, run_chains

_FIXED = ("kind", "path", "devices", "fs_type", "server", "export", "target", "port", "volume_group", "shared")
_ANY_FILE_SYSTEM = "auto"


@dataclass
class PlannedPool:
    """What is to be done for one pool, and what comes of it.

    Attributes:
        changes: Option, value before, value after.
        error: Why it cannot be done, or why it failed.
    """

    wanted: DesiredPool
    before: Pool | None
    after: Pool | None
    plan: Plan = field(default_factory=Plan)
    changes: list[tuple[str, Any, Any]] = field(default_factory=list)
    error: AnyvirtError | None = None


def reconcile_pools(task: Task) -> dict[str, Any]:
    """Make the storage pools as the task wants them; the module's result."""
    driver = storage_driver(task)
    wanted = read_pools(task.params)
    with driver:
        current = driver.get_pools()
        problems = _find_problems(driver, wanted, current)
        if problems:
            raise InvalidInput(problems)
        contents = _Contents(driver, wanted, current)
        planned = [_plan(driver, item, current.get(item.name), contents) for item in wanted]
        if not task.check_mode:
            _carry_out(driver, planned, task)
        return _result(planned, task)


# -- checking -------------------------------------------------------------------------------------------------------


def _find_problems(driver: StorageDriver, wanted: Sequence[DesiredPool], current: Mapping[str, Pool]) -> list[Problem]:
    """All that can never be, of new pools and of those that are there."""
    problems = []
    for item in wanted:
        if item.state == ABSENT:
            continue
        now = current.get(item.name)
        if now is not None:
            problems += _differences_that_stay(item, now)
        elif item.pool.kind is None:
            problems.append(
                Problem(
                    f"{item.where}kind", f"is missing: there is no pool {item.name!r}, and a new one needs its kind"
                )
            )
        else:
            problems += [Problem(item.where + option, message) for option, message in driver.check_pool(item.pool)]
    return problems


def _differences_that_stay(item: DesiredPool, now: Pool) -> list[Problem]:
    problems = []
    for option in _FIXED:
        new, old = getattr(item.pool, option), getattr(now, option)
        if new is None or old is None or new == old:
            continue
        if option == "fs_type" and _ANY_FILE_SYSTEM in (new, old):
            continue
        if option == "devices" and set(new) == set(old):
            continue
        problems.append(
            Problem(
                f"{item.where}{option}",
                f"is {_say(old)} of the pool {item.name!r}, and cannot be changed to {_say(new)} once it exists; "
                "remove the pool first, or give another name",
            )
        )
    return problems


def _say(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(value) if isinstance(value, list) else str(value)


class _Contents:
    """What is in the pools that are to go, and who uses that: found out before anything is done."""

    def __init__(self, driver: StorageDriver, wanted: Sequence[DesiredPool], current: Mapping[str, Pool]) -> None:
        self._volumes: dict[str, list[VolumeKey]] = {}
        self._uses: dict[VolumeKey, VolumeUses] = {}
        self._moving: dict[str, Instance] = {}
        leaving = [item.name for item in wanted if _is_ended(item, current.get(item.name))]
        if not leaving or not driver.supports("volumes"):
            return
        for instance in driver.get_instances().values():
            record = instance.migration
            for volume in record.volumes if record is not None and record.phase != DEPARTED else ():
                self._moving[volume.partition("/")[0]] = instance
        for name in leaving:
            with suppress(PoolNotFound):  # it went meanwhile
                self._volumes[name] = [volume.key for volume in driver.list_volumes(name)]
        level = [key for found in self._volumes.values() for key in found]
        while level:  # volumes of other pools may lean on those, and have instances of their own
            self._uses.update(driver.volume_uses(level))
            level = [key for key in self._children(level) if key not in self._uses]

    def refuse(self, item: DesiredPool) -> None:
        """Raise when a pool cannot be stopped or removed for what is in it, or just being copied from or to it."""
        if item.name in self._moving:
            refuse_migrating(self._moving[item.name])
        keys = self._volumes.get(item.name, [])
        users = {
            use.instance
            for key in self._with_all_children(keys)
            for use in self._uses[key].instances
            if use.active or item.state == ABSENT
        }
        if users:
            whose = "disks of" if item.state == ABSENT else "disks of these active instances:"
            raise VolumeInUse(
                f"in the pool {item.name!r} are {whose} {', '.join(sorted(users))}; "
                "detach or remove these first" + ("" if item.state == ABSENT else ", or stop the instances")
            )
        if item.delete_data and keys:
            names = ", ".join(key.name for key in keys[:5]) + (" and others" if len(keys) > 5 else "")
            raise PoolNotEmpty(
                f"{item.where}delete_data: in the pool {item.name!r} are volumes: {names}; remove them first"
            )

    def _with_all_children(self, keys: Sequence[VolumeKey]) -> set[VolumeKey]:
        found: set[VolumeKey] = set()
        level = set(keys)
        while level:
            found |= level
            level = self._children(level) - found
        return found

    def _children(self, keys: Collection[VolumeKey]) -> set[VolumeKey]:
        children = {child_key(name) for key in keys for name in self._uses[key].children}
        return {key for key in children if key is not None}


def _is_ended(item: DesiredPool, now: Pool | None) -> bool:
    return now is not None and now.active and item.state in (STOPPED, ABSENT)


# -- planning -------------------------------------------------------------------------------------------------------


def _plan(driver: StorageDriver, item: DesiredPool, now: Pool | None, contents: _Contents) -> PlannedPool:
    planned = PlannedPool(item, now, now)
    try:
        if item.state == ABSENT:
            if now is not None:
                contents.refuse(item)
                _plan_removal(driver, planned)
        elif now is None:
            _plan_creation(driver, planned)
        else:
            if _is_ended(item, now):
                contents.refuse(item)
            _plan_change(driver, planned, now)
    except AnyvirtError as error:
        planned.plan, planned.changes, planned.after, planned.error = Plan(), [], now, error
    return planned


def _plan_removal(driver: StorageDriver, planned: PlannedPool) -> None:
    item = planned.wanted
    data = ", with what it is made of" if item.delete_data else "; its data stays"

    def remove() -> None:
        driver.delete_pool(item.name, item.delete_data)

    planned.plan.steps.append(Step(f"remove the pool {item.name}{data}", remove))
    planned.changes.append(("state", _state(planned.before), ABSENT))
    planned.after = None


def _plan_creation(driver: StorageDriver, planned: PlannedPool) -> None:
    item, pool = planned.wanted, planned.wanted.pool
    driver.require("pools")
    steps = planned.plan.steps
    steps.append(Step(f"create the pool {item.name} ({pool.kind})", lambda: driver.create_pool(pool, item.overwrite)))
    if pool.autostart is not None:
        steps.append(_autostart_step(driver, item.name, pool.autostart))
    if item.state == RUNNING:
        steps.append(_start_step(driver, item.name))
    elif item.state == STOPPED:
        steps.append(_stop_step(driver, item.name))
    planned.after = replace(pool, active=item.state == RUNNING)
    planned.changes.append(("state", ABSENT, _state(planned.after) if item.state != PRESENT else PRESENT))


def _plan_change(driver: StorageDriver, planned: PlannedPool, now: Pool) -> None:
    item = planned.wanted
    steps, after = planned.plan.steps, replace(now)
    if item.pool.autostart is not None and item.pool.autostart != now.autostart:
        steps.append(_autostart_step(driver, item.name, item.pool.autostart))
        planned.changes.append(("autostart", now.autostart, item.pool.autostart))
        after.autostart = item.pool.autostart
    if item.state == RUNNING and not now.active:
        steps.append(_start_step(driver, item.name))
        after.active = True
    elif item.state == STOPPED and now.active:
        steps.append(_stop_step(driver, item.name))
        after.active = False
    if after.active != now.active:
        planned.changes.append(("state", _state(now), _state(after)))
    if item.refresh and not after.active:
        raise PoolNotFound(
            f"{item.where}refresh: the pool {item.name!r} is not active; ask for state: running beside it"
        )
    planned.after = after if steps else now


def _autostart_step(driver: StorageDriver, name: str, autostart: bool) -> Step:
    def do() -> Undo:
        return driver.set_pool_autostart(name, autostart)

    return Step(f"{'start' if autostart else 'do not start'} the pool {name} with the host", do)


def _start_step(driver: StorageDriver, name: str) -> Step:
    return Step(f"start the pool {name}", lambda: driver.start_pool(name))


def _stop_step(driver: StorageDriver, name: str) -> Step:
    return Step(f"stop the pool {name}", lambda: driver.stop_pool(name))


# -- applying and telling -------------------------------------------------------------------------------------------


def _carry_out(driver: StorageDriver, planned: Sequence[PlannedPool], task: Task) -> None:
    def run(item: PlannedPool) -> None:
        item.plan.run()
        if item.wanted.refresh:
            driver.refresh_pool(item.wanted.name)

    workers = task.params.get("workers") or DEFAULT_WORKERS
    todo = [[item] for item in planned if item.error is None and (item.plan or item.wanted.refresh)]
    run_chains(todo, run, min(workers, driver.max_workers or workers))
    if not todo:
        return
    try:
        seen = driver.get_pools()
    except AnyvirtError as error:
        task.warn(f"what came of it could not be read: {error}")
        return
    for [item] in todo:
        item.after = seen.get(item.wanted.name)


def _result(planned: Sequence[PlannedPool], task: Task) -> dict[str, Any]:
    results = []
    for item in planned:
        result: dict[str, Any] = {
            "name": item.wanted.name,
            "changed": bool(item.plan),
            "changes": [{"option": option, "old": old, "new": new} for option, old, new in item.changes],
            "steps": item.plan.lines(),
            "after": _pool_as_dict(item.after),
        }
        if item.plan:
            result["before"] = _pool_as_dict(item.before)
        if item.after is not None:
            for size in ("capacity_bytes", "used_bytes", "available_bytes"):
                if getattr(item.after, size) is not None:
                    result[size] = getattr(item.after, size)
        if item.error is not None:
            is_other = _pool_as_dict(item.after) != _pool_as_dict(item.before)
            add_failure(result, item.error, is_other or item.error.rolled_back is False)
        results.append(result)
    errors = [item.error for item in planned]
    return outcome_of(results, errors, "pool", task.params.get("pools") is None, task.diff_mode)


def _pool_as_dict(pool: Pool | None) -> dict[str, Any] | None:
    """A pool in the words of the module's options; how full it is changes by itself, so it is told elsewhere."""
    if pool is None:
        return None
    known = {option: getattr(pool, option) for option in ("name", *_FIXED, "autostart")}
    return {"state": _state(pool), **{option: value for option, value in known.items() if value is not None}}


def _state(pool: Pool | None) -> str:
    if pool is None:
        return ABSENT
    return RUNNING if pool.active else STOPPED
