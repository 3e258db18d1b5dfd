# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""virt_pool from each state to each: the plan is true, a second run finds nothing to do, failures change nothing."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.pools import reconcile_pools
from contract import task
from contract.platforms.base import Platform
from contract.storage_helpers import changes_nothing, created

pytestmark = pytest.mark.on("fake", "libvirt", "lxc", "xenapi")

STATES = ("absent", "stopped", "running")


def run(platform: Platform, **params: Any) -> task.Outcome:
    return task.run(platform, reconcile=reconcile_pools, **{"pools": None, "name": "other", **params})


def done(platform: Platform, **params: Any) -> task.Outcome:
    """A task that is foretold in check mode, goes well, and has nothing to do when it is run again."""
    foretold = run(platform, check=True, **params)
    assert foretold.calls.lasting_writes == []
    outcome = run(platform, **params)
    assert outcome.kind is None, outcome.result
    assert foretold.steps == outcome.steps
    again = run(platform, **params)
    assert not again.changed
    assert again.calls.lasting_writes == []
    return outcome


def made_of(platform: Platform) -> dict[str, Any]:
    """The options that say what a new pool is made of."""
    pool = platform.storage.new_pool("other")
    options = ("kind", "path", "devices", "server", "export")
    return {option: getattr(pool, option) for option in options if getattr(pool, option) is not None}


def state(storage: StorageDriver) -> str:
    pool = storage.get_pools().get("other")
    if pool is None:
        return "absent"
    return "running" if pool.active else "stopped"


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("wanted", STATES)
def test_from_each_state(storage: StorageDriver, platform: Platform, before: str, wanted: str):
    with changes_nothing(platform):
        if before != "absent":
            done(platform, state=before, **made_of(platform))
        assert state(storage) == before
        outcome = done(platform, state=wanted, **made_of(platform))
        assert state(storage) == wanted
        assert outcome.changed == (before != wanted)
        done(platform, state="absent", delete_data=True)


def test_each_call_fails_once(storage: StorageDriver, platform: Platform):
    """A pool is made and started: both or nothing."""
    before = platform.snapshot()
    params = {"state": "running", **made_of(platform)}
    number, whole = 0, False
    while not whole:
        number += 1
        outcome = run(platform, fail_at=number, **params)
        whole = len(outcome.calls) < number
        told = f"call {number}: {outcome.calls[-1].name}"
        if outcome.kind is None:
            assert state(storage) == "running", told
            assert run(platform, state="absent", delete_data=True).kind is None
        else:
            assert not any(one.get("error", {}).get("not_undone") for one in outcome.objects), told
        assert platform.snapshot() == before, told
    assert number > 2


def test_a_pool_with_volumes_keeps_its_data(storage: StorageDriver, platform: Platform):
    done(platform, state="running", **made_of(platform))
    volume = created(platform, storage, "one", pool="other")
    refused = run(platform, state="absent", delete_data=True)
    assert refused.kind == "pool_not_empty"
    assert "one" in refused.result["msg"]
    assert [found.name for found in storage.list_volumes("other")] == ["one"]
    storage.delete_volume(volume.key)
    done(platform, state="absent", delete_data=True)


@pytest.mark.on("fake", "libvirt", "xenapi")
def test_a_pool_with_a_disk_of_an_instance_stays(storage: StorageDriver, platform: Platform):
    platform.spawned(storage, "user")
    done(platform, state="running", **made_of(platform))
    volume = created(platform, storage, "one", pool="other")
    disk = storage.complete_attachment("user", Disk(volume=volume.name, pool=volume.pool))
    undo = storage.attach_volume("user", disk)
    for check in (True, False):
        refused = run(platform, check=check, state="absent")
        assert refused.kind == "volume_in_use"
        assert "user" in refused.result["msg"]
    assert state(storage) == "running"
    undo()
    storage.delete_volume(volume.key)
    done(platform, state="absent", delete_data=True)
