# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans: ordered lists of small steps, each of which knows how to do itself, to undo itself, and to say itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable

from ..errors import AnyvirtError, UnexpectedError
from ..undo import Undo, UndoStack


@dataclass
class Step:
    """One step.

    Attributes:
        say: What it does, in one line for a person.
        do: Does it; returns how to take it back, or None when that cannot be.
        final: Once it is done, neither it nor what was before it is taken back, whatever fails later.
    """

    say: str
    do: Callable[[], Undo | None]
    final: bool = False


class NothingTakenBack(Exception):
    """Raised by a step instead of ``error``, where to undo the steps before it would do harm: they stay."""

    def __init__(self, error: AnyvirtError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass
class Plan:
    """What is to be done for one object."""

    steps: list[Step] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.steps)

    def lines(self) -> list[str]:
        """The steps in words."""
        return [step.say for step in self.steps]

    def run(self) -> None:
        """Do all steps, in order. When one fails, those before it are undone, the newest first, back to the last final
        one.

        Raises:
            AnyvirtError: of the failed step, which it names; it tells what was undone, and what could not be.
        """
        stays = False
        with UndoStack() as done:
            for step in self.steps:
                try:
                    undo = self._do(step)
                except NothingTakenBack as failure:
                    done.forget()
                    failure.error.step, failure.error.rolled_back = step.say, False
                    raise failure.error from failure
                except AnyvirtError as error:
                    error.rolled_back = False if stays else error.rolled_back
                    raise
                if step.final:
                    stays = True
                    done.forget()
                else:
                    done.push(f"undo: {step.say}", undo or _cannot)

    @staticmethod
    def _do(step: Step) -> Undo | None:
        try:
            return step.do()
        except NothingTakenBack:
            raise
        except AnyvirtError as error:
            error.step = step.say
            raise
        except Exception as error:  # a bug, and all the same what was done has to be undone and reported
            unexpected = ours(error)
            unexpected.step = step.say
            raise unexpected from error


def ours(error: Exception) -> AnyvirtError:
    """The error, or what it comes to where it is a bug's."""
    if isinstance(error, AnyvirtError):
        return error
    return UnexpectedError(f"something went wrong that should not: {type(error).__name__}: {error}")


def _cannot() -> None:
    """How to undo a step that knows no way back: those of a failed plan are to be told too."""
    raise AnyvirtError("there is no way back")
