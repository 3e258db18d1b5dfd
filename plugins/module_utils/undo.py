# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Undo: remember how to take back what was done, and take it back in reverse order when a later part fails."""

from __future__ import annotations

from types import TracebackType
from typing import Callable

from .errors import AnyvirtError

Undo = Callable[[], None]


class UndoStack:
    """Collects undo actions; as a context manager it runs them when the block fails.

    The exception goes on its way, told (when it is one of ours) what was undone and what could not be::

        with UndoStack() as done:
            pool.create(volume)
            done.push("delete the volume again", volume.delete)
            start(instance)         # fails: the volume is deleted

    An interrupt (KeyboardInterrupt, SystemExit) is undone like any other failure.
    """

    def __init__(self) -> None:
        self._actions: list[tuple[str, Undo]] = []
        self.undone: list[str] = []
        self.not_undone: list[str] = []

    def push(self, what: str, undo: Undo) -> None:
        """Remember ``undo``; ``what`` says it in words."""
        self._actions.append((what, undo))

    def forget(self) -> None:
        """Everything so far is final."""
        self._actions.clear()

    def unwind(self) -> None:
        """Run all actions, the newest first. One that fails is noted in ``not_undone`` and the others still run."""
        while self._actions:
            what, undo = self._actions.pop()
            try:
                undo()
            except Exception as error:  # whatever it is, the remaining actions have to run
                self.not_undone.append(f"{what}: {error}")
            else:
                self.undone.append(what)

    def take_back(self, what: str) -> None:
        """Run all actions, of work that was done and is wanted no more; ``what`` says it in words.

        Raises:
            AnyvirtError: it could not all be taken back; the error says what was and what was not.
        """
        self.unwind()
        if self.not_undone:
            error = AnyvirtError(f"{what} could not all be taken back")
            self.report_to(error)
            raise error

    def report_to(self, error: AnyvirtError) -> None:
        """Tell ``error`` what this stack did; adds to what an inner stack told it."""
        error.undone.extend(self.undone)
        error.not_undone.extend(self.not_undone)
        if error.undone or error.not_undone:
            error.rolled_back = not error.not_undone

    def __enter__(self) -> UndoStack:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        self.unwind()
        if isinstance(error, AnyvirtError):
            self.report_to(error)
