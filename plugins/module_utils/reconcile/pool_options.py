# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what a task wants of storage pools out of virt_pool's options, and finds every problem of every pool first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidInput, Problem
from ..model.storage import DIR, EXT, FS, ISCSI, ISO, LVM, NFS, Pool
from .entries import read_entries, told_once
from .validate import Reader

PRESENT = "present"
RUNNING = "running"
STOPPED = "stopped"
ABSENT = "absent"

STATES = (PRESENT, RUNNING, STOPPED, ABSENT)
KINDS = (DIR, FS, LVM, NFS, ISCSI, EXT, ISO)

_TASK_WIDE = {"name", "pools", "workers"}


@dataclass
class DesiredPool:
    """What a task wants of one pool.

    Attributes:
        where: What stands in front of its options' names in messages.
        pool: What the task mentions.
        refresh: Look again at what is in it.
        overwrite: Devices that hold something else already may be overwritten.
        delete_data: What it is made of goes with it.
    """

    where: str
    pool: Pool
    state: str = PRESENT
    refresh: bool = False
    overwrite: bool = False
    delete_data: bool = False

    @property
    def name(self) -> str:
        """The pool's name."""
        return self.pool.name


def read_pools(params: Mapping[str, Any]) -> list[DesiredPool]:
    """What the task wants, an entry for each pool.

    Raises:
        InvalidInput: with all that is wrong.
    """
    problems: list[Problem] = []
    Reader(params, "", problems).whole("workers", 1, 64)
    wanted = [_read_pool(reader) for reader in read_entries(params, "pools", _TASK_WIDE, problems)]
    names: dict[str, str] = {}
    for item in wanted:
        if item.name in names:
            problems.append(Problem(f"{item.where}name", f"{item.name!r} is the name of {names[item.name]} too"))
        elif item.name:
            names[item.name] = item.where.rstrip(".") or "name"
    if problems:
        raise InvalidInput(told_once(problems, params, "pools"))
    return wanted


def _read_pool(reader: Reader) -> DesiredPool:
    name = reader.name("name")
    if name is None and not reader.given("name"):
        reader.complain("name", "is missing")
    pool = Pool(
        name or "",
        kind=reader.choice("kind", KINDS),
        path=reader.path("path"),
        devices=_read_devices(reader),
        fs_type=reader.text("fs_type"),
        server=_word(reader, "server"),
        export=reader.path("export"),
        target=_word(reader, "target"),
        port=reader.whole("port", 1, 65535),
        volume_group=reader.name("volume_group"),
        shared=reader.truth("shared"),
        autostart=reader.truth("autostart"),
    )
    wanted = DesiredPool(reader.where, pool, reader.choice("state", STATES) or PRESENT)
    wanted.refresh = reader.truth("refresh") or False
    wanted.overwrite = reader.truth("overwrite") or False
    wanted.delete_data = reader.truth("delete_data") or False
    if wanted.refresh and wanted.state in (STOPPED, ABSENT):
        reader.complain("refresh", f"makes no sense with state {wanted.state}: only what is active can be looked into")
    if wanted.delete_data and wanted.state != ABSENT:
        reader.complain("delete_data", "makes no sense without state absent")
    if wanted.overwrite and wanted.state == ABSENT:
        reader.complain("overwrite", "makes no sense with state absent")
    return wanted


def _read_devices(reader: Reader) -> list[str] | None:
    entries = reader.entries("devices")
    if entries is None:
        return None
    if not entries:
        reader.complain("devices", "must not be empty")
    devices: list[str] = []
    for number, entry in enumerate(entries):
        option = f"devices[{number}]"
        device = Reader({option: entry}, reader.where, reader.problems).path(option)
        if device in devices:
            reader.complain(option, f"{device!r} is there twice")
        elif device is not None:
            devices.append(device)
    return devices


def _word(reader: Reader, option: str) -> str | None:
    """A host or a name of the network: one word."""
    value = reader.text(option)
    if value is not None and (not value or any(character.isspace() for character in value)):
        reader.complain(option, "must not be empty nor have spaces in it")
        return None
    return value
