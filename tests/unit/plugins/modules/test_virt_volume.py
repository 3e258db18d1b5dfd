# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""virt_volume from its entry to its result."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, Callable

import pytest
import yaml

from ansible_collections.anyvirt.compute.plugins.modules import virt_volume

RunModule = Callable[..., "dict[str, Any]"]

SECRET = "open sesame, please"


@pytest.fixture
def db1(instance_module: RunModule) -> None:
    instance_module(name="db1", memory_mb=64, root_gb=1, state="running")


def dial(folder: Path, **orders: Any) -> None:
    (folder / "faults.json").write_text(json.dumps(orders), encoding="utf-8")


def calls(folder: Path) -> list[str]:
    log = folder / "calls.log"
    found = [line.split()[-2:] for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    log.unlink(missing_ok=True)
    return [" ".join(line) for line in found]


def kind(result: dict[str, Any]) -> str | None:
    return result["error"]["kind"] if result.get("failed") else None


def options_of(result: dict[str, Any]) -> list[str]:
    return [problem["option"] for problem in result["error"]["problems"]]


# -- volumes --------------------------------------------------------------------------------------------------------


def test_made_once_as_foretold(volume_module: RunModule) -> None:
    data = {"name": "data", "size": "1G", "metadata": {"owner": "me"}, "snapshots": ["first"], "_ansible_diff": True}
    foretold = volume_module(**data, _ansible_check_mode=True)
    made = volume_module(**data)
    again = volume_module(**data)
    assert [foretold["changed"], made["changed"], again["changed"]] == [True, True, False]
    for key in ("steps", "changes", "before", "after"):
        assert foretold["volume"][key] == made["volume"][key]
    assert foretold["diff"] == made["diff"]
    assert again["volume"]["steps"] == again["diff"] == []
    assert again["volume"]["after"] == made["volume"]["after"]
    assert made["volume"]["size_bytes"] == 1 << 30


def test_metadata_is_merged(volume_module: RunModule) -> None:
    volume_module(name="data", size="1M", metadata={"a": 1, "b": 2})
    changed = volume_module(name="data", metadata={"b": None, "c": 3})
    assert changed["volume"]["after"]["metadata"] == {"a": "1", "c": "3"}
    assert [change["option"] for change in changed["volume"]["changes"]] == ["metadata.b", "metadata.c"]


def test_a_size_that_was_rounded_is_no_difference(volume_module: RunModule, pool_module: RunModule) -> None:
    pool_module(name="group", kind="lvm", devices=["/dev/vdx"], state="running")
    made = volume_module(name="data", pool="group", size="9M")
    assert made["volume"]["after"]["size"] == "12M"
    assert not volume_module(name="data", pool="group", size="9M")["changed"]
    assert volume_module(name="data", pool="group", size="13M")["volume"]["after"]["size"] == "16M"


def test_shrinking_has_to_be_allowed(volume_module: RunModule, db1: None) -> None:
    volume_module(name="data", size="2M")
    refused = volume_module(name="data", size="1M")
    assert (kind(refused), options_of(refused)) == ("invalid_input", ["size"])
    volume_module(name="data", instance="db1", state="attached")
    assert kind(volume_module(name="data", size="1M", allow_shrink=True)) == "volume_in_use"
    volume_module(name="data", state="detached")
    assert volume_module(name="data", size="1M", allow_shrink=True)["volume"]["after"]["size"] == "1M"


def test_what_a_shrunken_volume_lost_is_not_called_undone(volume_module: RunModule, folder: Path) -> None:
    volume_module(name="data", size="2M")
    dial(folder, faults=[{"operation": "volume_metadata", "error": "hypervisor_error", "message": "no"}])
    failed = volume_module(name="data", size="1M", allow_shrink=True, metadata={"a": "b"})
    assert failed["error"]["rolled_back"] is False
    assert "is lost" in failed["error"]["not_undone"][0]
    assert failed["volume"]["after"]["size"] == "2M"


def test_what_cannot_be_changed_is_refused_by_name(volume_module: RunModule) -> None:
    volume_module(name="data", size="1M", format="qcow2", shareable=False)
    refused = volume_module(name="data", format="raw", encryption={"passphrase": SECRET})
    assert options_of(refused) == ["format", "encryption"]
    assert SECRET not in json.dumps(refused)


def test_a_passphrase_is_shown_nowhere(volume_module: RunModule) -> None:
    made = volume_module(name="data", size="1M", encryption={"passphrase": SECRET}, _ansible_diff=True)
    assert made["changed"]
    assert made["volume"]["after"]["encrypted"] is True
    assert SECRET not in json.dumps(made)


def test_a_password_in_a_url_is_refused_and_shown_nowhere(volume_module: RunModule) -> None:
    refused = volume_module(volumes=[{"name": "data", "source": {"url": "https://me:hunter22@example.com/x"}}])
    assert options_of(refused) == ["volumes[0].source.url"]
    assert "hunter22" not in json.dumps(refused)


@pytest.mark.parametrize("fault", [{}, {"faults": [{"operation": "volume_copy", "error": "hypervisor_error"}]}])
def test_no_volume_is_removed_after_its_copy_failed(
    volume_module: RunModule, folder: Path, tmp_path: Path, fault: dict[str, Any]
) -> None:
    content = tmp_path / "content"
    content.write_bytes(b"data" * 1024)
    volume_module(name="base", source={"path": str(content)})
    moved = {
        "pool": None if fault else "nowhere",
        "volumes": [
            {"name": "copy", "source": {"volume": "base", "pool": "default"}},
            {"name": "base", "pool": "default", "state": "absent"},
        ],
    }
    dial(folder, **fault)
    failed = volume_module(**moved)
    assert ["msg" in item for item in failed["volumes"]] == [True, True]
    assert "not tried" in failed["volumes"][1]["msg"]
    dial(folder)
    assert volume_module(name="base")["volume"]["after"] is not None
    moved["pool"] = "default"
    assert [item["after"] is None for item in volume_module(**moved)["volumes"]] == [False, True]


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ({"url": "http://127.0.0.1:1/x", "headers": {"X-Token": "hunter22\nx"}}, "headers"),
        ({"url": "http://127.0.0.1:1/x", "headers": {"X Token": "hunter22"}}, "headers"),
        ({"path": "/x", "checksum": "sha256:http://me:hunter22@127.0.0.1/SUMS"}, "checksum"),
    ],
)
def test_secrets_where_they_cannot_be_are_shown_nowhere(
    volume_module: RunModule, source: dict[str, Any], wrong: str
) -> None:
    refused = volume_module(name="data", source=source)
    assert options_of(refused) == [f"source.{wrong}"]
    assert "hunter22" not in json.dumps(refused)


