# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans for instances that run and wait for a restart."""

from __future__ import annotations

from unittest import mock

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Instance
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.compare import Comparison
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.desired import RESTART, Desired
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.instances import Planner


@pytest.mark.parametrize(
    ("pending", "cycles"),
    [
        ({"memory_mb": (512, 1024)}, True),
        ({"memory_mb": (1024, 512)}, False),
        ({"memory_mb": (1024, 512), "max_memory_mb": (1024, 512)}, True),
    ],
)
def test_memory_that_a_guest_does_not_give_back_is_no_reason_to_restart(pending, cycles):
    current = Instance("web1", memory_mb=512, power_state=power_state.RUNNING, pending=pending)
    wanted = Desired(where="", instance=Instance("web1", memory_mb=512), apply=RESTART)
    found = Comparison(desired=Instance("web1"), declared=Instance("web1"))
    planned = Planner(mock.MagicMock()).plan_change(wanted, current, found)
    assert planned.power_cycled is cycles
    assert bool(planned.plan) is cycles
