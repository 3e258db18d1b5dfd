# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resizes that can be taken back: which changes are part of one, what is remembered, and how one comes to its end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from ..driver.base import ComputeDriver
from ..errors import AnyvirtError, ResizePending
from ..model import power_state
from ..model.instance import Disk, Instance
from ..model.resize import CHANGING, REVERTED, REVERTING, SIZES, WAITING, ResizeRecord
from ..model.units import format_size
from ..undo import Undo
from .compare import Change, Comparison
from .desired import PAUSED, REBOOTED, RUNNING, Desired
from .plan import NothingTakenBack, Step
from .power import settled

_RUNS = (RUNNING, PAUSED, REBOOTED)
_HOW_IT_ENDS = "confirm it with state: resize_confirmed, or take it back with state: resize_reverted"


def now() -> float:
    """Seconds since 1970, where the module runs."""
    return time.time()


def resized_fields(wanted: Desired, current: Instance, found: Comparison) -> set[str]:
    """The changed fields that are to be changed so that it can be taken back.

    Raises:
        ResizePending: sizes change while an earlier resize waits.
    """
    sizes = found.fields.intersection((*SIZES, "flavor"))
    if found.grows:
        sizes.add("disks")
    if current.resize is not None and sizes and not is_to_finish(wanted, current):
        refuse_half_reverted(current)
        refuse_half_resized(current)
        raise ResizePending(
            f"a resize of instance {current.name!r} waits for an answer; before it gets other sizes, {_HOW_IT_ENDS}"
        )
    if is_to_finish(wanted, current):
        kept = {device for device, _size in current.resize.sizes} if current.resize is not None else set()
        if not kept.issuperset(device for device, _size in _growing(current, found.desired)):
            refuse_half_resized(current)  # it has passed the point at which disks are kept
    return sizes if wanted.revertible else set()


def refuse_half_reverted(current: Instance) -> None:
    """Raise ResizePending when going back was cut short: its disks may be of either time."""
    if current.resize is not None and current.resize.phase == REVERTING:
        raise ResizePending(
            f"taking back a resize of instance {current.name!r} was cut short; "
            "bring that to its end with state: resize_reverted"
        )


def refuse_half_resized(current: Instance) -> None:
    """Raise ResizePending when a resize was cut short: what stays would be half of it, with a disk that is smaller than
    its instance's record says."""
    if current.resize is not None and current.resize.phase == CHANGING:
        raise ResizePending(
            f"a resize of instance {current.name!r} was cut short; bring that to its end with the same sizes and "
            "revertible: true, or take it back with state: resize_reverted"
        )


def is_to_finish(wanted: Desired, current: Instance) -> bool:
    """Whether the task brings a resize to its end that was cut short while it was changing something."""
    return wanted.revertible and current.resize is not None and current.resize.phase == CHANGING


def without_growth(current: Instance, desired: Instance) -> tuple[list[Disk], list[Disk]]:
    """The disks that exist, as they are wanted, and those that are new."""
    devices = {disk.device for disk in current.disks or []}
    wanted = desired.disks or []
    return [disk for disk in wanted if disk.device in devices], [disk for disk in wanted if disk.device not in devices]


def record_of(wanted: Desired, current: Instance, desired: Instance, goal: str) -> ResizeRecord:
    """What is to be remembered of an instance that gets other sizes; of one that was cut short, what is already.

    Args:
        goal: The state of the task in which the instance is to be afterwards.
    """
    if current.resize is not None:
        return replace(current.resize, phase=WAITING)
    return ResizeRecord(
        started_s=now(),
        memory_mb=current.memory_mb or 0,
        max_memory_mb=current.max_memory_mb or 0,
        vcpus=current.vcpus or 0,
        max_vcpus=current.max_vcpus or 0,
        flavor=current.flavor,
        sizes=_growing(current, desired),
        running=goal in _RUNS or settled(current.power_state) in _RUNS,
        confirm_window_s=wanted.confirm_window_s,
    )


