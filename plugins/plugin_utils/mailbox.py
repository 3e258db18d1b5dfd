# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file in which a running module leaves its state, where Ansible can read it."""

from __future__ import annotations

import copy
import os
import secrets
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any

from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.channel import MAX_BYTES


class Mailbox(ABC):
    """A file beside the module; nobody but the user that Ansible works as, and root, can read it or write to it.

    Attributes:
        path: Where the module finds it.
        interval_s: How often reading it is worth its cost.
    """

    path: str
    interval_s: float

    @abstractmethod
    def read(self) -> bytes:
        """What is in it."""

    @abstractmethod
    def remove(self) -> None:
        """Nobody needs it any more."""


class LocalMailbox(Mailbox):
    """Modules run on this machine."""

    interval_s = 0.25

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, secrets.token_hex(16))
        self._file = os.open(self.path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def read(self) -> bytes:
        return os.pread(self._file, MAX_BYTES, 0)

    def remove(self) -> None:
        os.close(self._file)
        with suppress(FileNotFoundError):
            os.unlink(self.path)


class SshMailbox(Mailbox):
    """Modules run on another machine. The file is in the folder that Ansible makes there for the task, and goes with
    it."""

    interval_s = 1.0

    def __init__(self, action: Any) -> None:
        connection = action._connection
        shell = connection._shell
        if not shell.tmpdir:
            action._make_tmp_path()
        self.path = shell.join_path(shell.tmpdir, secrets.token_hex(16))
        # The connection is busy with the module: this is a second one, through the same master where there is one.
        self._connection = copy.copy(connection)
        self._connection.become = None
        self._quoted = shell.quote(self.path)
        self._run(f"umask 77; touch {self._quoted}")

    def read(self) -> bytes:
        return self._run(f"cat {self._quoted}")[:MAX_BYTES]

    def remove(self) -> None:
        pass

    def _run(self, command: str) -> bytes:
        code, output, error = self._connection.exec_command(f"/bin/sh -c {self._connection._shell.quote(command)}")
        if code:
            raise OSError(f"{command}: {error!r}")
        return bytes(output)
