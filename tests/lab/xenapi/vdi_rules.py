# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which operations a VDI allows at the moment, and why not the others."""

from __future__ import annotations

from lab.xenapi.database import Database, Ref
from lab.xenapi.failures import Failure
from lab.xenapi.srs import driver_of, is_attached

OPERATIONS = ("clone", "copy", "destroy", "forget", "resize", "snapshot", "update", "set_on_boot")

_WHILE_ATTACHED = ("clone", "snapshot", "update")
_DRIVER_OPERATION = {
    "clone": "clone",
    "destroy": "delete",
    "resize": "resize",
    "set_on_boot": "reset_on_boot",
    "snapshot": "snapshot",
    "update": "update",
}


def check(db: Database, vdi: Ref, operation: str) -> None:
    failure = _refusal(db, vdi, operation)
    if failure is not None:
        raise failure


def attached_vbds(db: Database, vdi: Ref) -> list[Ref]:
    return [vbd for vbd in db.get("VDI", vdi, "VBDs") if db.get("VBD", vbd, "currently_attached")]


def refresh(db: Database, vdi: Ref) -> None:
    """Bring `allowed_operations` up to date."""
    if not db.exists("VDI", vdi):
        return
    allowed = [operation for operation in OPERATIONS if _refusal(db, vdi, operation) is None]
    if db.get("VDI", vdi, "allowed_operations") != allowed:
        db.set("VDI", vdi, allowed_operations=allowed)


def _is_used(db: Database, vdi: Ref, operation: str) -> bool:
    """Whether the VDI is attached in a way that the operation cannot bear: a copy can be made of what is only read."""
    attached = attached_vbds(db, vdi)
    return any(operation != "copy" or db.get("VBD", vbd, "mode") == "RW" for vbd in attached)


def _refusal(db: Database, vdi: Ref, operation: str) -> Failure | None:
    sr = db.get("VDI", vdi, "SR")
    busy = db.get("VDI", vdi, "current_operations")
    if busy:
        task, running = next(iter(busy.items()))
        return Failure("OTHER_OPERATION_IN_PROGRESS", "VDI", vdi, running, task)
    if not is_attached(db, sr) and operation != "forget":
        return Failure("SR_HAS_NO_PBDS", sr)
    if not db.get("VDI", vdi, "managed"):
        return Failure("VDI_NOT_MANAGED", vdi)
    if operation not in _WHILE_ATTACHED and _is_used(db, vdi, operation):
        return Failure("VDI_IN_USE", vdi, operation)
    driver = driver_of(db, sr)
    if operation == "destroy" and driver.type == "udev":
        return Failure("VDI_IS_A_PHYSICAL_DEVICE", vdi)
    needed = _DRIVER_OPERATION.get(operation)
    if needed is not None and not driver.supports(needed):
        return Failure("SR_OPERATION_NOT_SUPPORTED", sr)
    if operation == "snapshot" and db.get("VDI", vdi, "sharable"):
        return Failure("VDI_IS_SHARABLE", vdi)
    if operation == "snapshot" and db.get("VDI", vdi, "on_boot") == "reset":
        return Failure("VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION")
    return None
