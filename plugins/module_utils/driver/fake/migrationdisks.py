# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of the disks of an instance that is to be moved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Callable, NamedTuple, Union

from ...model.instance import SEED
from ...model.migration import COPY, DEPARTED, INCOMING, SHARED, DiskMove, MigrationWishes
from ..imagepath import is_path
from .hostfile import Pool
from .migrationparts import mapped_backing
from .poolkinds import KINDS
from .records import disks_of, seeds_of, volume_key
from .store import INSTANCES, VOLUMES, Record, View
from .volumerecords import is_complete, room_of

Finding = Union[DiskMove, str]
"""What becomes of a disk, or a problem."""


class Origin(NamedTuple):
    """What the source has.

    Attributes:
        users: Who has a volume as a disk or leans on it: the names of instances, and the keys of volumes.
    """

    volumes: Mapping[str, Record]
    users: Mapping[str, set[str]]


class Leftovers(NamedTuple):
    """What earlier, failed tries to move some instances have left on the destination, and what is free again once that
    is discarded; ``room`` is that of pools."""

    volumes: frozenset[str]
    memory_mb: int
    vcpus: int
    room: Mapping[str, int]


class Place(NamedTuple):
    """What the destination has, but for ``leftovers``.

    Attributes:
        shared: Names of pools that are the same on the source.
        has_file: Whether there is such a file.
    """

    volumes: Mapping[str, Record]
    pools: Mapping[str, Pool]
    shared: frozenset[str]
    has_file: Callable[[str], bool]
    leftovers: Leftovers


def origin_of(view: View) -> Origin:
    """What the source has, which this is a view of."""
    volumes = view.all(VOLUMES)
    users: dict[str, set[str]] = {}
    for name, record in view.all(INSTANCES).items():
        for disk in disks_of(record):
            if "volume" in disk:
                users.setdefault(volume_key(disk), set()).add(name)
    for key, volume in volumes.items():
        if volume["backing"] is not None:
            users.setdefault(volume["backing"], set()).add(key)
    return Origin(volumes, users)


def leftovers_of(view: View, records: Iterable[Record]) -> Leftovers:
    """What is left of those of these instances that have not arrived, or that were moved from here."""
    records = list(records)
    left = [record for record in records if record.get("migration", {}).get("direction") == INCOMING]
    departed = [record for record in records if record.get("migration", {}).get("phase") == DEPARTED]
    arriving = [record["arriving"] for record in left if "arriving" in record]
    volumes = frozenset(
        [key for record in left for key in record["migration"]["volumes"]]
        + [key for record in departed for key in seeds_of(record)]
    )
    room: dict[str, int] = {}
    for key in volumes:
        volume = view.get(VOLUMES, key)
        if volume is not None:
            room[volume["pool"]] = room.get(volume["pool"], 0) + room_of(volume)
    memory_mb, vcpus = (sum(taken[field] for taken in arriving) for field in ("memory_mb", "vcpus"))
    return Leftovers(volumes, memory_mb, vcpus, room)


def disks_once(record: Record) -> list[Record]:
    """The disks of an instance, configured and running, each once."""
    return list({disk["device"]: disk for disk in reversed(disks_of(record))}.values())[::-1]


def disk_move(name: str, disk: Record, origin: Origin, place: Place, wishes: MigrationWishes) -> Finding | None:
    """What becomes of a disk of that instance; None for an empty drive."""
    device = disk["device"]
    if "path" in disk:
        if place.has_file(disk["path"]):
            return DiskMove(device, SHARED, disk["path"], disk["path"])
        return f"there is no file {disk['path']!r} on the destination, and files are not copied; put it there first"
    if "volume" not in disk:
        return None
    key = volume_key(disk)
    pool = wishes.pools.get(disk["pool"], disk["pool"])
    there = f"{pool}/{disk['volume']}"
    volume = origin.volumes.get(key)
    if volume is None:
        return f"its volume {key} is gone"
    move = DiskMove(device, COPY, key, there, volume["size_bytes"])
    if pool == disk["pool"] and pool in place.shared:
        if wishes.storage == COPY and not disk.get("read_only"):
            return (
                f"{key} is on storage that the destination sees as well, so there is nothing to copy; "
                "use storage auto, or name another pool for it with pools"
            )
        return move._replace(how=SHARED, size_bytes=0)
    if disk["role"] == SEED and there not in place.volumes:
        return move._replace(how="remade")
    if disk.get("read_only") and disk["role"] != SEED:
        if there in place.volumes:
            return move._replace(how=SHARED, size_bytes=0)
        return f"there is no volume {there} on the destination, and read-only ones are not copied; put it there first"
    if wishes.storage == SHARED:
        return f"its volume {key} is not on storage that the destination sees; use storage auto or copy"
    others = sorted(origin.users.get(key, set()) - {name})
    if others:
        return f"its volume {key} is needed by {others[0]!r} too, which a copy elsewhere is of no use to"
    return _copied(move, origin, place, wishes)


def _copied(move: DiskMove, origin: Origin, place: Place, wishes: MigrationWishes) -> Finding:
    """How a volume is copied."""
    volume, pool = origin.volumes[move.source], move.destination.partition("/")[0]
    if move.destination in place.volumes:
        return f"there is a volume {move.destination} on the destination already"
    if pool in place.pools:
        kind = KINDS[place.pools[pool].kind]
        if not kind.makes_volumes:
            return f"no volumes are made in the destination's pool {pool!r}; name another one with pools"
        if volume["format"] not in kind.formats:
            return (
                f"the destination's pool {pool!r} holds {' and '.join(kind.formats)}, not {volume['format']}; "
                "name another one with pools"
            )
    backing = mapped_backing(volume["backing"], wishes)
    if backing is None:
        return move
    if is_path(backing):
        has_backing = place.has_file(backing)
    else:
        has_backing = _is_same(origin.volumes.get(volume["backing"]), place.volumes.get(backing))
    return move._replace(how="incremental") if has_backing else move


def _is_same(image: Record | None, other: Record | None) -> bool:
    """Whether two volumes are the same image of the image cache."""
    sums = [(record or {}).get("image", {}).get("checksum") for record in (image, other)]
    return sums[0] is not None and sums[0] == sums[1] and is_complete(other)
