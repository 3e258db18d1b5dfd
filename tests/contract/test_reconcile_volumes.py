# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""virt_volume from each state to each: the plan is true, a second run finds nothing to do, failures change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import VolumeKey
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.volumes import reconcile_volumes
from contract import task
from contract.contents import sparse
from contract.platforms.base import Platform
from contract.storage_helpers import SIZE, changes_nothing, child_of, created, make, read, unfinished, wanted

pytestmark = pytest.mark.on("fake", "libvirt", "xenapi")

REFUSED = "refused"
STATES = ("nothing", "unfinished", "there", "attached")
WANTED = {
    "present": {"nothing": "there", "unfinished": "there"},
    "attached": dict.fromkeys(STATES, "attached"),
    "detached": {"attached": "there"},
    "absent": {"unfinished": "nothing", "there": "nothing", "attached": REFUSED},
}
"""Wanted state -> what comes of each state; what is not named stays."""


def run(platform: Platform, **params: Any) -> task.Outcome:
    params = {"volumes": None, "pool": platform.pool, **params}
    return task.run(platform, reconcile=reconcile_volumes, **params)


def done(platform: Platform, **params: Any) -> task.Outcome:
    """A task that is expected to go well, and whose second run is expected to do nothing."""
    outcome = run(platform, **params)
    assert outcome.kind is None, outcome.result
    again = run(platform, **params)
    assert again.kind is None, again.result
    assert not again.changed
    assert again.steps == []
    assert again.calls.lasting_writes == []
    return outcome


def key(platform: Platform, name: str = "one") -> VolumeKey:
    return VolumeKey(platform.pool, name)


def state(storage: StorageDriver, platform: Platform) -> str:
    """What has become of the volume ``one``."""
    found = storage.get_volumes([key(platform)]).get(key(platform))
    if found is None:
        return "nothing"
    if found.unfinished:
        return "unfinished"
    return "attached" if storage.volume_uses([found.key])[found.key].instances else "there"


def bring_to(storage: StorageDriver, platform: Platform, before: str) -> None:
    if before == "unfinished":
        unfinished(platform, storage, "one")
    elif before != "nothing":
        volume = created(platform, storage, "one")
        if before == "attached":
            disk = storage.complete_attachment("user", Disk(volume=volume.name, pool=volume.pool))
            storage.attach_volume("user", disk)


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("state_wanted", WANTED)
def test_from_each_state(storage: StorageDriver, platform: Platform, before: str, state_wanted: str):
    platform.spawned(storage, "user")
    bring_to(storage, platform, before)
    params: dict[str, Any] = {"name": "one", "state": state_wanted}
    if state_wanted in ("present", "attached"):
        params["size"] = f"{SIZE}"
    if state_wanted in ("attached", "detached"):
        params["instance"] = "user"
    with changes_nothing(platform):
        foretold = run(platform, check=True, **params)
    assert foretold.calls.lasting_writes == []
    after = WANTED[state_wanted].get(before, before)
    if after == REFUSED:
        with changes_nothing(platform):
            outcome = run(platform, **params)
        assert outcome.kind == foretold.kind == "volume_in_use"
        assert "user" in outcome.result["msg"]
        return
    outcome = run(platform, **params)
    assert outcome.kind is None, outcome.result
    assert outcome.steps == foretold.steps
    assert outcome.changed == foretold.changed == (before != after)
    assert state(storage, platform) == after
    assert not done(platform, **params).changed


def test_in_the_order_of_the_task(storage: StorageDriver, platform: Platform):
    """What a volume is made from is needed until then, and what leans on a volume goes before it."""
    content = sparse()
    base = created(platform, storage, "base", content)
    volumes: list[dict[str, Any]] = [{"name": f"copy{number}", "source": {"volume": "base"}} for number in range(3)]
    done(platform, name=None, volumes=[*volumes, {"name": "base", "state": "absent"}])
    copies = [key(platform, item["name"]) for item in volumes]
    assert list(storage.get_volumes([*copies, base.key])) == copies
    for copy in copies:
        assert platform.storage.data(copy) == content.data()
    if storage.supports("volume_copy_on_write"):
        make(storage, child_of(read(storage, copies[0]), "child"))
        leaving = [{"name": name, "state": "absent"} for name in ("child", "copy0", "copy1", "copy2")]
        done(platform, name=None, volumes=leaving)
        assert not storage.get_volumes(copies)