def test_no_volume_is_removed_before_what_leans_on_it(volume_module: RunModule, folder: Path) -> None:
    volume_module(name="base", size="1M")
    volume_module(name="child", source={"volume": "base", "copy_on_write": True})
    both = {"volumes": [{"name": "child"}, {"name": "base"}], "state": "absent"}
    dial(folder, faults=[{"operation": "volume_delete", "error": "hypervisor_error", "times": 1}])
    failed = volume_module(**both)
    assert [item["changed"] for item in failed["volumes"]] == [False, False]
    assert "not tried" in failed["volumes"][1]["msg"]
    dial(folder)
    assert [item["after"] for item in volume_module(**both)["volumes"]] == [None, None]


def test_no_instance_gets_a_disk_back_that_is_deleted(
    volume_module: RunModule, instance_module: RunModule, folder: Path
) -> None:
    instance_module(name="off1", memory_mb=64, root_gb=1, state="stopped")
    volume_module(name="base", size="1M")
    volume_module(name="child", source={"volume": "base", "copy_on_write": True}, instance="off1", state="attached")
    removal = {"name": "base", "state": "absent", "delete_children": True, "detach_first": True}
    dial(folder, faults=[{"operation": "volume_delete", "error": "hypervisor_error", "skip": 1}])
    failed = volume_module(**removal)
    assert "delete default/base" in failed["error"]["step"]
    assert [words.split(": ")[1].split()[0] for words in failed["error"]["not_undone"]] == ["delete", "detach"]
    dial(folder)
    assert volume_module(name="child", state="detached")["volume"]["after"] is None
    assert instance_module(name="off1", state="running")["changed"]
    assert volume_module(**removal)["volume"]["after"] is None


