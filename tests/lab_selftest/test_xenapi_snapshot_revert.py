# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VM.snapshot, checkpoint and revert."""

from __future__ import annotations

import pytest

from lab.xenapi.vdi_store import store_of
from lab.xenapi.volumes import content_digest, content_name
from lab.xenapi_objects import (
    MIB,
    NULL,
    drive_record,
    fails,
    make_disk,
    make_vdi,
    make_vm,
    network_named,
    sr_named,
    start,
    vif_record,
)

_MAC = "02:16:3e:00:00:01"


@pytest.fixture
def vm(xenapi):
    """A VM with a disk, a drive and an interface."""
    vm = make_vm(xenapi, other_config={"a": "b"})
    vdi = make_vdi(xenapi, sr_named(xenapi, "shared"))
    make_disk(xenapi, vm, vdi, userdevice="0", bootable=True)
    xenapi.VBD.create(drive_record(vm, userdevice="3"))
    xenapi.VIF.create(vif_record(vm, network_named(xenapi, "lab"), MAC=_MAC))
    return vm


def _write(server, vdi, text):
    store_of(server.db).write(content_name(server.db, vdi), 0, text)


def _disk(xenapi, vm):
    """The VDI of the VM's disk."""
    (vdi,) = [vbd["VDI"] for vbd in xenapi.VBD.get_all_records().values() if vbd["VM"] == vm and vbd["type"] == "Disk"]
    return vdi


def test_what_a_snapshot_is(xenapi, vm):
    start(xenapi, vm)
    snapshot = xenapi.VM.snapshot(vm, "before", [])
    record = xenapi.VM.get_record(snapshot)
    assert (record["is_a_snapshot"], record["is_a_template"], record["power_state"]) == (True, True, "Halted")
    assert (record["name_label"], record["snapshot_of"], record["other_config"]["a"]) == ("before", vm, "b")
    assert record["snapshot_info"]["power-state-at-snapshot"] == "Running"
    assert xenapi.VM.get_snapshots(vm) == [snapshot]
    assert xenapi.VM.get_parent(vm) == snapshot
    vdi = _disk(xenapi, snapshot)
    assert xenapi.VDI.get_is_a_snapshot(vdi) is True
    assert xenapi.VDI.get_snapshot_of(vdi) == _disk(xenapi, vm)
    assert [xenapi.VBD.get_userdevice(vbd) for vbd in record["VBDs"]] == ["0", "3"]
    assert not any(xenapi.VBD.get_currently_attached(vbd) for vbd in record["VBDs"])
    assert [xenapi.VIF.get_MAC(vif) for vif in record["VIFs"]] == [_MAC]
    assert set(record["allowed_operations"]) >= {"revert", "clone", "copy", "destroy", "export"}
    assert xenapi.VM.get_power_state(vm) == "Running"


def test_ignored_vdis(xenapi, vm):
    snapshot = xenapi.VM.snapshot(vm, "without", [_disk(xenapi, vm)])
    assert [xenapi.VBD.get_type(vbd) for vbd in xenapi.VM.get_VBDs(snapshot)] == ["CD"]


def test_refused(xenapi, vm):
    snapshot = xenapi.VM.snapshot(vm, "first", [])
    assert fails(xenapi.VM.snapshot, snapshot, "second", []) == ["VM_IS_SNAPSHOT", snapshot, "snapshot"]
    assert fails(xenapi.VM.start, snapshot, False, False)[0] == "VM_IS_SNAPSHOT"
    template = xenapi.VM.get_by_name_label("golden")[0]
    assert fails(xenapi.VM.snapshot, template, "second", []) == ["VM_IS_TEMPLATE", template]
    assert fails(xenapi.VM.checkpoint, vm, "asleep")[:2] == ["VM_BAD_POWER_STATE", vm]
    assert fails(xenapi.VM.snapshot_with_quiesce, vm, "calm")[0] == "VM_SNAPSHOT_WITH_QUIESCE_NOT_SUPPORTED"
    xenapi.VM.destroy(snapshot)
    assert xenapi.VM.get_snapshots(vm) == []