def test_in_use_but_wanted_gone(storage: StorageDriver, platform: Platform):
    platform.spawned(storage, "user")
    with changes_nothing(platform):
        done(platform, name="one", size=f"{SIZE}", instance="user", state="attached")
        outcome = done(platform, name="one", state="absent", detach_first=True)
        assert len(outcome.steps) == 2
        assert state(storage, platform) == "nothing"


def test_growing_and_shrinking(storage: StorageDriver, platform: Platform):
    done(platform, name="one", size=f"{SIZE}")
    assert done(platform, name="one", size=f"{2 * SIZE}").changed
    assert read(storage, key(platform)).size_bytes == 2 * SIZE
    with changes_nothing(platform):
        refused = run(platform, name="one", size=f"{SIZE}")
        assert refused.kind == "invalid_input"
        assert "allow_shrink" in refused.result["msg"]
    shrunk = run(platform, name="one", size=f"{SIZE}", allow_shrink=True)
    assert shrunk.kind == (None if storage.supports("volume_shrink") else "unsupported"), shrunk.result
    assert read(storage, key(platform)).size_bytes == (SIZE if storage.supports("volume_shrink") else 2 * SIZE)


def test_a_parent_goes_with_its_children_only_when_told(storage: StorageDriver, platform: Platform):
    if not storage.supports("volume_copy_on_write"):
        return
    with changes_nothing(platform):
        parent = created(platform, storage, "one", sparse())
        child = make(storage, child_of(parent, "child"))
        grandchild = make(storage, child_of(child, "grandchild"))
        with changes_nothing(platform):
            refused = run(platform, name="one", state="absent")
        assert refused.kind == "volume_in_use"
        assert "child" in refused.result["msg"]
        outcome = done(platform, name="one", state="absent", delete_children=True)
        assert len(outcome.steps) == 3
        assert storage.get_volumes([parent.key, child.key, grandchild.key]) == {}


def test_a_file_is_uploaded_once(storage: StorageDriver, platform: Platform, tmp_path: Path):
    file = tmp_path / "disk.img"
    file.write_bytes(sparse().data())
    done(platform, name="one", source={"path": str(file)})
    assert platform.storage.data(key(platform)) == sparse().data()
    with changes_nothing(platform):
        wrong = run(platform, name="two", source={"path": str(file), "checksum": "sha256:" + "0" * 64})
        assert wrong.kind == "checksum_mismatch"
        assert storage.get_volumes([key(platform, "two")]) == {}
        missing = run(platform, name="two", source={"path": str(tmp_path / "nothing")})
        assert missing.kind is not None


def test_clones_and_children_by_task(storage: StorageDriver, platform: Platform):
    created(platform, storage, "parent", sparse())
    done(platform, name="one", source={"volume": "parent"})
    assert read(storage, key(platform)).backing is None
    if storage.supports("volume_copy_on_write"):
        done(platform, name="two", source={"volume": "parent", "copy_on_write": True})
        assert read(storage, key(platform, "two")).backing == f"{platform.pool}/parent"


def test_metadata_is_merged(storage: StorageDriver, platform: Platform):
    if not storage.supports("volume_metadata"):
        return
    done(platform, name="one", size=f"{SIZE}", metadata={"a": "1", "b": "2"})
    done(platform, name="one", metadata={"b": None, "c": "3"})
    assert read(storage, key(platform)).metadata == {"a": "1", "c": "3"}