def test_a_new_volume_stays_when_only_the_reply_to_its_attachment_is_lost(
    volume_module: RunModule, folder: Path, db1: None
) -> None:
    data = {"name": "data", "size": "1M", "instance": "db1", "state": "attached"}
    dial(folder, faults=[{"operation": "attach", "error": "hypervisor_error", "when": "after"}])
    failed = volume_module(**data)
    assert failed["changed"]
    assert "db1" in failed["error"]["not_undone"][0]
    dial(folder)
    again = volume_module(**data)
    assert not again["changed"]
    assert again["volume"]["device"] == "vdb"


def test_a_volume_takes_no_more_than_its_size(volume_module: RunModule, folder: Path, tmp_path: Path) -> None:
    content = tmp_path / "content.gz"
    content.write_bytes(gzip.compress(b"data" * (2 << 20)))
    folder.mkdir()
    dial(folder, log_calls=True)
    refused = volume_module(name="data", size="2M", source={"path": str(content)})
    assert options_of(refused["volume"]) == ["size"]
    assert volume_module(name="data", size="8M", source={"path": str(content)})["volume"]["after"]["size"] == "8M"
    assert (folder / "calls.log").read_text().count("volume_write") == 2 + 8


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_raw_volume_is_not_made_for_snapshots(volume_module: RunModule, check_mode: bool) -> None:
    wanted = {"name": "data", "size": "1M", "snapshots": ["first"]}
    refused = volume_module(**wanted, format="raw", _ansible_check_mode=check_mode)
    assert (kind(refused), refused["error"]["step"]) == ("unsupported", None)
    assert volume_module(**wanted, format="qcow2")["changed"]


def test_nothing_is_made_from_what_the_task_removes_before(volume_module: RunModule) -> None:
    volume_module(name="base", size="1M")
    wrong = volume_module(
        volumes=[{"name": "base", "state": "absent"}, {"name": "copy", "source": {"volume": "base"}}],
        _ansible_check_mode=True,
    )
    assert [item.get("error", {}).get("kind") for item in wrong["volumes"]] == [None, "volume_not_found"]


def test_what_was_read_only_is_not_written_to_by_many(
    volume_module: RunModule, image_module: RunModule, instance_module: RunModule, tmp_path: Path
) -> None:
    content = tmp_path / "content"
    content.write_bytes(b"data" * 1024)
    image_module(name="img", path=str(content))
    volume_module(name="base", size="1M")
    volume_module(name="child", source={"volume": "base", "copy_on_write": True})
    instance_module(name="off1", memory_mb=64, root_gb=1, state="stopped")
    for name in ("img", "base"):
        assert volume_module(name=name, instance="off1", state="attached", read_only=True)["changed"]
        refused = volume_module(name=name, instance="off1", state="attached", read_only=False)
        assert kind(refused) == "volume_in_use"
    volume_module(name="child", state="absent")
    assert volume_module(name="base", instance="off1", state="attached", read_only=False)["changed"]


def test_a_child_of_a_volume_of_the_same_task(volume_module: RunModule) -> None:
    both = {
        "volumes": [
            {"name": "base", "size": "1M"},
            {"name": "child", "source": {"volume": "base", "copy_on_write": True}},
        ]
    }
    foretold = volume_module(**both, _ansible_check_mode=True)
    made = volume_module(**both)
    assert [item["steps"] for item in foretold["volumes"]] == [item["steps"] for item in made["volumes"]]
    assert made["volumes"][1]["after"]["backing"] == "default/base"
    assert not volume_module(**both)["changed"]


