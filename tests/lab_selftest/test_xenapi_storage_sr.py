# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SRs and PBDs: what is there at first, making and removing, plugging, what SRs count."""

from __future__ import annotations

import uuid

import pytest

from lab.xenapi_objects import MIB, fails, make_disk, make_vdi, make_vm, sr_named, start

GIB = 1024 * MIB


@pytest.fixture
def host(xenapi):
    return xenapi.host.get_by_name_label("xen1")[0]


def _create(xenapi, host, kind="lvm", size=64 * MIB, config=None, shared=False):
    config = {"device": "/dev/sdb"} if config is None else config
    return xenapi.SR.create(host, config, str(size), "more", "", kind, "", shared, {})


def test_what_there_is(xenapi):
    records = {(record["name_label"], record["type"]): record for record in xenapi.SR.get_all_records().values()}
    assert sorted(record["name_label"] for record in xenapi.SR.get_all_records().values()) == [
        "ISO library",
        "Local storage",
        "Local storage",
        "shared",
    ]
    assert records["shared", "nfs"]["shared"] is True
    assert len(records["shared", "nfs"]["PBDs"]) == 2
    assert records["Local storage", "ext"]["shared"] is False
    assert records["Local storage", "ext"]["physical_size"] == str(200 * GIB)
    assert records["ISO library", "iso"]["content_type"] == "iso"
    (pool,) = xenapi.pool.get_all_records().values()
    assert xenapi.SR.get_name_label(pool["default_SR"]) == "shared"
    assert xenapi.SR.get_name_label(pool["suspend_image_SR"]) == "shared"
    assert all(pbd["currently_attached"] for pbd in xenapi.PBD.get_all_records().values())
    assert set(xenapi.SR.get_supported_types()) == {record["type"] for record in xenapi.SM.get_all_records().values()}


def test_create_makes_and_plugs_its_pbds(xenapi, host):
    sr = _create(xenapi, host)
    (pbd,) = xenapi.SR.get_PBDs(sr)
    assert xenapi.PBD.get_host(pbd) == host
    assert xenapi.PBD.get_currently_attached(pbd) is True
    assert xenapi.SR.get_content_type(sr) == "user"
    everywhere = _create(xenapi, host, "nfs", config={"server": "s", "serverpath": "/p"}, shared=True)
    assert len(xenapi.SR.get_PBDs(everywhere)) == 2


def test_create_refused(xenapi, host):
    assert fails(_create, xenapi, host, "zfs") == ["SR_UNKNOWN_DRIVER", "zfs"]
    assert fails(_create, xenapi, host, "nfs", 0, {"server": "s"})[0] == "SR_BACKEND_FAILURE_90"


def test_introduce_refused(xenapi):
    known = xenapi.SR.get_uuid(sr_named(xenapi, "shared"))
    arguments = ("again", "", "nfs", "", True, {})
    assert fails(xenapi.SR.introduce, known, *arguments) == ["SR_UUID_EXISTS", known]
    assert fails(xenapi.SR.introduce, "no uuid", *arguments) == ["UUID_INVALID", "SR", "no uuid"]


def test_pbd_plug_is_idempotent(xenapi):
    for pbd in xenapi.SR.get_PBDs(sr_named(xenapi, "shared")):
        xenapi.PBD.plug(pbd)
        assert xenapi.PBD.get_currently_attached(pbd) is True


def test_second_pbd_for_a_host(xenapi, host):
    sr = sr_named(xenapi, "shared")
    pbd = next(pbd for pbd in xenapi.SR.get_PBDs(sr) if xenapi.PBD.get_host(pbd) == host)
    record = {"SR": sr, "host": host, "device_config": {}, "other_config": {}}
    assert fails(xenapi.PBD.create, record) == ["PBD_EXISTS", sr, host, pbd]


def test_local_sr_on_a_second_host(xenapi):
    first, second = (xenapi.host.get_by_name_label(name)[0] for name in ("xen1", "xen2"))
    sr = _create(xenapi, first)
    record = {"SR": sr, "host": second, "device_config": {"device": "/dev/sdb"}}
    assert fails(xenapi.PBD.create, record) == ["SR_NOT_SHARABLE", sr, second]


def test_unplugged_sr(xenapi, host):
    sr = _create(xenapi, host)
    vdi = make_vdi(xenapi, sr)
    (pbd,) = xenapi.SR.get_PBDs(sr)
    assert fails(xenapi.SR.destroy, sr) == ["SR_HAS_PBD", sr]
    assert fails(xenapi.SR.forget, sr) == ["SR_HAS_PBD", sr]
    assert fails(xenapi.PBD.destroy, pbd)[0] == "OPERATION_NOT_ALLOWED"
    xenapi.PBD.unplug(pbd)
    xenapi.PBD.unplug(pbd)
    assert fails(make_vdi, xenapi, sr) == ["SR_HAS_NO_PBDS", sr]
    assert fails(xenapi.VDI.destroy, vdi) == ["SR_HAS_NO_PBDS", sr]
    assert fails(xenapi.VDI.resize, vdi, str(16 * MIB)) == ["SR_HAS_NO_PBDS", sr]
    assert fails(xenapi.SR.scan, sr) == ["SR_HAS_NO_PBDS", sr]
    assert xenapi.VDI.get_allowed_operations(vdi) == ["forget"]


