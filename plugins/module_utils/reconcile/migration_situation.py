# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an instance is, and how far its migration came: from what both hosts show of it.

It asks nobody and changes nothing. What is decided here is safe: an instance is started or moved only where the other
host cannot be running it, and what nothing tells for sure is left to people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..errors import AlreadyExists, AnyvirtError, InstanceDuplicated, InstanceMigrating, InstanceNotFound
from ..model import power_state
from ..model.instance import Instance
from ..model.migration import COLD, DEPARTED, INCOMING, MOVED, OUTGOING, Migration, MigrationRecord

HERE = "here"
MOVING = "moving"
ARRIVED = "arrived"
THERE = "there"
REFUSED = "refused"

SOURCE = "source"
DESTINATION = "destination"

DISCARD = "discard"
FINISH_SOURCE = "finish_source"
FINISH_DESTINATION = "finish_destination"
REMOVE_DEPARTED = "remove_departed"


class End(NamedTuple):
    """What one host shows of an instance; ``instance`` is None where it has none. ``host`` is its identity."""

    host: str
    instance: Instance | None = None
    migration: Migration | None = None

    @property
    def record(self) -> MigrationRecord | None:
        """Of a migration that is going on, was cut short, or has left the definition."""
        if self.migration is not None and self.migration.record is not None:
            return self.migration.record
        return None if self.instance is None else self.instance.migration

    @property
    def has_job(self) -> bool:
        """The hypervisor is at it."""
        return self.migration is not None and self.migration.progress is not None

    @property
    def executes(self) -> bool:
        """The guest runs here."""
        return self.instance is not None and self.instance.power_state in power_state.EXECUTING

    @property
    def is_active(self) -> bool:
        """The guest is in memory here, running or not."""
        return self.instance is not None and self.instance.power_state in power_state.ACTIVE

    @property
    def is_departed(self) -> bool:
        """It lives elsewhere, and what is here is only its definition."""
        return self.record is not None and self.record.phase == DEPARTED

    def goes(self, direction: str, peer: str | None = None) -> bool:
        """Whether its record is of this direction, and of this peer if one is given."""
        record = self.record
        return record is not None and record.direction == direction and peer in (None, record.peer)


class Clearing(NamedTuple):
    """Something that an earlier migration has left, and how it is cleared up, on ``source`` or ``destination``: by one
    of the driver's methods, or, of a definition that was kept when all else was over, by removing that."""

    end: str
    how: str


@dataclass(frozen=True)
class Situation:
    """What both ends come to.

    Attributes:
        what: ``here``: on the source, to be moved; ``moving``: a job goes on; ``arrived``: on the destination, and
            records of the migration are left; ``there``: on the destination; ``refused``: see ``error``.
        clear: What has to be cleared up first (``here``, ``there``) or is all that is left to do (``arrived``).
        start: A cold migration that was cut short stopped it, and it is to be active again: on the destination, or on
            the source if moving it fails.
        paused: The same, and it was paused.
        error: Why nothing can be done.
    """

    what: str
    clear: tuple[Clearing, ...] = ()
    start: bool = False
    paused: bool = False
    error: AnyvirtError | None = None


def situation_of(name: str, source: End, destination: End) -> Situation:
    """What is to be done about an instance that is wanted on the destination."""
    if source.has_job and source.goes(OUTGOING, destination.host):
        return Situation(MOVING)
    if source.executes and destination.executes:
        return _refused(InstanceDuplicated(_DUPLICATED.format(name=name)))
    foreign = _foreign_job(name, source, destination)
    if foreign is not None:
        return foreign
    if source.instance is None:
        return _not_on_source(name, source, destination)
    record = source.record
    if record is None:
        return _plain_on_source(name, source, destination)
    if record.direction == INCOMING:
        return _incoming_on_source(name, source, destination)
    if source.is_departed:
        return _departed(name, record, source, destination)
    if record.peer != destination.host:
        return _refused(
            InstanceMigrating(
                f"instance {name!r} is being moved to another host, {record.peer}, or was when that was cut short; run "
                "the task with that host as dest, or end it with state: aborted"
            )
        )
    return _outgoing(name, record, source, destination)


def _foreign_job(name: str, *ends: End) -> Situation | None:
    for end in ends:
        if end.has_job and end.record is None:
            return _refused(
                InstanceMigrating(
                    f"instance {name!r} is just being moved or saved by somebody else; wait until that is over"
                )
            )
    return None


# -- by what the source has -----------------------------------------------------------------------------------------


def _not_on_source(name: str, source: End, destination: End) -> Situation:
    record = destination.record
    if destination.instance is None:
        return _refused(InstanceNotFound(name))
    if record is None:
        return Situation(THERE)
    if record.direction == OUTGOING:
        return _leaving_destination(name, record, source, destination)
    if record.peer != source.host:
        return _refused(_coming_from(name, record))
    if destination.is_active or record.phase == MOVED:
        return _arrived(record, destination, Clearing(DESTINATION, FINISH_DESTINATION))
    return _refused(
        InstanceDuplicated(
            f"instance {name!r} is gone from the source, and the destination has it prepared for a migration that was "
            "cut short; nothing tells whether its disks are complete there, so it is left as it is. Start it there "
            "with the hypervisor's own tools and run the task again, or remove it there"
        )
    )