def test_children_are_named_and_go_only_when_told(volume_module: RunModule) -> None:
    volume_module(name="base", size="1M")
    volume_module(name="child", source={"volume": "base", "copy_on_write": True})
    volume_module(name="grandchild", source={"volume": "child", "copy_on_write": True})
    refused = volume_module(name="base", state="absent")
    assert kind(refused) == "volume_in_use"
    assert "default/child" in refused["msg"]
    gone = volume_module(name="base", state="absent", delete_children=True)
    assert gone["volume"]["steps"] == ["delete default/grandchild", "delete default/child", "delete default/base"]
    assert volume_module(name="grandchild", size="1M")["volume"]["before"] is None


def test_children_go_before_what_they_lean_on_in_one_task(volume_module: RunModule) -> None:
    volume_module(name="base", size="1M")
    volume_module(name="child", source={"volume": "base", "copy_on_write": True})
    gone = volume_module(state="absent", volumes=[{"name": "child"}, {"name": "base"}])
    assert [item["changed"] for item in gone["volumes"]] == [True, True]


def test_reverting_is_done_each_time_and_wants_the_volume_at_rest(volume_module: RunModule, db1: None) -> None:
    volume_module(name="data", size="1M", snapshots=["first"])
    assert volume_module(name="data", revert_to="first")["changed"]
    assert volume_module(name="data", revert_to="first")["changed"]
    assert kind(volume_module(name="data", revert_to="second")) == "snapshot_not_found"
    volume_module(name="data", instance="db1", state="attached")
    refused = volume_module(name="data", revert_to="first", _ansible_check_mode=True)
    assert kind(refused) == "volume_in_use"
    assert "db1" in refused["msg"]


def test_snapshots_that_are_not_mentioned_stay(volume_module: RunModule) -> None:
    volume_module(name="data", size="1M", snapshots=["a", "b"])
    changed = volume_module(name="data", snapshots=[{"name": "a", "state": "absent"}, "c"])
    assert changed["volume"]["steps"] == ["take snapshot c of default/data", "delete snapshot a of default/data"]
    assert changed["volume"]["after"]["snapshots"] == ["b", "c"]


def test_a_file_is_uploaded_with_its_format(volume_module: RunModule, tmp_path: Path) -> None:
    source = tmp_path / "disk.img"
    source.write_bytes(bytes(3 << 20))
    upload = {"name": "data", "source": {"path": str(source)}}
    foretold = volume_module(**upload, _ansible_check_mode=True)
    made = volume_module(**upload)
    assert foretold["volume"]["after"] == made["volume"]["after"]
    assert (made["volume"]["after"]["format"], made["volume"]["after"]["size"]) == ("raw", "3M")
    assert not volume_module(**upload)["changed"]


def test_a_wrong_checksum_leaves_nothing(volume_module: RunModule, tmp_path: Path) -> None:
    source = tmp_path / "disk.img"
    source.write_bytes(bytes(1 << 20))
    made = volume_module(name="data", source={"path": str(source), "checksum": "sha256:" + "0" * 64})
    assert kind(made) == "checksum_mismatch"
    assert not made["changed"]
    assert made["volume"]["after"] is None


def test_a_full_pool_leaves_nothing(volume_module: RunModule, folder: Path, db1: None) -> None:
    made = volume_module(name="data", size="900T", preallocation="full", instance="db1", state="attached")
    assert kind(made) == "insufficient_capacity"
    assert made["volume"]["after"] is None


def test_nothing_is_gone_from_a_pool_that_nobody_can_look_into(
    volume_module: RunModule, pool_module: RunModule
) -> None:
    pool_module(name="vms", kind="dir", path="/srv/vms", state="running")
    volume_module(name="data", pool="vms", size="1M")
    pool_module(name="vms", state="stopped")
    assert kind(volume_module(name="data", pool="vms", state="absent")) == "pool_not_found"
    assert kind(volume_module(name="data", pool="no such pool", state="absent")) is None


