# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The terminal that ansible-playbook was started in, and how lines are shown there that go away again."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Sequence

ERASE = "\r\x1b[J"
"""From the beginning of the line to the end of the screen."""

_QUIET = ("CI", "AWX_ISOLATED_DATA_DIR")
"""Where one of these is set, somebody keeps what the terminal shows: it is a log. The second is ansible-runner's."""
_OFF = ("0", "no", "off", "false")
SWITCH = "ANYVIRT_PROGRESS"


def _copy_of_stdout() -> int | None:
    try:
        return os.dup(1) if os.isatty(1) else None
    except OSError:
        return None


# Workers are cut off from the terminal, but they are forked only after the plugins of a task are loaded.
_stdout = _copy_of_stdout()


def size() -> os.terminal_size | None:
    """How large the terminal is now; None when there is none, or nobody wants to see anything in it."""
    if _stdout is None or os.environ.get("TERM", "dumb") == "dumb" or any(os.environ.get(name) for name in _QUIET):
        return None
    if os.environ.get(SWITCH, "").lower() in _OFF:
        return None
    try:
        columns, lines = os.get_terminal_size(_stdout)
    except OSError:
        return None
    return os.terminal_size((columns or 80, lines or 24))


def below(lines: Sequence[str]) -> str:
    """What shows these lines below the cursor, in place of those that were there, and leaves the cursor at the
    beginning of an empty line: whatever is written next does not mix with them."""
    if not lines:
        return ERASE
    return ERASE + "".join(f"\n{line}" for line in lines) + f"\x1b[{len(lines)}A\r"


def erase_at_exit(needed: Callable[[], bool]) -> None:
    """When this process ends and ``needed`` says so, what is below the cursor is erased: workers that were ended by
    force cannot do it."""
    if _stdout is not None:
        atexit.register(_erase, _stdout, needed)


def _erase(terminal: int, needed: Callable[[], bool]) -> None:
    try:
        if needed():
            os.write(terminal, ERASE.encode())
    except OSError:
        pass  # the terminal is gone