def test_snapshots_and_back(storage: StorageDriver, platform: Platform):
    if not storage.supports("volume_snapshots"):
        return
    done(platform, name="one", size=f"{SIZE}", snapshots=["first"])
    platform.storage.fill(key(platform), 7, 0, 4096)
    done(platform, name="one", snapshots=["first", "second"])
    outcome = run(platform, name="one", revert_to="first")
    assert outcome.kind is None, outcome.result
    assert platform.storage.data(key(platform)) == bytes(SIZE)
    done(platform, name="one", snapshots=[{"name": "first", "state": "absent"}])
    snapshots = read(storage, key(platform), snapshots=True).snapshots
    assert [snapshot.name for snapshot in snapshots] == ["second"]


def test_many_in_one_task(storage: StorageDriver, platform: Platform):
    """Made, attached in their order, and gone again, over one connection."""
    names = [f"data{number}" for number in range(6)]
    with changes_nothing(platform):
        platform.spawned(storage, "user")
        params: dict[str, Any] = {"volumes": [{"name": name} for name in names]}
        outcome = done(platform, state="attached", instance="user", size=f"{SIZE}", **params)
        assert outcome.connections == 1
        disks = storage.get_instances(["user"])["user"].disks
        assert [disk.volume for disk in sorted(disks, key=lambda disk: disk.device)] == names
        assert [one["device"] for one in outcome.objects] == sorted(disk.device for disk in disks)
        done(platform, state="absent", detach_first=True, **params)
        storage.destroy("user")


def test_one_failure_does_not_hide_the_others(storage: StorageDriver, platform: Platform):
    platform.spawned(storage, "user")
    bring_to(storage, platform, "attached")
    outcome = run(
        platform,
        volumes=[{"name": "fine", "size": f"{SIZE}"}, {"name": "one", "state": "absent"}],
    )
    assert outcome.kind == "volume_in_use"
    fine, failed = outcome.objects
    assert fine["changed"]
    assert not failed["changed"]
    assert read(storage, key(platform, "fine")).size_bytes == SIZE


@pytest.mark.slow
@pytest.mark.parametrize("what", ["blank", "filled"])
def test_each_call_fails_once(storage: StorageDriver, platform: Platform, tmp_path: Path, what: str):
    """A volume is made, described, and attached: all of it or nothing."""
    if what == "blank" and platform.name == "libvirt":
        return  # all that it takes is part of the other, and takes its time
    platform.spawned(storage, "user")
    params: dict[str, Any] = {"name": "one", "instance": "user", "state": "attached"}
    if what == "filled":
        file = tmp_path / "disk.img"
        file.write_bytes(sparse(2 << 20).data())
        params["source"] = {"path": str(file)}
    else:
        params["size"] = f"{SIZE}"
    if storage.supports("volume_metadata"):
        params["metadata"] = {"owner": "somebody"}
    before = platform.snapshot()
    number, whole = 0, False
    while not whole:
        number += 1
        outcome = run(platform, fail_at=number, **params)
        whole = len(outcome.calls) < number
        told = f"call {number}: {outcome.calls[-1].name}"
        if outcome.kind is None:
            assert state(storage, platform) == "attached", told
            assert run(platform, name="one", state="absent", detach_first=True).kind is None
        else:
            assert not any(one.get("error", {}).get("not_undone") for one in outcome.objects), told
        assert platform.snapshot() == before, told
    assert number > 3


@pytest.mark.on("fake", "xenapi")  # encrypting takes seconds on libvirt, where test_volumes does it
def test_a_passphrase_is_in_no_result(storage: StorageDriver, platform: Platform):
    params = {"name": "one", "size": f"{SIZE}", "encryption": {"passphrase": "very-secret-words"}}
    outcome = run(platform, **params)
    assert "very-secret-words" not in repr(outcome.result)
    assert outcome.kind == (None if storage.supports("volume_encryption") else "invalid_input"), outcome.result
    if outcome.kind is None:
        done(platform, **params)
        assert "very-secret-words" not in repr(platform.snapshot())


def test_an_unfinished_one_cannot_be_a_source(storage: StorageDriver, platform: Platform):
    unfinished(platform, storage, "half")
    outcome = run(platform, name="one", source={"volume": "half"})
    assert outcome.kind == "volume_not_found", outcome.result
    assert storage.get_volumes([wanted(platform, "one").key]) == {}
