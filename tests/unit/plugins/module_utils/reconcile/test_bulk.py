# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many plans at once."""

from __future__ import annotations

import threading
import time
from unittest import mock

from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AnyvirtError,
    HypervisorUnavailable,
    TimeoutExpired,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Instance
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.bulk import carry_out
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.desired import Desired
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.plan import Plan, Step
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.planned import Planned


def planned(name: str, do) -> Planned:
    return Planned(Desired("", Instance(name)), plan=Plan([Step(f"do {name}", do)]))


def fail(error: Exception):
    def do() -> None:
        raise error

    return do


def test_one_failure_does_not_hinder_the_others():
    done: list[str] = []
    items = [
        planned("a", lambda: done.append("a")),
        planned("b", fail(AnyvirtError("no"))),
        planned("c", lambda: done.append("c")),
    ]
    carry_out(items, 4)
    assert done == ["a", "c"]
    assert [item.error is None for item in items] == [True, False, True]


def test_plans_run_side_by_side():
    together = threading.Barrier(3, timeout=10)
    items = [planned(str(number), together.wait) for number in range(6)]
    carry_out(items, 3)
    assert [item.error for item in items] == [None] * 6


def test_no_more_at_the_same_time_than_allowed():
    now, most = [0], [0]
    lock = threading.Lock()

    def work() -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.01)
        with lock:
            now[0] -= 1

    carry_out([planned(str(number), work) for number in range(8)], 2)
    assert most == [2]


def test_a_single_one_needs_no_threads():
    seen: set[int] = set()
    carry_out([planned("a", lambda: seen.add(threading.get_ident()))], 8)
    assert seen == {threading.get_ident()}


def test_nothing_more_is_tried_when_the_hypervisor_is_gone():
    done: list[str] = []
    items = [planned("a", fail(HypervisorUnavailable("gone"))), planned("b", lambda: done.append("b"))]
    carry_out(items, 1)
    assert done == []
    assert isinstance(items[1].error, HypervisorUnavailable)
    assert "not tried" in str(items[1].error)


def test_a_wait_in_vain_leaves_what_was_done():
    undone: list[str] = []
    item = planned("a", lambda: lambda: undone.append("a"))
    item.wait = mock.Mock(wait=fail(TimeoutExpired("no address", "nothing")))
    carry_out([item], 1)
    assert undone == []
    assert item.error is not None
    assert item.error.rolled_back is False
    assert item.error.step == "wait for state of a"


def test_those_with_an_error_are_not_touched():
    done: list[str] = []
    item = planned("a", lambda: done.append("a"))
    item.error = AnyvirtError("locked")
    carry_out([item], 1)
    assert done == []
