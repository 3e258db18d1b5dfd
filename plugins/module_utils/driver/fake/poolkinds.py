# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kinds of storage pools: which options each has, and what can be in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ...errors import Problem
from ...model.storage import DIR, EXT, FS, ISCSI, ISO, LVM, NFS, Pool
from ...model.units import MIB

QCOW2 = "qcow2"
RAW = "raw"
VHD = "vhd"
ISO_FORMAT = "iso"

CHILD_FORMATS = (QCOW2, VHD)
"""Those of volumes that can keep only the differences to another one, and have snapshots."""


class Kind(NamedTuple):
    """What is special about a kind of pool.

    Attributes:
        needs: Options without which it cannot be made; of each tuple one.
        takes: Options that it has beside these.
        formats: Of the volumes that can be in it; the first is what a new one gets.
        makes_volumes: Volumes can be made in it; otherwise they come from elsewhere.
        grain_bytes: The sizes of volumes are multiples of it.
        is_thick: Volumes take all their room at once.
    """

    needs: tuple[tuple[str, ...], ...]
    takes: tuple[str, ...]
    formats: tuple[str, ...]
    makes_volumes: bool = True
    grain_bytes: int = 1
    is_thick: bool = False


_IN_FILES = (QCOW2, RAW, VHD, ISO_FORMAT)

KINDS: Mapping[str, Kind] = {
    DIR: Kind((("path",),), (), _IN_FILES),
    FS: Kind((("path",), ("devices",)), ("fs_type",), _IN_FILES),
    LVM: Kind((("devices", "volume_group"),), ("path",), (RAW,), grain_bytes=4 * MIB, is_thick=True),
    NFS: Kind((("path",), ("server",), ("export",)), ("shared",), _IN_FILES),
    ISCSI: Kind((("server",), ("target",)), ("path", "port", "shared"), (RAW,), makes_volumes=False),
    EXT: Kind((("devices",),), ("path",), (VHD, RAW, QCOW2), grain_bytes=2 * MIB),
    ISO: Kind((("path", "server"),), ("export", "shared"), (ISO_FORMAT, RAW)),
}

_OPTIONS = ("path", "devices", "fs_type", "server", "export", "target", "port", "volume_group", "shared")


def pool_problems(pool: Pool) -> Iterator[Problem]:
    """What is wrong with a pool that is to be made."""
    if pool.kind is None:
        return
    kind = KINDS.get(pool.kind)
    if kind is None:
        yield Problem("kind", f"the fake driver has no pools of the kind {pool.kind!r}, only {', '.join(KINDS)}")
        return
    for options in kind.needs:
        if not any(getattr(pool, option) for option in options):
            yield Problem(options[0], f"is needed for a pool of the kind {pool.kind}" + _or(options[1:]))
    known = {option for options in kind.needs for option in options} | set(kind.takes)
    for option in _OPTIONS:
        if option not in known and getattr(pool, option) not in (None, False):
            yield Problem(option, f"a pool of the kind {pool.kind} has no such option")
    if pool.path is not None and not pool.path.startswith("/"):
        yield Problem("path", f"has to be absolute, not {pool.path!r}")


def _or(others: tuple[str, ...]) -> str:
    return f", or {' or '.join(others)} instead of it" if others else ""
