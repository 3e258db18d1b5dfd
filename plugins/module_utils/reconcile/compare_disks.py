# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which disks an instance has, and which ones a task wants."""

from __future__ import annotations

import posixpath
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..model.instance import DISK, SEED, Disk, Instance
from ..model.units import format_size
from .desired import Desired

if TYPE_CHECKING:
    from .compare import Comparison

_FIXED = ("bus", "format", "read_only", "device")


def compare_disks(current: Instance, wanted: Desired, found: Comparison) -> None:
    """The root disk can grow, and disks can be added; anything else that differs is refused. A disk that exists is
    known by its volume, file or device; one declared by its size alone is the next one that has no such name."""
    disks = list(current.disks or [])
    root = root_index(disks)
    whole = list(disks)
    changed: list[tuple[str, Any, Any]] = []
    added: list[Disk] = []
    if wanted.root_bytes is not None:
        _grow_root(wanted, wanted.root_bytes, disks, root, whole, changed, found)
    if wanted.swap_option:
        _compare_swap(wanted, disks, added, changed, found)
    free = [
        index
        for index, disk in enumerate(disks)
        if disk.role not in (SEED, "swap") and not (index == root and _root_is_not_declared(current, wanted))
    ]
    for number, (disk, index) in enumerate(zip(wanted.disks or (), _match(wanted.disks or [], disks, free))):
        option = f"disks[{number}]"
        if index is None:
            added.append(disk if root is None else replace(disk, role="data"))
            changed.append((option, None, disk_as_dict(disk)))
            continue
        _compare_disk(wanted.where + option, option, disk, disks, index, root, whole, changed, found)
    for option, old, new in changed:
        found.add(option, "disks", old, new, whole + added)
    if changed:
        found.declared.disks = added


def root_index(disks: list[Disk]) -> int | None:
    """Where the root disk is: the one marked as such, otherwise the first that is no CD-ROM."""
    marked = [index for index, disk in enumerate(disks) if disk.role == "root"]
    others = [index for index, disk in enumerate(disks) if disk.kind == DISK and disk.role == "data"]
    return next(iter(marked + others), None)


def _root_is_not_declared(current: Instance, wanted: Desired) -> bool:
    return (
        current.image is not None
        or wanted.instance.image is not None
        or (wanted.root_bytes is not None and wanted.root_option == "root_gb")
    )


def _grow_root(
    wanted: Desired,
    new: int,
    disks: list[Disk],
    root: int | None,
    whole: list[Disk],
    changed: list[tuple[str, Any, Any]],
    found: Comparison,
) -> None:
    option = wanted.root_option
    if root is None:
        if option == "root_gb":
            found.refuse(wanted.where + option, "there is no root disk that could have this size; add one with disks")
        return
    old = disks[root].size_bytes
    if old is None:
        found.warnings.append(
            f"{wanted.where}{option}: the size of the root disk cannot be found out; it is left as it is"
        )
    elif new < old:
        found.refuse(
            wanted.where + option,
            f"the root disk has {format_size(old)}, and a disk cannot shrink to {format_size(new)} without losing data",
        )
    elif new > old:
        whole[root] = replace(whole[root], size_bytes=new)
        changed.append(("root_gb", format_size(old), format_size(new)))
        found.grows = True


def _compare_swap(
    wanted: Desired, disks: list[Disk], added: list[Disk], changed: list[tuple[str, Any, Any]], found: Comparison
) -> None:
    old = next((disk for disk in disks if disk.role == "swap"), None)
    if old is None:
        if wanted.swap_bytes:
            added.append(Disk(role="swap", size_bytes=wanted.swap_bytes))
            changed.append(("swap_mb", None, format_size(wanted.swap_bytes)))
        return
    if old.size_bytes in (None, wanted.swap_bytes):
        return
    message = f"the swap disk has {format_size(old.size_bytes or 0)}, and keeps its size as long as the instance exists"
    if wanted.swap_option == "swap_mb":
        found.refuse(wanted.where + wanted.swap_option, message)
    else:
        found.warnings.append(f"{wanted.where}{wanted.swap_option}: {message}")


def _compare_disk(
    where: str,
    option: str,
    disk: Disk,
    disks: list[Disk],
    index: int,
    root: int | None,
    whole: list[Disk],
    changed: list[tuple[str, Any, Any]],
    found: Comparison,
) -> None:
    old = disks[index]
    for name in _FIXED:
        new, is_now = getattr(disk, name), getattr(old, name)
        if new is not None and is_now is not None and new != is_now:
            found.refuse(f"{where}.{name}", f"is {is_now} and cannot be changed to {new} once the disk exists")
    if disk.size_bytes is None or old.size_bytes is None or disk.size_bytes == old.size_bytes:
        return
    if disk.size_bytes < old.size_bytes:
        sizes = f"{format_size(old.size_bytes)}, and a disk cannot shrink to {format_size(disk.size_bytes)}"
        found.refuse(f"{where}.size", f"the disk has {sizes} without losing data")
    elif index != root:
        found.refuse(f"{where}.size", f"the disk has {format_size(old.size_bytes)}; only the root disk can grow so far")
    else:
        whole[index] = replace(whole[index], size_bytes=disk.size_bytes)
        changed.append((f"{option}.size", format_size(old.size_bytes), format_size(disk.size_bytes)))
        found.grows = True


def _match(declared: list[Disk], disks: list[Disk], free: list[int]) -> list[int | None]:
    """For each declared disk the index of the one that it is, if any."""
    pairs: list[int | None] = [None] * len(declared)
    left = list(free)
    for number, disk in enumerate(declared):
        for index in left:
            if _is_named_so(disk, disks[index]):
                pairs[number] = index
                left.remove(index)
                break
    for number, disk in enumerate(declared):
        if pairs[number] is None and disk.volume is None and disk.path is None and disk.device is None:
            fitting = [index for index in left if disks[index].kind == disk.kind and disks[index].image == disk.image]
            if fitting:
                pairs[number] = fitting[0]
                left.remove(fitting[0])
    return pairs


def _is_named_so(disk: Disk, old: Disk) -> bool:
    if disk.volume is not None:
        if old.volume is None and old.path is not None:  # adopted, and nothing tells which pool its file is in
            return posixpath.basename(old.path) == disk.volume
        return disk.volume == old.volume and disk.pool == old.pool
    if disk.path is not None:
        return disk.path == old.path
    return disk.device is not None and disk.device == old.device


def disk_as_dict(disk: Disk) -> dict[str, Any]:
    """As the option ``disks`` has it."""
    shown = {
        key: value
        for key, value in vars(disk).items()
        if value is not None and key not in ("role", "owned", "size_bytes") and (key, value) != ("kind", DISK)
    }
    return shown if disk.size_bytes is None else {"size": format_size(disk.size_bytes), **shown}
