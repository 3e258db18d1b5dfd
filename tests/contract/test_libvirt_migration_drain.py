# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three real hosts: one is drained of ten guests, and a guest that is on its way to one is not taken to another."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any
from unittest import mock

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.migrationdriver import (
    LibvirtMigrationDriver,
)
from contract.helpers import eventually
from contract.moving import migrate, migrate_and_die, moved
from contract.moving_hosts import MovingHosts, moving_instance, wait_for_work
from contract.platforms.libvirt_qemu import QemuPlatform
from lab.counting import counting

pytestmark = pytest.mark.on("libvirt")

_BUSY_S = 60.0
"""How long a guest may take to say its next number while ten others want the processors."""

TEN = [f"drain{number}" for number in range(10)]


@pytest.fixture(scope="module")
def all_hosts(host: QemuPlatform) -> Iterator[MovingHosts]:
    second = host.partner()
    with closing(MovingHosts([host, second, second.partner()])) as found:
        yield found


@pytest.fixture
def hosts(all_hosts: MovingHosts, platform: QemuPlatform) -> MovingHosts:
    """They are emptied after the test."""
    return all_hosts


def start(hosts: MovingHosts, *names: str) -> None:
    """Start guests without network and disks on the first host, and wait until they count."""
    platform = hosts.platforms[0]
    driver = platform.driver()
    for name in names:
        driver.spawn(driver.complete(moving_instance(platform, name, nics=[], disks=[])), power_on=True)
    for name in names:
        wait_for_work(hosts, name, 0)


class AtOnce:
    """How many are moved at a time."""

    def __init__(self) -> None:
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Count within the block."""
        real = LibvirtMigrationDriver.migrate_instance

        def migrate_instance(*arguments: Any) -> Any:
            with self._lock:
                self._now += 1
                self.most = max(self.most, self._now)
            try:
                return real(*arguments)
            finally:
                with self._lock:
                    self._now -= 1

        with mock.patch.object(LibvirtMigrationDriver, "migrate_instance", migrate_instance):
            yield


@pytest.mark.slow
def test_a_host_is_drained_of_ten_guests_two_at_a_time(hosts: MovingHosts):
    source, destination, _third = hosts.platforms
    start(hosts, *TEN, "stays")
    at_once = AtOnce()
    drain: dict[str, Any] = {"all": True, "exclude": ["stays"], "workers": 2}
    with ExitStack() as stack:
        counters = [stack.enter_context(counting(*hosts.logs(name), look_s=0.2)) for name in TEN]
        stack.enter_context(at_once.watched())
        move = moved(source, destination, **drain)
        for counter in counters:
            counter.goes_on(1, _BUSY_S)
    assert at_once.most == 2
    assert sorted(result["name"] for result in move.result["instances"]) == TEN
    for name, counter in zip(TEN, counters):
        assert (name, hosts.running_on(name), hosts.processes(name)) == (name, [1], 1)
        assert counter.lost_and_repeated() == []
    assert hosts.running_on("stays") == [0]
    again = migrate(source, destination, **drain)
    assert (again.kind, again.changed, again.calls.lasting_writes) == (None, False, [])


def test_it_goes_around(hosts: MovingHosts):
    """From the first to the second to the third and back."""
    start(hosts, "around")
    first, second, third = hosts.platforms
    with counting(*hosts.logs("around")) as counter:
        counter.goes_on(0)
        for number, (source, destination) in enumerate([(first, second), (second, third), (third, first)], 1):
            moved(source, destination, name="around")
            counter.goes_on(number % 3)
            assert hosts.running_on("around") == [number % 3]
    assert counter.lost_and_repeated() == []
    assert hosts.processes("around") == 1


def test_what_is_on_its_way_to_one_host_is_not_taken_to_another(hosts: MovingHosts):
    start(hosts, "torn")
    first, second, third = hosts.platforms
    migrate_and_die(first, second, "accepted", name="torn")
    assert eventually(lambda: hosts.running_on("torn") == [0])
    refused = migrate(first, third, name="torn")
    assert refused.kind == "instance_migrating", refused.result
    assert refused.calls.lasting_writes == []
    moved(first, second, name="torn")
    assert hosts.running_on("torn") == [1]
    assert hosts.processes("torn") == 1
