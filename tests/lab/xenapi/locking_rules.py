# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When network interfaces may be locked, and to which addresses."""

from __future__ import annotations

import ipaddress

from lab.xenapi.database import Database, Ref
from lab.xenapi.failures import Failure

LOCKED, DISABLED, NETWORK_DEFAULT = "locked", "disabled", "network_default"

_RESTRICTION = "restrict_vif_locking"


def check_licensed(db: Database) -> None:
    """Raise LICENCE_RESTRICTION where the pool's license does not let interfaces be locked."""
    [pool] = db.refs("pool")
    if db.get("pool", pool, "restrictions").get(_RESTRICTION) != "false":
        raise Failure("LICENCE_RESTRICTION", "VIF_locking")


def check_no_controller(db: Database) -> None:
    """Raise OPERATION_NOT_ALLOWED where a controller of the virtual switches says what passes."""
    [pool] = db.refs("pool")
    software = db.get("host", db.get("pool", pool, "master"), "software_version")
    if db.refs("SDN_controller") and software["network_backend"] == "openvswitch":
        raise Failure("OPERATION_NOT_ALLOWED", "A vswitch controller is active")


def effective_mode(db: Database, vif: Ref, mode: str) -> str:
    """What a locking mode of an interface comes to on its network."""
    if mode != NETWORK_DEFAULT:
        return mode
    return str(db.get("network", db.get("VIF", vif, "network"), "default_locking_mode"))


def check_address(address: str, version: int, parameter: str) -> None:
    """Raise INVALID_IP_ADDRESS_SPECIFIED, naming the parameter, for what is no single address of this version."""
    try:
        fits = ipaddress.ip_address(address).version == version
    except ValueError:
        fits = False
    if not fits:
        raise Failure("INVALID_IP_ADDRESS_SPECIFIED", parameter)


def check_cidr(address: str, version: int, parameter: str) -> None:
    """Raise INVALID_CIDR_ADDRESS_SPECIFIED for what is no address with the length of its prefix."""
    try:
        fits = "/" in address and ipaddress.ip_interface(address).version == version
    except ValueError:
        fits = False
    if not fits:
        raise Failure("INVALID_CIDR_ADDRESS_SPECIFIED", parameter)


def check_unlocked_address(db: Database, vif: Ref, address: str, version: int) -> None:
    """Raise ADDRESS_VIOLATES_LOCKING_CONSTRAINT for an address, with prefix, that a locked interface may not have."""
    is_locked = effective_mode(db, vif, db.get("VIF", vif, "locking_mode")) == LOCKED
    if is_locked and address.partition("/")[0] not in db.get("VIF", vif, f"ipv{version}_allowed"):
        raise Failure("ADDRESS_VIOLATES_LOCKING_CONSTRAINT", address)
