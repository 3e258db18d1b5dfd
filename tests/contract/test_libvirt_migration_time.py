# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real guest that changes its memory faster than it can be sent, and what is done when that takes too long."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from contract.moving import Move, answer_of, migrate
from contract.moving_guests import MovingGuest, kept
from contract.moving_hosts import TOLERANCE_S, MovingHosts
from contract.platforms.libvirt_qemu import QemuPlatform
from lab.console import wait_for_line

pytestmark = pytest.mark.on("libvirt")

NEVER_ENDING = {"bandwidth": 16, "max_downtime_ms": 10, "timeout_s": 7}
"""Its memory has been sent once when the time is over, and what it changes takes longer than that downtime."""

WAITING_FOR_PAGES_S = 2.0


@pytest.fixture(scope="module")
def hosts(host: QemuPlatform) -> Iterator[MovingHosts]:
    with closing(MovingHosts([host, host.partner()])) as found:
        yield found


@pytest.fixture(scope="module")
def guest(hosts: MovingHosts) -> Iterator[MovingGuest]:
    busy = MovingGuest(hosts, "busy", hosts.platforms[0].pool, "DIRTY_MIB_S=20", disks=[])
    with kept(busy) as found:
        wait_for_line(hosts.logs("busy")[0], "ANYVIRT WORK", 180)
        yield found


def attempt(guest: MovingGuest, **over: Any) -> tuple[Move, float]:
    """Move it, and tell for how long it stood still; it counts on in any case."""
    source, destination = guest.source, guest.destination
    with guest.hosts.watched(guest.name) as (counter, talking):
        move = migrate(source, destination, name=guest.name, **{**NEVER_ENDING, **over})
        counter.goes_on()
        talking.goes_on()
    assert counter.lost_and_repeated() == []
    assert talking.broken == ""
    return move, counter.longest_stand_s()


def test_it_is_aborted(guest: MovingGuest, platform: QemuPlatform):
    start, before = guest.here, guest.hosts.pictures()
    move, _stand_s = attempt(guest)
    assert move.kind == "timeout", move.result
    assert guest.here == start
    assert [set(picture["domains"]) for picture in guest.hosts.pictures()] == [set(one["domains"]) for one in before]


def test_it_is_paused(guest: MovingGuest, platform: QemuPlatform):
    start = guest.here
    move, stand_s = attempt(guest, on_timeout="pause")
    assert move.kind is None, move.result
    assert guest.here == 1 - start
    assert stand_s < move.one["downtime_ms"] / 1000 + TOLERANCE_S


def test_it_is_switched_to_post_copy(guest: MovingGuest, platform: QemuPlatform):
    start = guest.here
    move, stand_s = attempt(guest, on_timeout="post_copy", post_copy=True)
    assert move.kind is None, move.result
    assert move.one["post_copy"]
    assert guest.here == 1 - start
    # Beside its downtime it waits for each page that it wants and that has not come yet.
    assert stand_s < move.one["downtime_ms"] / 1000 + WAITING_FOR_PAGES_S


def test_it_goes_on_until_another_task_aborts_it(guest: MovingGuest, platform: QemuPlatform):
    start = guest.here
    source, destination = guest.source, guest.destination
    answers: list[dict[str, Any]] = []

    def abort() -> None:
        for state in ("status", "aborted"):
            answers.append(answer_of(source, destination, name=guest.name, state=state))

    aborting = threading.Timer(4.0, abort)
    aborting.start()
    move, _stand_s = attempt(guest, on_timeout="continue", timeout_s=1)
    aborting.join()
    status, aborted = answers
    assert status["instances"][0]["status"]["phase"] == "moving", status
    assert aborted["changed"], aborted
    assert move.kind == "migration_aborted", move.result
    assert any("longer than 1 s" in warning for warning in move.one["warnings"])
    assert guest.here == start
