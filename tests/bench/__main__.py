# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tasks cost, as ratios that were measured in one run. It judges nothing: read the table.

Usage: python -m bench [--parts libvirt,xenapi,storage,firewall,migration] [--counts 10,50,200] [--repeats 5]
                       [--pool 2000] [--uri URI]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from bench import firewall, hosts, migration, playbooks, storage
from bench.hosts import Hypervisor
from bench.running import execute

PARTS = ("libvirt", "xenapi", "storage", "firewall", "migration")
GOALS = {"facts": "1.50 x ping", "nothing to change": "1.50 x ping", "define": "1.30 x (ping + direct)"}


class Row(NamedTuple):
    """One measurement: what, of how many, its seconds, those of ping and of the direct script, and the calls of both
    where somebody counts."""

    what: str
    number: int
    seconds: float
    ping_s: float
    direct_s: float
    calls: int | None = None
    direct_calls: int | None = None


class Bench:
    """Runs playbooks and scripts against one hypervisor and takes the time."""

    def __init__(self, hypervisor: Hypervisor, folder: Path, repeats: int) -> None:
        self.hypervisor = hypervisor
        self.folder = folder
        self.repeats = repeats

    def median_s(self, run: Callable[[], object], before: Callable[[], object] | None = None) -> float:
        """Median of repeated runs in seconds; ``before`` is run each time and not counted."""
        return self.measure(run, before)[0]

    def measure(
        self, run: Callable[[], object], before: Callable[[], object] | None = None
    ) -> tuple[float, int | None]:
        """The same, and the calls of one run."""
        times, calls = [], None
        for _turn in range(self.repeats):
            if before is not None:
                before()
            calls_before = self.hypervisor.calls()
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
            calls_after = self.hypervisor.calls()
            calls = None if calls_before is None or calls_after is None else calls_after - calls_before
        return statistics.median(times), calls

    def direct(self, action: str, count: int) -> Callable[[], object]:
        """The yardstick script."""
        return lambda: execute([sys.executable, *self.hypervisor.script, action, str(count)])

    def playbook(self, label: str, task: dict[str, object], expected: str) -> Callable[[], object]:
        """A playbook of one task, whose recap must say ``expected``."""
        path = self.folder / f"{label}.yml"
        path.write_text(playbooks.play(task, self.hypervisor.connection))

        def run() -> None:
            recap = execute(["ansible-playbook", "-i", "localhost,", str(path)])
            if expected not in recap:
                sys.exit(f"bench: the playbook {label!r} did not say {expected}:\n{recap}")

        return run

    def ping_s(self) -> float:
        """The cheapest task that Ansible has."""
        return self.median_s(self.playbook("ping", playbooks.ping(), "ok=1"))

    def facts(self, count: int, ping_s: float) -> Row:
        """Everything that has a constant cost."""
        direct_s, direct_calls = self.measure(self.direct("facts", count))
        seconds, calls = self.measure(self.playbook(f"facts-{count}", playbooks.facts(), "ok=1"))
        return Row("facts", count, seconds, ping_s, direct_s, calls, direct_calls)


def converging(bench: Bench, counts: list[int]) -> Iterator[Row]:
    """Instances that come, stay as they are, are reported and go."""
    ping_s = bench.ping_s()
    yield Row("ping", 0, ping_s, ping_s, 0.0)
    for count in counts:
        clean = bench.direct("remove", 0)
        direct_s, direct_calls = bench.measure(bench.direct("define", count), clean)
        define = bench.playbook(f"define-{count}", playbooks.converge(count), "changed=1")
        seconds, calls = bench.measure(define, clean)
        yield Row("define", count, seconds, ping_s, direct_s, calls, direct_calls)
        again = bench.playbook(f"again-{count}", playbooks.converge(count), "changed=0")
        seconds, calls = bench.measure(again)
        yield Row("nothing to change", count, seconds, ping_s, 0.0, calls)
        yield bench.facts(count, ping_s)
        clean()


def print_table(title: str, rows: Iterator[Row]) -> None:
    """One line as soon as it is measured."""
    print(f"\n{title}")
    print(
        f"{'one task':<18} {'N':>5} {'seconds':>8} {'direct':>7} {'x ping':>7} {'x (ping+direct)':>16} "
        f"{'calls':>6} {'direct':>7}  goal"
    )
    for row in rows:
        both_s = row.ping_s + row.direct_s
        print(
            f"{row.what:<18} {row.number or '':>5} {row.seconds:>8.2f} {row.direct_s or '':>7.4} "
            f"{row.seconds / row.ping_s:>7.2f} {row.seconds / both_s:>16.2f} "
            f"{_shown(row.calls):>6} {_shown(row.direct_calls):>7}  {GOALS.get(row.what, '')}",
            flush=True,
        )


def _shown(calls: int | None) -> str:
    return "" if calls is None else str(calls)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="of these, separated by commas")
    parser.add_argument("--counts", default="10,50,200", help="how many instances, separated by commas")
    parser.add_argument("--repeats", type=int, default=5, help="runs of which the median is taken")
    parser.add_argument("--pool", type=int, default=2000, help="machines of the XenAPI pool whose reading is measured")
    parser.add_argument(
        "--uri", help="measure on this libvirt instead; instances named bench000 and on are made and removed"
    )
    arguments = parser.parse_args()
    counts = [int(count) for count in arguments.counts.split(",")]
    parts = arguments.parts.split(",")
    with tempfile.TemporaryDirectory(prefix="anyvirt-bench-") as name:
        folder = Path(name)
        if "libvirt" in parts:
            with hosts.libvirt(arguments.uri) as hypervisor:
                print_table("libvirt (QEMU)", converging(Bench(hypervisor, folder, arguments.repeats), counts))
        if "xenapi" in parts:
            with hosts.xenapi() as hypervisor:
                print_table("XenAPI", converging(Bench(hypervisor, folder, arguments.repeats), counts))
            with hosts.xenapi(arguments.pool) as hypervisor:
                bench = Bench(hypervisor, folder, arguments.repeats)
                title = f"XenAPI, a pool of {arguments.pool} machines"
                print_table(title, iter([bench.facts(arguments.pool, bench.ping_s())]))
        if "storage" in parts:
            storage.measure(arguments.repeats)
        if "firewall" in parts:
            firewall.measure(firewall.counts_by_engine(), repeats=arguments.repeats)
        if "migration" in parts:
            migration.print_table(migration.measure(repeats=arguments.repeats))


if __name__ == "__main__":
    main()
