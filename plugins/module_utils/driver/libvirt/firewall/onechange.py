# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One change of the kernel's rules at a time, among all processes of the host that are ours: each reads what there is
before it writes, and the tools' own locks are not held in between."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ....errors import PermissionDenied, TimeoutExpired

_FILE = "/run/anyvirt-{engine}.lock"
_LIMIT_S = 60.0
_PAUSE_S = 0.05


@contextmanager
def only_one(engine: str) -> Iterator[None]:
    """Wait for the others that change this engine's rules.

    Raises:
        PermissionDenied: this user cannot.
        TimeoutExpired: another process has been changing rules for a minute.
    """
    path = _FILE.format(engine=engine)
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise PermissionDenied(f"cannot open {path}: {error.strerror} (packet filters need root)") from error
    try:
        _wait_for(handle, path)
        yield
    finally:
        os.close(handle)


def _wait_for(handle: int, path: str) -> None:
    deadline = time.monotonic() + _LIMIT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                words = f"another process has been changing packet filters for {_LIMIT_S:.0f} seconds"
                raise TimeoutExpired(words, path) from error
            time.sleep(_PAUSE_S)
