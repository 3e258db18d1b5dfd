# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VBDs: devices, hot plugging, CD drives, sharing."""

from __future__ import annotations

import pytest

from lab.xenapi_objects import (
    MIB,
    NULL,
    drive_record,
    fails,
    hvm,
    make_disk,
    make_vdi,
    make_vm,
    sr_named,
    start,
    vbd_record,
)


@pytest.fixture
def shared(xenapi):
    return sr_named(xenapi, "shared")


@pytest.fixture
def vdi(xenapi, shared):
    return make_vdi(xenapi, shared)


@pytest.fixture
def iso(xenapi):
    return xenapi.VDI.get_by_name_label("tools.iso")[0]


def _running_hvm(xenapi, shared):
    vm = make_vm(xenapi, **hvm())
    make_disk(xenapi, vm, make_vdi(xenapi, shared), userdevice="0", bootable=True)
    start(xenapi, vm)
    return vm


def test_autodetect_takes_the_lowest_free_device(xenapi, shared):
    vm = make_vm(xenapi)
    for device in ("0", "2"):
        make_disk(xenapi, vm, make_vdi(xenapi, shared), userdevice=device)
    assert xenapi.VM.get_allowed_VBD_devices(vm)[:2] == ["1", "3"]
    vbds = [make_disk(xenapi, vm, make_vdi(xenapi, shared)) for _number in range(2)]
    assert [xenapi.VBD.get_userdevice(vbd) for vbd in vbds] == ["1", "3"]


def test_create_never_plugs(xenapi, shared, vdi):
    vm = _running_hvm(xenapi, shared)
    vbd = make_disk(xenapi, vm, vdi, currently_attached=True)
    assert xenapi.VBD.get_currently_attached(vbd) is False
    assert xenapi.VBD.get_device(vbd) == ""
    assert xenapi.VDI.get_VBDs(vdi) == [vbd]


@pytest.mark.parametrize("device", ["3", "xvdd", "hdd", "sdd"])
def test_one_device_has_many_names(xenapi, shared, vdi, device):
    vm = make_vm(xenapi)
    make_disk(xenapi, vm, vdi, userdevice="3")
    record = vbd_record(vm, vdi, userdevice=device)
    assert fails(xenapi.VBD.create, record) == ["DEVICE_ALREADY_EXISTS", device]


@pytest.mark.parametrize("device", ["", "disk", "-1", "255", "vda"])
def test_invalid_devices(xenapi, vdi, device):
    record = vbd_record(make_vm(xenapi), vdi, userdevice=device)
    assert fails(xenapi.VBD.create, record) == ["INVALID_DEVICE", device]


def test_create_refused(xenapi, vdi, iso):
    vm = make_vm(xenapi)
    assert fails(xenapi.VBD.create, drive_record(vm, iso, mode="RW")) == ["VBD_CDS_MUST_BE_READONLY"]
    assert fails(xenapi.VBD.create, vbd_record(vm, NULL, empty=True)) == ["VBD_NOT_REMOVABLE_MEDIA", "in constructor"]
    assert fails(xenapi.VBD.create, drive_record(vm, vdi)) == ["VDI_IS_NOT_ISO", vdi, "user"]
    assert fails(xenapi.VBD.create, vbd_record(vm, iso)) == ["VDI_READONLY", iso]
    assert fails(xenapi.VBD.create, vbd_record(vm, NULL)) == ["HANDLE_INVALID", "VDI", NULL]
    assert fails(xenapi.VBD.create, vbd_record(NULL, vdi)) == ["HANDLE_INVALID", "VM", NULL]


def test_hot_plug(xenapi, shared, vdi):
    vm = _running_hvm(xenapi, shared)
    vbd = make_disk(xenapi, vm, vdi, userdevice="27")
    assert set(xenapi.VBD.get_allowed_operations(vbd)) >= {"attach", "plug"}
    assert fails(xenapi.VBD.unplug, vbd) == ["DEVICE_ALREADY_DETACHED", vbd]
    xenapi.VBD.plug(vbd)
    assert (xenapi.VBD.get_currently_attached(vbd), xenapi.VBD.get_device(vbd)) == (True, "xvdab")
    assert "unplug" in xenapi.VBD.get_allowed_operations(vbd)
    assert fails(xenapi.VBD.plug, vbd) == ["DEVICE_ALREADY_ATTACHED", vbd]
    assert fails(xenapi.VBD.destroy, vbd)[0] == "OPERATION_NOT_ALLOWED"
    xenapi.VBD.unplug(vbd)
    xenapi.VBD.destroy(vbd)
    assert xenapi.VDI.get_VBDs(vdi) == []


