# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways from power state to power state."""

from __future__ import annotations

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.errors import InvalidPowerState
from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.desired import Shutdown
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.power import settled, way

CODES = {power_state.name(code): code for code in power_state.valid_states()}
POLITE = Shutdown()


@pytest.mark.parametrize(
    ("state", "wanted", "operations"),
    [
        ("running", "running", ()),
        ("blocked", "running", ()),
        ("nostate", "running", ()),
        ("paused", "running", ("unpause",)),
        ("suspended", "running", ("resume",)),
        ("crashed", "running", ("start",)),
        ("shutdown", "running", ("start when it has shut down",)),
        ("running", "stopped", ("stop",)),
        ("paused", "stopped", ("unpause", "stop")),
        ("suspended", "stopped", ("resume", "stop")),
        ("crashed", "stopped", ()),
        ("shutoff", "paused", ("start paused",)),
        ("suspended", "paused", ("resume", "pause")),
        ("paused", "suspended", ("suspend",)),
        ("paused", "rebooted", ("unpause", "reboot")),
        ("shutoff", "rebooted", ("start",)),
    ],
)
def test_ways(state: str, wanted: str, operations: tuple[str, ...]):
    assert way("a", CODES[state], wanted, POLITE) == operations


@pytest.mark.parametrize("state", ["running", "paused", "suspended", "shutdown"])
def test_brute_force_needs_no_preparation(state: str):
    assert way("a", CODES[state], "stopped", Shutdown("forced")) == ("stop",)


@pytest.mark.parametrize("state", ["shutoff", "crashed", "shutdown"])
def test_there_is_no_memory_to_save_of_what_is_off(state: str):
    with pytest.raises(InvalidPowerState, match="start it first"):
        way("a", CODES[state], "suspended", POLITE)


@pytest.mark.parametrize("code", power_state.valid_states())
def test_each_state_leads_to_each_wanted_one(code: int):
    for wanted in ("running", "stopped", "paused", "rebooted"):
        way("a", code, wanted, POLITE)
    assert settled(code) in ("running", "stopped", "paused", "suspended")
