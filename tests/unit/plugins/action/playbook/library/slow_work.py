# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module that reports progress and does nothing else."""

from __future__ import annotations

import time
from typing import Any

from ansible_collections.anyvirt.compute.plugins.module_utils.module import run_module
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.task import Task

TURN_S = 0.1


def work(task: Task) -> dict[str, Any]:
    turns = round(task.params["seconds"] / TURN_S)
    with task.connect() as driver, driver.progress.measure(task.params["what"], turns << 20) as meter:
        for _turn in range(turns):
            time.sleep(TURN_S)
            meter.advance(1 << 20)
    return {"changed": True, "worked": task.params["seconds"]}


def main() -> None:
    run_module({"seconds": {"type": "float", "default": 2}, "what": {"default": "debian-12"}}, work)


if __name__ == "__main__":
    main()
