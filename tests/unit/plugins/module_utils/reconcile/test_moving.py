# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances that are being moved, or live elsewhere, are changed by nobody but virt_migrate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.errors import InstanceMigrating
from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Instance
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import (
    COLD,
    DEPARTED,
    INCOMING,
    MOVED,
    MOVING,
    OUTGOING,
    MigrationRecord,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.instances import Planner, compared
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.options import read_desired
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.planned import Planned
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.views import instance_as_dict

PEER = "fake:/lab?host=two"
RECORDS = {
    "outgoing": MigrationRecord("1", OUTGOING, PEER, COLD, MOVING),
    "incoming": MigrationRecord("1", INCOMING, PEER, COLD, MOVING),
    "arrived": MigrationRecord("1", INCOMING, PEER, COLD, MOVED),
    "departed": MigrationRecord("1", OUTGOING, PEER, COLD, DEPARTED),
}


def driver() -> Any:
    found = mock.MagicMock()
    found.name = "fake"
    found.differing_extras.return_value = set()
    found.live_options.return_value = set()
    return found


def planned(how: str, **params: Any) -> Planned:
    """The plan of a task for an instance that is being moved."""
    here = Instance("web1", memory_mb=64, power_state=power_state.SHUTOFF, migration=RECORDS[how])
    [wanted] = read_desired({"name": "web1", **params}, "fake")
    planner = Planner(driver())
    if wanted.state == "absent":
        return planner.plan_removal(wanted, here, False)
    if wanted.state.startswith("resize_"):
        return planner.plan_end_of_resize(wanted, here)
    return planner.plan_change(wanted, here, compared(planner.driver, wanted, here))


@pytest.mark.parametrize("how", RECORDS)
@pytest.mark.parametrize("params", [{"state": "running"}, {"memory_mb": 128}, {"state": "absent"}], ids=str)
def test_refused(how: str, params: dict[str, Any]):
    with pytest.raises(InstanceMigrating, match="web1") as caught:
        planned(how, **params)
    assert PEER in str(caught.value)
    assert ("must not be started" if how == "departed" else "virt_migrate again") in str(caught.value)


@pytest.mark.parametrize("how", RECORDS)
@pytest.mark.parametrize("params", [{}, {"state": "stopped"}, {"memory_mb": 64}, {"state": "resize_reverted"}], ids=str)
def test_where_there_is_nothing_to_do_nobody_is_disturbed(how: str, params: dict[str, Any]):
    assert not planned(how, **params).plan


def test_only_what_a_departed_one_left_here_can_be_removed():
    assert planned("departed", state="absent", delete_volumes="none").plan
    for delete_volumes in ("own", "all"):
        with pytest.raises(InstanceMigrating, match="delete_volumes: none"):
            planned("departed", state="absent", delete_volumes=delete_volumes)
    for how in RECORDS.keys() - {"departed"}:
        with pytest.raises(InstanceMigrating):
            planned(how, state="absent", delete_volumes="none")


def test_it_is_shown():
    record = replace(RECORDS["outgoing"], volumes=("contract/web1.qcow2",))
    shown = instance_as_dict(Instance("web1", migration=record), "fake")["migration"]
    assert (shown["direction"], shown["peer"], shown["phase"]) == ("outgoing", PEER, "moving")
    assert shown["volumes"] == ["contract/web1.qcow2"]
    assert "migration" not in instance_as_dict(Instance("web1"), "fake")