def test_destroy(xenapi, host):
    sr = _create(xenapi, host)
    vdi = make_vdi(xenapi, sr)
    (pbd,) = xenapi.SR.get_PBDs(sr)
    xenapi.PBD.unplug(pbd)
    assert fails(xenapi.SR.destroy, sr) == ["SR_NOT_EMPTY"]
    xenapi.PBD.plug(pbd)
    xenapi.VDI.destroy(vdi)
    xenapi.PBD.unplug(pbd)
    xenapi.SR.destroy(sr)
    assert fails(xenapi.SR.get_uuid, sr) == ["HANDLE_INVALID", "SR", sr]
    assert fails(xenapi.PBD.get_uuid, pbd) == ["HANDLE_INVALID", "PBD", pbd]


def test_forgotten_sr_comes_back_with_what_is_on_it(xenapi, host):
    sr = _create(xenapi, host)
    sr_uuid, vdi_uuid = xenapi.SR.get_uuid(sr), xenapi.VDI.get_uuid(make_vdi(xenapi, sr))
    (pbd,) = xenapi.SR.get_PBDs(sr)
    xenapi.PBD.unplug(pbd)
    xenapi.SR.forget(sr)
    assert fails(xenapi.VDI.get_by_uuid, vdi_uuid)[0] == "UUID_INVALID"
    again = xenapi.SR.introduce(sr_uuid, "again", "", "lvm", "", False, {})
    assert fails(xenapi.SR.scan, again) == ["SR_HAS_NO_PBDS", again]
    pbd = xenapi.PBD.create({"SR": again, "host": host, "device_config": {"device": "/dev/sdb"}, "other_config": {}})
    xenapi.PBD.plug(pbd)
    xenapi.SR.scan(again)
    assert xenapi.VDI.get_SR(xenapi.VDI.get_by_uuid(vdi_uuid)) == again
    assert xenapi.SR.get_virtual_allocation(again) == str(8 * MIB)


def test_pbd_of_a_running_vm(xenapi):
    vm = make_vm(xenapi)
    sr = sr_named(xenapi, "shared")
    vdi = make_vdi(xenapi, sr)
    make_disk(xenapi, vm, vdi)
    start(xenapi, vm)
    host = xenapi.VM.get_resident_on(vm)
    pbds = {xenapi.PBD.get_host(pbd): pbd for pbd in xenapi.SR.get_PBDs(sr)}
    assert fails(xenapi.PBD.unplug, pbds.pop(host)) == ["VDI_IN_USE", vdi, "detach"]
    xenapi.PBD.unplug(pbds.popitem()[1])


def test_thin_sr_counts_what_is_written(xenapi):
    sr = sr_named(xenapi, "shared")
    before = int(xenapi.SR.get_physical_utilisation(sr)), int(xenapi.SR.get_virtual_allocation(sr))
    vdi = make_vdi(xenapi, sr, 300 * GIB)
    assert int(xenapi.SR.get_physical_utilisation(sr)) == before[0]
    assert int(xenapi.SR.get_virtual_allocation(sr)) == before[1] + 300 * GIB
    assert xenapi.VDI.get_physical_utilisation(vdi) == "0"
    image = xenapi.VDI.get_by_name_label("golden-image")[0]
    clone = xenapi.VDI.clone(image, {})
    assert int(xenapi.SR.get_physical_utilisation(sr)) == before[0]
    copy = xenapi.VDI.copy(image, sr, "OpaqueRef:NULL", "OpaqueRef:NULL")
    written = int(xenapi.VDI.get_physical_utilisation(copy))
    assert 0 < written < int(xenapi.VDI.get_virtual_size(copy))
    assert int(xenapi.SR.get_physical_utilisation(sr)) == before[0] + written
    for each in (vdi, clone, copy):
        xenapi.VDI.destroy(each)
    assert (int(xenapi.SR.get_physical_utilisation(sr)), int(xenapi.SR.get_virtual_allocation(sr))) == before


def test_thick_sr_gets_full(xenapi, host):
    sr = _create(xenapi, host, size=64 * MIB)
    vdi = make_vdi(xenapi, sr, 48 * MIB)
    assert xenapi.SR.get_physical_utilisation(sr) == str(48 * MIB)
    assert fails(make_vdi, xenapi, sr, 17 * MIB) == ["SR_FULL", str(18 * MIB), str(16 * MIB)]
    assert fails(xenapi.VDI.clone, vdi, {}) == ["SR_FULL", str(48 * MIB), str(16 * MIB)]
    assert fails(xenapi.VDI.snapshot, vdi, {})[0] == "SR_FULL"
    assert fails(xenapi.VDI.resize, vdi, str(72 * MIB)) == ["SR_FULL", str(24 * MIB), str(16 * MIB)]
    assert fails(xenapi.VDI.copy, vdi, sr, "OpaqueRef:NULL", "OpaqueRef:NULL")[0] == "SR_FULL"
    assert xenapi.SR.get_VDIs(sr) == [vdi]
    xenapi.VDI.resize(vdi, str(64 * MIB))
    assert xenapi.SR.get_physical_utilisation(sr) == str(64 * MIB)


def test_names_are_set_by_messages(xenapi):
    sr = sr_named(xenapi, "shared")
    xenapi.SR.set_name_label(sr, "renamed")
    xenapi.SR.set_name_description(sr, "other words")
    assert (xenapi.SR.get_name_label(sr), xenapi.SR.get_name_description(sr)) == ("renamed", "other words")
    assert fails(xenapi.SR.set_shared, sr, False) == ["SR_HAS_MULTIPLE_PBDS", sr]


def test_unknown_uuid(xenapi):
    unknown = str(uuid.uuid4())
    assert fails(xenapi.SR.get_by_uuid, unknown)[0] == "UUID_INVALID"