def test_not_unpluggable(xenapi, shared, vdi):
    vm = _running_hvm(xenapi, shared)
    vbd = make_disk(xenapi, vm, vdi, unpluggable=False)
    xenapi.VBD.plug(vbd)
    assert fails(xenapi.VBD.unplug, vbd) == ["VBD_NOT_UNPLUGGABLE", vbd]


def test_plug_needs_a_running_vm(xenapi, shared, vdi):
    vm = make_vm(xenapi)
    vbd = make_disk(xenapi, vm, vdi)
    assert fails(xenapi.VBD.plug, vbd) == ["VM_BAD_POWER_STATE", vm, "running", "halted"]
    assert fails(xenapi.VBD.unplug, vbd) == ["VM_BAD_POWER_STATE", vm, "running", "halted"]
    start(xenapi, vm)
    xenapi.VM.pause(vm)
    assert fails(xenapi.VBD.unplug, vbd) == ["VM_BAD_POWER_STATE", vm, "running", "paused"]


def test_plug_without_drivers(xenapi, shared, vdi):
    vm = make_vm(xenapi, **hvm(xenstore_data={"vm-data/lab": "lab.notools"}))
    make_disk(xenapi, vm, make_vdi(xenapi, shared))
    xenapi.VM.start(vm, False, False)
    vbd = make_disk(xenapi, vm, vdi)
    assert fails(xenapi.VBD.plug, vbd) == ["VM_MISSING_PV_DRIVERS", vm]
    assert "plug" not in xenapi.VBD.get_allowed_operations(vbd)


def test_hvm_has_no_hot_plug_of_drives_and_read_only_disks(xenapi, shared, vdi):
    vm = _running_hvm(xenapi, shared)
    drive = xenapi.VBD.create(drive_record(vm, userdevice="3"))
    assert fails(xenapi.VBD.plug, drive)[0] == "OPERATION_NOT_ALLOWED"
    disk = make_disk(xenapi, vm, vdi, mode="RO")
    assert fails(xenapi.VBD.plug, disk) == ["DISK_VBD_MUST_BE_READWRITE_FOR_HVM", disk]


def test_insert_and_eject(xenapi, vdi, iso):
    vm = make_vm(xenapi)
    drive = xenapi.VBD.create(drive_record(vm))
    assert fails(xenapi.VBD.eject, drive) == ["VBD_IS_EMPTY", drive]
    assert fails(xenapi.VBD.insert, drive, vdi) == ["VDI_IS_NOT_ISO", vdi, "user"]
    xenapi.VBD.insert(drive, iso)
    assert (xenapi.VBD.get_VDI(drive), xenapi.VBD.get_empty(drive)) == (iso, False)
    assert fails(xenapi.VBD.insert, drive, iso) == ["VBD_NOT_EMPTY", drive]
    start(xenapi, vm)
    xenapi.VBD.eject(drive)
    assert (xenapi.VBD.get_VDI(drive), xenapi.VBD.get_empty(drive)) == (NULL, True)
    xenapi.VBD.insert(drive, iso)
    disk = make_disk(xenapi, vm, vdi)
    assert fails(xenapi.VBD.eject, disk) == ["VBD_NOT_REMOVABLE_MEDIA", disk]
    assert fails(xenapi.VBD.insert, disk, iso) == ["VBD_NOT_REMOVABLE_MEDIA", disk]


def test_one_iso_in_two_running_vms(xenapi, iso):
    for name in ("a", "b"):
        vm = make_vm(xenapi, name)
        xenapi.VBD.create(drive_record(vm, iso))
        start(xenapi, vm)


def test_one_disk_of_two_vms(xenapi, vdi):
    first, second = make_vm(xenapi, "a"), make_vm(xenapi, "b")
    for vm in (first, second):
        make_disk(xenapi, vm, vdi)
    start(xenapi, first)
    assert fails(xenapi.VM.start, second, False, False)[:2] == ["VDI_IN_USE", vdi]
    (vbd,) = xenapi.VM.get_VBDs(second)
    assert fails(xenapi.VBD.assert_attachable, vbd)[:2] == ["VDI_IN_USE", vdi]
    xenapi.VM.hard_shutdown(first)
    start(xenapi, second)


def test_sharable_disk(xenapi, shared):
    vdi = make_vdi(xenapi, shared, sharable=True)
    for name in ("a", "b"):
        vm = make_vm(xenapi, name)
        make_disk(xenapi, vm, vdi)
        start(xenapi, vm)


