# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters made of recorded rates."""

from __future__ import annotations

import calendar
from typing import Any
from xml.etree.ElementTree import ParseError

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.rrd import (
    ARCHIVES,
    Rates,
    latest,
    needed,
    query,
    read_rates,
    total,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import HypervisorError, InvalidPowerState, NotFound
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import BlockStats, InterfaceStats

START = calendar.timegm((2026, 1, 1, 0, 0, 0))
READ = ("u1", "vbd_xvda_read")


def answer(step_s: int, times_s: list[int], columns: dict[str, list[float | None]]) -> bytes:
    """As a host tells it: the newest row first."""
    rows = [
        f"<row><t>{time_s}</t>"
        + "".join(f"<v>{'NaN' if values[index] is None else values[index]}</v>" for values in columns.values())
        + "</row>"
        for index, time_s in enumerate(times_s)
    ]
    legend = "".join(f"<entry>AVERAGE:{name}</entry>" for name in columns)
    meta = f"<start>{times_s[0]}</start><step>{step_s}</step><end>{times_s[-1]}</end><legend>{legend}</legend>"
    return f"<xport><meta>{meta}</meta><data>{''.join(reversed(rows))}</data></xport>".encode()


def test_reading():
    text = answer(5, [5, 10], {"vm:u1:cpu0": [0.5, None], "host::loadavg": [1, 1], "vm:u2:cpu0": [1, 1]})
    rates = read_rates(text, ["u1"])
    assert (rates.step_s, rates.end_s, rates.times_s) == (5, 10, [5, 10])
    assert list(rates.columns) == [("u1", "cpu0")]
    assert rates.columns["u1", "cpu0"][0] == 0.5
    assert latest([rates], ("u1", "cpu0")) == 0.5
    assert latest([rates], ("u1", "cpu1")) is None


@pytest.mark.parametrize("text", [b"", b"<html/>", b"<xport><meta><step>x</step></meta></xport>"])
def test_what_is_no_answer(text: bytes):
    with pytest.raises(ParseError):
        read_rates(text, ["u1"])


def test_the_integral_begins_at_the_start():
    rates = Rates(5, 20, [5, 10, 15, 20], {READ: [100.0, 100.0, float("nan"), 10.0]})
    assert total([rates], READ, 0) == 500 + 500 + 50
    assert total([rates], READ, 7) == 300 + 50
    assert total([rates], READ, 20) == 0
    assert total([rates], ("u1", "other"), 0) is None


def test_finer_archives_go_on_where_coarser_ones_end():
    coarse = Rates(60, 120, [60, 120], {READ: [1.0, 2.0]})
    fine = Rates(5, 130, [115, 120, 125, 130], {READ: [50.0, 50.0, 3.0, 4.0]})
    assert total([coarse, fine], READ, 30) == 30 + 120 + 15 + 20


def test_finer_archives_know_what_was_too_little_for_a_coarse_average():
    coarse = Rates(60, 180, [60, 120, 180], {READ: [float("nan"), 2.0, float("nan")]})
    fine = Rates(5, 185, [45, 50, 55, 60, 65, 185], {READ: [1.0, 1.0, 1.0, 1.0, 9.0, 7.0]})
    assert total([coarse, fine], READ, 42) == 3 + 15 + 120 + 35
    assert total([coarse], READ, 42) == 120


def test_a_gap_counts_nothing():
    assert total([Rates(5, 100, [5, 100], {READ: [1.0, 1.0]})], READ, 0) == 10


def test_which_archives():
    assert [archive.step_s for archive in needed(0)] == [5]
    assert [archive.step_s for archive in needed(600)] == [5, 60]
    assert [archive.step_s for archive in needed(86400)] == [5, 60, 3600]
    assert needed(10**9) == ARCHIVES


def test_what_is_asked():
    assert query(ARCHIVES[0], None, None) == {"cf": "AVERAGE", "interval": "5", "start": "-595"}
    assert query(ARCHIVES[1], 1000, "u1") == {"cf": "AVERAGE", "interval": "60", "start": "1000", "vm_uuid": "u1"}


# -- through the driver ---------------------------------------------------------------------------------------------


@pytest.fixture
def busy(pool: Any) -> Any:
    """An instance that has run for ten seconds."""
    vm = pool.vm("web1", active=True, vcpus_now="2")
    pool.disk(vm)
    pool.disk(vm, "3", type="CD", mode="RO", vdi=None)
    pool.nic(vm)
    uuid = pool.get("VM", vm)["uuid"]
    pool.archives[5] = answer(
        5,
        [START, START + 5, START + 10],
        {
            f"vm:{uuid}:cpu0": [1, 0.5, 0.5],
            f"vm:{uuid}:vbd_xvda_read": [9, 100, 200],
            f"vm:{uuid}:vbd_xvda_iops_write": [9, 1, 1],
            f"vm:{uuid}:vif_0_rx": [9, 10, 20],
            f"vm:{uuid}:vif_0_rx_errors": [9, 0, 0.2],
            f"vm:{uuid}:memory_internal_free": [9, 3000, 4000],
        },
    )
    return pool


def test_disks_and_nics(busy: Any):
    driver = busy.driver()
    assert driver.list_disks("web1") == ["xvda", "xvdd"]
    assert driver.list_interfaces("web1") == ["52:54:00:00:00:00"]
    assert driver.block_stats("web1", "xvda") == BlockStats(0, 1500, 10, 0, 0)
    assert driver.interface_stats("web1", "52:54:00:00:00:00") == InterfaceStats(150, 0, 1, 0, 0, 0, 0, 0)
    with pytest.raises(NotFound, match="nodisk"):
        driver.block_stats("web1", "nodisk")
    with pytest.raises(NotFound, match="nonic"):
        driver.interface_stats("web1", "nonic")


def test_diagnostics(busy: Any):
    found = busy.driver().get_diagnostics("web1")
    assert found == {
        "vcpus": 2,
        "cpu_time_ns": 5_000_000_000,
        "cpu0_time_ns": 5_000_000_000,
        "cpu1_time_ns": 0,
        "memory_kib": 96 * 1024,
        "memory_max_kib": 96 * 1024,
        "memory_unused_kib": 4000,
        "xvda_rd_bytes": 1500,
        "xvda_wr_bytes": 0,
        "xvda_wr_req": 10,
        "xvdd_rd_bytes": 0,
        "xvdd_wr_bytes": 0,
        "nic0_rx_bytes": 150,
        "nic0_rx_errs": 1,
        "nic0_tx_bytes": 0,
    }
    [(asked, address)] = busy.asked
    assert (asked["vm_uuid"], address) == ("uuid-of-VM-0", "10.0.0.1")


def test_all_at_once_asks_each_host_once(busy: Any):
    busy.vm("web2", active=True)
    busy.vm("off")
    found = busy.driver().get_all_diagnostics()
    assert set(found) == {"web1", "web2"}
    assert len(busy.asked) == 1
    assert "vm_uuid" not in busy.asked[0][0]
    assert set(busy.driver().get_all_diagnostics(["web2", "off", "ghost"])) == {"web2"}


def test_an_old_instance_takes_the_coarser_archives_too(busy: Any):
    uuid = "uuid-of-VM-0"
    now = START + 3 * 3600
    busy.archives[5] = answer(5, [now], {f"vm:{uuid}:vif_0_rx": [1]})
    busy.archives[60] = answer(60, [now - 60], {f"vm:{uuid}:vif_0_rx": [2]})
    busy.archives[3600] = answer(3600, [START + 3600, START + 7200], {f"vm:{uuid}:vif_0_rx": [1, 1]})
    assert busy.driver().get_diagnostics("web1")["nic0_rx_bytes"] == 7200 + 120 + 5
    assert [query["interval"] for query, _address in busy.asked] == ["5", "60", "3600"]
    assert busy.asked[2][0]["start"] == str(START)


@pytest.mark.parametrize("status", [404, 500])
def test_nothing_is_recorded_yet(busy: Any, status: int):
    busy.archives.clear()
    busy.refusal = status
    found = busy.driver().get_diagnostics("web1")
    assert (found["cpu_time_ns"], found["xvda_rd_bytes"], found["nic0_tx_bytes"]) == (0, 0, 0)
    assert "memory_unused_kib" not in found


def test_a_host_that_does_not_tell(busy: Any):
    busy.archives.clear()
    busy.refusal = 500
    busy.vm("web2", active=True)
    with pytest.raises(HypervisorError, match="HTTP 500"):
        busy.driver().get_all_diagnostics()


@pytest.mark.parametrize("text", [b"", b"<html>", b"<!DOCTYPE x><xport/>"])
def test_a_host_that_tells_something_else(busy: Any, text: bytes):
    busy.archives[5] = text
    with pytest.raises(HypervisorError, match="'web1': the server's answer cannot be understood"):
        busy.driver().get_diagnostics("web1")


def test_a_rate_without_bounds_counts_nothing(busy: Any):
    uuid = busy.get("VM", "OpaqueRef:VM-0")["uuid"]
    busy.archives[5] = answer(5, [START + 5, START + 10], {f"vm:{uuid}:vif_0_rx": [float("inf"), 20]})
    assert busy.driver().get_diagnostics("web1")["nic0_rx_bytes"] == 100


def test_of_an_instance_that_is_off(pool: Any):
    pool.disk(pool.vm("off"))
    for ask in (
        lambda driver: driver.block_stats("off", "xvda"),
        lambda driver: driver.interface_stats("off", "x"),
        lambda driver: driver.get_diagnostics("off"),
    ):
        with pytest.raises(InvalidPowerState, match="off"):
            ask(pool.driver())
    assert pool.driver().list_disks("off") == ["xvda"]
    assert pool.driver().get_all_diagnostics() == {}
