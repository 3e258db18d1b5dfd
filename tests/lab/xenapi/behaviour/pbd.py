# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PBD messages: how a host reaches an SR."""

from __future__ import annotations

from typing import Any

from lab.xenapi.behaviour import sr as sr_messages
from lab.xenapi.database import Database, Ref
from lab.xenapi.failures import Failure
from lab.xenapi.registry import Call, message
from lab.xenapi.vdi_rules import attached_vbds


@message("PBD.create")
def create(call: Call, args: dict[str, Any]) -> Ref:
    db, sr, host = call.db, args["SR"], args["host"]
    with db.lock:
        db.get("host", host, "uuid")
        pbds = db.get("SR", sr, "PBDs")
        if pbds and not db.get("SR", sr, "shared") and host not in [db.get("PBD", pbd, "host") for pbd in pbds]:
            raise Failure("SR_NOT_SHARABLE", sr, host)
        for pbd in pbds:
            if db.get("PBD", pbd, "host") == host:
                raise Failure("PBD_EXISTS", sr, host, pbd)
        return db.create("PBD", **args, currently_attached=False)


@message("PBD.destroy")
def destroy(call: Call, pbd: Ref) -> None:
    with call.db.lock:
        if call.db.get("PBD", pbd, "currently_attached"):
            raise Failure("OPERATION_NOT_ALLOWED", "PBD currently attached")
        call.db.destroy("PBD", pbd)


@message("PBD.plug")
def plug(call: Call, pbd: Ref) -> None:
    """Idempotent, as in a real pool."""
    with call.db.lock:
        call.db.set("PBD", pbd, currently_attached=True)
        sr_messages.refresh(call.db, call.db.get("PBD", pbd, "SR"))


@message("PBD.unplug")
def unplug(call: Call, pbd: Ref) -> None:
    db = call.db
    with db.lock:
        sr, host = db.get("PBD", pbd, "SR"), db.get("PBD", pbd, "host")
        for vdi in db.get("SR", sr, "VDIs"):
            if _used_on(db, vdi, host):
                raise Failure("VDI_IN_USE", vdi, "detach")
        db.set("PBD", pbd, currently_attached=False)
        sr_messages.refresh(db, sr)


def _used_on(db: Database, vdi: Ref, host: Ref) -> bool:
    vms = [db.get("VBD", vbd, "VM") for vbd in attached_vbds(db, vdi)]
    return any(db.get("VM", vm, "resident_on") == host for vm in vms)


@message("PBD.set_device_config")
def set_device_config(call: Call, pbd: Ref, value: dict[str, str]) -> None:
    with call.db.lock:
        if call.db.get("PBD", pbd, "currently_attached"):
            raise Failure("OPERATION_NOT_ALLOWED", "PBD currently attached")
        call.db.set("PBD", pbd, device_config=value)
