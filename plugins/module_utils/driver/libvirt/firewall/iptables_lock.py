# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One change of iptables' rules at a time, among all processes of the host that are ours: each reads what there is
before it writes, and the tools' own locks are not held in between."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ....errors import TimeoutExpired

_FILE = "/run/anyvirt-iptables.lock"
_LIMIT_S = 60.0
_PAUSE_S = 0.05


@contextmanager
def only_one() -> Iterator[None]:
    """Wait for the others.

    Raises:
        TimeoutExpired: another process has been changing rules for a minute.
    """
    handle = os.open(_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        _wait_for(handle)
        yield
    finally:
        os.close(handle)


def _wait_for(handle: int) -> None:
    deadline = time.monotonic() + _LIMIT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                words = f"another process has been changing iptables' rules for {_LIMIT_S:.0f} seconds"
                raise TimeoutExpired(words, _FILE) from error
            time.sleep(_PAUSE_S)
