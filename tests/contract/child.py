# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Driver operations in processes of their own, to be killed or to run as somebody else."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions

TESTS = Path(__file__).resolve().parents[1]

_COMMAND = [
    sys.executable,
    "-c",
    "import sys; sys.path.insert(0, sys.argv[1]); from contract.child import main; main()",
]


def start(**task: Any) -> subprocess.Popen[bytes]:
    """A child process with this task; it says a line when it is about to begin."""
    from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.tools import Runner

    task["prefix"] = Runner.prefix
    child = subprocess.Popen(
        [*_COMMAND, str(TESTS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdin is not None
    child.stdin.write(pickle.dumps(task))
    child.stdin.close()
    child.stdin = None  # so that communicate() leaves it alone
    return child


def as_nobody(secret: Path, options: ConnectionOptions) -> str:
    """The kind of error that somebody without rights gets there; secret is taken from everybody meanwhile."""
    mode = secret.stat().st_mode
    secret.chmod(0)
    try:
        child = start(operation="open", options=options, user=65534)
        output, errors = child.communicate(timeout=60)
    finally:
        secret.chmod(mode)
    assert child.returncode == 0, errors.decode()
    return output.decode().split()[-1]


def main() -> None:
    """What the child does."""
    import importable  # noqa: F401

    from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewalluri import get_firewall_driver
    from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.tools import Runner
    from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storageuri import get_storage_driver
    from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import get_connection
    from ansible_collections.anyvirt.compute.plugins.module_utils.errors import AnyvirtError
    from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.converge import reconcile_instances
    from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.task import Task

    task = pickle.loads(sys.stdin.buffer.read())
    Runner.prefix = task["prefix"]
    special = {"storage": get_storage_driver, **dict.fromkeys(("firewall", "define_groups"), get_firewall_driver)}
    connect = special.get(task["operation"], get_connection)
    driver = connect(task["options"])
    if task["operation"] == "open":
        if os.geteuid() == 0:  # anybody else is kept out as it is
            os.setuid(task["user"])
        try:
            driver.open()
            driver.list_instances()
            print("no error")
        except AnyvirtError as error:
            print(error.kind)
        return
    with driver:
        if "die_at" in task:
            die_at(task["die_at"])
        if "die_at_call" in task:
            _die_at_call(task["die_at_call"])
        print("begins", flush=True)
        if task["operation"] == "spawn":
            driver.spawn(driver.complete(task["instance"]), power_on=task["power_on"])
        elif task["operation"] == "churn":
            _churn(driver, task["instance"], task["count"])
        elif task["operation"] == "define_groups":
            driver.set_remote_members(task["members"])
            for group in task["groups"]:
                driver.define_security_group(group)
        elif task["operation"] == "task":
            _reconcile(reconcile_instances, Task, driver, task["params"])
        elif task["operation"] in ("storage", "firewall"):
            getattr(driver, task["method"])(*task["arguments"])
        else:
            driver.destroy(task["name"])
    print("done", flush=True)


def _reconcile(reconcile_instances: Any, task_class: Any, driver: Any, params: dict[str, Any]) -> None:
    """A task of virt_instance, with a driver that is open already."""
    reconcile_instances(task_class({"instances": None, **params}, False, False, lambda: driver, lambda warning: None))


def _churn(driver: Any, instance: Any, count: int) -> None:
    """One spawn, then changes that each build on what the one before left."""
    driver.spawn(driver.complete(instance), power_on=False)
    for number in range(count - 1):
        current = driver.get_instances([instance.name])[instance.name]
        metadata = {**(current.metadata or {}), f"key-{number}": str(number)}
        driver.update_instance(current, replace(current, metadata=metadata), {"metadata"}, {"metadata"})


def die_at(number: int) -> None:
    """Die of SIGKILL at the number-th change of a file."""
    seen = 0

    def hook(event: str, _arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.utime", "fcntl.flock"):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _die_at_call(number: int) -> None:
    """Die of SIGKILL at the number-th call of libvirt, before it is made."""
    from contract.platforms.libvirt_calls import LibvirtCalls

    class DeadlyCalls(LibvirtCalls):
        seen = 0

        def _note(self, name: str) -> None:
            with self._lock:
                self.seen += 1
                if self.seen == number:
                    os.kill(os.getpid(), signal.SIGKILL)

    DeadlyCalls()
