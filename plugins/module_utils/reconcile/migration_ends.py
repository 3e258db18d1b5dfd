# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what both ends of migrations show of the instances of a task."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from ..driver.base import ComputeDriver
from ..driver.migration import MigrationDriver
from ..driver.uri import check_uri
from ..errors import AnyvirtError, HypervisorUnavailable, InvalidInput, Problem
from ..model.instance import Instance
from ..model.migration import DEPARTED, INCOMING, OUTGOING, Migration
from .migration_options import WantedMoves
from .migration_situation import End
from .reading import read_instances
from .task import Task


@dataclass
class Ends:
    """The two hosts.

    Attributes:
        here, there: Their identities.
        needs_both: Nothing can be done without the destination.
        silent: Why the destination cannot be asked, where a task does without.
    """

    source: MigrationDriver
    destination: MigrationDriver
    here: str = ""
    there: str = ""
    needs_both: bool = True
    silent: HypervisorUnavailable | None = None

    @contextmanager
    def doing_without(self) -> Iterator[None]:
        """Whatever is asked of the destination, by a task that does without the answer if need be: from then on the
        destination is silent."""
        try:
            yield
        except HypervisorUnavailable as error:
            if self.needs_both:
                raise
            self.silent = error

    @property
    def from_uri(self) -> str:
        """The source, in the task's words."""
        return self.source.options.uri

    @property
    def to_uri(self) -> str:
        """The destination, in the task's words."""
        return self.destination.options.uri


@dataclass
class Seen:
    """What both ends show, by the instances' names, and why some cannot be told; ``unknown`` are those that are
    excluded and that the source does not have: likely misspelt."""

    source: dict[str, End] = field(default_factory=dict)
    destination: dict[str, End] = field(default_factory=dict)
    failed: dict[str, AnyvirtError] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def connect(task: Task) -> Ends:
    """The drivers of both ends, not yet opened.

    Raises:
        InvalidInput: they are of different kinds.
    """
    source, destination = (_migration_driver(driver) for driver in (task.connect(), task.connect_dest()))
    kinds = check_uri(source.options), check_uri(destination.options)
    if kinds[0] != kinds[1]:
        raise InvalidInput(
            [Problem("dest", f"is a {kinds[1]} host, and uri a {kinds[0]} one: no instance can move between the two")]
        )
    return Ends(source, destination)


def _migration_driver(driver: ComputeDriver) -> MigrationDriver:
    if not isinstance(driver, MigrationDriver):
        raise TypeError(f"the {driver.name} driver of this task moves no instances")
    return driver


def open_ends(ends: Ends, opened: ExitStack) -> None:
    """Open both, and find out who they are.

    Args:
        opened: Closes them.

    Raises:
        InvalidInput: they are one host.
    """
    opened.enter_context(ends.source)
    ends.here = ends.source.host_identity()
    with ends.doing_without():
        opened.enter_context(ends.destination)
        ends.source.face(ends.destination)
        ends.here, ends.there = ends.source.host_identity(), ends.destination.host_identity()
    if ends.here == ends.there:
        raise InvalidInput([Problem("dest", "is the same host as uri, by another address")])


def survey(ends: Ends, wanted: WantedMoves) -> tuple[list[str], Seen]:
    """The instances that a task is about, and what both ends show of them."""
    if wanted.everything is None:
        names = [move.name for move in wanted.moves]
        return names, look(ends, names)
    with ends.source.one_look():
        instances, migrations = ends.source.get_instances(), ends.source.get_migrations()
    present = {
        name
        for name, instance in instances.items()
        if instance.migration is None or instance.migration.phase != DEPARTED
    }
    names = sorted((present | _arriving(ends)) - wanted.exclude)
    unknown = sorted(wanted.exclude.difference(instances))
    seen = Seen(source=_ends_of(ends.here, names, instances, migrations), unknown=unknown)
    _look_there(ends, names, seen)
    return names, seen


def _arriving(ends: Ends) -> set[str]:
    """What has arrived from the source, where nothing of it is left but work that was cut short."""
    migrations: Mapping[str, Migration] = {}
    if ends.silent is None:
        with ends.doing_without():
            migrations = ends.destination.get_migrations()
    return {
        name
        for name, migration in migrations.items()
        if migration.record is not None
        and migration.record.direction == INCOMING
        and migration.record.peer == ends.here
    }


def look(ends: Ends, names: Sequence[str]) -> Seen:
    """Read both ends, in as many calls as it takes to read each once. The source comes first: a migration that ends in
    between is seen as one that still goes on."""
    seen = Seen()
    if names:
        seen.source = _look_at(ends.source, ends.here, names, seen.failed)
    _look_there(ends, names, seen)
    return seen


def _look_there(ends: Ends, names: Sequence[str], seen: Seen) -> None:
    """Add what the destination shows. One that cannot be asked shows nothing, and is whoever the source's record says
    that it is."""
    if names and ends.silent is None:
        with ends.doing_without():
            seen.destination = _look_at(ends.destination, ends.there, names, seen.failed)
    if ends.silent is not None:
        for name, source in seen.source.items():
            seen.destination[name] = End(source.record.peer if source.goes(OUTGOING) and source.record else "")


def _look_at(
    driver: MigrationDriver, host: str, names: Sequence[str], failed: dict[str, AnyvirtError]
) -> dict[str, End]:
    with driver.one_look():
        instances, unclear = read_instances(driver, names)
        migrations = driver.get_migrations(list(instances)) if instances else {}
    failed.update(unclear)
    return _ends_of(host, names, instances, migrations)


def _ends_of(
    host: str, names: Collection[str], instances: Mapping[str, Instance], migrations: Mapping[str, Migration]
) -> dict[str, End]:
    return {name: End(host, instances.get(name), migrations.get(name)) for name in names}


def look_at_one(driver: MigrationDriver, host: str, name: str) -> End:
    """What one end shows of one instance."""
    return _look_at(driver, host, [name], {})[name]


def look_at_both(ends: Ends, name: str) -> tuple[End, End]:
    """What both ends show of one instance."""
    seen = look(ends, [name])
    return seen.source[name], seen.destination[name]
