# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tasks cost on a real libvirt, as ratios that were measured in one run. It judges nothing: read the table.

Usage: python -m bench [--counts 10,50,200] [--repeats 5] [--uri URI]
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import playbooks

DIRECT = Path(__file__).with_name("direct.py")

GOALS = {"facts": "1.50 x ping", "nothing to change": "1.50 x ping", "define": "1.30 x (ping + direct)"}


class Bench:
    """Runs playbooks and scripts against one hypervisor and takes the time."""

    def __init__(self, uri: str, folder: Path, repeats: int) -> None:
        self.uri = uri
        self.folder = folder
        self.repeats = repeats

    def median_s(self, run: Callable[[], object], before: Callable[[], object] | None = None) -> float:
        """Median of repeated runs in seconds; ``before`` is run each time and not counted."""
        times = []
        for _turn in range(self.repeats):
            if before is not None:
                before()
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    def direct(self, action: str, count: int) -> Callable[[], object]:
        """The yardstick script."""
        return lambda: execute([sys.executable, str(DIRECT), self.uri, action, str(count)])

    def playbook(self, label: str, task: dict[str, object], expected: str) -> Callable[[], object]:
        """A playbook of one task, whose recap must say ``expected``."""
        path = self.folder / f"{label}.yml"
        path.write_text(playbooks.play(task, self.uri))

        def run() -> None:
            recap = execute(["ansible-playbook", "-i", "localhost,", str(path)])
            if expected not in recap:
                sys.exit(f"bench: the playbook {label!r} did not say {expected}:\n{recap}")

        return run


def execute(command: list[str]) -> str:
    """Its output; a failure ends the bench, since a figure of a failed run means nothing."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"bench: {' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def measure(bench: Bench, counts: list[int]) -> Iterator[tuple[str, int, float, float, float]]:
    """Rows: what, how many, its seconds, those of ping, those of the direct script."""
    ping_s = bench.median_s(bench.playbook("ping", playbooks.ping(), "ok=1"))
    yield "ping", 0, ping_s, ping_s, 0.0
    for count in counts:
        clean = bench.direct("remove", 0)
        direct_define_s = bench.median_s(bench.direct("define", count), clean)
        define = bench.playbook(f"define-{count}", playbooks.converge(count), "changed=1")
        yield "define", count, bench.median_s(define, clean), ping_s, direct_define_s
        again = bench.playbook(f"again-{count}", playbooks.converge(count), "changed=0")
        yield "nothing to change", count, bench.median_s(again), ping_s, 0.0
        direct_facts_s = bench.median_s(bench.direct("facts", count))
        facts = bench.playbook(f"facts-{count}", playbooks.facts(), "ok=1")
        yield "facts", count, bench.median_s(facts), ping_s, direct_facts_s
        clean()


def print_table(rows: Iterator[tuple[str, int, float, float, float]]) -> None:
    """One line as soon as it is measured."""
    print(f"{'one task':<18} {'N':>4} {'seconds':>8} {'direct':>7} {'x ping':>7} {'x (ping+direct)':>16}  goal")
    for what, count, seconds, ping_s, direct_s in rows:
        goal = GOALS.get(what, "")
        print(
            f"{what:<18} {count or '':>4} {seconds:>8.2f} {direct_s or '':>7.4} "
            f"{seconds / ping_s:>7.2f} {seconds / (ping_s + direct_s):>16.2f}  {goal}",
            flush=True,
        )


@contextlib.contextmanager
def hypervisor(uri: str | None) -> Iterator[str]:
    """The URI to measure on: the given one, or a libvirtd of our own for the time being."""
    if uri is not None:
        yield uri
        return
    from lab.hosts import LibvirtHost  # starts daemons, so only when it is wanted

    with LibvirtHost("bench", 9) as host:
        yield host.uri


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", default="10,50,200", help="how many instances, separated by commas")
    parser.add_argument("--repeats", type=int, default=5, help="runs of which the median is taken")
    parser.add_argument("--uri", help="measure there instead; instances named bench000 and on are made and removed")
    arguments = parser.parse_args()
    counts = [int(count) for count in arguments.counts.split(",")]
    with hypervisor(arguments.uri) as uri, tempfile.TemporaryDirectory(prefix="anyvirt-bench-") as folder:
        print_table(measure(Bench(uri, Path(folder), arguments.repeats), counts))


if __name__ == "__main__":
    main()
