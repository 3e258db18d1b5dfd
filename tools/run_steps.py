# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs make targets one after the other and says at the end what became of each.

Targets joined by a plus sign run side by side, and what they print comes in one piece when each has ended. The first
failure ends the run; the steps after it are reported as not run. The last line counts them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import IO, NamedTuple


class Result(NamedTuple):
    step: str
    outcome: str
    seconds: float


def run(step: str, output: IO[bytes] | None = None) -> Result:
    """Run one target; ``output`` takes what it prints, which otherwise goes where ours goes."""
    started = time.monotonic()
    # What make left in the environment would tie the step to the job server of the make that started this script.
    left_by_make = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")
    environment = {name: value for name, value in os.environ.items() if name not in left_by_make}
    command = ["make", "--no-print-directory", step]
    status = subprocess.run(command, env=environment, check=False, stdout=output, stderr=output).returncode
    return Result(step, "passed" if status == 0 else "FAILED", time.monotonic() - started)


def run_aside(step: str) -> Result:
    """Run one target and print what it said when it has ended."""
    with tempfile.TemporaryFile() as output:
        result = run(step, output)
        output.seek(0)
        sys.stdout.write(f"\n===== {step} =====\n{output.read().decode(errors='replace')}")
        sys.stdout.flush()
        return result


def run_together(steps: list[str]) -> list[Result]:
    """Run targets that do not mind each other at once."""
    if len(steps) == 1:
        print(f"\n===== {steps[0]} =====", flush=True)
        return [run(steps[0])]
    print(f"\n===== side by side: {', '.join(steps)} =====", flush=True)
    with ThreadPoolExecutor(len(steps)) as pool:
        return list(pool.map(run_aside, steps))


def run_until_failure(groups: list[list[str]]) -> list[Result]:
    results: list[Result] = []
    for group in groups:
        if all(result.outcome == "passed" for result in results):
            results += run_together(group)
        else:
            results += [Result(step, "not run", 0.0) for step in group]
    return results


def summary(results: list[Result]) -> str:
    lines = [f"{result.step:<14} {result.outcome:<8} {result.seconds:6.1f} s" for result in results]
    passed, failed, left = (
        sum(result.outcome == outcome for result in results) for outcome in ("passed", "FAILED", "not run")
    )
    return "\n".join(["", "===== steps =====", *lines, "", f"steps: {passed} passed, {failed} failed, {left} skipped"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="+", help="make targets, in their order; A+B are two at once")
    results = run_until_failure([step.split("+") for step in parser.parse_args().steps])
    print(summary(results), flush=True)
    return 0 if all(result.outcome == "passed" for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