# -- attachments ----------------------------------------------------------------------------------------------------


def test_attached_and_detached_once(volume_module: RunModule, db1: None) -> None:
    data = {"name": "data", "size": "1M", "instance": "db1"}
    foretold = volume_module(**data, state="attached", _ansible_check_mode=True)
    made = volume_module(**data, state="attached")
    assert foretold["volume"]["after"] == made["volume"]["after"]
    assert foretold["volume"]["device"] == made["volume"]["device"] == "vdb"
    assert not volume_module(**data, state="attached")["changed"]
    gone = volume_module(name="data", state="detached")
    assert gone["volume"]["steps"] == ["detach default/data from db1, where it is vdb"]
    assert not volume_module(name="data", state="detached")["changed"]
    assert volume_module(name="data")["volume"]["after"]["size"] == "1M"


def test_devices_are_given_in_the_order_of_the_task(volume_module: RunModule, db1: None) -> None:
    task = {"instance": "db1", "size": "1M", "state": "attached"}
    names = [{"name": "c"}, {"name": "a", "device": "/dev/vdz"}, {"name": "b"}]
    made = volume_module(**task, volumes=names)
    assert [item["device"] for item in made["volumes"]] == ["vdb", "vdz", "vdc"]


def test_a_device_that_is_taken(volume_module: RunModule, db1: None) -> None:
    made = volume_module(name="data", size="1M", instance="db1", device="vda", state="attached")
    assert kind(made) == "already_exists"
    assert made["msg"].startswith("device: ")
    assert "vdb" in made["msg"]
    assert made["volume"]["after"] is None


def test_one_writer_unless_shared(volume_module: RunModule, instance_module: RunModule, db1: None) -> None:
    instance_module(name="db2", memory_mb=64)
    volume_module(name="own", size="1M", instance="db1", state="attached")
    refused = volume_module(name="own", instance="db2", state="attached")
    assert kind(refused) == "volume_in_use"
    assert "'db1' (vdb)" in refused["msg"]
    both = {"name": "shared", "size": "1M", "format": "raw", "shareable": True, "state": "attached"}
    made = volume_module(volumes=[{**both, "instance": "db1"}, {**both, "instance": "db2"}])
    assert kind(made) is None, made
    assert made["volumes"][1]["steps"] == ["attach default/shared to db2 as vda"]
    reads = {"name": "read", "read_only": True, "state": "attached"}
    volume_module(name="read", size="1M")
    made = volume_module(volumes=[{**reads, "instance": "db1"}, {**reads, "instance": "db2"}])
    assert kind(made) is None, made


def test_what_others_lean_on_is_not_written_to(volume_module: RunModule, db1: None) -> None:
    volume_module(name="base", size="1M")
    volume_module(name="child", source={"volume": "base", "copy_on_write": True})
    refused = volume_module(name="base", instance="db1", state="attached")
    assert kind(refused) == "volume_in_use"
    assert "default/child" in refused["msg"]


def test_limits_are_changed_in_place(volume_module: RunModule, db1: None) -> None:
    data = {"name": "data", "size": "1M", "instance": "db1", "state": "attached"}
    volume_module(**data, limits={"total_iops": 100, "read_bytes": "1M"})
    assert not volume_module(**data, limits={"total_iops": 100})["changed"]
    changed = volume_module(**data, limits={"read_iops": 50, "read_bytes": "0"})
    assert changed["volume"]["after"]["attachments"][0]["limits"] == {"read_iops": 50}


def test_another_bus_wants_it_detached(volume_module: RunModule, db1: None) -> None:
    volume_module(name="data", size="1M", instance="db1", state="attached")
    refused = volume_module(volumes=[{"name": "data", "instance": "db1", "bus": "scsi", "state": "attached"}])
    assert options_of(refused) == ["volumes[0].bus"]


