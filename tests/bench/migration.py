# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a live migration takes by virt_migrate, beside ``virsh migrate --live`` with the same settings.

Usage: python -m bench.migration [--repeats 5] [--rates 0,10] [--bandwidth 0] [--memory-mb 96]

A guest without disks goes to and fro between two libvirtds of our own, by turns with virsh and with the module. The
clock runs from the start of the program to its end; libvirt itself tells, for both, how long the migration proper took
and for how long the guest stood still.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import NONE
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions, get_connection
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Boot, Console, Instance
from bench.running import execute
from lab.console import wait_for_line
from lab.guest import Guest, build_guest
from lab.hosts import LibvirtHost

NAME = "bench000"
GOAL = 1.1
REST_S = 4.0
"""Before each migration: what a guest has touched since the last one decides how long QEMU stands it still, and the
module's start would give it more time for that than virsh's."""


class Took(NamedTuple):
    """One migration: seconds of the whole program; milliseconds of the migration itself and of the guest's stand."""

    seconds: float
    total_ms: int
    downtime_ms: int


class Row(NamedTuple):
    """Medians of both ways, with the guest changing ``rate`` MiB of its memory each second."""

    rate: int
    virsh: Took
    module: Took
    ping_s: float

    @property
    def ratio(self) -> float:
        """The module's migration to virsh's, as libvirt itself measures both."""
        return self.module.total_ms / self.virsh.total_ms

    @property
    def overhead_s(self) -> float:
        """What the module takes beside the migration itself and Ansible's own start."""
        return self.module.seconds - self.module.total_ms / 1000 - self.ping_s


class Route:
    """Two hosts, and a guest that goes to and fro between them."""

    def __init__(self, hosts: tuple[LibvirtHost, LibvirtHost], bandwidth: int) -> None:
        self._here, self._there = hosts
        self._bandwidth = bandwidth

    def go(self, way: Callable[[LibvirtHost, LibvirtHost], Took]) -> Took:
        """Move it over once."""
        time.sleep(REST_S)
        took = way(self._here, self._there)
        self._here, self._there = self._there, self._here
        return took

    def by_virsh(self, here: LibvirtHost, there: LibvirtHost) -> Took:
        """As an administrator would move it."""
        limit = ["--bandwidth", str(self._bandwidth)] if self._bandwidth else []
        command = ["virsh", "-q", "-c", here.uri, "migrate", "--live", "--persistent", "--undefinesource", *limit]
        start = time.perf_counter()
        execute([*command, NAME, there.uri])
        seconds = time.perf_counter() - start
        said = execute(["virsh", "-c", there.uri, "domjobinfo", "--completed", NAME])
        return Took(seconds, _number("Time elapsed", said), _number("Total downtime", said))

    def by_module(self, here: LibvirtHost, there: LibvirtHost) -> Took:
        """With Ansible, as one task."""
        task: dict[str, Any] = {"name": NAME, "uri": here.uri, "dest": there.uri, "mode": "live"}
        if self._bandwidth:
            task["bandwidth"] = self._bandwidth
        start = time.perf_counter()
        said = execute([*_AD_HOC, "anyvirt.compute.virt_migrate", "-a", json.dumps(task)])
        seconds = time.perf_counter() - start
        (result,) = json.loads(said.partition("=>")[2])["instances"]
        return Took(seconds, result["total_ms"], result["downtime_ms"])


_AD_HOC = ["ansible", "-i", "localhost,", "-c", "local", "localhost", "-e"]
_AD_HOC += ["ansible_python_interpreter={{ ansible_playbook_python }}", "-m"]


def _number(label: str, text: str) -> int:
    found = re.search(rf"^{label}:\s+(\d+)", text, re.MULTILINE)
    if found is None:
        raise SystemExit(f"bench: virsh tells no {label}:\n{text}")
    return int(found[1])


@contextmanager
def _running_guest(host: LibvirtHost, guest: Guest, rate: int, memory_mb: int) -> Iterator[None]:
    """One that changes so many MiB of its memory a second."""
    words = f"{guest.cmdline} TICK_MS=1000" + (f" DIRTY_MIB_S={rate}" if rate else "")
    boot = Boot(kernel=str(guest.kernel), initrd=str(guest.initrd), cmdline=words)
    instance = Instance(NAME, memory_mb=memory_mb, vcpus=1, boot=boot, console=Console(serial=True), disks=[], nics=[])
    with get_connection(ConnectionOptions(host.uri)) as driver:
        driver.spawn(driver.complete(instance), power_on=True)
    log = host.outer_path(f"/var/log/libvirt/qemu/{NAME}.anyvirt-console.log")
    wait_for_line(log, "ANYVIRT WORK" if rate else "ANYVIRT TICK 3 ", 180)
    yield


def _remove(*hosts: LibvirtHost) -> None:
    for host in hosts:
        with get_connection(ConnectionOptions(host.uri)) as driver:
            if NAME in driver.list_instances():
                driver.destroy(NAME, delete_volumes=NONE)


def _median(all_took: list[Took]) -> Took:
    seconds, total_ms, downtime_ms = (statistics.median(part) for part in zip(*all_took))
    return Took(seconds, round(total_ms), round(downtime_ms))


def measure(rates: Sequence[int] = (0, 10), bandwidth: int = 0, memory_mb: int = 96, repeats: int = 5) -> Iterator[Row]:
    """A row for each rate."""
    guest = build_guest()
    with LibvirtHost("bench-one") as one, LibvirtHost("bench-two") as two:
        for rate in rates:
            ping_s = statistics.median(_ping_s() for _turn in range(repeats))
            with _running_guest(one, guest, rate, memory_mb):
                route = Route((one, two), bandwidth)
                virsh: list[Took] = []
                module: list[Took] = []
                for turn in range(repeats):
                    # By turns who goes first, so that both go both ways.
                    ways = [(virsh, route.by_virsh), (module, route.by_module)]
                    for took, way in ways if turn % 2 else reversed(ways):
                        took.append(route.go(way))
            _remove(one, two)
            yield Row(rate, _median(virsh), _median(module), ping_s)


def _ping_s() -> float:
    start = time.perf_counter()
    execute([*_AD_HOC, "ansible.builtin.ping"])
    return time.perf_counter() - start


def print_table(rows: Iterator[Row]) -> None:
    """One line as soon as it is measured."""
    print(
        "   writes   virsh s  module s  ping s |  virsh ms  module ms  ratio | virsh stands ms  module stands ms | "
        "overhead s"
    )
    for row in rows:
        print(
            f"{row.rate:>3} MiB/s {row.virsh.seconds:>9.2f} {row.module.seconds:>9.2f} {row.ping_s:>7.2f} | "
            f"{row.virsh.total_ms:>9} {row.module.total_ms:>10} {row.ratio:>6.2f} | "
            f"{row.virsh.downtime_ms:>15} {row.module.downtime_ms:>17} | {row.overhead_s:>10.2f}",
            flush=True,
        )
    print(f"ratio: the migration itself, as libvirt tells it for both; the goal is {GOAL}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="migrations of which the median is taken, for each way")
    parser.add_argument("--rates", default="0,10", help="MiB of memory that the guest changes a second, by commas")
    parser.add_argument("--bandwidth", type=int, default=0, help="limit in MiB/s, for both; 0: none")
    parser.add_argument("--memory-mb", type=int, default=96, help="the guest's memory")
    arguments = parser.parse_args()
    rates = [int(rate) for rate in arguments.rates.split(",")]
    print_table(measure(rates, arguments.bandwidth, arguments.memory_mb, arguments.repeats))


if __name__ == "__main__":
    main()
