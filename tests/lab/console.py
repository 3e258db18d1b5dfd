# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait for something that a guest does, and show its console when it does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lab.errors import LabError

Found = TypeVar("Found")

_INTERVAL_S = 0.05


def read_console(log: Path) -> str:
    return log.read_text(errors="replace") if log.exists() else ""


def wait_for_line(log: Path, text: str, timeout_s: float = 60) -> str:
    """The first line of a console log that holds text."""

    def line_with_text() -> str | None:
        return next((line for line in read_console(log).splitlines() if text in line), None)

    try:
        return wait_until(line_with_text, f"console line {text!r}", timeout_s)
    except LabError as error:
        raise LabError(f"{error}; the console's last words: {read_console(log)[-1000:]}") from error


def wait_until(question: Callable[[], Found | None], what: str, timeout_s: float = 60) -> Found:
    """The first answer that is not empty."""
    deadline = time.monotonic() + timeout_s
    while not (answer := question()):
        if time.monotonic() > deadline:
            raise LabError(f"not seen within {timeout_s:g} s: {what}")
        time.sleep(_INTERVAL_S)
    return answer
