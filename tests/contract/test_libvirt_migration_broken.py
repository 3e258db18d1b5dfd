# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Post-copy migrations that break off: what the task and the next one say and do, and how they come to an end."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any

import libvirt
import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt import migrationlive
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.migrationjobs import HALVED
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    HypervisorError,
    InstanceDuplicated,
    InstanceMigrating,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import (
    LIVE,
    MigrationProgress,
)
from contract.helpers import state_of
from contract.migration_helpers import (
    NAME,
    Ends,
    begin,
    both_ends,
    overseer,
    planned,
    spawned,
)
from contract.moving import migrate
from contract.platforms.libvirt_qemu import QemuPlatform

pytestmark = [pytest.mark.on("libvirt"), pytest.mark.slow]

PATIENCE_S = 4.0

RUNS_THERE = (1, 10)
"""libvirt's state and reason of a guest on the destination that waits for the rest of its memory."""


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited long for what does not come."""
    monkeypatch.setattr(migrationlive, "_END_S", PATIENCE_S)
    monkeypatch.setattr(migrationlive, "NOTICE_S", PATIENCE_S)


def broken(ends: Ends, monkeypatch: pytest.MonkeyPatch, break_off: Callable[[Ends], None]) -> str:
    """A migration that breaks off once the guest has begun to run on the destination; what the task says."""
    parameters = migrationlive.live_parameters

    def slow_parameters(*given: Any) -> dict[str, Any]:
        return {**parameters(*given), "bandwidth.postcopy": 2}

    instance = spawned(ends, power_on=True, disks=[])
    ends.platform.wait_ready(ends.source, NAME)
    plan = planned(ends, instance, mode=LIVE, bandwidth_mib_s=5, timeout_s=0.5, on_timeout="post_copy")
    begin(ends, plan)
    done: list[str] = []

    def look(progress: MigrationProgress) -> None:
        if progress.phase == "post_copy" and not done and states(ends)[1] == RUNS_THERE:
            done.append(progress.phase)
            with contextlib.suppress(libvirt.libvirtError):
                break_off(ends)

    with monkeypatch.context() as patch:
        patch.setattr(migrationlive, "live_parameters", slow_parameters)
        with pytest.raises(HypervisorError, match="broke off") as caught:
            ends.source.migrate_instance(ends.destination, plan, overseer(plan, tell=look))
    return str(caught.value)


def cut(ends: Ends) -> None:
    """Have the source's QEMU close the connection."""
    with ends.platform.connection() as connection:
        connection.lookupByName(NAME).abortJobFlags(libvirt.VIR_DOMAIN_ABORT_JOB_POSTCOPY)


def end_there(ends: Ends) -> None:
    """End the destination's part."""
    with ends.partner.connection() as connection:
        connection.lookupByName(NAME).destroy()


def states(ends: Ends) -> list[tuple[int, int]]:
    """libvirt's own words for what each host has."""
    found = []
    for host in (ends.platform, ends.partner):
        with host.connection() as connection:
            state, reason = connection.lookupByName(NAME).state()
            found.append((state, reason))
    return found


def start_anew(ends: Ends) -> None:
    """Do what the error says, with libvirt's own tools."""
    for host in (ends.platform, ends.partner):
        with host.connection() as connection:
            domain = connection.lookupByName(NAME)
            with contextlib.suppress(libvirt.libvirtError):  # it does not run, or ends by itself meanwhile
                domain.destroy()
            assert not domain.isActive()
    assert migrate(ends.platform, ends.partner, name=NAME).kind == "instance_duplicated"
    with ends.partner.connection() as connection:
        connection.lookupByName(NAME).create()


def assert_arrived(ends: Ends) -> None:
    """The task, run again, brings it to an end, and has nothing to do after that."""
    move = migrate(ends.platform, ends.partner, name=NAME)
    assert move.kind is None, move.result
    assert ends.source.list_instances() == []
    assert state_of(ends.destination, NAME) == "running"
    assert ends.destination.get_instances([NAME])[NAME].migration is None
    assert not migrate(ends.platform, ends.partner, name=NAME).changed


def test_where_the_destination_has_lost_its_part_the_error_says_how_to_start_anew(
    platform: QemuPlatform, monkeypatch: pytest.MonkeyPatch
):
    ends = both_ends(platform)
    first = broken(ends, monkeypatch, end_there)
    again = migrate(platform, ends.partner, name=NAME)
    assert again.kind == "hypervisor_error"
    for said in (first, again.result["msg"]):
        assert "the destination's part has ended" in said
        assert f"virsh start {NAME}" in said
    assert states(ends)[0] == (3, 13)
    start_anew(ends)
    assert_arrived(ends)


def test_where_each_host_has_a_part_nothing_is_taken_away_and_it_goes_on_or_says_why_not(
    platform: QemuPlatform, monkeypatch: pytest.MonkeyPatch
):
    ends = both_ends(platform)
    broken(ends, monkeypatch, cut)
    assert ends.source.get_migrations()[NAME].progress is not None
    with pytest.raises(HypervisorError, match="post-copy"):
        ends.source.abort_migration(NAME)
    for end in (ends.source.finish_source, ends.destination.discard_migration):
        with pytest.raises((InstanceMigrating, InstanceDuplicated)):
            end(NAME)
    again = migrate(platform, ends.partner, name=NAME)
    if again.kind is not None:
        # A page that QEMU waits for on the destination while it holds its lock: nothing reaches it any more.
        assert re.search("does not answer its libvirt any more|has not noticed yet", again.result["msg"])
        assert states(ends)[0] == (3, 13)
        assert states(ends)[1] in HALVED
        start_anew(ends)
    assert_arrived(ends)
