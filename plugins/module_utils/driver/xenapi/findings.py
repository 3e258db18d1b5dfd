# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with what is asked: a problem with an option, and which error that is."""

from __future__ import annotations

from collections.abc import Iterable

from ...errors import AnyvirtError, InvalidInput, Problem

Finding = tuple[Problem, type[AnyvirtError]]


def raise_first(findings: Iterable[Finding]) -> None:
    """Raise the first one as the error that it is."""
    for problem, kind in findings:
        raise InvalidInput([problem]) if issubclass(kind, InvalidInput) else kind(str(problem))
