# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept with a VM that moves: one key in its other_config, which goes with it wherever it goes.

So one text is the record of both ends, and which end reads it makes it that end's. What storage motion does not take
along, which is all that is kept with virtual disks, is in it too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ...model.migration import INCOMING, LIVE, MOVED, MOVING, OUTGOING, MigrationRecord

TRAVEL = "anyvirt-migration"
"""Our key in the other_config of VMs that move."""


@dataclass(frozen=True)
class Travel:
    """A migration.

    Attributes:
        id, mode, start, paused, started_s: As ``MigrationRecord`` has them.
        vm: The VM's uuid, which it keeps. A copy of the VM carries the text too, and does not move.
        source, destination: The identities of both ends.
        within: They are in one pool: the VM is the same object all the time, so it is where it is.
        pinned: It was bound to the host that it left.
        left, made: ``pool/name`` of volumes that are moved, on the source and on the destination.
        repositories: The uuids of the storage repositories to which they are moved; several can have one name.
        kept: What is kept with each virtual disk that is moved, by its place in the VM (userdevice).
        media: What is in its drives, as pool and name on the destination, by place.
        pools: Pools that have another name there.
    """

    id: str
    mode: str
    vm: str
    source: str
    destination: str
    start: bool = False
    paused: bool = False
    started_s: float | None = None
    within: bool = False
    pinned: bool = False
    left: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    repositories: list[str] = field(default_factory=list)
    kept: dict[str, dict[str, str]] = field(default_factory=dict)
    media: dict[str, list[str]] = field(default_factory=dict)
    pools: dict[str, str] = field(default_factory=dict)

    def seen_from(self, identity: str, is_settled: bool = False) -> MigrationRecord:
        """The record of one end.

        Args:
            identity: The end's. Whoever looks at the whole pool in which it moves from host to host sees it as the
                source does.
            is_settled: The destination is the only one that has it.
        """
        is_incoming = identity == self.destination
        return MigrationRecord(
            id=self.id,
            direction=INCOMING if is_incoming else OUTGOING,
            peer=self.source if is_incoming else self.destination,
            mode=self.mode,
            phase=MOVED if is_incoming and is_settled else MOVING,
            start=self.start,
            paused=self.paused,
            started_s=self.started_s,
            volumes=tuple(self.made if is_incoming else self.left),
        )


_TYPES: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("start", "paused", "within", "pinned"), bool),
    **dict.fromkeys(("left", "made", "repositories"), list),
    **dict.fromkeys(("kept", "media", "pools"), dict),
    "started_s": (int, float),
}
"""Of values that are no texts."""


def travel_text(travel: Travel) -> str:
    """The value of our key; what is empty is left out."""
    empty: tuple[Any, ...] = (None, False, [], {})
    return json.dumps({name: value for name, value in asdict(travel).items() if value not in empty})


def read_travel(vm: Mapping[str, Any]) -> Travel | None:
    """The migration of a VM, given its record; None where it does not move. Anybody who may change the VM may write
    into our key: what makes no sense is left out."""
    text = vm["other_config"].get(TRAVEL)
    try:
        values = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    known = {one.name for one in fields(Travel)}
    usable: dict[str, Any] = {
        name: _of_texts(value)
        for name, value in values.items()
        if name in known and isinstance(value, _TYPES.get(name, str))
    }
    try:
        travel = Travel(**usable)
    except TypeError:
        return None
    return travel if travel.vm == vm["uuid"] else None


def has_ended(vm: Mapping[str, Any], travel: Travel) -> bool:
    """Whether the guest of a VM that was to move live has ended by itself before it got anywhere, given that no other
    pool has the VM. One that has lost disks was moved: the server deletes the disks first, and then the VM."""
    is_idle = vm["power_state"] == "Halted" and not vm["current_operations"]
    return travel.mode == LIVE and is_idle and len(vm["VBDs"]) >= len(travel.kept)


def _of_texts(value: Any) -> Any:
    """A value whose lists and dictionaries, and those in them, hold texts only."""
    if isinstance(value, dict):
        return {key: _of_texts(item) for key, item in value.items() if isinstance(item, (str, dict, list))}
    if isinstance(value, list):
        return [item for item in value if isinstance(item, str)]
    return value
