# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resizes that can be taken back: confirmed, reverted, undone; what is kept meanwhile, and that nothing of it stays."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AnyvirtError,
    HypervisorError,
    InvalidPowerState,
    ResizePending,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.flavor import Flavor
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk, Instance
from ansible_collections.anyvirt.compute.plugins.module_utils.model.resize import (
    REVERTED,
    REVERTING,
    SIZES,
    WAITING,
    ResizeRecord,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import VolumeKey
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.helpers import state_of
from contract.platforms.base import Platform

NAME = "resized"
OLD, NEW = 32 * MIB, 48 * MIB
PIECE = 64 * 1024
OPTIONS = {"memory_mb", "max_memory_mb", "flavor"}


def has_disks(driver: ComputeDriver) -> bool:
    return driver.supports("image") and driver.supports("root_grow")


def with_disk(platform: Platform, driver: ComputeDriver, disk_format: str | None = None, **over: Any) -> Instance:
    """An instance that is off, with two disks where the platform has disks."""
    if has_disks(driver):
        disks = [Disk(role="root", size_bytes=OLD, format=disk_format), Disk(role="data", size_bytes=4 * MIB)]
        over = {"disks": disks, **over}
    return platform.spawned(driver, NAME, flavor=Flavor("small", 96, 1), **over)


def larger(driver: ComputeDriver, current: Instance) -> tuple[Instance, set[str]]:
    """What it is resized to, and the options that change."""
    wanted = Instance(NAME, memory_mb=128, max_memory_mb=128, flavor=Flavor("large", 128, 1))
    if not has_disks(driver):
        return wanted, OPTIONS
    wanted.disks = [replace((current.disks or [])[0], size_bytes=NEW), *(current.disks or [])[1:]]
    return wanted, {*OPTIONS, "disks"}


def before(driver: ComputeDriver, current: Instance, **over: Any) -> ResizeRecord:
    """What is remembered."""
    values = {name: getattr(current, name) for name in SIZES}
    sizes = (((current.disks or [])[0].device, OLD),) if has_disks(driver) else ()
    return ResizeRecord(time.time(), **values, flavor=current.flavor, sizes=sizes, **over)


def resize(driver: ComputeDriver, current: Instance, **over: Any) -> Any:
    desired, options = larger(driver, current)
    return driver.resize_revertibly(current, desired, options, before(driver, current, **over))


def now(driver: ComputeDriver) -> Instance:
    return driver.get_instances([NAME])[NAME]


def root_key(instance: Instance) -> VolumeKey:
    disk = (instance.disks or [])[0]
    assert disk.pool is not None
    assert disk.volume is not None
    return VolumeKey(disk.pool, disk.volume)


def fill(platform: Platform, driver: ComputeDriver, instance: Instance, byte: int) -> None:
    """Write as its guest does."""
    if has_disks(driver):
        platform.storage.fill(root_key(instance), byte, 0, PIECE)


def require_size(platform: Platform, driver: ComputeDriver, instance: Instance, size_bytes: int, byte: int) -> None:
    """What the guest finds on its root disk."""
    if has_disks(driver):
        assert (instance.disks or [])[0].size_bytes == size_bytes
        data = platform.storage.data(root_key(instance))
        assert len(data) == size_bytes
        assert set(data[:PIECE]) == {byte}


def formats(driver: ComputeDriver) -> list[str | None]:
    if not has_disks(driver):
        return [None]
    return ["qcow2", "raw"] if driver.name in ("fake", "libvirt") else [None]


@pytest.mark.parametrize("turn", [0, 1])
def test_there_and_back(driver: ComputeDriver, platform: Platform, turn: int):
    """With disks of each format; what was written since is lost."""
    if turn >= len(formats(driver)):
        return
    current = with_disk(platform, driver, formats(driver)[turn])
    fill(platform, driver, current, 1)
    plain = platform.volumes()
    with platform.calls.recording() as calls:
        driver.require_keepable(NAME, [device for device, _size in before(driver, current).sizes])
    assert calls.lasting_writes == []
    resize(driver, current, running=True, confirm_window_s=60.0)
    resized = now(driver)
    assert (resized.memory_mb, resized.flavor) == (128, Flavor("large", 128, 1))
    assert resized.resize is not None
    expected = before(driver, current, running=True, confirm_window_s=60.0)
    assert replace(resized.resize, kept=(), started_s=expected.started_s) == expected
    assert len(resized.resize.kept) == len(expected.sizes)
    require_size(platform, driver, resized, NEW, 1)
    fill(platform, driver, resized, 2)
    driver.revert_resize(NAME)
    reverted = now(driver)
    assert reverted.resize is not None
    assert (reverted.resize.phase, reverted.resize.running) == (REVERTED, True)
    driver.revert_resize(NAME)
    driver.confirm_resize(NAME)
    require_size(platform, driver, now(driver), OLD, 1)
    assert platform.volumes() == plain
    assert _without_times(now(driver)) == _without_times(current)


def _without_times(instance: Instance) -> Instance:
    return replace(instance, disks=[replace(disk, path=None) for disk in instance.disks or []])


@pytest.mark.parametrize("state", ["shutoff", "running"])
def test_confirmed(driver: ComputeDriver, platform: Platform, state: str):
    current = with_disk(platform, driver)
    plain = platform.volumes()
    resize(driver, current)
    fill(platform, driver, current, 3)
    if state == "running":
        driver.power_on(NAME)
    driver.confirm_resize(NAME)
    assert state_of(driver, NAME) == state
    assert now(driver).resize is None
    assert now(driver).memory_mb == 128
    driver.force_off(NAME)
    require_size(platform, driver, now(driver), NEW, 3)
    assert platform.volumes() == plain
    resize_again = now(driver)
    with platform.calls.recording() as calls:
        driver.confirm_resize(NAME)
        driver.revert_resize(NAME)
    assert calls.lasting_writes == []
    assert now(driver) == resize_again


def test_whether_it_is_to_run_afterwards(driver: ComputeDriver, platform: Platform):
    with_disk(platform, driver)
    driver.note_runs_after_revert(NAME, True)
    assert now(driver).resize is None
    resize(driver, now(driver))
    driver.power_on(NAME)
    waiting = now(driver).resize
    assert waiting is not None
    for runs in (True, False):
        driver.note_runs_after_revert(NAME, runs)
        assert now(driver).resize == replace(waiting, running=runs)


def test_one_at_a_time(driver: ComputeDriver, platform: Platform):
    current = with_disk(platform, driver)
    resize(driver, current)
    waiting = now(driver)
    assert waiting.resize is not None
    assert waiting.resize.phase == WAITING
    with pytest.raises(ResizePending, match=NAME):
        driver.resize_revertibly(waiting, Instance(NAME, memory_mb=64), {"memory_mb"}, before(driver, waiting))
    assert now(driver) == waiting


def test_only_while_it_is_off(driver: ComputeDriver, platform: Platform):
    current = with_disk(platform, driver)
    driver.power_on(NAME)
    unchanged = platform.snapshot() if platform.name == "fake" else None
    with pytest.raises(InvalidPowerState, match=NAME):
        resize(driver, current)
    assert unchanged is None or platform.snapshot() == unchanged
    driver.force_off(NAME)
    resize(driver, current)
    driver.power_on(NAME)
    with pytest.raises(InvalidPowerState, match=NAME):
        driver.revert_resize(NAME)
    assert now(driver).resize is not None


@pytest.mark.parametrize("delete_volumes", ["own", "none"])
def test_removal_takes_along_what_was_kept(driver: ComputeDriver, platform: Platform, delete_volumes: str):
    current = with_disk(platform, driver)
    plain = platform.volumes()
    driver.force_off(NAME)
    resize(driver, current)
    driver.destroy(NAME, delete_volumes)
    assert driver.list_instances() == []
    if delete_volumes == "own":
        assert platform.volumes().isdisjoint(plain)
        return
    assert platform.volumes() == plain
    if has_disks(driver):
        storage = platform.storage_driver()
        found = storage.get_volumes([root_key(current)], snapshots=True)[root_key(current)]
        assert not found.snapshots


def require_as_before(
    platform: Platform, driver: ComputeDriver, current: Instance, empty: dict[str, Any], told: str
) -> None:
    assert now(driver) == current, told
    after = platform.snapshot()
    if platform.shrinks_disks:
        assert after == empty, told
    else:  # another virtual disk has taken the old one's place, made from what was kept
        assert _counts(after) == _counts(empty), told


def _counts(snapshot: dict[str, Any]) -> dict[str, int]:
    return {kind: len(records) for kind, records in snapshot.items()}


@pytest.mark.slow
def test_a_resize_that_fails_changes_nothing(driver: ComputeDriver, platform: Platform):
    current = with_disk(platform, driver)
    empty = platform.snapshot()
    with platform.calls.recording() as calls:
        take_back = resize(driver, current)
    take_back()
    require_as_before(platform, driver, current, empty, "undone")
    step = 1 if platform.starts_quickly else 4
    for number in range(1, len(calls) + 1, step):
        told = f"call {number} of {len(calls)}: {calls[number - 1].name}"
        try:
            with platform.calls.recording(fail_at=number):
                take_back = resize(driver, current)
        except AnyvirtError as error:
            assert error.not_undone == [], told
            assert error.rolled_back is not False, told
        else:
            take_back()
        require_as_before(platform, driver, current, empty, told)


def test_undone_after_its_guest_has_run(driver: ComputeDriver, platform: Platform):
    """It may have made its file system larger: to make the disk smaller again would cut that off."""
    current = with_disk(platform, driver)
    fill(platform, driver, current, 1)
    plain = platform.volumes()
    take_back = resize(driver, current)
    fill(platform, driver, now(driver), 2)
    take_back()
    assert now(driver).resize is None
    assert now(driver).memory_mb == current.memory_mb
    require_size(platform, driver, now(driver), OLD, 1)
    assert platform.volumes() == plain


@pytest.mark.on("libvirt", "xenapi")
def test_what_is_kept_stays_until_it_is_undone(
    driver: ComputeDriver, platform: Platform, monkeypatch: pytest.MonkeyPatch
):
    current = with_disk(platform, driver)
    fill(platform, driver, current, 1)
    take_back = resize(driver, current)
    with monkeypatch.context() as broken:
        part = "bring_back_disk" if driver.name == "libvirt" else "bring_back_state"
        broken.setattr(driver, part, mock.Mock(side_effect=HypervisorError("the disk is full")))
        with pytest.raises(AnyvirtError, match=r"full|taken back"):
            take_back()
    record = now(driver).resize
    assert record is not None
    assert record.phase == REVERTING
    driver.revert_resize(NAME)
    driver.confirm_resize(NAME)
    require_size(platform, driver, now(driver), OLD, 1)