def _plain_on_source(name: str, source: End, destination: End) -> Situation:
    record = destination.record
    if destination.instance is None:
        return Situation(HERE)
    if record is None:
        return _refused(
            AlreadyExists(f"the destination has an instance named {name!r} already; give one of them another name")
        )
    if record.direction == OUTGOING:
        if record.peer != source.host or destination.is_active or destination.has_job:
            return _refused(_kept_there(name, record))
        if destination.is_departed and not may_be_one(source.instance, destination.instance):
            return _refused(_namesake(name, "the source", "the destination", record))
        # It came from there to the source earlier, and this is what it has left behind.
        return Situation(HERE, (_left_there(destination),))
    if record.peer != source.host:
        return _refused(_coming_from(name, record))
    if destination.is_active or record.phase == MOVED:
        return _refused(InstanceDuplicated(_BOTH_HAVE_IT.format(name=name)))
    return Situation(HERE, (Clearing(DESTINATION, DISCARD),))


def _incoming_on_source(name: str, source: End, destination: End) -> Situation:
    """It is, or was, being moved the other way."""
    record = source.record
    if record is None or record.peer != destination.host:
        return _refused(_coming_from(name, record))
    if source.has_job or destination.has_job:
        return _refused(
            InstanceMigrating(
                f"instance {name!r} is just being moved from the destination to the source; wait until that is over, "
                "or end it with state: aborted and uri and dest the other way round"
            )
        )
    leaves = destination.goes(OUTGOING, source.host)
    if destination.instance is not None and not leaves and destination.record is not None:
        return _refused(_coming_from(name, record))
    came = source.executes or record.phase == MOVED or (source.is_active and not destination.is_active)
    if came and (leaves or destination.instance is None):
        if destination.executes:
            return _refused(InstanceDuplicated(_BOTH_HAVE_IT.format(name=name)))
        left = (_left_there(destination),) if leaves else ()
        return Situation(HERE, (Clearing(SOURCE, FINISH_DESTINATION), *left))
    if destination.instance is not None and not came and not destination.is_departed:
        # It never left, and is where it is wanted.
        stopped = leaves and record.mode == COLD and record.start and not destination.is_active
        clear = (Clearing(SOURCE, DISCARD), Clearing(DESTINATION, DISCARD))
        return Situation(THERE, clear, start=stopped, paused=stopped and record.paused)
    return _refused(_coming_from(name, record))


def _departed(name: str, record: MigrationRecord, source: End, destination: End) -> Situation:
    """The source has a definition only."""
    if source.is_active:
        return _refused(
            InstanceDuplicated(
                f"instance {name!r} was moved to {record.peer}, and somebody has started the definition that the "
                "source kept; nothing tells which is right, and neither is touched. Stop it here with the hypervisor's "
                "own tools, and run the task again"
            )
        )
    if destination.instance is not None and not destination.goes(OUTGOING):
        if not may_be_one(source.instance, destination.instance):
            return _refused(_namesake(name, "the destination", "the source", record))
        arrived = destination.goes(INCOMING, source.host)
        return Situation(ARRIVED, (Clearing(DESTINATION, FINISH_DESTINATION),)) if arrived else Situation(THERE)
    return _refused(
        InstanceMigrating(
            f"instance {name!r} was moved to {record.peer}, and the source keeps its definition only; give the host on "
            "which it lives now as uri"
        )
    )


def _outgoing(name: str, record: MigrationRecord, source: End, destination: End) -> Situation:
    """The source says that it is being moved to the destination."""
    there = destination.record
    if destination.instance is None:
        return _refused(_lost_track(name, "the source", record)) if had_left(record, source) else _again(record, source)
    if there is None:
        if not source.executes and are_one(source.instance, destination.instance):
            return Situation(ARRIVED, (Clearing(SOURCE, FINISH_SOURCE),))
        return _refused(
            AlreadyExists(f"the destination has another instance named {name!r}; give one of them another name")
        )
    if there.direction == OUTGOING or there.peer != source.host:
        return _refused(_kept_there(name, there) if there.direction == OUTGOING else _coming_from(name, there))
    if there.id != record.id:
        if destination.is_active:
            return _refused(InstanceDuplicated(_BOTH_HAVE_IT.format(name=name)))
        return _again(record, source, Clearing(DESTINATION, DISCARD))
    if _has_arrived(record, there, source, destination):
        return _arrived(there, destination, Clearing(DESTINATION, FINISH_DESTINATION), Clearing(SOURCE, FINISH_SOURCE))
    if record.mode != COLD and not source.is_active and record.start:
        # Its memory is on neither: it was shut down on one of them, or both hosts failed. The disks of which are right?
        return _refused(InstanceDuplicated(_BOTH_HAVE_IT.format(name=name)))
    return _again(record, source, Clearing(DESTINATION, DISCARD))


