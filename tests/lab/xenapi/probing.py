# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies on devices and servers outside of the pool: SRs in use, and those that were forgotten."""

from __future__ import annotations

import hashlib
import weakref
from typing import Any, NamedTuple

from lab.xenapi.database import Database, Ref
from lab.xenapi.failures import Failure

DeviceConfig = dict[str, str]

_SEVERAL_LUNS = ":two"
"""Ends the name of an iSCSI target that has two LUNs."""


class _Lying(NamedTuple):
    """An SR somewhere. ``host`` is None for one that all hosts see."""

    uuid: str
    type: str
    host: Ref | None
    device_config: DeviceConfig


_FORGOTTEN: weakref.WeakKeyDictionary[Any, list[_Lying]] = weakref.WeakKeyDictionary()


def remember(db: Database, sr: Ref) -> None:
    """The SR is about to be forgotten; what is on its devices stays."""
    _forgotten(db).extend(_in_use(db, sr))


def wipe(db: Database, kind: str, host: Ref, device_config: DeviceConfig) -> None:
    """A new SR is made there: on a device it takes the place of what was there, on a server it is one more."""
    if device_config.get("device"):
        kept = [one for one in _forgotten(db) if not _is_there(one, one.type, host, device_config)]
        _FORGOTTEN[db] = kept


def probe(db: Database, kind: str, host: Ref, device_config: DeviceConfig) -> str:
    """What a storage driver says of the SRs of its kind that are there, as XML."""
    if kind == "lvmoiscsi":
        _require_lun(device_config)
    if kind not in ("ext", "lvm", "nfs", "lvmoiscsi"):
        raise Failure("SR_BACKEND_FAILURE_102", "", "The SR driver does not support probing", "")
    lying = [one for sr in db.refs("SR") for one in _in_use(db, sr)] + _forgotten(db)
    uuids = dict.fromkeys(one.uuid for one in lying if _is_there(one, kind, host, device_config))
    found = "".join(f"<SR><UUID>{uuid}</UUID></SR>" for uuid in uuids)
    return f'<?xml version="1.0" ?><SRlist>{found}</SRlist>'


def _in_use(db: Database, sr: Ref) -> list[_Lying]:
    uuid, kind, shared = (db.get("SR", sr, field) for field in ("uuid", "type", "shared"))
    return [
        _Lying(uuid, kind, None if shared else db.get("PBD", pbd, "host"), db.get("PBD", pbd, "device_config"))
        for pbd in db.get("SR", sr, "PBDs")
    ]


def _is_there(one: _Lying, kind: str, host: Ref, device_config: DeviceConfig) -> bool:
    if one.type != kind or one.host not in (None, host):
        return False
    devices = set(device_config.get("device", "").split(",")) - {""}
    if devices:
        return bool(devices & set(one.device_config.get("device", "").split(",")))
    return all(one.device_config.get(key) == value for key, value in device_config.items() if key != "port")


def _require_lun(device_config: DeviceConfig) -> None:
    target, iqn = device_config.get("target", ""), device_config.get("targetIQN", "")
    if not iqn:
        found = f"<iscsi-target-iqns><TGT><Index>0</Index><IPAddress>{target}</IPAddress></TGT></iscsi-target-iqns>"
        raise Failure(
            "SR_BACKEND_FAILURE_96", "", "The request is missing or has an incorrect target IQN parameter", found
        )
    if device_config.get("SCSIid") not in luns(target, iqn):
        found = "".join(
            f"<LUN><LUNid>{number}</LUNid><size>10737418240</size><SCSIid>{scsi_id}</SCSIid></LUN>"
            for number, scsi_id in enumerate(luns(target, iqn))
        )
        words = "The SCSIid parameter is missing or incorrect"
        raise Failure("SR_BACKEND_FAILURE_107", "", words, f"<iscsi-target>{found}</iscsi-target>")


def luns(target: str, iqn: str) -> list[str]:
    """The SCSI ids of a target's LUNs."""
    count = 2 if iqn.endswith(_SEVERAL_LUNS) else 1
    return [f"3600{hashlib.sha256(f'{target} {iqn} {number}'.encode()).hexdigest()[:28]}" for number in range(count)]


def _forgotten(db: Database) -> list[_Lying]:
    return _FORGOTTEN.setdefault(db, [])
