# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Noticing that nobody wants the work any more."""

from __future__ import annotations

import os
import pty
import signal
import threading
import time
from collections.abc import Iterator
from typing import Callable

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.interrupts import Interrupts, in_background

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_first_signal_is_remembered(number: signal.Signals) -> None:
    interrupts = Interrupts(output=None).watch()
    assert interrupts.reason() is None
    os.kill(os.getpid(), number)
    os.kill(os.getpid(), signal.SIGTERM)
    assert interrupts.reason() == f"interrupted by {number.name}"


def test_signals_that_are_ignored_stay_so() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interrupts = Interrupts(output=None).watch()
    os.kill(os.getpid(), signal.SIGHUP)
    assert interrupts.reason() is None


def pipe() -> tuple[int, int]:
    return os.pipe()


@pytest.mark.parametrize("make", [pipe, pty.openpty])
def test_output_that_nobody_reads(make: Callable[[], tuple[int, int]]) -> None:
    reading, writing = make()
    try:
        interrupts = Interrupts(output=writing)
        assert interrupts.reason() is None
        os.close(reading)
        assert interrupts.reason() == "whoever waited for the result is gone"
    finally:
        os.close(writing)


def test_a_file_is_always_read(tmp_path: os.PathLike[str]) -> None:
    with open(os.path.join(tmp_path, "out"), "wb") as file:
        assert Interrupts(output=file.fileno()).reason() is None


def test_work_in_the_background_is_interrupted_there() -> None:
    interrupts = Interrupts(output=None).watch()
    threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    began_s = time.monotonic()

    def work() -> None:
        while interrupts.reason() is None and time.monotonic() - began_s < 10:
            time.sleep(0.01)

    in_background(work)
    assert interrupts.reason() == "interrupted by SIGINT"


def test_what_work_in_the_background_raises_is_raised() -> None:
    def work() -> None:
        raise ValueError("oops")

    with pytest.raises(ValueError, match="oops"):
        in_background(work)
