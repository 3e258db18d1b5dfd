# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clearing up: after a migration, and what an earlier one that was cut short has left."""

from __future__ import annotations

from contextlib import nullcontext

from ..driver.base import NONE
from ..errors import AnyvirtError
from ..model.migration import MigrationRecord
from ..undo import Undo
from .migration_ends import Ends
from .migration_item import Item
from .migration_situation import (
    DESTINATION,
    DISCARD,
    FINISH_DESTINATION,
    HERE,
    REMOVE_DEPARTED,
    SOURCE,
    Clearing,
    Situation,
)
from .plan import Step


def early(situation: Situation) -> list[Clearing]:
    """What of it comes before the plan. The note on the source stays until the new one takes its place, since it says
    whether the guest is to be started again; and a definition that was kept until nothing speaks against the move."""
    if situation.what != HERE:
        return []
    late = (Clearing(SOURCE, DISCARD), Clearing(DESTINATION, REMOVE_DEPARTED))
    return [clearing for clearing in situation.clear if clearing not in late]


def clearing_step(ends: Ends, item: Item, clearing: Clearing) -> Step:
    """The step that clears up one thing."""
    driver = ends.destination if clearing.end == DESTINATION else ends.source
    name, where = item.name, f"the {clearing.end}"

    def discard() -> None:
        item.removed += driver.discard_migration(name)

    def finish() -> None:
        item.removed += driver.finish_source(name, delete_volumes=item.wanted.wishes.delete_volumes)

    def remove() -> Undo:
        finish()
        return _stays_removed

    if clearing.how == DISCARD:
        return Step(f"clear up what a migration of {name} that was cut short left on {where}", discard, final=True)
    if clearing.how == FINISH_DESTINATION:
        return Step(f"make {name} an ordinary instance of {where}", lambda: driver.finish_destination(name), True)
    if clearing.end == DESTINATION:
        say = f"remove what {name} left on the destination when it was moved from there"
        if clearing.how == REMOVE_DEPARTED:
            return Step(say, remove)
        return Step(say, finish, final=True)
    return finish_source(ends, item)


def _stays_removed() -> None:
    raise AnyvirtError("the definition that was kept there is gone, and nobody needs it")


def finish_destination(ends: Ends, item: Item) -> Step:
    """The step after which it is like any other there."""
    name, driver = item.name, ends.destination
    return Step(f"make {name} an ordinary instance of the destination", lambda: driver.finish_destination(name), True)


def finish_source(ends: Ends, item: Item) -> Step:
    """The step after which the source has no more of it than was wished for."""
    name, wishes, driver = item.name, item.wanted.wishes, ends.source
    keep = not wishes.undefine_source

    def finish() -> None:
        volumes = NONE if keep else wishes.delete_volumes
        item.removed += driver.finish_source(name, keep_definition=keep, delete_volumes=volumes)

    say = f"keep the definition of {name} on the source" if keep else f"remove what {name} left on the source"
    return Step(say, finish, final=True)


def abandon(ends: Ends, name: str, record: MigrationRecord, start: bool) -> list[str]:
    """Take back, on both ends, a migration that has no job: the source has the instance as it was before.

    Args:
        start: It was stopped for it.

    Returns:
        What was removed, in words.
    """
    removed: list[str] = []
    if ends.silent is None:
        # Nothing is started here after a host that has a part of it has gone away.
        with nullcontext() if start else ends.doing_without():
            removed = ends.destination.discard_migration(name)
    if start:  # before the note that it is to be started is gone
        ends.source.power_on(name, paused=record.paused)
    return [*removed, *ends.source.discard_migration(name)]
