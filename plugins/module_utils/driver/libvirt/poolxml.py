# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage pools as libvirt describes them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from ...errors import Problem
from ...model.storage import DIR, FS, ISCSI, LVM, NFS, Pool
from .xmltext import from_libvirt

MOUNTS = "/var/lib/libvirt"
"""Where file systems are mounted that name no folder of their own."""

_THEIR_KINDS = {LVM: "logical", NFS: "netfs"}
_OUR_KINDS = {theirs: ours for ours, theirs in _THEIR_KINDS.items()}


class _Kind(NamedTuple):
    """The options of a kind of pool: without which it cannot be made, and which others it has."""

    needs: tuple[str, ...]
    takes: tuple[str, ...] = ()


_KINDS: Mapping[str, _Kind] = {
    DIR: _Kind(("path",)),
    FS: _Kind(("devices",), ("path", "fs_type")),
    NFS: _Kind(("server", "export"), ("path",)),
    LVM: _Kind((), ("devices", "volume_group", "path")),
    ISCSI: _Kind(("server", "target"), ("port", "path")),
}
_OPTIONS = ("path", "devices", "fs_type", "server", "export", "target", "port", "volume_group", "shared")


def pool_problems(pool: Pool) -> Iterator[Problem]:
    """What is wrong with a wanted pool."""
    if pool.kind is None:
        return
    kind = _KINDS.get(pool.kind)
    if kind is None:
        yield Problem("kind", f"{pool.kind!r} is not one of {', '.join(_KINDS)}, which libvirt has")
        return
    for option in kind.needs:
        if not getattr(pool, option):
            yield Problem(option, f"is needed for a pool of kind {pool.kind}")
    for option in _OPTIONS:
        if getattr(pool, option) not in (None, []) and option not in (*kind.needs, *kind.takes):
            yield Problem(option, f"pools of kind {pool.kind} have none on libvirt")
    if pool.kind == FS and len(pool.devices or ()) > 1:
        yield Problem("devices", "a file system is on one device")
    for option in ("path", "export"):
        value = getattr(pool, option)
        if value is not None and not value.startswith("/"):
            yield Problem(option, f"has to be an absolute path, not {value!r}")
    for number, device in enumerate(pool.devices or ()):
        if not device.startswith("/dev/"):
            yield Problem(f"devices[{number}]", f"has to be a path below /dev, not {device!r}")


def pool_xml(pool: Pool, name: str) -> str:
    """libvirt's description of a wanted pool that has no problems, under this name."""
    root = Element("pool", type=_THEIR_KINDS.get(pool.kind or "", pool.kind or ""))
    SubElement(root, "name").text = name
    if pool.kind != DIR:
        source = SubElement(root, "source")
        if pool.server is not None:
            SubElement(source, "host", {"name": pool.server, **({} if pool.port is None else {"port": str(pool.port)})})
        for device in pool.devices or ():
            SubElement(source, "device", path=device)
        if pool.kind == ISCSI:
            SubElement(source, "device", path=pool.target or "")
        if pool.export is not None:
            SubElement(source, "dir", path=pool.export)
        if pool.kind == LVM:
            SubElement(source, "name").text = group_of(pool)
        source_format = {FS: pool.fs_type or "auto", NFS: "nfs", LVM: "lvm2"}.get(pool.kind or "")
        if source_format is not None:
            SubElement(source, "format", type=source_format)
    SubElement(SubElement(root, "target"), "path").text = path_of(pool)
    return ElementTree.tostring(root, encoding="unicode")


def group_of(pool: Pool) -> str:
    """The volume group of an LVM pool."""
    return pool.volume_group or pool.name


def path_of(pool: Pool) -> str:
    """Where the volumes of a wanted pool will be."""
    if pool.path is not None:
        return pool.path
    if pool.kind == LVM:
        return f"/dev/{group_of(pool)}"
    return "/dev/disk/by-path" if pool.kind == ISCSI else posixpath.join(MOUNTS, pool.name)


def read_pool(text: str, active: bool, autostart: bool) -> Pool:
    """The pool that a <pool> describes; sizes are only those of an active one."""
    root = from_libvirt(text)
    theirs = root.get("type", "")
    kind = _OUR_KINDS.get(theirs, theirs)
    devices = [device.get("path", "") for device in root.iterfind("source/device")]
    host = root.find("source/host")
    port = None if host is None else host.get("port")
    sizes = [int(root.findtext(tag, "0")) if active else None for tag in ("capacity", "allocation", "available")]
    return Pool(
        name=root.findtext("name", ""),
        kind=kind,
        path=root.findtext("target/path"),
        devices=devices if kind in (FS, LVM) else None,
        fs_type=_attribute(root, "source/format", "type") if kind == FS else None,
        server=None if host is None else host.get("name"),
        export=_attribute(root, "source/dir", "path"),
        target=devices[0] if kind == ISCSI and devices else None,
        port=int(port) if port else None,
        volume_group=root.findtext("source/name") if kind == LVM else None,
        autostart=autostart,
        active=active,
        capacity_bytes=sizes[0],
        used_bytes=sizes[1],
        available_bytes=sizes[2],
    )


def _attribute(root: Element, path: str, name: str) -> str | None:
    found = root.find(path)
    return None if found is None else found.get(name)
