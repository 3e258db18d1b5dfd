# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kinds of storage pools as XenServer has them: types of storage repositories, and what each is told of its devices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ...errors import Problem
from ...model.storage import EXT, ISCSI, ISO, LVM, NFS, Pool
from .records import Object
from .syntax import name_problems

NO_AUTOSTART = "hosts connect with all their storage when they start; stop or remove the pool instead"

_ISCSI_PORT = 3260

DeviceConfig = dict[str, str]


class Kind(NamedTuple):
    """A kind of pool.

    Attributes:
        sr_type: XenServer's name of it.
        needs, takes: Options that it must have, and may have besides.
        is_local: It is of one host; others are of all hosts unless told otherwise.
        content: What the repository says that it holds.
        can_be_probed: The server can look what is there already.
    """

    sr_type: str
    needs: tuple[str, ...]
    takes: tuple[str, ...] = ()
    is_local: bool = False
    content: str = "user"
    can_be_probed: bool = True


KINDS: Mapping[str, Kind] = {
    EXT: Kind("ext", ("devices",), is_local=True),
    LVM: Kind("lvm", ("devices",), is_local=True),
    NFS: Kind("nfs", ("server", "export")),
    ISCSI: Kind("lvmoiscsi", ("server", "target"), ("port", "devices")),
    ISO: Kind("iso", (), ("server", "export", "path"), content="iso", can_be_probed=False),
}
"""Those that can be made; of other types pools are read."""

_BY_TYPE = {kind.sr_type: name for name, kind in KINDS.items()}
_OPTIONS = ("path", "devices", "fs_type", "server", "export", "target", "port", "volume_group")
_INSTEAD = {
    "dir": "make one of kind ext on a device of the host, or nfs",
    "fs": "make one of kind ext, which makes a file system of its own",
}


def pool_problems(pool: Pool) -> list[Problem]:
    """What is wrong with a wanted pool."""
    kind = KINDS.get(pool.kind or "")
    problems = list(name_problems("name", pool.name))
    if kind is None:
        instead = _INSTEAD.get(pool.kind or "", f"choose from {', '.join(sorted(KINDS))}")
        return [*problems, Problem("kind", f"XenServer has no pools of kind {pool.kind!r}: {instead}")]
    problems += [
        Problem(option, f"a pool of kind {pool.kind} needs it") for option in kind.needs if _lacks(pool, option)
    ]
    for option in _OPTIONS:
        if option not in kind.needs + kind.takes and not _lacks(pool, option):
            problems.append(Problem(option, f"a pool of kind {pool.kind} has no such thing here"))
    problems += _place_problems(pool)
    if pool.autostart is False:
        problems.append(Problem("autostart", NO_AUTOSTART))
    if pool.shared and (kind.is_local or (pool.kind == ISO and pool.path)):
        problems.append(Problem("shared", f"a pool of kind {pool.kind} is of one host"))
    return problems


def _place_problems(pool: Pool) -> Iterator[Problem]:
    devices = pool.devices or []
    if pool.kind == EXT and len(devices) > 1:
        yield Problem("devices", "a pool of kind ext is made of one device")
    if pool.kind == ISCSI and len(devices) > 1:
        yield Problem("devices", "give the SCSI id of one LUN, or none when the target has only one")
    if pool.kind in (EXT, LVM):
        for device in devices:
            if not device.startswith("/") or "," in device:
                yield Problem("devices", f"{device!r} is no absolute path of a device of the host")
    if pool.kind == ISO:
        is_remote = not (_lacks(pool, "server") and _lacks(pool, "export"))
        if is_remote == bool(pool.path):
            yield Problem("path", "give either the path on the host, or server and export")
        elif is_remote and (_lacks(pool, "server") or _lacks(pool, "export")):
            yield Problem("export" if pool.server else "server", "server and export belong together")
    for option in ("export", "path"):
        value = getattr(pool, option)
        if value and not value.startswith("/"):
            yield Problem(option, f"{value!r} is no absolute path")


def device_config(pool: Pool) -> DeviceConfig:
    """What hosts are told of a pool's devices; of iSCSI without the LUN unless the pool names it."""
    if pool.kind in (EXT, LVM):
        return {"device": ",".join(pool.devices or [])}
    if pool.kind == NFS:
        return {"server": str(pool.server), "serverpath": str(pool.export)}
    if pool.kind == ISO:
        if pool.path:
            return {"location": pool.path, "legacy_mode": "true"}
        return {"location": f"{pool.server}:{pool.export}"}
    config = {"target": str(pool.server), "targetIQN": str(pool.target), "port": str(pool.port or _ISCSI_PORT)}
    return {**config, "SCSIid": pool.devices[0]} if pool.devices else config


def read_place(pool: Pool, sr_type: str, config: Mapping[str, str]) -> None:
    """Fill in a pool's kind, and where it is, from what hosts are told of its devices."""
    pool.kind = _BY_TYPE.get(sr_type, sr_type)
    if pool.kind in (EXT, LVM):
        pool.devices = [device for device in config.get("device", "").split(",") if device] or None
    elif pool.kind == NFS:
        pool.server, pool.export = config.get("server"), config.get("serverpath")
    elif pool.kind == ISCSI:
        pool.server, pool.target = config.get("target"), config.get("targetIQN")
        port = config.get("port", "")
        pool.port = int(port) if port.isdecimal() and int(port) != _ISCSI_PORT else None
        pool.devices = [config["SCSIid"]] if config.get("SCSIid") else None
    elif pool.kind == ISO:
        server, colon, export = config.get("location", "").partition(":")
        if colon:
            pool.server, pool.export = server, export
        else:
            pool.path = server or None


def is_same_place(sr_type: str, config: Mapping[str, str], other: Object, other_config: Mapping[str, str]) -> bool:
    """Whether two repositories would be on the same devices, or in the same folder of the same server."""
    devices = {device for device in config.get("device", "").split(",") if device}
    if devices:
        return bool(devices & set(other_config.get("device", "").split(",")))
    if other["type"] != sr_type:
        return False
    return all(other_config.get(key) == value for key, value in config.items() if key != "port")


def _lacks(pool: Pool, option: str) -> bool:
    return getattr(pool, option) in (None, "", [])
