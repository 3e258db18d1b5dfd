# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans are done in order, and undone in the reverse one."""

from __future__ import annotations

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.errors import AnyvirtError, UnexpectedError
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.plan import NothingTakenBack, Plan, Step
from ansible_collections.anyvirt.compute.plugins.module_utils.undo import Undo


def steps(log: list[str], failing: str = "", error: Exception | None = None) -> list[Step]:
    def make(name: str) -> Step:
        def do() -> Undo:
            if name == failing:
                raise error or AnyvirtError("broken")
            log.append(name)
            return lambda: log.append(f"un{name}")

        return Step(name, do)

    return [make(name) for name in "abc"]


def test_an_empty_plan_is_false():
    assert not Plan()
    assert Plan().lines() == []


def test_all_steps_are_done():
    log: list[str] = []
    plan = Plan(steps(log))
    plan.run()
    assert log == ["a", "b", "c"]
    assert plan.lines() == log


def test_a_failure_is_undone_and_told():
    log: list[str] = []
    with pytest.raises(AnyvirtError) as caught:
        Plan(steps(log, "c")).run()
    assert log == ["a", "b", "unb", "una"]
    assert caught.value.step == "c"
    assert caught.value.rolled_back is True
    assert caught.value.undone == ["undo: b", "undo: a"]


def test_a_failure_of_the_first_step_has_nothing_to_undo():
    with pytest.raises(AnyvirtError) as caught:
        Plan(steps([], "a")).run()
    assert caught.value.rolled_back is None


def test_a_bug_is_undone_and_told_too():
    log: list[str] = []
    with pytest.raises(UnexpectedError, match="ZeroDivisionError") as caught:
        Plan(steps(log, "b", ZeroDivisionError("oops"))).run()
    assert log == ["a", "una"]
    assert caught.value.step == "b"


def test_what_is_final_is_not_undone():
    log: list[str] = []
    plan = Plan([*steps(log), *steps(log, "b")])
    plan.steps[1].final = True
    with pytest.raises(AnyvirtError) as caught:
        plan.run()
    assert log == ["a", "b", "c", "a", "una", "unc"]
    assert caught.value.undone == ["undo: a", "undo: c"]


def test_a_failure_right_after_what_is_final_has_changed_something():
    plan = Plan(steps([], "b"))
    plan.steps[0].final = True
    with pytest.raises(AnyvirtError) as caught:
        plan.run()
    assert (caught.value.rolled_back, caught.value.undone) == (False, [])


def test_a_step_can_ask_for_nothing_to_be_undone():
    log: list[str] = []
    with pytest.raises(AnyvirtError, match="who knows") as caught:
        Plan(steps(log, "c", NothingTakenBack(AnyvirtError("who knows")))).run()
    assert log == ["a", "b"]
    assert (caught.value.step, caught.value.rolled_back, caught.value.undone) == ("c", False, [])


def test_an_interrupt_is_undone():
    log: list[str] = []
    plan = Plan(steps(log))

    def interrupt() -> None:
        raise KeyboardInterrupt

    plan.steps.append(Step("d", interrupt))
    with pytest.raises(KeyboardInterrupt):
        plan.run()
    assert log == ["a", "b", "c", "unc", "unb", "una"]
