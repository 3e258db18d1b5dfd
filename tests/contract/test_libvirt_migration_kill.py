# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task that is killed before any of its changes: the next one ends what it had begun, and nothing is left over."""

from __future__ import annotations

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import COLD, LIVE
from contract import moving
from contract.helpers import state_of
from contract.host_runners import run_on_hosts
from contract.migration_helpers import NAME, Ends, both_ends, spawned
from contract.migration_kills import die_at_change
from contract.platforms.base import Platform, Snapshot
from contract.secgroup_helpers import WEB

pytestmark = [pytest.mark.on("libvirt"), pytest.mark.slow]

MOST = 100
"""More changes than there are."""
STEP = {COLD: 5, LIVE: 8}
"""How many changes lie between two before which it is killed."""


def pictures(ends: Ends) -> list[Snapshot]:
    """All on both hosts but the definitions of filters, of which some stay for the next one to come."""
    return [{key: part for key, part in picture.items() if key != "filters"} for picture in ends.pictures()]


def executing(ends: Ends) -> list[bool]:
    """On which hosts the guest runs."""
    return [
        NAME in driver.list_instances() and state_of(driver, NAME) == "running"
        for driver in (ends.source, ends.destination)
    ]


@pytest.mark.parametrize("mode", [COLD, LIVE])
def test_whenever_it_is_killed(platform: Platform, mode: str, monkeypatch: pytest.MonkeyPatch):
    run_on_hosts(monkeypatch, platform, platform.partner())
    ends = both_ends(platform)
    ends.source.define_security_group(WEB)
    ends.destination.define_security_group(WEB)
    empty, number = pictures(ends), 1
    runs = mode == LIVE
    while True:
        spawned(ends, power_on=runs, security_groups=["web"], autostart=True)
        was_killed = die_at_change(platform, platform.partner(), number, name=NAME, mode=mode, storage="copy")
        assert sum(executing(ends)) == runs, number
        moving.moved(platform, platform.partner(), name=NAME, mode=mode, storage="copy")
        assert executing(ends) == [False, runs], number
        instance = ends.destination.get_instances([NAME])[NAME]
        assert (instance.migration, instance.autostart) == (None, True), number
        assert ends.destination.verify_filters() == [], number
        again = moving.moved(platform, platform.partner(), name=NAME, mode=mode, storage="copy")
        assert (again.changed, again.calls.lasting_writes) == (False, []), number
        ends.destination.destroy(NAME)
        assert pictures(ends) == empty, number
        if not was_killed:
            return
        number += STEP[mode]
        assert number < MOST
