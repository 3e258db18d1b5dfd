# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an SR can do, and whether it can be used at the moment."""

from __future__ import annotations

from lab.xenapi.database import Database, Ref
from lab.xenapi.failures import Failure
from lab.xenapi.sr_drivers import DRIVERS, SrDriver


def driver_of(db: Database, sr: Ref) -> SrDriver:
    return DRIVERS[db.get("SR", sr, "type")]


def is_attached(db: Database, sr: Ref) -> bool:
    """Whether any host has the SR plugged."""
    return any(db.get("PBD", pbd, "currently_attached") for pbd in db.get("SR", sr, "PBDs"))


def is_visible(db: Database, sr: Ref, host: Ref) -> bool:
    """Whether this host has the SR plugged."""
    return any(
        db.get("PBD", pbd, "currently_attached") and db.get("PBD", pbd, "host") == host
        for pbd in db.get("SR", sr, "PBDs")
    )


def check_attached(db: Database, sr: Ref) -> None:
    if not is_attached(db, sr):
        raise Failure("SR_HAS_NO_PBDS", sr)


def check_supports(db: Database, sr: Ref, operation: str) -> None:
    if not driver_of(db, sr).supports(operation):
        raise Failure("SR_OPERATION_NOT_SUPPORTED", sr)


def check_space(db: Database, sr: Ref, size: int) -> None:
    """Raise SR_FULL unless a volume can grow by `size`; a thin SR takes any as long as there is something left."""
    free = _free(db, sr)
    fits = free > 0 if driver_of(db, sr).thin else size <= free
    if not fits:
        raise Failure("SR_FULL", str(size), str(free))


def check_room(db: Database, sr: Ref, written: int) -> None:
    """Raise SR_FULL unless so many bytes can be written that took no space before; a thick SR has it already."""
    free = _free(db, sr)
    if written > free and driver_of(db, sr).thin:
        raise Failure("SR_FULL", str(written), str(free))


def _free(db: Database, sr: Ref) -> int:
    return max(int(db.get("SR", sr, "physical_size") - db.get("SR", sr, "physical_utilisation")), 0)
