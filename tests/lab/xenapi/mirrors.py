# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of disks at the place to which a VM moves: made before it goes, brought up to date when it does."""

from __future__ import annotations

import uuid

from lab.xenapi import volumes
from lab.xenapi.database import Database, Ref
from lab.xenapi.failures import Failure
from lab.xenapi.motion import Motion
from lab.xenapi.srs import check_room
from lab.xenapi.vdi_store import BLOCK, store_of

_TAKEN_OVER = ("name_label", "name_description", "type")
"""What a copy has of its source. Storage drivers do not know of anything else: other_config is left behind, and has a
key of the server's own, which says what was in the disk when it was copied."""


class Mirrors:
    """The copies of a motion's disks."""

    def __init__(self, motion: Motion) -> None:
        self._motion = motion
        self.made: dict[Ref, Ref] = {}  # by source

    def make(self, source: Ref) -> None:
        """Copy a VDI to where it is to be; SR_FULL where there is no room for it."""
        motion = self._motion
        taken = {name: motion.db.get("VDI", source, name) for name in _TAKEN_OVER}
        taken["other_config"] = {"content_id": str(uuid.uuid4())}
        size = motion.db.get("VDI", source, "virtual_size")
        with motion.remote.db.lock:
            self.made[source] = volumes.create_volume(motion.remote.db, motion.srs[source], size, **taken)
        self._copy(source)

    def catch_up(self) -> None:
        """Bring over what was written meanwhile. The caller sees to it that nothing is written any more."""
        db, there = self._motion.db, self._motion.remote.db
        for source, target in self.made.items():
            if volumes.content_digest(db, source) != volumes.content_digest(there, target):
                self._copy(source)

    def link_snapshots(self) -> None:
        """A copied snapshot is one of the copied disk."""
        db, there = self._motion.db, self._motion.remote.db
        for source, target in self.made.items():
            record = db.view("VDI", source)
            if record["is_a_snapshot"]:
                origin = self.made.get(record["snapshot_of"], record["snapshot_of"] if there is db else "")
                known = {"snapshot_of": origin} if there.exists("VDI", origin) else {}
                there.set("VDI", target, is_a_snapshot=True, snapshot_time=record["snapshot_time"], **known)

    def discard(self) -> None:
        """Remove the copies."""
        there = self._motion.remote.db
        with there.lock:
            for target in self.made.values():
                if there.exists("VDI", target):
                    volumes.remove_volume(there, target)
        self.made.clear()

    def _copy(self, source: Ref) -> None:
        target = self.made[source]
        db, there = self._motion.db, self._motion.remote.db
        with there.lock:
            name = volumes.content_name(db, source)
            check_room(there, there.get("VDI", target, "SR"), store_of(db).allocated(name))
            _write_over(db, name, there, volumes.content_name(there, target))
            volumes.written(there, target)


def _write_over(db: Database, source: str, there: Database, target: str) -> None:
    ours, theirs = store_of(db), store_of(there)
    for index in sorted({*ours.written(source), *theirs.written(target)}):
        theirs.write(target, index * BLOCK, ours.read(source, index * BLOCK, BLOCK))


def remove_sources(db: Database, sources: list[Ref]) -> None:
    """The disks have been copied, and nobody has them any more; what cannot be removed stays."""
    for source in sources:
        if db.exists("VDI", source) and not db.get("VDI", source, "VBDs"):
            try:
                volumes.remove_volume(db, source)
            except Failure:
                continue
