# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notices that nobody wants the work of this process any more: the play was interrupted, or its connection is gone.

Ctrl-C reaches a module in one of these ways. ansible-playbook hands SIGINT or SIGTERM on to the modules that it runs
itself (connection ``local``). Over ssh with a terminal the module gets SIGHUP. Over ssh without one (pipelining) there
is no signal at all: the pipe to which it writes its result has no reader any more.

Nothing is broken off by it where it stands: whoever does long work looks now and then, and ends it in good order.
"""

from __future__ import annotations

import select
import signal
import threading
from collections.abc import Callable
from types import FrameType

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


class Interrupts:
    """Remembers the first signal that asks this process to end, instead of ending it.

    Args:
        output: The file descriptor that results go to; None: it is not looked at.
    """

    def __init__(self, output: int | None = 1) -> None:
        self._output = output
        self._reason: str | None = None

    def watch(self) -> Interrupts:
        """From now on. Signals that this process was told to ignore (``nohup``) stay ignored. To be called in the main
        thread, which has to run Python code for a signal to be seen: whatever blocks elsewhere belongs in a thread."""
        for name in _SIGNALS:
            number = getattr(signal, name)
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                signal.signal(number, self._take)
        return self

    def reason(self) -> str | None:
        """Why the work is not wanted any more, in words; None while it is. Safe for many threads."""
        if self._reason is None and self._output is not None and _reader_is_gone(self._output):
            self._reason = "whoever waited for the result is gone"
        return self._reason

    def _take(self, number: int, _frame: FrameType | None) -> None:
        if self._reason is None:
            self._reason = f"interrupted by {signal.Signals(number).name}"


def _reader_is_gone(output: int) -> bool:
    """Whether what is written there reaches nobody: the other end of the pipe or terminal is closed."""
    poll = select.poll()
    poll.register(output, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _file, event in poll.poll(0))


def in_background(work: Callable[[], None]) -> None:
    """Do the work while the main thread does nothing but take signals, which no library call can then hold up. What it
    raises is raised here."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="anyvirt-work")
    thread.start()
    thread.join()
    for error in failed:
        raise error
