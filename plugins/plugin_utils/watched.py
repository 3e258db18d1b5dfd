# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action of modules whose work may take long: their progress is shown on the terminal while they run.

For a module ``virt_x`` that reports progress, ``plugins/action/virt_x.py`` is all that is needed::

    class ActionModule(WatchedAction):
        \"""Runs the module and shows how far it has come.\"""

Whatever goes wrong with showing progress is not the task's concern: it runs as if nobody watched.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ansible import constants
from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible.utils.display import Display

from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.channel import ENVIRONMENT, decode

from . import terminal
from .board import Board, notes
from .lines import Pace, lines_of
from .mailbox import LocalMailbox, Mailbox, SshMailbox

_END_S = 3.0
"""What a task waits at most for the watching to end."""

display = Display()


def _folder() -> str:
    """Ansible makes this folder for each run, private, and removes it afterwards."""
    return os.path.join(constants.DEFAULT_LOCAL_TMP, "anyvirt-progress")


terminal.erase_at_exit(lambda: bool(notes(_folder())))


class WatchedAction(NormalAction):  # type: ignore[misc]  # Ansible has no type hints
    """Runs the module of its own name as any other, and shows its progress where there is a terminal."""

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The module's result, untouched."""
        with self._watching(str((task_vars or {}).get("inventory_hostname", ""))):
            result: dict[str, Any] = super().run(tmp, task_vars)
        return result

    @contextmanager
    def _watching(self, host: str) -> Iterator[None]:
        if not self._is_watchable():
            yield
            return
        environment = self._task.environment
        watcher = None
        try:
            mailbox = self._mailbox()
            watcher = Watcher(host, mailbox)
            self._task.environment = [*(environment or []), {ENVIRONMENT: mailbox.path}]
        except Exception as error:
            display.debug(f"progress is not shown: {error}")
        try:
            yield
        finally:
            self._task.environment = environment
            if watcher is not None:
                watcher.end()

    def _is_watchable(self) -> bool:
        task = self._task
        if terminal.size() is None or display.verbosity > 2:  # debug output and lines that go away do not mix
            return False
        if task.async_val or task.check_mode or task.no_log:
            return False
        # Another user than root could not write to our file, nor we read one of theirs.
        become = self._connection.become
        others_user = become is not None and (self.get_become_option("become_user") or "root") != "root"
        return self._connection.transport in ("local", "ssh") and not others_user

    def _mailbox(self) -> Mailbox:
        folder = _folder()
        os.makedirs(folder, 0o700, exist_ok=True)
        return LocalMailbox(folder) if self._connection.transport == "local" else SshMailbox(self)


class Watcher:
    """Reads what a module tells, and has it shown, in a thread until it is told to end."""

    def __init__(self, host: str, mailbox: Mailbox) -> None:
        self._host = host
        self._mailbox = mailbox
        self._board = Board(_folder(), f"{time.time_ns()}-{os.getpid()}", _show)
        self._pace = Pace()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="anyvirt-progress", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Nothing of it is to be seen any more when this returns."""
        self._over.set()
        self._thread.join(_END_S)

    def _watch(self) -> None:
        try:
            try:
                while not self._over.wait(self._mailbox.interval_s):
                    self._look()
            finally:
                self._board.leave()
                self._mailbox.remove()
        except Exception as error:
            display.debug(f"progress is no longer shown: {error}")

    def _look(self) -> None:
        state = decode(self._mailbox.read())
        if state is not None:
            self._pace.take(state)
            self._board.pin(lines_of(self._host, state, self._pace))


def _show(text: str) -> None:
    # Through Ansible's own queue: so it comes before the task's result, and never into the middle of other output.
    display.display(text, screen_only=True, newline=False)