def had_left(record: MigrationRecord, source: End) -> bool:
    """Whether its record says that it was on the other host: all of it was copied, or it was in memory and is here no
    more. If that host does not have it either, it has been moved on or removed there, and what is left here is old."""
    return not source.is_active and (record.phase == MOVED or (record.mode != COLD and record.start))


def _has_arrived(record: MigrationRecord, there: MigrationRecord, source: End, destination: End) -> bool:
    if MOVED in (there.phase, record.phase) and not source.executes:
        return destination.is_active or not source.is_active
    if destination.executes:
        return True
    if not destination.is_active or source.is_active:
        return False
    # In memory there and not here: it was paused before, or between its arrival and being let run.
    return record.mode == COLD or not destination.has_job


def _arrived(record: MigrationRecord, destination: End, *clear: Clearing) -> Situation:
    """It is there; a cold one may still have to be started."""
    stopped = record.mode == COLD and record.start and not destination.is_active
    return Situation(ARRIVED, clear, start=stopped, paused=stopped and record.paused)


def _again(record: MigrationRecord, source: End, *clear: Clearing) -> Situation:
    """It was cut short while the source had it."""
    stopped = record.mode == COLD and record.start and not source.is_active
    return Situation(HERE, (*clear, Clearing(SOURCE, DISCARD)), start=stopped, paused=stopped and record.paused)


def _leaving_destination(name: str, record: MigrationRecord, source: End, destination: End) -> Situation:
    """The source has nothing, and the destination says that it is being moved away from there, or has been."""
    if not destination.is_departed and record.peer == source.host and not destination.has_job:
        if had_left(record, destination):
            return _refused(_lost_track(name, "the destination", record))
        stopped = record.mode == COLD and record.start and not destination.is_active
        return Situation(THERE, (Clearing(DESTINATION, DISCARD),), start=stopped, paused=stopped and record.paused)
    return _refused(_kept_there(name, record))


# -- refusals -------------------------------------------------------------------------------------------------------


_REMOVE_IT = "remove that definition first, with virt_instance, state: absent and delete_volumes: none"
_DUPLICATED = (
    "instance {name!r} runs on both hosts; neither is touched. Stop the one that is wrong with the hypervisor's own "
    "tools, and run the task again"
)
_BOTH_HAVE_IT = (
    "both hosts have instance {name!r}, and nothing tells which is right; neither is touched. Start the one that is "
    "right with the hypervisor's own tools, and run the task again, or give up the one on the destination with "
    "state: aborted"
)


def _lost_track(name: str, where: str, record: MigrationRecord) -> InstanceDuplicated:
    ended = " or its guest may have ended by itself on the way," if record.mode != COLD else ""
    return InstanceDuplicated(
        f"{where} has what instance {name!r} left when it was moved to {record.peer}, which does not show it: it "
        f"may live on another host by now,{ended} so nothing is started. If it does, remove what is left with the "
        "hypervisor's own tools; if it does not, state: aborted, with the host that has it as uri, makes that an "
        "ordinary instance again and leaves it off"
    )


def _refused(error: AnyvirtError) -> Situation:
    return Situation(REFUSED, error=error)


def _coming_from(name: str, record: MigrationRecord | None) -> InstanceMigrating:
    peer = record.peer if record is not None else "another host"
    return InstanceMigrating(
        f"instance {name!r} is being moved from another host, {peer}, or was when that was cut short; finish that "
        "first: run the task with that host as uri"
    )


def _kept_there(name: str, record: MigrationRecord) -> InstanceMigrating:
    if record.phase == DEPARTED:
        return InstanceMigrating(
            f"the destination keeps a definition of instance {name!r}, which was moved from there to {record.peer}; "
            f"{_REMOVE_IT}"
        )
    return InstanceMigrating(
        f"the destination is moving instance {name!r} to {record.peer}, or was when that was cut short; finish that "
        "first: run the task with the destination as uri"
    )


def _namesake(name: str, here: str, there: str, record: MigrationRecord) -> AlreadyExists:
    """Two hosts have different instances of one name, and one of them only the definition."""
    return AlreadyExists(
        f"{here} has an instance named {name!r}, and {there} keeps the definition of another one, which was moved from "
        f"there to {record.peer}: they have no MAC address in common. On {there}, {_REMOVE_IT}"
    )


def _left_there(destination: End) -> Clearing:
    """What is to be done about what it left on the destination when it came from there."""
    return Clearing(DESTINATION, REMOVE_DEPARTED if destination.is_departed else FINISH_SOURCE)


def may_be_one(one: Instance | None, other: Instance | None) -> bool:
    """Whether two hosts may mean the same guest, whose interfaces somebody may have changed on one of them since."""
    return are_one(one, other) or (one is not None and other is not None and not _macs(one).isdisjoint(_macs(other)))


def are_one(one: Instance | None, other: Instance | None) -> bool:
    """Whether two hosts mean the same guest: it keeps its MAC addresses, which nobody else has."""
    return one is not None and other is not None and _macs(one) == _macs(other)


def _macs(instance: Instance) -> frozenset[str]:
    return frozenset(nic.mac.lower() for nic in instance.nics or () if nic.mac)
