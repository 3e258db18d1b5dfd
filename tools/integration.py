# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the integration targets with ansible-test, once for each driver of the environment variable DRIVERS.

A target says in its ``aliases`` file which drivers it is for, one a line: ``drivers/fake``, ``drivers/xenapi``,
``drivers/libvirt``, ``drivers/lxc``, ``drivers/xen``. It finds these variables: ``anyvirt_driver`` and ``anyvirt_uri``,
on xenapi ``anyvirt_username`` and ``anyvirt_password`` too; for a guest that boots on a real hypervisor
``anyvirt_kernel``, ``anyvirt_initrd`` and ``anyvirt_cmdline``, on libvirt and xenapi ``anyvirt_image`` as well, a
bootable disk; on lxc ``anyvirt_lxc_root``, the root file system of a container. On libvirt ``anyvirt_dest_uri`` is a
second host.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))


class Hypervisor(NamedTuple):
    """A hypervisor to try modules on.

    Attributes:
        enter: What comes before a command for it to see the network of the hypervisor's host, as modules there do.
    """

    variables: dict[str, str]
    enter: tuple[str, ...] = ()


@contextmanager
def fake() -> Iterator[Hypervisor]:
    with tempfile.TemporaryDirectory(prefix="anyvirt-integration-") as folder:
        yield Hypervisor({"anyvirt_uri": f"fake://{folder}"})


@contextmanager
def libvirt() -> Iterator[Hypervisor]:
    from lab.guest import build_guest
    from lab.hosts import LibvirtHost

    guest = build_guest()
    with LibvirtHost("integration") as host, LibvirtHost("integration-2") as other:
        variables = {
            "anyvirt_uri": host.uri,
            "anyvirt_dest_uri": other.uri,
            "anyvirt_kernel": str(guest.kernel),
            "anyvirt_initrd": str(guest.initrd),
            "anyvirt_cmdline": guest.cmdline,
            "anyvirt_image": str(guest.root_image),
        }
        yield Hypervisor(variables, network_of(host.machine.init_pid))


@contextmanager
def lxc() -> Iterator[Hypervisor]:
    from lab.hosts import LibvirtHost
    from lab.lxc import copy_lxc_root

    with LibvirtHost("integration-lxc") as host, tempfile.TemporaryDirectory(prefix="anyvirt-integration-") as folder:
        variables = {"anyvirt_uri": host.lxc_uri, "anyvirt_lxc_root": str(copy_lxc_root(Path(folder, "root")))}
        yield Hypervisor(variables, network_of(host.machine.init_pid))


@contextmanager
def xen() -> Iterator[Hypervisor]:
    from lab.xen import XenHost

    with XenHost("integration") as host:
        yield Hypervisor(
            {
                "anyvirt_uri": host.uri,
                "anyvirt_kernel": str(host.guest_kernel),
                "anyvirt_initrd": str(host.guest_initrd),
                "anyvirt_cmdline": "console=hvc0",
            }
        )


@contextmanager
def xenapi() -> Iterator[Hypervisor]:
    from lab.xenapi.server import XenApiServer

    with XenApiServer() as server:
        yield Hypervisor(
            {
                "anyvirt_uri": server.uri,
                "anyvirt_username": server.username,
                "anyvirt_password": server.password,
                "anyvirt_kernel": "/boot/guest/vmlinuz",
                "anyvirt_initrd": "/boot/guest/initrd.img",
                "anyvirt_cmdline": "console=hvc0",
                "anyvirt_image": "golden-image",
            }
        )


def network_of(pid: int) -> tuple[str, ...]:
    """How to enter the network that a process is in."""
    return ("nsenter", f"--net=/proc/{pid}/ns/net")


HYPERVISORS: dict[str, Callable[[], AbstractContextManager[Hypervisor]]] = {
    "fake": fake,
    "libvirt": libvirt,
    "lxc": lxc,
    "xen": xen,
    "xenapi": xenapi,
}


def targets_for(collection: Path, driver: str) -> list[str]:
    targets = collection / "tests" / "integration" / "targets"
    return sorted(
        aliases.parent.name
        for aliases in targets.glob("*/aliases")
        if f"drivers/{driver}" in aliases.read_text(encoding="utf-8").split()
    )


def run_targets(collection: Path, home: Path, driver: str, targets: list[str]) -> int:
    # ansible-test keeps caches in the home folder; the lab, in this process, keeps the user's.
    environment = {**os.environ, "HOME": str(home), "ANSIBLE_HOME": str(home / ".ansible")}
    with HYPERVISORS[driver]() as hypervisor:
        settings = {"anyvirt_driver": driver, **hypervisor.variables}
        if shutil.which("ssh-keygen") is None:
            print(
                "There is no ssh-keygen, which ansible-test insists on: ansible-playbook runs the targets.", flush=True
            )
            return run_as_roles(collection, environment, settings, targets, hypervisor.enter)
        return run_with_ansible_test(collection, environment, settings, targets, hypervisor.enter)


def run_with_ansible_test(
    collection: Path, environment: dict[str, str], settings: dict[str, str], targets: list[str], enter: tuple[str, ...]
) -> int:
    config = collection / "tests" / "integration" / "integration_config.yml"
    config.write_text("---\n" + "".join(f"{name}: {json.dumps(value)}\n" for name, value in settings.items()))
    try:
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        command = [*enter, "ansible-test", "integration", "--local", "--python", python, "--color", "no", *targets]
        return subprocess.run(command, cwd=collection, env=environment, check=False).returncode
    finally:
        config.unlink()


def run_as_roles(
    collection: Path, environment: dict[str, str], settings: dict[str, str], targets: list[str], enter: tuple[str, ...]
) -> int:
    """What ansible-test makes of targets, but for its preparations: one play with a role."""
    environment = {
        **environment,
        "ANSIBLE_COLLECTIONS_PATH": str(collection.parents[2]),
        "ANSIBLE_ROLES_PATH": str(collection / "tests" / "integration" / "targets"),
    }
    settings = {**settings, "ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    with tempfile.TemporaryDirectory(prefix="anyvirt-integration-") as folder:
        playbook = Path(folder, "playbook.json")
        playbook.write_text(json.dumps([{"hosts": "testhost", "roles": [target]} for target in targets]))
        command = [*enter, "ansible-playbook", "-i", "testhost,", "-e", json.dumps(settings), str(playbook)]
        return subprocess.run(command, env=environment, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path, help="the copy of the collection that ansible-test accepts")
    parser.add_argument("home", type=Path, help="the home folder that ansible-test runs with")
    arguments = parser.parse_args()
    failed = []
    for driver in os.environ.get("DRIVERS", "fake").split():
        targets = targets_for(arguments.collection, driver)
        print(f"--- integration on {driver}: {', '.join(targets) or 'no targets'}", flush=True)
        if targets and run_targets(arguments.collection, arguments.home, driver, targets):
            failed.append(driver)
    if failed:
        print(f"integration failed on: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
