# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what a task wants of volumes out of virt_volume's options, and finds every problem of every volume first."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InvalidInput, Problem
from ..model.instance import CDROM, DISK, Disk, IoLimits
from ..model.storage import FALLOC, FULL, METADATA, OFF, Encryption, Volume
from ..model.units import parse_size
from .entries import read_entries, read_metadata, told_once
from .validate import Reader
from .volume_desired import ABSENT, ATTACHED, DETACH_TIMEOUT_S, DETACHED, PRESENT, DesiredVolume
from .volume_source import read_source

STATES = (PRESENT, ABSENT, ATTACHED, DETACHED)
FORMATS = ("qcow2", "raw", "vhd")
BUSES = ("virtio", "scsi", "sata", "ide", "usb", "xen")
CACHES = ("none", "writeback", "writethrough", "directsync", "unsafe")
DISCARDS = ("unmap", "ignore")
BANDWIDTHS = ("total_bytes", "read_bytes", "write_bytes")
OPERATIONS = ("total_iops", "read_iops", "write_iops")

_TASK_WIDE = {"name", "volumes", "workers"}
_OF_ATTACHMENT = (
    "instance",
    "device",
    "kind",
    "bus",
    "cache",
    "discard",
    "serial",
    "boot_order",
    "limits",
    "read_only",
)
_DEVICE = re.compile(r"(?:/dev/)?([a-z]{2,8})")
_MOST_IOPS = 10**9


def read_volumes(params: Mapping[str, Any]) -> list[DesiredVolume]:
    """What the task wants, an entry for each volume.

    Raises:
        InvalidInput: with all that is wrong.
    """
    problems: list[Problem] = []
    Reader(params, "", problems).whole("workers", 1, 64)
    wanted = [_read_volume(reader) for reader in read_entries(params, "volumes", _TASK_WIDE, problems)]
    problems += find_duplicates(wanted)
    if problems:
        raise InvalidInput(told_once(problems, params, "volumes"))
    return wanted


def _read_volume(reader: Reader) -> DesiredVolume:
    name = reader.name("name")
    if name is None and not reader.given("name"):
        reader.complain("name", "is missing")
    source, fetch = read_source(reader)
    volume = Volume(
        name or "",
        reader.name("pool") or "",
        size_bytes=reader.size("size"),
        format=reader.choice("format", FORMATS),
        source=source,
        preallocation=reader.choice("preallocation", (OFF, METADATA, FALLOC, FULL)),
        shareable=reader.truth("shareable"),
        encryption=_read_encryption(reader),
    )
    wanted = DesiredVolume(reader.where, volume, reader.choice("state", STATES) or PRESENT, fetch=fetch)
    wanted.metadata = read_metadata(reader)
    wanted.snapshots = _read_snapshots(reader)
    wanted.revert_to = reader.name("revert_to")
    wanted.allow_shrink = reader.truth("allow_shrink") or False
    wanted.override_lock = reader.truth("override_lock") or False
    _read_attachment(reader, wanted)
    _read_removal(reader, wanted)
    if wanted.revert_to is not None:
        if wanted.state != PRESENT:
            reader.complain("revert_to", f"makes no sense with state {wanted.state}; revert with state present")
        for option in ("size", "snapshots"):
            if reader.given(option):
                reader.complain(option, "makes no sense beside revert_to; give it a task of its own, after that one")
    return wanted


def _read_encryption(reader: Reader) -> Encryption | None:
    given = reader.mapping("encryption")
    if given is None:
        return None
    inner = reader.inner("encryption", given)
    passphrase = given.get("passphrase")
    if passphrase is None or passphrase == "":
        inner.complain("passphrase", "is missing: what opens the volume")
    elif not isinstance(passphrase, str):
        inner.complain("passphrase", "has to be a text; put it in quotes")
        passphrase = None
    return Encryption(passphrase, inner.text("cipher"))


def _read_snapshots(reader: Reader) -> dict[str, bool] | None:
    entries = reader.entries("snapshots")
    if entries is None:
        return None
    snapshots: dict[str, bool] = {}
    for number, given in enumerate(entries):
        entry = given if isinstance(given, Mapping) else {"name": given}
        inner = reader.inner("snapshots", entry, number)
        inner.only_known(("name", "state"))
        name = inner.name("name")
        state = inner.choice("state", (PRESENT, ABSENT)) or PRESENT
        if name is None:
            if not inner.given("name"):
                inner.complain("name", "is missing")
        elif name in snapshots:
            inner.complain("name", f"{name!r} is there twice")
        else:
            snapshots[name] = state == PRESENT
    return snapshots


