# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests on the move between two Xen hosts: PVH ones while they run, PV ones when they are off."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import AUTO, COLD, LIVE, MigrationWishes
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import LVM, Pool, VolumeKey
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.driver_moves import NAME, Two, two_hosts
from contract.helpers import eventually, state_of
from contract.platforms.libvirt_xen import XenPlatform

pytestmark = [pytest.mark.on("xen"), pytest.mark.slow]


@pytest.fixture
def two(platform: XenPlatform) -> Two:
    return two_hosts(platform)


def say(platform: XenPlatform, text: str) -> None:
    """Type it on the guest's console."""
    with platform.connection() as connection:
        stream = connection.newStream()
        connection.lookupByName(NAME).openConsole(None, stream)
        stream.send(text.encode() + b"\n")
        stream.finish()


def test_a_pvh_guest_moves_while_it_runs(two: Two):
    """A variable of its shell is all that it knows of its life so far."""
    here, there = two.here, two.there
    assert isinstance(here, XenPlatform)
    assert isinstance(there, XenPlatform)
    here.spawned(two.source, NAME, power_on=True, hypervisor=here.hypervisor_of("pvh"), metadata={"who": "me"})
    here.wait_ready(two.source, NAME)
    say(here, "known=$((6 * 7)); echo set-$known")
    assert eventually(lambda: b"set-42" in here.console(two.source, NAME), 30)
    plan = two.planned(MigrationWishes(mode=AUTO))
    assert plan.mode == LIVE
    two.move(plan)
    assert two.source.list_instances() == []
    assert state_of(two.destination, NAME) == "running"
    assert two.destination.get_instances([NAME])[NAME].metadata == {"who": "me"}
    say(there, "echo still-$known")
    assert eventually(lambda: b"still-42" in there.console(two.destination, NAME), 30)


@pytest.fixture
def lvm(two: Two) -> Iterator[str]:
    """A pool of the destination that is a volume group."""
    assert isinstance(two.there, XenPlatform)
    run = two.there.lab.run
    device = run("truncate -s 64M /srv/lvm.img && losetup -f --show /srv/lvm.img").strip()
    two.destination.create_pool(Pool("lvm", kind=LVM, volume_group="vg", devices=[device]))
    two.destination.start_pool("lvm")
    yield "lvm"
    two.there.cleanup()  # nothing may use the group any more
    run(f"vgremove -ff -y vg 2>/dev/null; losetup -d {device}; rm -f /srv/lvm.img")


def test_a_pv_guest_is_refused_while_it_runs_and_moves_with_its_disk_when_it_is_off(two: Two, lvm: str):
    """Its disk is a file, and becomes a device."""
    here, there = two.here, two.there
    assert isinstance(here, XenPlatform)
    disks = [Disk(size_bytes=8 * MIB, pool=here.pool)]
    here.spawned(two.source, NAME, power_on=True, hypervisor=here.hypervisor_of("pv"), disks=disks)
    before = two.pictures()
    plan = two.planned(MigrationWishes(mode=LIVE))
    assert any("PV guest" in problem and "cold" in problem for problem in plan.problems)
    assert two.planned(MigrationWishes(mode=AUTO)).mode == COLD
    assert two.pictures() == before
    two.source.power_off(NAME)
    wishes = MigrationWishes(mode=COLD, pools={here.pool: lvm})
    key = VolumeKey(here.pool, two.source.get_instances([NAME])[NAME].disks[0].volume)
    here.storage.fill(key, 7, MIB, 2 * MIB)
    two.move(two.planned(wishes))
    assert there.storage.data(VolumeKey(lvm, key.name)) == bytes(MIB) + bytes([7]) * 2 * MIB + bytes(5 * MIB)
    assert key not in two.source.get_volumes([key])
    (disk,) = two.destination.get_instances([NAME])[NAME].disks or []
    assert (disk.pool, disk.path, disk.format) == (lvm, f"/dev/vg/{key.name}", "raw")
    two.destination.power_on(NAME)
    assert b"disks=[ xvda" in there.wait_ready(two.destination, NAME)
