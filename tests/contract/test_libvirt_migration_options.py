# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of a task that say which addresses are used and what stays defined, with a guest that runs."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.migration_helpers import NAME, both_ends, spawned
from contract.moments import at_moment
from contract.moving import migrate, moved
from contract.platforms.libvirt_qemu import QemuPlatform

pytestmark = pytest.mark.on("libvirt")

MEMORY_PORT, DISKS_PORT = 49300, 49301


def ports_in_use(platform: QemuPlatform) -> set[int]:
    """The TCP ports of connections and listeners at the host's address in the lab."""
    address = int(ipaddress.ip_address(platform.lab.address)).to_bytes(4, sys.byteorder).hex().upper()
    lines = Path(f"/proc/{platform.lab.machine.init_pid}/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    ends = [line.split()[1].split(":") for line in lines]
    return {int(port, 16) for at, port in ends if at == address}


def is_persistent(platform: QemuPlatform) -> bool:
    """Whether libvirt keeps its definition."""
    with platform.connection() as connection:
        return bool(connection.lookupByName(NAME).isPersistent())


def test_where_it_is_sent_and_what_is_defined(platform: QemuPlatform):
    partner = platform.partner()
    assert isinstance(partner, QemuPlatform)
    ends, address = both_ends(platform), partner.lab.address
    spawned(ends, power_on=True, disks=[Disk(size_bytes=4 * MIB, pool=platform.pool)], nics=[])
    platform.wait_ready(ends.source, NAME)

    tunnel = {"manager": "source", "transport": "tunnelled", "peer_uri": partner.uris[1]}
    (problem,) = migrate(platform, partner, name=NAME, verify_only=True, **tunnel).one["problems"]
    assert "tunnelled copies no disks (vda)" in problem

    used: set[int] = set()
    places = {"migrate_uri": f"tcp://{address}:{MEMORY_PORT}", "listen_address": address, "disks_port": DISKS_PORT}
    with at_moment("half", lambda: used.update(ports_in_use(partner))) as fault:
        moved(platform, partner, name=NAME, bandwidth=20, **places)
    assert fault.is_done
    assert {MEMORY_PORT, DISKS_PORT} <= used
    assert is_persistent(partner)

    moved(partner, platform, name=NAME, persist=False)
    assert not is_persistent(platform)
    moved(platform, partner, name=NAME)
    assert is_persistent(partner)
    assert ends.source.list_instances() == []
