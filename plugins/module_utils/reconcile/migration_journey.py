# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the parts of moving one instance share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import AnyvirtError, MigrationAborted
from ..undo import Undo
from .migration_ends import Ends
from .migration_item import Item
from .migration_stop import in_words
from .plan import Step


@dataclass
class Journey:
    """One instance on its way.

    Attributes:
        interrupted: Why nobody wants it any more; None while it is wanted.
        lost: Why one of the hosts could not be asked, when that was found out on the way.
        stopped_s: When the guest began to stand still, as far as its users can tell.
        finished: Another task has brought it to its end; what this one would still do is not done.
    """

    ends: Ends
    item: Item
    interrupted: Callable[[], str | None]
    lost: AnyvirtError | None = None
    stopped_s: float | None = None
    finished: bool = False

    @property
    def name(self) -> str:
        """The instance's name."""
        return self.item.name

    def step(self, say: str, do: Callable[[], Undo | None]) -> Step:
        """A step before the point of no return, which is not begun when nobody wants it any more."""
        return Step(say, self.if_wanted(do))

    def if_wanted(self, do: Callable[[], Undo | None]) -> Callable[[], Undo | None]:
        """The same of what a step does."""

        def do_if_wanted() -> Undo | None:
            if self.finished:
                return already_undone
            reason = self.interrupted()
            if reason is not None:
                raise MigrationAborted(f"the migration of {self.name!r} was {in_words(reason)}")
            return do()

        return do_if_wanted


def already_undone() -> None:
    """A migration that failed has left the instance on the source, and one that is done is not taken back."""
