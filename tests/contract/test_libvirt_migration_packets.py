# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a packet filter does not let through reaches a real guest at no moment of a migration, on neither host.

Those of libvirt's own are looked at in test_libvirt_migration_guest.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewalluri import get_firewall_driver
from contract.host_runners import run_on_hosts
from contract.moving import moved
from contract.moving_guests import ALLOWED, FORBIDDEN, MovingGuest, kept
from contract.moving_hosts import MovingHosts
from contract.platforms.libvirt_qemu import QemuPlatform
from lab.packets.announcing import announcements

pytestmark = pytest.mark.on("libvirt")

MANY = 50


@pytest.fixture(scope="module")
def hosts(host: QemuPlatform) -> Iterator[MovingHosts]:
    platforms = [host, host.partner()]
    with pytest.MonkeyPatch.context() as patch, closing(MovingHosts(platforms)) as found:
        run_on_hosts(patch, *platforms)
        yield found


@pytest.mark.parametrize("engine", ["nftables", "iptables"])
def test_nothing_forbidden_comes_through(hosts: MovingHosts, platform: QemuPlatform, engine: str):
    with kept(MovingGuest(hosts, "guarded", platform.pool, disks=[], firewall=engine)) as guest:
        with hosts.watched(guest.name) as (_counter, talking), guest.knocked() as knocks:
            knocks.goes_on(ALLOWED, 0)
            with announcements(hosts.lan.network) as announced:
                moved(guest.source, guest.destination, name=guest.name, mode="live")
                assert announced.of(guest.mac)
            knocks.goes_on(ALLOWED, 1)
            talking.goes_on()
            assert talking.broken == ""
            moved(guest.source, guest.destination, name=guest.name, mode="cold", shutdown={"method": "forced"})
            knocks.goes_on(ALLOWED, 0, timeout_s=120)
        assert knocks.sent[FORBIDDEN] > MANY
        assert knocks.on(FORBIDDEN) == []
        with get_firewall_driver(guest.source.options()) as driver:
            driver.destroy(guest.name)  # with its filters, which stay in the kernel otherwise
