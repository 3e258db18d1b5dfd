# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls of a driver that are killed at many points."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator, Mapping
from typing import Any

from contract import child
from contract.platforms.base import Platform
from contract.test_kill import run_and_kill

MOST_CHANGES = 60
"""More changes of files than any of these calls makes in the fake."""


def killed_at_many_points(
    platform: Platform, chance: random.Random, duration_s: float, rounds: Mapping[str, int], step: int = 1, **task: Any
) -> Iterator[None]:
    """Have a call made by children that are killed. Whoever is given the platform after one puts it back as it was.

    In the fake they are killed at changes of a file, elsewhere at random moments.

    Args:
        duration_s: How long the call takes.
        rounds: How many are killed on each of the other platforms.
        step: How many changes lie between two at which one is killed, in the fake.
        task: What the child does, see ``child.start``.
    """
    if platform.name != "fake":
        for _turn in range(rounds[platform.name]):
            run_and_kill(platform, chance, duration_s, 0, **task)
            yield
        return
    for number in range(1, MOST_CHANGES, step):
        process = child.start(options=platform.options(), die_at=number, **task)
        output, errors = process.communicate(timeout=60)
        assert process.returncode in (0, -signal.SIGKILL), errors.decode()
        yield
        if b"done" in output:
            assert number > 2
            return
    raise AssertionError("it makes more changes than that")
