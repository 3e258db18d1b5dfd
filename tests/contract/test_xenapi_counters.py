# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters that a pool does not have: they are made of the rates that its hosts record."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB

if TYPE_CHECKING:
    from contract.platforms.xenapi import XenApiPlatform

pytestmark = pytest.mark.on("xenapi")

MINUTE, HOUR, DAY = 60, 60 * 60, 24 * 60 * 60


def make_older(platform: XenApiPlatform, name: str, age_s: int) -> None:
    """Let an instance have been started that long ago."""
    db = platform.server.db
    [vm] = db.find("VM", name_label=name)
    started = datetime.now(timezone.utc) - timedelta(seconds=age_s)
    platform.server.world.guests[vm].started = started.timestamp()
    db.set("VM_metrics", db.get("VM", vm, "metrics"), start_time=started)


@pytest.mark.parametrize(("age_s", "archives"), [(8 * MINUTE, 1), (HOUR, 2), (3 * DAY, 3), (30 * DAY, 4)])
def test_rates_add_up(driver: ComputeDriver, platform: XenApiPlatform, age_s: int, archives: int):
    """From the archives that reach back to the start, each continued by the next finer one."""
    platform.spawned(driver, "old", power_on=True, nics=[platform.nic()], disks=[Disk(role="root", size_bytes=8 * MIB)])
    platform.wait_ready(driver, "old")
    make_older(platform, "old", age_s)
    with platform.calls.recording() as calls:
        found = driver.get_diagnostics("old")
    assert [call.name for call in calls].count("http:/rrd_updates") == archives
    [guest] = platform.server.world.guests.values()
    rates = {
        "cpu0_time_ns": guest.cpu_share * 1e9,
        "xvda_rd_bytes": guest.vbd_read_rate,
        "xvda_wr_bytes": guest.vbd_write_rate,
        "nic0_rx_bytes": guest.vif_rx_rate,
        "nic0_tx_bytes": guest.vif_tx_rate,
    }
    for name, rate in rates.items():
        assert found[name] == pytest.approx(rate * age_s, rel=0.03), name
    assert driver.block_stats("old", "xvda").rd_bytes == pytest.approx(found["xvda_rd_bytes"], rel=0.03)


def test_the_young_beside_the_old(driver: ComputeDriver, platform: XenApiPlatform):
    """They share the answers of their host, and each counts from its own start."""
    for name, age_s in (("old", 2 * DAY), ("young", 5 * MINUTE)):
        platform.spawned(driver, name, power_on=True, nics=[platform.nic()], hypervisor={"affinity": "xen2"})
        platform.wait_ready(driver, name)
        make_older(platform, name, age_s)
    with platform.calls.recording() as calls:
        found = driver.get_all_diagnostics()
    assert [call.name for call in calls].count("http:/rrd_updates") == 3
    rate = next(iter(platform.server.world.guests.values())).vif_rx_rate
    assert found["old"]["nic0_rx_bytes"] == pytest.approx(rate * 2 * DAY, rel=0.03)
    assert found["young"]["nic0_rx_bytes"] == pytest.approx(rate * 5 * MINUTE, rel=0.03)


def test_counters_never_go_back(driver: ComputeDriver, platform: XenApiPlatform):
    """Growing older than an archive changes where they come from, not what they are."""
    platform.spawned(driver, "aging", power_on=True, nics=[platform.nic()])
    platform.wait_ready(driver, "aging")
    last = 0
    for age_s in (MINUTE, 9 * MINUTE, 11 * MINUTE, 110 * MINUTE, 130 * MINUTE, 6 * DAY, 8 * DAY):
        make_older(platform, "aging", age_s)
        now = driver.get_diagnostics("aging")["nic0_rx_bytes"]
        assert now > last, age_s
        last = now


def test_each_host_is_asked_for_its_own(driver: ComputeDriver, platform: XenApiPlatform):
    for host in ("xen1", "xen2"):
        platform.spawned(driver, f"on-{host}", power_on=True, nics=[], hypervisor={"affinity": host})
        platform.wait_ready(driver, f"on-{host}")
        make_older(platform, f"on-{host}", MINUTE)
    found = driver.get_all_diagnostics()
    assert {name: counters["cpu_time_ns"] > 0 for name, counters in found.items()} == {"on-xen1": True, "on-xen2": True}
