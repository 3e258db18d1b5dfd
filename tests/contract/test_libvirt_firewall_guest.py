# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real guest behind its filters: who reaches it, while groups, engines and libvirtd change under it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import libvirt
import libvirt_qemu
import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewall import FirewallDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Nic
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import (
    DEFAULT_EGRESS,
    INGRESS,
    TCP,
    Rule,
    SecurityGroup,
)
from contract.helpers import eventually
from contract.platforms.libvirt_qemu import QemuPlatform

pytestmark = pytest.mark.on("libvirt")

NEIGHBOUR = "192.168.177.250"
_CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3]))"
BOOT_S = 60.0
SILENCE_S = 1.5


def group(*ports: int) -> SecurityGroup:
    """One that lets these ports in."""
    rules = (Rule(INGRESS, TCP, cidr="192.168.0.0/16", port_min=port, port_max=port) for port in ports)
    return SecurityGroup("web", (*rules, *DEFAULT_EGRESS))


class Guest:
    """A running guest that serves HTTP on the ports 80 and 81, and a neighbour of it on the same bridge."""

    def __init__(self, driver: FirewallDriver, platform: QemuPlatform, neighbour: int) -> None:
        self.driver, self.platform, self.neighbour = driver, platform, neighbour
        assert eventually(lambda: bool(driver.get_addresses(["one"])["one"]), BOOT_S), "DHCP gives it no address"
        self.address = driver.get_addresses(["one"])["one"][0].address
        for port in (80, 81):
            self.run("httpd", "-p", str(port), "-h", "/etc")

    def run(self, *argv: str) -> None:
        order = {"execute": "guest-exec", "arguments": {"path": "/bin/busybox", "arg": argv}}
        deadline = time.monotonic() + BOOT_S
        with self.platform.connection() as connection:
            domain = connection.lookupByName("one")
            while True:
                try:
                    libvirt_qemu.qemuAgentCommand(domain, json.dumps(order), 10, 0)
                    return
                except libvirt.libvirtError:  # its agent does not listen yet
                    assert time.monotonic() < deadline
                    time.sleep(0.2)

    def is_reached(self, port: int, timeout_s: float = SILENCE_S) -> bool:
        command = [sys.executable, "-c", _CONNECT, self.address, str(port), str(timeout_s)]
        done = subprocess.run([*_enter(self.neighbour), *command], stderr=subprocess.DEVNULL, check=False)
        return done.returncode == 0

    def open_ports(self) -> list[int]:
        """Those on which the neighbour reaches it now. What is open answers at once, if not at the first packet."""
        return [port for port in (80, 81) if self.is_reached(port)]

    def update(self, **over: Any) -> None:
        """Change the running instance."""
        current = self.driver.get_instances(["one"])["one"]
        desired = replace(current, **over)
        live = self.driver.live_options(current, desired, over)
        assert live == set(over)
        self.driver.update_instance(current, desired, set(over), live)


@pytest.fixture
def neighbour(platform: QemuPlatform) -> Iterator[int]:
    """A network namespace on the guests' bridge, by the id of the process that holds it: what the host itself sends
    passes other chains."""
    holder = subprocess.Popen([*_enter(platform.lab.machine.init_pid), "unshare", "-n", "sleep", "600"])
    try:
        others = {_namespace(os.getpid()), _namespace(platform.lab.machine.init_pid)}  # which it comes from and through
        assert eventually(lambda: _namespace(holder.pid) not in others)
        outside, inside = _enter(platform.lab.machine.init_pid), _enter(holder.pid)
        for command in (
            [*outside, *f"ip link add nb0 type veth peer name nb1 netns {holder.pid}".split()],
            [*outside, *"ip link set nb0 master virbr-lab up".split()],
            [*inside, *f"ip address add {NEIGHBOUR}/24 dev nb1".split()],
            [*inside, *"ip link set nb1 up".split()],
        ):
            subprocess.run(command, check=True)
        yield holder.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(holder.pid, signal.SIGKILL)
        holder.wait()


def _namespace(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")


def _enter(pid: int) -> list[str]:
    return ["nsenter", f"--net=/proc/{pid}/ns/net"]


@pytest.fixture
def guest(secgroups: FirewallDriver, platform: QemuPlatform, neighbour: int) -> Guest:
    secgroups.define_security_group(group(80))
    instance = platform.small("one", nics=[Nic(network=platform.network)], security_groups=["web"])
    secgroups.spawn(secgroups.complete(instance))
    return Guest(secgroups, platform, neighbour)


@pytest.mark.slow
def test_a_guest_is_reached_as_its_groups_say(guest: Guest, secgroups: FirewallDriver, platform: QemuPlatform):
    assert eventually(lambda: guest.is_reached(80), BOOT_S)
    assert guest.open_ports() == [80]

    secgroups.define_security_group(group(81))
    assert guest.open_ports() == [81]
    guest.update(security_groups=[])
    assert guest.open_ports() == []
    guest.update(security_groups=["web"])
    assert guest.open_ports() == [81]

    secgroups.close()
    platform.restart_service()
    secgroups.open()
    assert guest.open_ports() == [81]
    assert secgroups.verify_filters() == []

    guest.update(firewall="none")
    assert guest.open_ports() == [80, 81]
    guest.update(firewall="nftables")
    assert guest.open_ports() == [81]
    assert secgroups.verify_filters() == []
    secgroups.define_security_group(group(80))
    assert guest.open_ports() == [80]
    guest.update(firewall="iptables")
    assert guest.open_ports() == [80]
    assert secgroups.verify_filters() == []
    guest.update(firewall="nwfilter")
    assert guest.open_ports() == [80]
    assert secgroups.instance_filter_exists("one")
