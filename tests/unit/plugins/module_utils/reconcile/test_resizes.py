# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done about a resize in each phase in which a killed run can have left it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    HypervisorError,
    InvalidPowerState,
    ResizePending,
    Unsupported,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state
from ansible_collections.anyvirt.compute.plugins.module_utils.model.flavor import Flavor
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk, Instance
from ansible_collections.anyvirt.compute.plugins.module_utils.model.resize import (
    CHANGING,
    CONFIRMED,
    KEEPING,
    REVERTED,
    REVERTING,
    WAITING,
    ResizeRecord,
    read_resize,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.instances import Planner, compared
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.options import read_desired

OLD = ResizeRecord(
    1000.0,
    *(64, 64, 1, 1),
    flavor=Flavor("small", 64, 1),
    sizes=(("vda", 1024),),
    kept=(("vda", "anyvirt-resize"),),
    running=True,
)

NOTHING: list[str] = []
REFUSED = ["refused"]

TABLE: dict[str, dict[str, list[str]]] = {
    KEEPING: {
        "the same": ["resize_revertibly", "power_on"],
        "something else": ["update_instance"],
        "resize_confirmed": NOTHING,
        "resize_reverted": NOTHING,
    },
    CHANGING: {
        "the same": ["resize_revertibly", "power_on"],
        "something else": ["update_instance"],
        "resize_confirmed": REFUSED,
        "resize_reverted": ["revert_resize", "power_on"],
    },
    WAITING: {
        "the same": REFUSED,
        "something else": ["update_instance"],
        "resize_confirmed": NOTHING,
        "resize_reverted": ["revert_resize", "power_on"],
    },
    REVERTING: {
        "the same": REFUSED,
        "something else": REFUSED,
        "resize_confirmed": REFUSED,
        "resize_reverted": ["revert_resize", "power_on"],
    },
    REVERTED: {
        "the same": ["resize_revertibly", "power_on"],
        "something else": ["update_instance", "power_on"],
        "resize_confirmed": NOTHING,
        "resize_reverted": ["power_on"],
    },
    CONFIRMED: {
        "the same": ["resize_revertibly"],
        "something else": ["update_instance"],
        "resize_confirmed": NOTHING,
        "resize_reverted": NOTHING,
    },
}
"""Phase -> what the next task asks for -> the calls, beside ``confirm_resize``, of an instance that is off."""

TASKS: dict[str, dict[str, Any]] = {
    "the same": {"memory_mb": 128, "revertible": True},
    "something else": {"description": "new"},
    "resize_confirmed": {"state": "resize_confirmed"},
    "resize_reverted": {"state": "resize_reverted"},
}


def instance(record: ResizeRecord, state: int) -> Instance:
    """One of which that is remembered, in that power state."""
    return Instance(
        "web1",
        **{name: getattr(record, name) for name in ("memory_mb", "max_memory_mb", "vcpus", "max_vcpus")},
        disks=[Disk("vda", size_bytes=2048)],
        power_state=state,
        resize=record,
    )


def calls(record: ResizeRecord, params: dict[str, Any], state: int = power_state.SHUTOFF) -> list[str]:
    """What a task asks of the driver, in order, of an instance in that power state."""
    here = instance(record, state)
    driver = mock.MagicMock()
    driver.name = "fake"
    driver.differing_extras.return_value = set()
    [wanted] = read_desired({"name": "web1", **params}, "fake")
    planner = Planner(driver)
    try:
        if wanted.state.startswith("resize_"):
            plan = planner.plan_end_of_resize(wanted, here).plan
        else:
            plan = planner.plan_change(wanted, here, compared(driver, wanted, here)).plan
    except (InvalidPowerState, ResizePending):
        return REFUSED
    driver.reset_mock()
    for step in plan.steps:
        step.do()
    return [name for name, _args, _kwargs in driver.method_calls]


@pytest.mark.parametrize(("phase", "task"), [(phase, task) for phase in TABLE for task in TABLE[phase]])
def test_each_phase(phase: str, task: str):
    found = calls(replace(OLD, phase=phase), TASKS[task])
    assert [call for call in found if call != "confirm_resize"] == TABLE[phase][task]
    ends = task in ("resize_confirmed", "resize_reverted") and found != REFUSED
    assert found.count("confirm_resize") == (ends or phase in (KEEPING, REVERTED, CONFIRMED))


def test_what_is_to_be_started_is_not_forgotten_before_it_is():
    reverted = replace(OLD, phase=REVERTED)
    assert calls(reverted, {}) == ["power_on", "confirm_resize"]
    assert calls(reverted, {"state": "running"}) == ["power_on", "confirm_resize"]
    assert calls(reverted, {"state": "stopped"}) == ["confirm_resize"]
    assert calls(replace(reverted, running=False), {}) == ["confirm_resize"]
    assert calls(reverted, {}, power_state.RUNNING) == ["confirm_resize"]


@pytest.mark.parametrize(
    ("apply", "found"), [("live", REFUSED), ("restart", ["power_off", "resize_revertibly", "power_on"])]
)
def test_cut_short_and_started_since(apply: str, found: list[str]):
    """The sizes are written down as wanted, and yet a disk may not have grown."""
    same = {"memory_mb": 64, "revertible": True, "apply": apply, "shutdown": {"method": "forced"}}
    assert calls(replace(OLD, phase=CHANGING), same, power_state.RUNNING) == found


@pytest.mark.parametrize(("waited_s", "confirms"), [(59, False), (61, True)])
def test_window(monkeypatch: pytest.MonkeyPatch, waited_s: float, confirms: bool):
    monkeypatch.setattr(
        "ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.resizes.now", lambda: 1000.0 + waited_s
    )
    found = calls(replace(OLD, confirm_window_s=60.0), {})
    assert found == (["confirm_resize"] if confirms else [])


def test_what_runs_is_stopped_before_anything_is_cleared_away():
    """QEMU may not delete what was kept while the guest runs, and to stop it is what helps."""
    confirmed = replace(OLD, phase=CONFIRMED)
    forced = {"method": "forced"}
    stopped = {"state": "stopped", "shutdown": forced}
    assert calls(confirmed, stopped, power_state.RUNNING) == ["power_off", "confirm_resize"]
    again = {"memory_mb": 128, "revertible": True, "apply": "restart", "shutdown": forced}
    expected = ["power_off", "confirm_resize", "resize_revertibly", "power_on"]
    assert calls(confirmed, again, power_state.RUNNING) == expected


def test_what_was_started_since_it_was_resized_runs_again_though_a_run_is_killed():
    back = {"state": "resize_reverted", "shutdown": {"method": "forced"}}
    was_off = replace(OLD, running=False)
    expected = ["power_off", "revert_resize", "power_on", "confirm_resize"]
    assert calls(was_off, back, power_state.RUNNING) == ["note_runs_after_revert", *expected]
    assert calls(OLD, back, power_state.RUNNING) == expected
    assert calls(was_off, back) == ["revert_resize", "confirm_resize"]


@pytest.mark.parametrize(("rolled_back", "starts"), [(False, False), (None, True)])
def test_what_is_half_taken_back_is_not_started(rolled_back: bool | None, starts: bool):
    error = HypervisorError("the disk is full")
    error.rolled_back = rolled_back
    driver = mock.MagicMock()
    driver.name = "fake"
    driver.revert_resize.side_effect = error
    [wanted] = read_desired({"name": "web1", "state": "resize_reverted", "shutdown": {"method": "forced"}}, "fake")
    plan = Planner(driver).plan_end_of_resize(wanted, instance(OLD, power_state.RUNNING)).plan
    with pytest.raises(HypervisorError):
        plan.run()
    assert driver.power_on.called == starts


@pytest.mark.parametrize(("size", "asked"), [("4K", [mock.call("web1", ["vda"])]), ("2K", [])])
def test_what_cannot_be_kept_is_known_before_it_is_stopped(size: str, asked: list[Any]):
    driver = mock.MagicMock()
    driver.name = "fake"
    driver.differing_extras.return_value = set()
    driver.require_keepable.side_effect = Unsupported("it is encrypted")
    params = {"memory_mb": 128, "disks": [{"size": size}], "revertible": True, "apply": "restart"}
    [wanted] = read_desired({"name": "web1", "shutdown": {"method": "forced"}, **params}, "fake")
    here = replace(instance(OLD, power_state.RUNNING), resize=None)
    with pytest.raises(Unsupported) if asked else nullcontext():
        Planner(driver).plan_change(wanted, here, compared(driver, wanted, here))
    assert driver.require_keepable.call_args_list == asked
    assert not driver.power_off.called


@pytest.mark.parametrize(("device", "found"), [("vda", ["resize_revertibly", "power_on"]), ("vdb", REFUSED)])
def test_cut_short_and_another_disk_is_to_grow(device: str, found: list[str]):
    """What was kept by then is all that is kept."""
    record = replace(OLD, phase=CHANGING, sizes=((device, 1024),), kept=((device, "anyvirt-resize"),))
    assert calls(record, {"disks": [{"size": "4K"}], "revertible": True}) == found


@pytest.mark.parametrize("phase", [WAITING, CHANGING, REVERTING])
@pytest.mark.parametrize("delete_volumes", ["none", "own"])
def test_removal_that_keeps_volumes(phase: str, delete_volumes: str):
    """One that was cut short while going back may have no more of a disk than what is kept of it."""
    [wanted] = read_desired({"name": "web1", "state": "absent", "delete_volumes": delete_volumes}, "fake")
    planner = Planner(mock.MagicMock())
    here = instance(replace(OLD, phase=phase), power_state.SHUTOFF)
    if phase == REVERTING and delete_volumes == "none":
        with pytest.raises(ResizePending, match="resize_reverted"):
            planner.plan_removal(wanted, here, False)
    else:
        assert len(planner.plan_removal(wanted, here, False).plan.steps) == 1


@pytest.mark.parametrize(
    "record", [OLD, replace(OLD, flavor=None, sizes=(), kept=(), running=False, confirm_window_s=5.0, phase=REVERTED)]
)
def test_plain_data_and_back(record: ResizeRecord):
    assert read_resize(record.as_dict()) == record


@pytest.mark.parametrize("values", [{}, {**OLD.as_dict(), "vcpus": "many"}, {**OLD.as_dict(), "flavor": {"a": 1}}])
def test_what_is_no_record(values: dict[str, Any]):
    with pytest.raises((KeyError, TypeError, ValueError)):
        read_resize(values)
