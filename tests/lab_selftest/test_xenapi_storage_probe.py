# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SR.probe, and what forgotten SRs leave where they were."""

from __future__ import annotations

from lab.xenapi_objects import MIB, fails, make_vdi, sr_named

EXPORT = {"server": "10.88.1.20", "serverpath": "/export/one"}
DEVICE = {"device": "/dev/sdb"}
TARGET = {"target": "10.88.1.30", "targetIQN": "iqn.2026-01.org.example:disk"}


def _create(xenapi, kind, config, shared=False, name="new"):
    [host, *_others] = xenapi.host.get_all()
    return xenapi.SR.create(host, config, "0", name, "", kind, "user", shared, {})


def _probe(xenapi, kind, config):
    return xenapi.SR.probe(xenapi.host.get_all()[0], config, kind, {})


def _forget(xenapi, sr):
    for pbd in xenapi.SR.get_PBDs(sr):
        xenapi.PBD.unplug(pbd)
    xenapi.SR.forget(sr)


def test_what_is_in_use_is_there(xenapi):
    assert "<UUID>" not in _probe(xenapi, "nfs", EXPORT)
    sr = _create(xenapi, "nfs", EXPORT, shared=True)
    assert xenapi.SR.get_uuid(sr) in _probe(xenapi, "nfs", EXPORT)
    assert "<UUID>" not in _probe(xenapi, "nfs", {**EXPORT, "serverpath": "/export/two"})
    assert "<UUID>" not in _probe(xenapi, "ext", DEVICE)


def test_what_was_forgotten_stays_and_can_be_introduced(xenapi):
    sr = _create(xenapi, "nfs", EXPORT, shared=True)
    make_vdi(xenapi, sr, 2 * MIB)
    uuid = xenapi.SR.get_uuid(sr)
    _forget(xenapi, sr)
    assert uuid in _probe(xenapi, "nfs", EXPORT)
    again = xenapi.SR.introduce(uuid, "again", "", "nfs", "user", True, {})
    for host in xenapi.host.get_all():
        xenapi.PBD.plug(xenapi.PBD.create({"host": host, "SR": again, "device_config": EXPORT, "other_config": {}}))
    xenapi.SR.scan(again)
    assert len(xenapi.SR.get_VDIs(again)) == 1
    assert _probe(xenapi, "nfs", EXPORT).count(uuid) == 1


def test_a_new_one_on_a_device_wipes_it(xenapi):
    sr = _create(xenapi, "ext", DEVICE)
    uuid = xenapi.SR.get_uuid(sr)
    _forget(xenapi, sr)
    assert uuid in _probe(xenapi, "ext", DEVICE)
    new = _create(xenapi, "ext", DEVICE)
    probed = _probe(xenapi, "ext", DEVICE)
    assert (uuid in probed, xenapi.SR.get_uuid(new) in probed) == (False, True)


def test_what_was_destroyed_is_gone(xenapi):
    sr = _create(xenapi, "nfs", EXPORT, shared=True)
    for pbd in xenapi.SR.get_PBDs(sr):
        xenapi.PBD.unplug(pbd)
    xenapi.SR.destroy(sr)
    assert "<UUID>" not in _probe(xenapi, "nfs", EXPORT)


def test_iscsi_tells_targets_and_luns_by_failing(xenapi):
    host = xenapi.host.get_all()[0]
    assert fails(xenapi.SR.probe, host, {"target": "10.88.1.30"}, "lvmoiscsi", {})[0] == "SR_BACKEND_FAILURE_96"
    code, _status, _words, told = fails(xenapi.SR.probe, host, TARGET, "lvmoiscsi", {})
    assert (code, told.count("<SCSIid>")) == ("SR_BACKEND_FAILURE_107", 1)
    lun = told.partition("<SCSIid>")[2].partition("<")[0]
    sr = _create(xenapi, "lvmoiscsi", {**TARGET, "SCSIid": lun}, shared=True)
    assert xenapi.SR.get_uuid(sr) in _probe(xenapi, "lvmoiscsi", {**TARGET, "SCSIid": lun})


def test_kinds_that_cannot_be_probed(xenapi):
    host = xenapi.host.get_all()[0]
    assert fails(xenapi.SR.probe, host, {"location": "10.88.1.10:/export/iso"}, "iso", {})[0].startswith("SR_BACKEND")
    assert fails(xenapi.SR.probe, host, {}, "zfs", {}) == ["SR_UNKNOWN_DRIVER", "zfs"]
    assert sr_named(xenapi, "shared")
