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


def check_space(db: Database, sr: Ref, needed: int) -> None:
    """Raise SR_FULL unless `needed` more bytes fit; a thin SR is full only when there is nothing left at all."""
    free = db.get("SR", sr, "physical_size") - db.get("SR", sr, "physical_utilisation")
    if needed > free or (free <= 0 and driver_of(db, sr).thin):
        raise Failure("SR_FULL", str(needed), str(max(free, 0)))
