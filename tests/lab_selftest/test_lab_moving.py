# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of migration judge by, shown with a migration by plain libvirt calls and with counters that went wrong."""

from __future__ import annotations

import time
from pathlib import Path

import libvirt
import pytest

from lab.console import wait_for_line, wait_until
from lab.counting import counting
from lab.echo import talk
from lab.guest import Guest
from lab.hosts import BRIDGE, LibvirtHost
from lab.lan import guest_lan

_LOG = "/var/log/libvirt/qemu/moves.console"
_ADDRESS = "10.88.0.9"
_PORT = 7007
_XML = """
<domain type='qemu'>
  <name>moves</name><memory unit='MiB'>96</memory><vcpu>1</vcpu>
  <os><type arch='x86_64'>hvm</type><kernel>{guest.kernel}</kernel><initrd>{guest.initrd}</initrd>
    <cmdline>{guest.cmdline} TICK_MS=50 DIRTY_MIB_S=5 ECHO_PORT={port} STATIC_ADDRESS={address}/24</cmdline></os>
  <features><acpi/></features>
  <cpu mode='custom' match='exact'><model fallback='forbid'>qemu64</model></cpu>
  <devices>
    <serial type='pty'><log file='{log}'/></serial>
    <interface type='bridge'><source bridge='{bridge}'/><model type='virtio'/></interface>
  </devices>
</domain>"""
_TOLERANCE_S = 0.15
"""What looking at a log and the guest's own scheduling add to the time that it stood still."""


def test_a_guest_counts_and_answers_while_it_moves(
    libvirt_host: LibvirtHost, second_libvirt_host: LibvirtHost, guest: Guest
) -> None:
    logs = [host.outer_path(_LOG) for host in (libvirt_host, second_libvirt_host)]
    xml = _XML.format(guest=guest, port=_PORT, address=_ADDRESS, log=_LOG, bridge=BRIDGE)
    source, target = libvirt.open(libvirt_host.tcp_uri), libvirt.open(second_libvirt_host.tcp_uri)
    with guest_lan(libvirt_host, second_libvirt_host) as lan:
        domain = source.createXML(xml)
        try:
            wait_for_line(logs[0], "ANYVIRT WORK")
            with talk(lan.network, _ADDRESS, _PORT) as talking, counting(*logs) as counter:
                counter.goes_on(0)
                talking.goes_on()
                domain = domain.migrate3(target, {}, libvirt.VIR_MIGRATE_LIVE)
                counter.goes_on(1)
                talking.goes_on()
            downtime_s = domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)["downtime"] / 1000
        finally:
            domain.destroy()
            source.close()
            target.close()
    assert counter.lost_and_repeated() == []
    assert counter.places() == [0, 1]
    assert counter.longest_stand_s() < downtime_s + _TOLERANCE_S
    assert talking.broken == ""


def test_a_cable_is_cut_and_mended(libvirt_host: LibvirtHost) -> None:
    libvirt_host.cut_cable()
    libvirt.open(libvirt_host.uri).close()
    libvirt_host.mend_cable()
    wait_until(lambda: _opens(libvirt_host.tcp_uri), "the host by its address")


def _opens(uri: str) -> bool:
    try:
        libvirt.open(uri).close()
    except libvirt.libvirtError:
        return False
    return True


@pytest.mark.parametrize(
    ("numbers", "troubles"), [((1, 2, 3), 0), ((1, 2, 4), 1), ((1, 2, 2, 3), 1), ((5, 6, 1, 2), 1)]
)
def test_a_count_that_jumps_is_seen(tmp_path: Path, numbers: tuple[int, ...], troubles: int) -> None:
    log = tmp_path / "console.log"
    with counting(log) as counter:
        log.write_text("".join(f"ANYVIRT TICK {number} {number / 10:.2f}\r\n" for number in numbers))
        wait_until(lambda: len(counter.ticks) == len(numbers), "all ticks")
    assert len(counter.lost_and_repeated()) == troubles


def test_a_guest_that_stands_still_is_seen(tmp_path: Path) -> None:
    """Its own clock does not go on; a slow one's does."""
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    with counting(first, second) as counter:
        # In the middle of a line it goes to another host.
        first.write_text("ANYVIRT TICK 1 1.00\r\nANYVIRT TI")
        wait_until(lambda: counter.ticks, "the first tick")
        time.sleep(0.5)
        second.write_text("CK 2 1.10\r\n")
        wait_until(lambda: len(counter.ticks) == 2, "the second tick")
        time.sleep(0.4)
        with second.open("a") as log:
            log.write("ANYVIRT TICK 3 1.50\r\n")
        wait_until(lambda: len(counter.ticks) == 3, "the third tick")
    assert 0.38 < counter.longest_stand_s() < 0.6
    assert counter.places() == [0, 1]
