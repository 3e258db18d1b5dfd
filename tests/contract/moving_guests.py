# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running guests that tests move, and fixtures that keep one for all tests of a file."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import libvirt
import libvirt_qemu

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewalluri import get_firewall_driver
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import (
    DEFAULT_EGRESS,
    INGRESS,
    TCP,
    UDP,
    Rule,
    SecurityGroup,
)
from contract.guest_disks import GuestDisks
from contract.helpers import eventually
from contract.moving_hosts import (
    ADDRESS,
    ECHO_PORT,
    SHARED_POOL,
    MovingHosts,
    moving_instance,
    two_disks,
    wait_for_work,
)
from contract.platforms.base import Snapshot
from contract.platforms.libvirt_qemu import QemuPlatform
from lab.lan import ADDRESS as NEIGHBOUR
from lab.packets.knocking import Knocking, knocking
from lab.packets.network import Network

ALLOWED, FORBIDDEN = 9002, 9001
GROUP = SecurityGroup(
    "moving",
    (
        Rule(INGRESS, TCP, cidr=f"{NEIGHBOUR}/32", port_min=ECHO_PORT, port_max=ECHO_PORT),
        Rule(INGRESS, UDP, cidr=f"{NEIGHBOUR}/32", port_min=ALLOWED, port_max=ALLOWED),
        *DEFAULT_EGRESS,
    ),
)
_AGENT_TIMEOUT_S = 60.0
_POOL_XML = "<pool type='dir'><name>{name}</name><target><path>{path}</path></target></pool>"


class MovingGuest:
    """A guest that counts, answers and has two disks.

    Attributes:
        name: Of the instance.
        pool: Where its disks are.
    """

    def __init__(self, hosts: MovingHosts, name: str, pool: str, *words: str, **over: object) -> None:
        self.hosts = hosts
        self.name = name
        self.pool = pool
        self._words = words
        self._over = over

    @property
    def here(self) -> int:
        """The only host that runs it."""
        (where,) = self.hosts.running_on(self.name)
        assert self.hosts.processes(self.name) == 1
        return where

    @property
    def source(self) -> QemuPlatform:
        """The host that runs it."""
        return self.hosts.platforms[self.here]

    @property
    def destination(self) -> QemuPlatform:
        """The other one of the first two."""
        return self.hosts.platforms[1 - self.here]

    @property
    def is_well(self) -> bool:
        """Whether one host runs it, and the other has nothing of it."""
        hosts, name = self.hosts, self.name
        places = hosts.places(name)
        return (
            len(hosts.running_on(name)) == 1
            and hosts.processes(name) == 1
            and [place.state is None for place in places].count(False) == 1
        )

    def start(self) -> None:
        """Start it on the first host, with whatever was there of it before gone."""
        for platform in self.hosts.platforms:
            self.end(platform)
        self.hosts.platforms[0].cleanup()
        platform = self.hosts.platforms[0]
        usual: dict[str, object] = {
            "pool": self.pool,
            "disks": two_disks(platform, self.pool),
            "security_groups": [GROUP.name],
            "autostart": True,
            "metadata": {"role": "moves"},
            "description": "goes from host to host",
        }
        instance = moving_instance(platform, self.name, *self._words, **{**usual, **self._over})
        with get_firewall_driver(platform.options()) as driver:
            driver.define_security_group(GROUP)
            driver.spawn(driver.complete(instance), power_on=True)
        wait_for_work(self.hosts, self.name, 0)

    def filters(self, picture: Snapshot) -> list[str]:
        """The filters of its own NIC that a host has."""
        mac = self.mac
        return [name for name in picture["filters"] if mac.replace(":", "") in name]

    @property
    def mac(self) -> str:
        """The MAC address of its NIC."""
        return str(re.findall(r"<mac address=.(..:..:..:..:..:..)", self.source.domain_xml(self.name))[0])

    def inside(self) -> GuestDisks:
        """What talks to it through its agent, once that listens."""
        platform = self.source

        def has_agent() -> bool:
            with platform.connection() as connection, contextlib.suppress(libvirt.libvirtError):
                domain = connection.lookupByName(self.name)
                return bool(libvirt_qemu.qemuAgentCommand(domain, '{"execute": "guest-ping"}', 5, 0))
            return False

        assert eventually(has_agent, _AGENT_TIMEOUT_S)
        return GuestDisks(platform.storage_driver(), platform, self.name)

    def end(self, platform: QemuPlatform) -> None:
        """Take it off a host by force; its volumes are cleared away by the host's clean-up."""
        with platform.connection() as connection, contextlib.suppress(libvirt.libvirtError):
            domain = connection.lookupByName(self.name)
            with contextlib.suppress(libvirt.libvirtError):  # it does not run
                domain.destroy()
            domain.undefineFlags(platform.undefine_flags)

    @contextmanager
    def knocked(self) -> Iterator[Knocking]:
        """Send it what its group lets in, and what it does not, and see what comes through on either host."""
        networks = [Network.of_process(platform.lab.machine.init_pid) for platform in self.hosts.platforms]
        try:
            with knocking(self.hosts.lan.network, ADDRESS, (ALLOWED, FORBIDDEN), networks) as knocks:
                yield knocks
        finally:
            for network in networks:
                network.close()


@contextmanager
def kept(guest: MovingGuest) -> Iterator[MovingGuest]:
    """Have the guest outlive the tests within the block, wherever it is, and end with it."""
    platforms = guest.hosts.platforms
    for platform in platforms:
        platform.kept.add(guest.name)  # before anything is cleared away, which leaves its pools then
    try:
        with platforms[0].in_place():
            guest.start()
        yield guest
    finally:
        for platform in platforms:
            platform.kept.discard(guest.name)
            guest.end(platform)
        for platform in platforms:
            platform.cleanup()  # its group too, which the next test would find


@contextmanager
def shared_pool(hosts: MovingHosts) -> Iterator[None]:
    """A pool that all hosts see at one path, within the block."""
    path = hosts.platforms[0].lab.shared / hosts.platforms[0].lab.name
    path.mkdir(exist_ok=True)
    for platform in hosts.platforms:
        with platform.connection() as connection:
            connection.storagePoolDefineXML(_POOL_XML.format(name=SHARED_POOL, path=path)).create()
        platform.kept.add(SHARED_POOL)  # a host without the guest takes its volumes for unused
    try:
        yield
    finally:
        # None of the hosts may remove it from under another, as they do with pools of their own.
        for platform in hosts.platforms:
            platform.kept.discard(SHARED_POOL)
            with platform.connection() as connection:
                pool = connection.storagePoolLookupByName(SHARED_POOL)
                pool.destroy()
                pool.undefine()
        shutil.rmtree(path)
        for platform in hosts.platforms:
            platform.cleanup()  # what is about all instances stays while anything is kept