def test_revert(xenapi, xenapi_server, vm):
    old = _disk(xenapi, vm)
    _write(xenapi_server, old, b"good")
    digest = content_digest(xenapi_server.db, old)
    snapshot = xenapi.VM.snapshot(vm, "good", [])
    _write(xenapi_server, old, b"spoilt")
    xenapi.VM.set_name_label(vm, "renamed")
    xenapi.VM.set_other_config(vm, {"spoilt": "yes"})
    more = make_vdi(xenapi, sr_named(xenapi, "shared"), name_label="added later")
    make_disk(xenapi, vm, more)
    start(xenapi, vm)
    xenapi.VM.revert(snapshot)
    record = xenapi.VM.get_record(vm)
    assert (record["power_state"], record["name_label"], record["other_config"]["a"]) == ("Halted", "vm1", "b")
    assert (record["is_a_snapshot"], record["is_a_template"]) == (False, False)
    new = _disk(xenapi, vm)
    assert new != old
    assert fails(xenapi.VDI.get_uuid, old) == ["HANDLE_INVALID", "VDI", old]
    assert content_digest(xenapi_server.db, new) == digest
    assert xenapi.VDI.get_snapshot_of(_disk(xenapi, snapshot)) == new
    assert xenapi.VDI.get_is_a_snapshot(new) is False
    assert xenapi.VDI.get_VBDs(more) == [], "what the snapshot does not know is left, attached to nothing"
    assert [xenapi.VIF.get_MAC(vif) for vif in record["VIFs"]] == [_MAC]
    start(xenapi, vm)
    xenapi.VM.revert(snapshot)
    assert _disk(xenapi, vm) != new


def test_revert_of_what_is_no_snapshot(xenapi, vm):
    assert fails(xenapi.VM.revert, vm) != []


def test_revert_without_its_vm(xenapi, vm):
    snapshot = xenapi.VM.snapshot(vm, "left", [])
    xenapi.VM.destroy(vm)
    assert fails(xenapi.VM.revert, snapshot)[0] == "VM_REVERT_FAILED"


def test_checkpoint(xenapi, vm):
    start(xenapi, vm)
    checkpoint = xenapi.VM.checkpoint(vm, "awake")
    assert xenapi.VM.get_power_state(vm) == "Running"
    assert xenapi.VM.get_power_state(checkpoint) == "Suspended"
    memory = xenapi.VM.get_suspend_VDI(checkpoint)
    assert xenapi.VDI.get_type(memory) == "suspend"
    assert int(xenapi.VDI.get_virtual_size(memory)) >= 128 * MIB
    xenapi.VM.revert(checkpoint)
    assert xenapi.VM.get_power_state(vm) == "Suspended"
    assert xenapi.VM.get_suspend_VDI(vm) not in (NULL, memory)
    xenapi.VM.resume(vm, False, False)
    assert xenapi.VM.get_power_state(vm) == "Running"


def test_checkpoint_needs_a_suspend_sr(xenapi, vm):
    start(xenapi, vm)
    (pool,) = xenapi.pool.get_all()
    xenapi.pool.set_suspend_image_SR(pool, NULL)
    for host in xenapi.host.get_all():
        xenapi.host.set_suspend_image_sr(host, NULL)
    assert fails(xenapi.VM.checkpoint, vm, "asleep") == ["VM_NO_SUSPEND_SR", vm]
    assert xenapi.VM.get_power_state(vm) == "Running"


def test_a_full_sr_leaves_nothing_behind(xenapi, vm):
    host = xenapi.host.get_all()[0]
    sr = xenapi.SR.create(host, {"device": "/dev/sdb"}, str(12 * MIB), "small", "", "lvm", "", False, {})
    make_disk(xenapi, vm, make_vdi(xenapi, sr))
    before = set(xenapi.VDI.get_all()), set(xenapi.VM.get_all())
    assert fails(xenapi.VM.snapshot, vm, "never", []) == ["SR_FULL", str(8 * MIB), str(4 * MIB)]
    assert (set(xenapi.VDI.get_all()), set(xenapi.VM.get_all())) == before
    assert xenapi.VM.get_current_operations(vm) == {}
