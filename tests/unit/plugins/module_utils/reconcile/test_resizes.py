# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done about a resize in each phase in which a killed run can have left it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.errors import InvalidPowerState, ResizePending
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


def calls(record: ResizeRecord, params: dict[str, Any], state: int = power_state.SHUTOFF) -> list[str]:
    """What a task asks of the driver, in order, of an instance in that power state."""
    here = Instance(
        "web1",
        **{name: getattr(record, name) for name in ("memory_mb", "max_memory_mb", "vcpus", "max_vcpus")},
        disks=[Disk("vda", size_bytes=2048)],
        power_state=state,
        resize=record,
    )
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


@pytest.mark.parametrize(
    "record", [OLD, replace(OLD, flavor=None, sizes=(), kept=(), running=False, confirm_window_s=5.0, phase=REVERTED)]
)
def test_plain_data_and_back(record: ResizeRecord):
    assert read_resize(record.as_dict()) == record


@pytest.mark.parametrize("values", [{}, {**OLD.as_dict(), "vcpus": "many"}, {**OLD.as_dict(), "flavor": {"a": 1}}])
def test_what_is_no_record(values: dict[str, Any]):
    with pytest.raises((KeyError, TypeError, ValueError)):
        read_resize(values)
