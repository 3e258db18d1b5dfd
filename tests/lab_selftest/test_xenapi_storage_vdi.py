# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VDIs: create, destroy, resize, clone, copy, snapshot, and what is refused while they are in use."""

from __future__ import annotations

from uuid import uuid4
from xmlrpc.client import DateTime

import pytest

from lab.xenapi.volumes import content_digest
from lab.xenapi_objects import MIB, NULL, fails, make_disk, make_vdi, make_vm, sr_named, start


@pytest.fixture
def shared(xenapi):
    return sr_named(xenapi, "shared")


@pytest.fixture
def golden(xenapi):
    return xenapi.VDI.get_by_name_label("golden-image")[0]


def test_create(xenapi, shared):
    vdi = make_vdi(xenapi, shared, 5 * MIB, name_label="data", other_config={"a": "b"}, tags=["t"])
    record = xenapi.VDI.get_record(vdi)
    assert record["virtual_size"] == str(6 * MIB), "sizes are rounded up to whole blocks of 2 MiB"
    assert (record["name_label"], record["other_config"], record["tags"]) == ("data", {"a": "b"}, ["t"])
    assert (record["managed"], record["missing"], record["is_a_snapshot"]) == (True, False, False)
    assert record["location"] == record["uuid"]
    assert vdi in xenapi.SR.get_VDIs(shared)
    assert set(record["allowed_operations"]) >= {"clone", "copy", "destroy", "resize", "snapshot", "forget", "update"}


def test_create_refused(xenapi, shared):
    library = sr_named(xenapi, "ISO library")
    assert fails(make_vdi, xenapi, library) == ["SR_OPERATION_NOT_SUPPORTED", library]
    assert fails(make_vdi, xenapi, shared, -1)[0] == "SR_BACKEND_FAILURE_79"
    assert fails(make_vdi, xenapi, shared, 3000 * 1024 * 1024 * MIB)[0] == "SR_BACKEND_FAILURE_79"
    assert fails(make_vdi, xenapi, "OpaqueRef:nowhere") == ["HANDLE_INVALID", "SR", "OpaqueRef:nowhere"]


def test_what_cannot_be_written(xenapi, shared):
    iso = xenapi.VDI.get_by_name_label("tools.iso")[0]
    library = sr_named(xenapi, "ISO library")
    for operation, arguments in {"destroy": (), "resize": (str(4 * MIB),), "clone": ({},)}.items():
        assert fails(getattr(xenapi.VDI, operation), iso, *arguments) == ["SR_OPERATION_NOT_SUPPORTED", library]
    copy = xenapi.VDI.copy(iso, shared, NULL, NULL)
    assert xenapi.VDI.get_read_only(copy) is False


def test_destroy_takes_the_vbds_of_halted_vms(xenapi, shared):
    vdi = make_vdi(xenapi, shared)
    vm = make_vm(xenapi)
    make_disk(xenapi, vm, vdi)
    xenapi.VDI.destroy(vdi)
    assert fails(xenapi.VDI.get_uuid, vdi) == ["HANDLE_INVALID", "VDI", vdi]
    assert xenapi.VM.get_VBDs(vm) == []


def test_in_use(xenapi, shared):
    vdi = make_vdi(xenapi, shared)
    vm = make_vm(xenapi)
    make_disk(xenapi, vm, vdi)
    start(xenapi, vm)
    assert fails(xenapi.VDI.destroy, vdi) == ["VDI_IN_USE", vdi, "destroy"]
    assert fails(xenapi.VDI.resize, vdi, str(16 * MIB)) == ["VDI_IN_USE", vdi, "resize"]
    assert fails(xenapi.VDI.copy, vdi, shared, NULL, NULL) == ["VDI_IN_USE", vdi, "copy"]
    assert fails(xenapi.VDI.forget, vdi) == ["VDI_IN_USE", vdi, "forget"]
    assert set(xenapi.VDI.get_allowed_operations(vdi)) == {"clone", "snapshot", "update"}
    snapshot = xenapi.VDI.snapshot(vdi, {})
    assert xenapi.VDI.get_snapshot_of(snapshot) == vdi
    xenapi.VDI.destroy(snapshot)
    xenapi.VM.hard_shutdown(vm)
    assert "destroy" in xenapi.VDI.get_allowed_operations(vdi)
    xenapi.VDI.destroy(vdi)


def test_resize(xenapi, shared):
    vdi = make_vdi(xenapi, shared, 8 * MIB)
    xenapi.VDI.resize(vdi, str(9 * MIB))
    assert xenapi.VDI.get_virtual_size(vdi) == str(10 * MIB)
    assert fails(xenapi.VDI.resize, vdi, str(8 * MIB))[0] == "SR_BACKEND_FAILURE_79"
    assert fails(xenapi.VDI.resize_online, vdi, str(16 * MIB)) == ["MESSAGE_REMOVED"]


