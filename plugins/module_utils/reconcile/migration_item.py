# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done for one instance of a task that moves some, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import AnyvirtError
from ..model.instance import Instance
from ..model.migration import MigrationPlan, MigrationResult
from .migration_options import WantedMove
from .migration_situation import End, Situation
from .plan import Plan


@dataclass
class Item:
    """One instance.

    Attributes:
        source, destination: What both ends showed before.
        plan: The steps.
        cleared: What was cleared up before the plan was made, in words: it would have been in the way.
        migration: How the drivers are to move it; None where it does not begin here.
        result: What it took; None until it is done.
        after: The instance on the destination afterwards, foretold or seen.
        problems: Everything that keeps it from being moved.
        removed: What was removed on the way, in words.
        error: Why it cannot be done, or why it failed.
    """

    wanted: WantedMove
    source: End
    destination: End
    situation: Situation
    plan: Plan = field(default_factory=Plan)
    cleared: list[str] = field(default_factory=list)
    migration: MigrationPlan | None = None
    result: MigrationResult | None = None
    after: Instance | None = None
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    error: AnyvirtError | None = None

    @property
    def name(self) -> str:
        """The instance's name."""
        return self.wanted.name

    @property
    def steps(self) -> list[str]:
        """All that is, or was, to be done, in words."""
        return [*self.cleared, *self.plan.lines()]

    @property
    def migration_plan(self) -> MigrationPlan:
        """How the drivers are to move it, where that has been found out."""
        if self.migration is None:
            raise TypeError(f"it was never found out how {self.name!r} is to be moved")
        return self.migration

    @property
    def instance(self) -> Instance | None:
        """The instance as it was before, wherever it was."""
        if self.source.instance is not None and not (self.destination.executes and not self.source.executes):
            return self.source.instance
        return self.destination.instance or self.source.instance
