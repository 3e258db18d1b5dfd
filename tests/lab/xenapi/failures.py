# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failures as the API reports them: a code of the table with its parameters.

``errors.txt`` has the published codes, and the few that real servers raise without having published them.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

_TABLE = Path(__file__).parent / "errors.txt"
# Storage backends report their own numbers: SR_BACKEND_FAILURE_46.
_NUMBERED = re.compile(r"(SR_BACKEND_FAILURE)_\d+")


class Failure(Exception):
    """An error that goes to the client as ``[code, *params]``.

    Raises ValueError where the table of error codes has no such code, or gives it another number of parameters.
    """

    def __init__(self, code: str, *params: str) -> None:
        names = _table().get(_NUMBERED.sub(r"\1", code))
        if names is None:
            raise ValueError(f"{code} is no error code of the XenAPI")
        if len(names) != len(params):
            raise ValueError(f"{code} has the parameters {list(names)}, not {list(params)}")
        super().__init__(code, *params)
        self.code = code
        self.params = params

    @property
    def details(self) -> list[str]:
        return [self.code, *self.params]


class HttpFailure(Failure):
    """One that an HTTP request is answered with in its own way, and not as an error of the server."""

    def __init__(self, status: int, code: str, *params: str) -> None:
        super().__init__(code, *params)
        self.status = status


@functools.cache
def _table() -> dict[str, tuple[str, ...]]:
    """Every error code with the names of its parameters."""
    table: dict[str, tuple[str, ...]] = {}
    for line in _TABLE.read_text(encoding="utf-8").splitlines():
        code, _colon, names = line.partition(": ")
        table[code] = tuple(names.split(", ")) if names else ()
    return table
