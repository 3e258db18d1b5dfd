# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the destination has of a guest whose post-copy migration broke off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt import migrationpostcopy
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.migrationpostcopy import (
    GONE,
    READY,
    STUCK,
    UNAWARE,
    WHOLE,
    half_on,
    words_of,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import InstanceNotFound

ARRIVING, NOTICED, MIGRATED, OFF = (1, 10), (1, 11), (1, 5), (5, 0)


class Host:
    """A destination that shows one state after the other, and the last one from then on."""

    VIR_DOMAIN_CONTROL_OK = 0

    def __init__(self, states: Sequence[tuple[int, int]], busy: Sequence[bool], is_arriving: bool) -> None:
        self.libvirt = self
        self._states = list(states)
        self._busy = list(busy)
        self._is_arriving = is_arriving

    def lookup(self, name: str) -> Host:
        if not self._states:
            raise InstanceNotFound(name)
        return self

    @contextmanager
    def guard(self, _action: str, _name: str) -> Iterator[None]:
        yield

    def isActive(self) -> bool:  # noqa: N802
        return self._states[0][0] != OFF[0]

    def state(self) -> list[int]:
        return list(self._states.pop(0) if len(self._states) > 1 else self._states[0])

    def controlInfo(self, _flags: int) -> list[int]:  # noqa: N802
        return [int(self._busy.pop(0) if len(self._busy) > 1 else self._busy[0]), 0, 0]

    def progress_of(self, _handle: object) -> object:
        return "a job" if self._is_arriving else None


@pytest.mark.parametrize(
    ("states", "busy", "is_arriving", "expected"),
    [
        ([], [False], False, GONE),
        ([OFF], [False], False, GONE),
        ([NOTICED], [False], True, READY),
        ([(3, 13)], [False], True, READY),
        ([ARRIVING, ARRIVING, NOTICED], [True], True, READY),
        ([ARRIVING, OFF], [True], True, GONE),
        ([ARRIVING], [True], True, STUCK),
        ([ARRIVING], [True, False, True], True, UNAWARE),
        ([(3, 2)], [False], True, UNAWARE),
        ([MIGRATED], [False], False, WHOLE),
        ([MIGRATED], [False], True, READY),
    ],
)
def test_what_the_destination_has(
    monkeypatch: pytest.MonkeyPatch,
    states: list[tuple[int, int]],
    busy: list[bool],
    is_arriving: bool,
    expected: str,
):
    monkeypatch.setattr(migrationpostcopy, "_LOOK_EACH_S", 0.001)
    host: Any = Host(states, busy, is_arriving)
    assert half_on(host, "web1", 0.05) == expected


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (READY, "run the task again, and it goes on"),
        (UNAWARE, "has not noticed yet"),
        (STUCK, "(virsh destroy web1) and that of the destination, start the instance"),
        (GONE, "(virsh destroy web1), start the instance on the destination (virsh start web1)"),
    ],
)
def test_what_is_to_be_done_is_said(what: str, said: str):
    message = words_of("web1", what, "a reason")
    assert message.startswith("the post-copy migration of instance 'web1' broke off")
    assert said in message
    assert message.endswith("(a reason)")
