# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks of virt_image in processes of their own, that run at the same time or are killed."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions

TESTS = Path(__file__).resolve().parents[1]

_COMMAND = [
    sys.executable,
    "-c",
    "import sys; sys.path.insert(0, sys.argv[1]); from contract.image_process import main; main()",
]


def start(options: ConnectionOptions, **params: Any) -> subprocess.Popen[bytes]:
    """A process with this task."""
    process = subprocess.Popen(
        [*_COMMAND, str(TESTS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(pickle.dumps((options, params)))
    process.stdin.close()
    process.stdin = None  # so that communicate() leaves it alone
    return process


def result_of(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What the task answers."""
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()
    return dict(json.loads(output))


def main() -> None:
    """What the process does."""
    import importable  # noqa: F401

    from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storageuri import get_storage_driver
    from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.images import reconcile_images
    from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.task import Task

    options, params = pickle.loads(sys.stdin.buffer.read())
    task = Task({"images": None, **params}, False, False, lambda: get_storage_driver(options), print)
    print(json.dumps(reconcile_images(task)))
