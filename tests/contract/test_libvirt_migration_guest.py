# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real guest goes from host to host: it counts on, its connections last, its disks hold what they held, its filters
are there before it is, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace

import pytest

from contract.moments import at_moment
from contract.moving import Move, migrate, moved
from contract.moving_guests import ALLOWED, FORBIDDEN, MovingGuest, kept, shared_pool
from contract.moving_hosts import SHARED_POOL, TOLERANCE_S, MovingHosts, wait_for_work
from contract.platforms.libvirt_qemu import QemuPlatform
from lab.packets.announcing import announcements

pytestmark = pytest.mark.on("libvirt")


@pytest.fixture(scope="module")
def hosts(host: QemuPlatform) -> Iterator[MovingHosts]:
    found = MovingHosts([host, host.partner()])
    with closing(found), shared_pool(found):
        yield found


@pytest.fixture(scope="module", params=["shared", "local"])
def guest(request: pytest.FixtureRequest, hosts: MovingHosts) -> Iterator[MovingGuest]:
    """One on storage that both hosts see, and one on the first host's own."""
    pool = SHARED_POOL if request.param == "shared" else hosts.platforms[0].pool
    with kept(MovingGuest(hosts, f"on-{request.param}", pool)) as found:  # pools are kept by their names too
        yield found


def test_it_goes_there_while_it_runs(guest: MovingGuest, platform: QemuPlatform):
    hosts, start = guest.hosts, guest.here
    source, destination = guest.source, guest.destination
    before = hosts.pictures()
    _note(guest, "before")
    with ExitStack() as stack:
        counter, talking = stack.enter_context(hosts.watched(guest.name))
        knocks = stack.enter_context(guest.knocked())
        announced = stack.enter_context(announcements(hosts.lan.network))
        knocks.goes_on(ALLOWED, start)
        move = moved(source, destination, name=guest.name)
        assert announced.of(guest.mac)
        counter.goes_on(1 - start)
        talking.goes_on()
        knocks.goes_on(ALLOWED, 1 - start)

    assert guest.here == 1 - start
    assert counter.lost_and_repeated() == []
    assert counter.places() == [start, 1 - start]
    downtime_s = _downtime_ms(move) / 1000
    assert counter.longest_stand_s() < downtime_s + TOLERANCE_S
    assert talking.broken == ""
    assert knocks.sent[FORBIDDEN] > 50
    assert knocks.on(FORBIDDEN) == []
    assert _noted(guest) == "before"
    _has_moved(guest, before, start)
    _stays(move, source, destination, guest)


def test_it_goes_there_off(guest: MovingGuest, platform: QemuPlatform):
    hosts, start = guest.hosts, guest.here
    source, destination = guest.source, guest.destination
    before, boots = hosts.pictures(), guest.inside().boots()
    _note(guest, "cold")
    with guest.knocked() as knocks:
        knocks.goes_on(ALLOWED, start)
        move = moved(source, destination, name=guest.name, mode="cold", shutdown={"timeout": 60})
        wait_for_work(hosts, guest.name, 1 - start)
        knocks.goes_on(ALLOWED, 1 - start)
    assert guest.here == 1 - start
    assert guest.inside().boots() == boots + 1
    assert _noted(guest) == "cold"
    assert _downtime_ms(move) > 0
    assert knocks.on(FORBIDDEN) == []
    _has_moved(guest, before, start)
    _stays(move, source, destination, guest)


def test_filters_of_a_try_that_failed_go(guest: MovingGuest, platform: QemuPlatform):
    start, source, destination = guest.here, guest.source, guest.destination
    with at_moment("accepted", destination.kill_service) as fault:
        first = migrate(source, destination, name=guest.name)
    assert fault.is_done
    assert first.kind is not None
    destination.restart_service()
    assert migrate(source, destination, name=guest.name, state="aborted").kind is None
    assert guest.here == start
    left = guest.hosts.pictures()[1 - start]
    assert guest.filters(left) == []
    assert left["bindings"] == 0


def test_a_locked_one_stays(guest: MovingGuest, platform: QemuPlatform):
    source, destination = guest.source, guest.destination
    driver = source.firewall_driver()
    current = driver.get_instances([guest.name])[guest.name]
    undo = driver.update_instance(current, replace(current, locked=True), {"locked"}, {"locked"})
    before = guest.hosts.pictures()
    assert migrate(source, destination, name=guest.name).kind == "instance_locked"
    assert guest.hosts.pictures() == before
    past_it = migrate(source, destination, check=True, name=guest.name, override_lock=True)
    assert (past_it.kind, past_it.changed) == (None, True)
    undo()


def _downtime_ms(move: Move) -> int:
    found = move.one["downtime_ms"]
    assert isinstance(found, int)
    return found


def _has_moved(guest: MovingGuest, before: list, start: int) -> None:
    """All of it is there, and nothing of it is where it was."""
    after = guest.hosts.pictures()
    was, has_become = before[start], after[1 - start]
    assert set(after[start]["domains"]) == set(before[1 - start]["domains"])
    assert set(has_become["domains"]) == set(was["domains"])
    for word in ("active", "autostart", "saved"):
        assert has_become["domains"][guest.name][word] == was["domains"][guest.name][word]
    assert has_become["bindings"] == was["bindings"]
    assert after[start]["bindings"] == before[1 - start]["bindings"]
    assert set(has_become["pools"][guest.pool]) == set(was["pools"][guest.pool])
    if guest.pool != SHARED_POOL:
        assert set(after[start]["pools"][guest.pool]) == set(before[1 - start]["pools"][guest.pool])
    assert (len(guest.filters(after[start])), len(guest.filters(after[1 - start]))) == (0, 1)


def _stays(move: Move, source: QemuPlatform, destination: QemuPlatform, guest: MovingGuest) -> None:
    """The same task again finds nothing to do, and neither writes nor would."""
    assert move.changed
    for check in (True, False):
        again = migrate(source, destination, check=check, name=guest.name)
        assert again.kind is None, again.result
        assert not again.changed
        assert again.calls.lasting_writes == []


def _note(guest: MovingGuest, text: str) -> None:
    """Have the guest write it to its second disk."""
    guest.inside().write("vdb", text)


def _noted(guest: MovingGuest) -> str:
    return guest.inside().read("vdb")