def test_devices_of_a_started_vm(xenapi, shared):
    vm = make_vm(xenapi)
    vbds = [make_disk(xenapi, vm, make_vdi(xenapi, shared, 4 * MIB)) for _number in range(2)]
    start(xenapi, vm)
    assert [xenapi.VBD.get_device(vbd) for vbd in vbds] == ["xvda", "xvdb"]
    assert all(xenapi.VBD.get_currently_attached(vbd) for vbd in vbds)
    xenapi.VM.hard_shutdown(vm)
    assert not any(xenapi.VBD.get_currently_attached(vbd) for vbd in vbds)


def test_mode_of_a_halted_vm_only(xenapi, vdi):
    vm = make_vm(xenapi)
    vbd = make_disk(xenapi, vm, vdi)
    xenapi.VBD.set_mode(vbd, "RO")
    assert xenapi.VBD.get_mode(vbd) == "RO"
    start(xenapi, vm)
    assert fails(xenapi.VBD.set_mode, vbd, "RW") == ["VM_BAD_POWER_STATE", vm, "halted", "running"]


def test_a_destroyed_vm_leaves_its_vdis(xenapi, vdi):
    vm = make_vm(xenapi)
    vbd = make_disk(xenapi, vm, vdi)
    xenapi.VM.destroy(vm)
    assert fails(xenapi.VBD.get_uuid, vbd) == ["HANDLE_INVALID", "VBD", vbd]
    assert xenapi.VDI.get_VBDs(vdi) == []


def test_devices_that_were_set_to_nonsense(xenapi, shared):
    vm = make_vm(xenapi)
    make_disk(xenapi, vm, make_vdi(xenapi, shared), userdevice="0")
    second = make_disk(xenapi, vm, make_vdi(xenapi, shared), userdevice="1")
    xenapi.VBD.set_userdevice(second, "xvda")
    assert fails(xenapi.VM.start, vm, False, False) == ["VM_DUPLICATE_VBD_DEVICE", vm, second, "xvda"]
    xenapi.VBD.set_userdevice(second, "floppy")
    assert fails(xenapi.VM.start, vm, False, False) == ["ILLEGAL_VBD_DEVICE", second, "floppy"]
    assert xenapi.VM.get_power_state(vm) == "Halted"


def test_disk_on_the_local_sr_of_another_host(xenapi, shared):
    vm = _running_hvm(xenapi, shared)
    home = xenapi.VM.get_resident_on(vm)
    remote = next(
        pbd["SR"]
        for pbd in xenapi.PBD.get_all_records().values()
        if pbd["host"] != home and not xenapi.SR.get_shared(pbd["SR"])
    )
    vbd = make_disk(xenapi, vm, make_vdi(xenapi, remote))
    assert fails(xenapi.VBD.plug, vbd) == ["SR_NOT_ATTACHED", remote]


def test_what_was_made_and_removed_leaves_no_trace(xenapi, xenapi_server, shared):
    before = xenapi_server.snapshot()
    vm = make_vm(xenapi)
    vdi = make_vdi(xenapi, shared)
    make_disk(xenapi, vm, vdi)
    xenapi.VBD.create(drive_record(vm))
    start(xenapi, vm)
    snapshot = xenapi.VM.snapshot(vm, "snapshot", [])
    xenapi.VM.hard_shutdown(vm)
    clone = xenapi.VM.clone(vm, "clone")
    disks = [vbd["VDI"] for vbd in xenapi.VBD.get_all_records().values() if vbd["VM"] in (vm, snapshot, clone)]
    for each in (snapshot, clone, vm):
        xenapi.VM.destroy(each)
    for disk in disks:
        if disk != NULL:
            xenapi.VDI.destroy(disk)
    assert xenapi_server.snapshot() == before


def test_a_suspended_vm_keeps_its_disks(xenapi, shared, vdi, iso):
    vm = make_vm(xenapi)
    disk = make_disk(xenapi, vm, vdi)
    drive = xenapi.VBD.create(drive_record(vm))
    start(xenapi, vm)
    xenapi.VM.suspend(vm)
    assert xenapi.VBD.get_currently_attached(disk) is True
    assert fails(xenapi.VDI.destroy, vdi) == ["VDI_IN_USE", vdi, "destroy"]
    assert fails(xenapi.VBD.insert, drive, iso) == ["VM_BAD_POWER_STATE", vm, "halted, running", "suspended"]
    assert fails(xenapi.VBD.unplug, disk) == ["VM_BAD_POWER_STATE", vm, "running", "suspended"]
    xenapi.VM.resume(vm, False, False)
    assert xenapi.VBD.get_device(disk) == "xvda"
