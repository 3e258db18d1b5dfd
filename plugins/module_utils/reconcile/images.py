# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""virt_image: reads what is, compares, plans and applies, for all images of a task at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..driver.storage import StorageDriver
from ..errors import AnyvirtError, InvalidInput, PoolNotFound, Problem
from ..model.storage import Image, VolumeKey
from .image_options import ABSENT, EXPORTED, PRESENT, CleanUp, DesiredImage, read_images
from .image_plan import ImagePlanner, PlannedImage, World
from .outcome import add_failure, outcome_of
from .storage import storage_driver
from .task import Task
from .workers import DEFAULT_WORKERS, run_chains

_TOLD = ("name", "pool", "format", "size_bytes", "file_bytes", "source", "checksum", "source_checksum", "fetched_s")


def reconcile_images(task: Task) -> dict[str, Any]:
    """Make the image caches as the task wants them, or write images into files; the module's result."""
    driver = storage_driver(task)
    wanted = read_images(task.params)
    with driver:
        if isinstance(wanted, CleanUp):
            clean_up = replace(wanted, pool=wanted.pool or driver.default_pool())
            planned = ImagePlanner(driver, _read_pool(driver, clean_up)).plan_clean_up(clean_up)
        else:
            items = _with_pools(driver, wanted)
            planned = _plan(ImagePlanner(driver, _read(driver, items)), items)
        if not task.check_mode:
            _carry_out(driver, planned, task)
        return _result(planned, task, isinstance(wanted, CleanUp))


def _with_pools(driver: StorageDriver, wanted: Sequence[DesiredImage]) -> list[DesiredImage]:
    default = "" if all(item.pool for item in wanted) else driver.default_pool()
    items = [replace(item, pool=item.pool or default) for item in wanted]
    seen: dict[VolumeKey, str] = {}
    problems = []
    for item in items:
        if seen.setdefault(item.key, item.where) != item.where:
            problems.append(Problem(f"{item.where}name", f"{item.key} is {seen[item.key].rstrip('.')} too"))
    if problems:
        raise InvalidInput(problems)
    return items


def _read(driver: StorageDriver, wanted: Sequence[DesiredImage]) -> World:
    if any(item.state == EXPORTED for item in wanted):
        driver.require("volume_transfer")
    if any(item.state != EXPORTED for item in wanted):
        driver.require("images")
    keys = [item.key for item in wanted]
    pools = sorted({item.pool for item in wanted})
    images = driver.get_images(pools) if driver.supports("images") else {}
    volumes = driver.get_volumes(keys)
    maybe_leaving = [item.key for item in wanted if item.key in images and (item.state == ABSENT or item.force)]
    return World(driver.get_pools(), images, volumes, driver.volume_uses(maybe_leaving) if maybe_leaving else {})


def _read_pool(driver: StorageDriver, wanted: CleanUp) -> World:
    driver.require("images")
    pools = driver.get_pools()
    if wanted.pool not in pools or not pools[wanted.pool].active:
        raise PoolNotFound(f"pool: there is no active storage pool {wanted.pool!r}")
    images = driver.get_images([wanted.pool])
    return World(pools, images, {}, driver.volume_uses(list(images)) if images else {})


def _plan(planner: ImagePlanner, wanted: Sequence[DesiredImage]) -> list[PlannedImage]:
    planned, problems = [], []
    for item in wanted:
        try:
            planned.append(planner.plan(item))
        except InvalidInput as error:
            problems += error.problems
    if problems:
        raise InvalidInput(problems)
    return planned


def _carry_out(driver: StorageDriver, planned: Sequence[PlannedImage], task: Task) -> None:
    workers = task.params.get("workers") or DEFAULT_WORKERS
    todo = [[item] for item in planned if item.error is None and item.plan]
    run_chains(todo, lambda item: item.plan.run(), min(workers, driver.max_workers or workers))
    changed = [item for [item] in todo if item.wanted.state != EXPORTED]
    if not changed:
        return
    try:
        seen = driver.get_images(sorted({item.wanted.pool for item in changed}))
    except AnyvirtError as error:
        task.warn(f"what came of it could not be read: {error}")
        return
    for item in changed:
        item.after = seen.get(item.wanted.key)


def _result(planned: Sequence[PlannedImage], task: Task, clean_up: bool) -> dict[str, Any]:
    results = []
    for item in planned:
        result: dict[str, Any] = {
            "name": item.wanted.name,
            "pool": item.wanted.pool,
            "changed": item.changed,
            "steps": item.plan.lines(),
            "after": _after(item),
        }
        if item.plan:
            result["before"] = _before(item)
        if item.after is not None and item.after.path is not None:
            result["path"] = item.after.path
        if item.kept:
            result["kept"] = item.kept
        if item.exported is not None:
            result.update(dest=item.wanted.dest, **item.exported._asdict())
        if item.error is not None:
            is_gone = item.before is not None and item.after is None  # though the reply to that was lost
            add_failure(result, item.error, not task.check_mode and (item.error.rolled_back is False or is_gone))
            result.pop("changes", None)
        results.append(result)
    one = task.params.get("images") is None and not clean_up
    return outcome_of(results, [item.error for item in planned], "image", one, task.diff_mode)


def _before(item: PlannedImage) -> dict[str, Any] | None:
    if item.wanted.state != EXPORTED:
        return _image_as_dict(item.before)
    if item.dest_bytes is None:
        return None
    return {"state": EXPORTED, "dest": item.wanted.dest, "file_bytes": item.dest_bytes}


def _after(item: PlannedImage) -> dict[str, Any] | None:
    if item.wanted.state != EXPORTED:
        return _image_as_dict(item.after)
    if item.error is not None:
        return _before(item)
    known = {} if item.exported is None else item.exported._asdict()
    return {"state": EXPORTED, "dest": item.wanted.dest, **known}


def _image_as_dict(image: Image | None) -> dict[str, Any] | None:
    if image is None:
        return None
    known = {option: getattr(image, option) for option in _TOLD}
    return {
        "state": PRESENT if image.complete else "unfinished",
        **{option: value for option, value in known.items() if value is not None},
    }
