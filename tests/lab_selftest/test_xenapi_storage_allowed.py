# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`allowed_operations` of disks, interfaces and SRs are never out of date, whatever happened."""

from __future__ import annotations

import pytest

from lab.xenapi import device_rules, vdi_rules
from lab.xenapi.behaviour import sr as sr_messages
from lab.xenapi_objects import (
    drive_record,
    hvm,
    make_disk,
    make_vdi,
    make_vm,
    network_named,
    sr_named,
    start,
    vif_record,
    wait_for_tools,
)

_REFRESH = {
    "VBD": device_rules.refresh_vbd,
    "VIF": device_rules.refresh_vif,
    "VDI": vdi_rules.refresh,
    "SR": sr_messages.refresh,
}


@pytest.fixture
def current(xenapi_server):
    """Tells what is out of date: the objects whose operations change when they are worked out anew."""

    def check(step):
        db = xenapi_server.db
        with db.lock:
            for cls, refresh in _REFRESH.items():
                for ref in db.refs(cls):
                    listed = db.get(cls, ref, "allowed_operations")
                    refresh(db, ref)
                    assert db.get(cls, ref, "allowed_operations") == listed, f"{cls} after {step}"

    return check


@pytest.mark.parametrize("fields", [{}, hvm()], ids=["pv", "hvm"])
def test_through_the_life_of_a_vm(xenapi, current, fields):
    shared, lab = sr_named(xenapi, "shared"), network_named(xenapi, "lab")
    vm = make_vm(xenapi, **fields)
    vbds = [make_disk(xenapi, vm, make_vdi(xenapi, shared)) for _number in range(2)]
    drive = xenapi.VBD.create(drive_record(vm, userdevice="3"))
    xenapi.VIF.create(vif_record(vm, lab))
    iso = xenapi.VDI.get_by_name_label("tools.iso")[0]
    current("create")
    steps = {
        "start": lambda: start(xenapi, vm),
        "insert": lambda: xenapi.VBD.insert(drive, iso),
        "plug": lambda: xenapi.VBD.plug(make_disk(xenapi, vm, make_vdi(xenapi, shared))),
        "unplug": lambda: xenapi.VBD.unplug(vbds[1]),
        "snapshot": lambda: xenapi.VM.snapshot(vm, "snapshot", []),
        "pause": lambda: xenapi.VM.pause(vm),
        "unpause": lambda: xenapi.VM.unpause(vm),
        "suspend": lambda: xenapi.VM.suspend(vm),
        "resume": lambda: xenapi.VM.resume(vm, False, False),
        "reboot": lambda: xenapi.VM.hard_reboot(vm),
        "wait": lambda: wait_for_tools(xenapi, vm),
        "checkpoint": lambda: xenapi.VM.checkpoint(vm, "checkpoint"),
        "eject": lambda: xenapi.VBD.eject(drive),
        "clean shutdown": lambda: xenapi.VM.clean_shutdown(vm),
        "clone": lambda: xenapi.VM.clone(vm, "clone"),
        "revert": lambda: xenapi.VM.revert(xenapi.VM.get_by_name_label("snapshot")[0]),
        "detach": lambda: [xenapi.PBD.unplug(pbd) for pbd in xenapi.SR.get_PBDs(shared)],
        "attach": lambda: [xenapi.PBD.plug(pbd) for pbd in xenapi.SR.get_PBDs(shared)],
        "destroy": lambda: xenapi.VM.destroy(vm),
    }
    for step, act in steps.items():
        act()
        current(step)