def clearing(driver: ComputeDriver, current: Instance) -> Iterator[Step]:
    """The step that ends a resize about which there is nothing to decide any more: it is over and only something of it
    is left, or it has waited for longer than its window (Nova's poll_unconfirmed_resizes)."""
    name, record = current.name, current.resize
    if record is None:
        return
    if record.is_over:
        yield Step(f"delete what is left of a resize of {name}", lambda: _confirm(driver, name))
    elif record.phase == WAITING and record.is_overdue(now()):
        say = f"confirm the resize of {name}, which has waited for longer than {record.confirm_window_s:g} s"
        yield Step(say, lambda: driver.confirm_resize(name))


def confirming(driver: ComputeDriver, name: str) -> Step:
    """The step by which a resize stays."""
    return Step(f"confirm the resize of {name}", lambda: driver.confirm_resize(name))


def going_back(driver: ComputeDriver, current: Instance) -> Step:
    """The step by which it is taken back, with the instance off."""
    what = ", ".join(f"{change.option} {change.old} -> {change.new}" for change in changes_back(current))
    say = f"take back the resize of {current.name}" + (f": {what}" if what else "")

    def revert() -> None:
        try:
            driver.revert_resize(current.name)
        except AnyvirtError as error:
            if error.rolled_back is False:  # its disks may be of either time, so it must not be started again
                raise NothingTakenBack(error) from error
            raise

    return Step(say, revert)


def noting(driver: ComputeDriver, current: Instance) -> Iterator[Step]:
    """The step before it is stopped for that, where it runs and did not when it was resized: a run that is killed when
    it has stopped it leaves word that it ran."""
    name, record = current.name, current.resize
    if record is None or record.running or settled(current.power_state) not in _RUNS:
        return

    def note() -> Undo:
        driver.note_runs_after_revert(name, True)
        return lambda: driver.note_runs_after_revert(name, False)

    yield Step(f"write down that {name} is to run afterwards", note)


def forgetting(driver: ComputeDriver, name: str) -> Step:
    """The step after it."""
    return Step(f"delete what was kept for taking it back: {name}", lambda: _confirm(driver, name))


def before_resize(current: Instance) -> Instance:
    """The instance with the sizes that it had."""
    record = current.resize
    if record is None or record.phase == REVERTED:
        return replace(current, resize=None)
    had = dict(record.sizes)
    return replace(
        current,
        **{name: getattr(record, name) for name in SIZES},
        flavor=record.flavor,
        disks=[replace(disk, size_bytes=had.get(disk.device or "", disk.size_bytes)) for disk in current.disks or []],
        resize=None,
    )


def changes_back(current: Instance) -> list[Change]:
    """What changes when a resize is taken back."""
    old = before_resize(current)
    changes = [
        Change(name, name, getattr(current, name), getattr(old, name))
        for name in SIZES
        if getattr(current, name) != getattr(old, name)
    ]
    if current.flavor != old.flavor:
        names = [None if one.flavor is None else one.flavor.name for one in (current, old)]
        changes.append(Change("flavor", "flavor", *names))
    for disk, was in zip(current.disks or [], old.disks or []):
        if disk.size_bytes != was.size_bytes:
            sizes = (format_size(one.size_bytes or 0) for one in (disk, was))
            changes.append(Change(f"size of {disk.device}", "disks", *sizes))
    return changes


def runs_afterwards(current: Instance) -> bool:
    """Whether an instance that is off is to be started when its resize is taken back."""
    is_off = current.power_state in power_state.OFF
    return is_off and current.resize is not None and current.resize.running


def waits_for_start(current: Instance) -> bool:
    """Whether its resize was taken back by a run that was killed before it started the instance again."""
    return current.resize is not None and current.resize.phase == REVERTED and runs_afterwards(current)


def _growing(current: Instance, desired: Instance) -> tuple[tuple[str, int], ...]:
    """The disks that get another size, each with the one that it has."""
    had = {disk.device: disk.size_bytes for disk in current.disks or []}
    return tuple(
        sorted(
            (disk.device, size)
            for disk in desired.disks or []
            if disk.device is not None and (size := had.get(disk.device)) is not None and size != disk.size_bytes
        )
    )


def _confirm(driver: ComputeDriver, name: str) -> Undo:
    driver.confirm_resize(name)
    return _nothing


def _nothing() -> None:
    """What is cleared away is missed by nobody."""
