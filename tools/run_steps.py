# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs make targets one after the other and says at the end what became of each.

The first failure ends the run; the steps after it are reported as not run. The last line counts them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from typing import NamedTuple


class Result(NamedTuple):
    step: str
    outcome: str
    seconds: float


def run(step: str) -> Result:
    print(f"\n===== {step} =====", flush=True)
    started = time.monotonic()
    # What make left in the environment would tie the step to the job server of the make that started this script.
    left_by_make = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")
    environment = {name: value for name, value in os.environ.items() if name not in left_by_make}
    status = subprocess.run(["make", "--no-print-directory", step], env=environment, check=False).returncode
    return Result(step, "passed" if status == 0 else "FAILED", time.monotonic() - started)


def run_until_failure(steps: list[str]) -> list[Result]:
    results: list[Result] = []
    for step in steps:
        if results and results[-1].outcome != "passed":
            break
        results.append(run(step))
    return results + [Result(step, "not run", 0.0) for step in steps[len(results) :]]


def summary(results: list[Result]) -> str:
    lines = [f"{result.step:<12} {result.outcome:<8} {result.seconds:6.1f} s" for result in results]
    passed, failed, left = (
        sum(result.outcome == outcome for result in results) for outcome in ("passed", "FAILED", "not run")
    )
    return "\n".join(["", "===== steps =====", *lines, "", f"steps: {passed} passed, {failed} failed, {left} skipped"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="+", help="make targets, in their order")
    results = run_until_failure(parser.parse_args().steps)
    print(summary(results), flush=True)
    return 0 if all(result.outcome == "passed" for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