# -- attachment -----------------------------------------------------------------------------------------------------


def _read_attachment(reader: Reader, wanted: DesiredVolume) -> None:
    wanted.instance = reader.name("instance")
    disk = wanted.disk = Disk(
        device=_read_device(reader),
        kind=reader.choice("kind", (DISK, CDROM)) or DISK,
        bus=reader.choice("bus", BUSES),
        read_only=reader.truth("read_only"),
        cache=reader.choice("cache", CACHES),
        discard=reader.choice("discard", DISCARDS),
        serial=_read_serial(reader),
        boot_order=reader.whole("boot_order", 1, 1000),
        shareable=wanted.volume.shareable,
        limits=_read_limits(reader),
        passphrase=wanted.volume.encryption.passphrase if wanted.volume.encryption else None,
    )
    wanted.eject = reader.truth("eject") or False
    wanted.detach_timeout_s = reader.seconds("detach_timeout") or DETACH_TIMEOUT_S
    if wanted.state == ATTACHED and not reader.given("instance"):
        reader.complain("instance", "is missing: which instance the volume is to be attached to")
    if wanted.state == PRESENT:
        for option in _OF_ATTACHMENT:
            if reader.given(option):
                reader.complain(
                    option,
                    "is about attaching the volume, so it makes no sense with state present; ask for state: attached",
                )
    if disk.kind == CDROM and disk.read_only is False:
        reader.complain("read_only", "makes no sense for a cdrom, which no guest can write to")
    if wanted.eject and (wanted.state != DETACHED or disk.kind != CDROM):
        reader.complain("eject", "only makes sense with state detached and kind cdrom")


def _read_device(reader: Reader) -> str | None:
    text = reader.text("device")
    if text is None:
        return None
    match = _DEVICE.fullmatch(text)
    if match is None:
        reader.complain("device", f"has to be the name of a whole disk in the guest, such as vdb, not {text!r}")
        return None
    return match[1]


def _read_serial(reader: Reader) -> str | None:
    serial = reader.text("serial")
    if serial is not None and re.fullmatch(r"[A-Za-z0-9_.+-]{1,36}", serial) is None:
        reader.complain("serial", "has to be 1 to 36 letters, digits, or characters of _ . + -")
        return None
    return serial


def _read_limits(reader: Reader) -> IoLimits | None:
    given = reader.mapping("limits")
    if given is None:
        return None
    inner = reader.inner("limits", given)
    limits = IoLimits()
    for option in BANDWIDTHS:
        setattr(limits, option, _read_bandwidth(inner, option))
    for option in OPERATIONS:
        setattr(limits, option, inner.whole(option, 0, _MOST_IOPS))
    for total, *parts in (BANDWIDTHS, OPERATIONS):
        for part in parts:
            if getattr(limits, total) and getattr(limits, part):
                inner.complain(part, f"is given beside {total}, which stands for reading and writing together")
    return limits


def _read_bandwidth(reader: Reader, option: str) -> int | None:
    value = reader.data.get(option)
    if value is None or str(value).strip() == "0":
        return None if value is None else 0
    try:
        return parse_size(value)
    except ValueError as error:
        reader.complain(option, f"bytes each second: {error}")
        return None


# -- removal --------------------------------------------------------------------------------------------------------


def _read_removal(reader: Reader, wanted: DesiredVolume) -> None:
    wanted.detach_first = reader.truth("detach_first") or False
    wanted.delete_children = reader.truth("delete_children") or False
    for option in ("detach_first", "delete_children"):
        if getattr(wanted, option) and wanted.state != ABSENT:
            reader.complain(option, "only makes sense with state absent")


def find_duplicates(wanted: Sequence[DesiredVolume]) -> list[Problem]:
    """A volume can be there several times only to be attached to, or detached from, several instances."""
    problems = []
    seen: dict[tuple[str, str], list[DesiredVolume]] = {}
    for item in wanted:
        others = seen.setdefault((item.volume.pool, item.name), [])
        clashing = [other for other in others if item.name and not _go_together(item, other)]
        if clashing:
            first = clashing[0].where.rstrip(".")
            problems.append(Problem(f"{item.where}name", f"{item.name!r} is the volume of {first} too"))
        others.append(item)
    return problems


def _go_together(one: DesiredVolume, other: DesiredVolume) -> bool:
    about_instances = {one.state, other.state} <= {ATTACHED, DETACHED} and None not in (one.instance, other.instance)
    return about_instances and one.instance != other.instance