def test_clone(xenapi, xenapi_server, golden):
    xenapi.VDI.set_other_config(golden, {"a": "b"})
    xenapi.VDI.set_sm_config(golden, {"c": "d"})
    clone = xenapi.VDI.clone(golden, {})
    old, new = xenapi.VDI.get_record(golden), xenapi.VDI.get_record(clone)
    for field in ("name_label", "name_description", "virtual_size", "type", "SR", "other_config", "xenstore_data"):
        assert new[field] == old[field]
    assert new["uuid"] != old["uuid"]
    assert new["sm_config"]["c"] == "d"
    assert (new["is_a_snapshot"], new["snapshot_of"]) == (False, NULL)
    assert content_digest(xenapi_server.db, clone) == content_digest(xenapi_server.db, golden)
    xenapi.VDI.destroy(golden)
    assert content_digest(xenapi_server.db, clone) != ""


def test_snapshot(xenapi, golden):
    snapshot = xenapi.VDI.snapshot(golden, {})
    record = xenapi.VDI.get_record(snapshot)
    assert (record["is_a_snapshot"], record["snapshot_of"]) == (True, golden)
    assert record["snapshot_time"] > xenapi.VDI.get_snapshot_time(golden)
    assert xenapi.VDI.get_snapshots(golden) == [snapshot]


def test_copy_to_another_sr_and_into_a_vdi(xenapi, xenapi_server, golden, shared):
    local = xenapi.SR.get_by_name_label("Local storage")[0]
    digest = content_digest(xenapi_server.db, golden)
    copy = xenapi.VDI.copy(golden, local, NULL, NULL)
    assert xenapi.VDI.get_SR(copy) == local
    assert content_digest(xenapi_server.db, copy) == digest
    target = make_vdi(xenapi, shared, 10 * MIB)
    assert xenapi.VDI.copy(golden, NULL, NULL, target) == target
    assert content_digest(xenapi_server.db, target) == digest
    small = make_vdi(xenapi, shared, 4 * MIB)
    assert fails(xenapi.VDI.copy, golden, NULL, NULL, small) == ["VDI_TOO_SMALL", small, str(8 * MIB)]
    xenapi.VDI.set_read_only(target, True)
    assert fails(xenapi.VDI.copy, golden, NULL, NULL, target) == ["VDI_READONLY", target]


def test_forget_and_introduce(xenapi, shared):
    vdi = make_vdi(xenapi, shared, name_label="kept")
    uuid = xenapi.VDI.get_uuid(vdi)
    xenapi.VDI.forget(vdi)
    assert fails(xenapi.VDI.get_by_uuid, uuid)[0] == "UUID_INVALID"
    xenapi.SR.scan(shared)
    found = xenapi.VDI.get_by_uuid(uuid)
    assert xenapi.VDI.get_virtual_size(found) == str(8 * MIB)


def _introduce(xenapi, uuid, sr, location):
    fields = (
        uuid,
        "back",
        "again",
        sr,
        "user",
        False,
        False,
        {"a": "b"},
        location,
        {},
        {},
        True,
        "0",
        "0",
        NULL,
        False,
    )
    return xenapi.VDI.introduce(*fields, DateTime("19700101T00:00:00Z"), NULL)


def test_introduce(xenapi, xenapi_server, golden, shared):
    uuid, digest = xenapi.VDI.get_uuid(golden), content_digest(xenapi_server.db, golden)
    fresh = str(uuid4())
    assert fails(_introduce, xenapi, fresh, shared, uuid) == ["LOCATION_NOT_UNIQUE", shared, uuid]
    assert fails(_introduce, xenapi, fresh, shared, "none") == ["VDI_LOCATION_MISSING", shared, "none"]
    other = xenapi.VDI.get_uuid(make_vdi(xenapi, shared))
    xenapi.VDI.forget(golden)
    assert fails(_introduce, xenapi, "no uuid", shared, uuid) == ["UUID_INVALID", "VDI", "no uuid"]
    assert fails(_introduce, xenapi, other, shared, uuid)[0] == "DB_UNIQUENESS_CONSTRAINT_VIOLATION"
    local = xenapi.SR.get_by_name_label("Local storage")[0]
    assert fails(_introduce, xenapi, fresh, local, uuid) == ["VDI_LOCATION_MISSING", local, uuid]
    back = _introduce(xenapi, uuid, shared, uuid)
    record = xenapi.VDI.get_record(back)
    assert (record["name_label"], record["other_config"], record["virtual_size"]) == ("back", {"a": "b"}, str(8 * MIB))
    assert content_digest(xenapi_server.db, back) == digest


def test_names_and_flags_are_set_by_messages(xenapi, golden):
    xenapi.VDI.set_name_label(golden, "a")
    xenapi.VDI.set_name_description(golden, "b")
    xenapi.VDI.set_sharable(golden, True)
    xenapi.VDI.set_on_boot(golden, "reset")
    xenapi.VDI.update(golden)
    record = xenapi.VDI.get_record(golden)
    assert [record[name] for name in ("name_label", "name_description", "sharable", "on_boot")] == [
        "a",
        "b",
        True,
        "reset",
    ]
    assert fails(xenapi.VDI.snapshot, golden, {}) == ["VDI_IS_SHARABLE", golden]
    xenapi.VDI.set_sharable(golden, False)
    assert fails(xenapi.VDI.snapshot, golden, {}) == ["VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION"]


def test_migration_needs_a_vm(xenapi, golden, shared):
    assert fails(xenapi.VDI.pool_migrate, golden, shared, {}) == ["VDI_NEEDS_VM_FOR_MIGRATE", golden]