def test_a_guest_that_cannot_be_plugged_is_found_out_first(volume_module: RunModule, folder: Path, db1: None) -> None:
    dial(folder, guests={"db1": {"hotplug": False}})
    for check_mode in (True, False):
        made = volume_module(name="data", size="1M", instance="db1", state="attached", _ansible_check_mode=check_mode)
        assert kind(made) == "unsupported"
        assert made["volume"]["after"] is None


def test_a_guest_that_holds_its_disk_keeps_it(volume_module: RunModule, folder: Path, db1: None) -> None:
    volume_module(name="data", size="1M", instance="db1", state="attached")
    dial(folder, guests={"db1": {"holds_disks": True}})
    held = volume_module(name="data", state="detached", detach_timeout=0.2)
    assert kind(held) == "timeout"
    assert not held["changed"]
    assert held["volume"]["after"]["attachments"] == [{"instance": "db1", "device": "vdb", "bus": "virtio"}]


def test_a_failed_attach_takes_the_new_volume_away_again(volume_module: RunModule, folder: Path, db1: None) -> None:
    dial(folder, faults=[{"operation": "attach", "error": "hypervisor_error", "message": "no"}])
    made = volume_module(name="data", size="1M", instance="db1", state="attached")
    assert kind(made) == "hypervisor_error"
    assert made["error"]["rolled_back"] is True
    assert made["error"]["step"] == "attach default/data to db1 as vdb"
    assert made["volume"]["after"] is None
    assert not made["changed"]


def test_a_failed_delete_attaches_again(volume_module: RunModule, folder: Path, db1: None) -> None:
    volume_module(name="data", size="1M", instance="db1", state="attached")
    dial(folder, faults=[{"operation": "volume_delete", "error": "hypervisor_error", "message": "no"}])
    kept = volume_module(name="data", state="absent", detach_first=True)
    assert kept["error"]["rolled_back"] is True
    assert kept["volume"]["after"]["attachments"][0]["device"] == "vdb"


def test_one_failure_does_not_hide_the_others(volume_module: RunModule, db1: None) -> None:
    task = {"instance": "db1", "state": "attached", "size": "1M"}
    made = volume_module(
        **task, volumes=[{"name": "a", "device": "vda"}, {"name": "b"}, {"name": "c", "instance": "nobody"}]
    )
    assert [item.get("error", {}).get("kind") for item in made["volumes"]] == [
        "already_exists",
        None,
        "instance_not_found",
    ]
    assert made["volumes"][1]["device"] == "vdb"
    assert made["changed"]
    assert made["msg"].startswith("2 of 3 volumes failed: a: ")


@pytest.mark.parametrize("state", ["attached", "detached", "absent"])
def test_locked_instances_refuse(volume_module: RunModule, instance_module: RunModule, db1: None, state: str) -> None:
    volume_module(name="new", size="1M")
    volume_module(name="data", size="1M", instance="db1", state="attached")
    instance_module(name="db1", locked=True)
    task = {
        "attached": {"name": "new", "instance": "db1"},
        "detached": {"name": "data"},
        "absent": {"name": "data", "detach_first": True},
    }[state]
    assert kind(volume_module(**task, state=state)) == "instance_locked"
    assert kind(volume_module(**task, state=state, override_lock=True)) is None


def test_a_volume_moves_in_one_task(volume_module: RunModule, instance_module: RunModule, db1: None) -> None:
    instance_module(name="db2", memory_mb=64)
    volume_module(name="data", size="1M", instance="db1", state="attached")
    moved = volume_module(
        volumes=[
            {"name": "data", "instance": "db1", "state": "detached"},
            {"name": "data", "instance": "db2", "state": "attached"},
        ]
    )
    assert [item["changed"] for item in moved["volumes"]] == [True, True]
    assert volume_module(name="data", state="detached")["volume"]["steps"] == [
        "detach default/data from db2, where it is vda"
    ]


def test_media_are_inserted_and_ejected(volume_module: RunModule, instance_module: RunModule) -> None:
    instance_module(name="db2", memory_mb=64, disks=[{"kind": "cdrom"}], state="running")
    volume_module(size="1M", volumes=[{"name": "one"}, {"name": "two"}])
    disc = {"kind": "cdrom", "instance": "db2"}
    inserted = volume_module(name="one", **disc, state="attached")
    assert inserted["volume"]["steps"] == ["insert default/one into sda of db2"]
    assert not volume_module(name="one", **disc, state="attached")["changed"]
    swapped = volume_module(name="two", **disc, device="sda", state="attached")
    assert swapped["volume"]["steps"] == ["insert default/two into sda of db2, in place of default/one"]
    assert not volume_module(name="one", **disc, eject=True, state="detached")["changed"]
    assert volume_module(name="two", **disc, eject=True, state="detached")["volume"]["steps"] == [
        "eject default/two from sda of db2"
    ]
    assert not volume_module(name="two", **disc, eject=True, state="detached")["changed"]


def test_many_volumes_cost_as_many_reads_as_one(volume_module: RunModule, folder: Path, db1: None) -> None:
    def reads(names: list[str]) -> list[str]:
        calls(folder)
        done = volume_module(instance="db1", state="attached", volumes=[{"name": name, "size": "1M"} for name in names])
        assert not done["changed"]
        return calls(folder)

    many = [f"v{number}" for number in range(12)]
    volume_module(instance="db1", state="attached", volumes=[{"name": name, "size": "1M"} for name in many])
    dial(folder, log_calls=True)
    assert len(reads(many)) == len(reads(many[:1])) > 0


def test_all_problems_are_told_at_once(volume_module: RunModule) -> None:
    wrong = volume_module(
        volumes=[
            {"name": "a", "size": "much", "instance": "db1"},
            {"name": "b", "state": "attached", "limits": {"total_iops": 1, "read_iops": 2}},
            {"name": "c", "source": {"volume": "a", "url": "ftp://x", "checksum": "x"}},
            {"name": "d", "state": "detached", "eject": True, "revert_to": "x"},
            {"name": "d", "detach_first": True},
            {"name": "e", "snapshots": ["x", {"name": "x"}, {"nam": "y"}]},
        ]
    )
    assert options_of(wrong) == [
        "volumes[0].size",
        "volumes[0].instance",
        "volumes[1].limits.read_iops",
        "volumes[1].instance",
        "volumes[2].source.url",
        "volumes[2].source.checksum",
        "volumes[2].source.url",
        "volumes[3].eject",
        "volumes[3].revert_to",
        "volumes[4].detach_first",
        "volumes[5].snapshots[1].name",
        "volumes[5].snapshots[2].nam",
        "volumes[5].snapshots[2].name",
        "volumes[4].name",
    ]


def test_what_is_wrong_with_the_world_changes_nothing_either(volume_module: RunModule, folder: Path) -> None:
    volume_module(name="a", size="2M")
    refused = volume_module(volumes=[{"name": "b", "size": "1M"}, {"name": "a", "size": "1M"}, {"name": "c"}])
    assert options_of(refused) == ["volumes[1].size", "volumes[2].size"]
    assert volume_module(name="b", size="1M", _ansible_check_mode=True)["changed"]


def test_documentation_and_options_agree() -> None:
    documented = yaml.safe_load(virt_volume.DOCUMENTATION)["options"]
    assert set(documented) | {"workers"} == set(virt_volume.ARGUMENT_SPEC)
    entries = documented["volumes"]["suboptions"]
    assert set(entries) == set(virt_volume.VOLUME_OPTIONS) | {"name"}
    for name, spec in virt_volume.VOLUME_OPTIONS.items():
        assert entries[name].get("choices") == spec.get("choices"), name
        inner = spec.get("options")
        assert set(entries[name].get("suboptions", {})) == set(inner if isinstance(inner, dict) else {}), name
