# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Firewall engines at work on a bridge of their own: hand-made ports, filtered as those of instances are."""

from __future__ import annotations

import contextlib
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.oracle import would_accept
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.engine import Engine
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.tools import Runner
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import HostPolicy, Port
from contract.packet_parties import BRIDGE, GUESTS, HOST, IN_CONTAINERS, POLICY, STREET, STREET_DEVICE
from contract.packet_sending import Case, send
from lab.packets.endpoints import Endpoint
from lab.packets.network import Network
from lab.packets.wire import Wire, open_wire

if TYPE_CHECKING:
    from contract.platforms.libvirt_qemu import QemuPlatform

HOST_ADDRESSES = (f"{HOST.v4}/24", f"{HOST.v6}/64")


def put_on(wire: Wire) -> dict[str, Endpoint]:
    """Put all parties on the wire; their places by MAC address."""
    places = {HOST.mac: wire.host, STREET.mac: wire.add_tap(STREET_DEVICE, STREET.mac)}
    for party in GUESTS:
        add = wire.add_veth if party in IN_CONTAINERS else wire.add_tap
        places[party.mac] = add(party.device, party.mac)
    wire.shy = {places[party.mac] for party in GUESTS if party.port.learns}
    wire.know([(address, party.mac) for party in (STREET, *GUESTS) for address in (party.v4, party.v6)])
    return places


class Firewall:
    """An engine, and the ports that it filters.

    Attributes:
        policy: What it enforces just now.
        places: Where each party is on the wire, by its MAC address.
        limits: Cases of the table in which the engine cannot do what the oracle says, as docs/ tell.
        quick: False where each change of a port's filters takes a second: tests then repeat themselves less often.
    """

    limits: ClassVar[frozenset[str]] = frozenset()
    quick: ClassVar[bool] = True

    def __init__(self, wire: Wire, runner: Runner) -> None:
        self.wire = wire
        self.runner = runner
        self.policy = HostPolicy()
        self.places: dict[str, Endpoint] = {}
        self.engine = self.make_engine()

    def make_engine(self) -> Engine:
        raise NotImplementedError

    def populate(self) -> None:
        """Put everybody on the wire, each guest behind its filters before it can say anything."""
        self.load(self.supported(POLICY))
        self.places = put_on(self.wire)
        for party in GUESTS:
            self.bind(party.port)

    def supported(self, policy: HostPolicy) -> HostPolicy:
        """The same without rules that the engine says it cannot enforce."""
        groups = {
            name: replace(group, rules=tuple(rule for rule in group.rules if not self.engine.unsupported_rules([rule])))
            for name, group in policy.groups.items()
        }
        return replace(policy, groups=groups)

    def load(self, policy: HostPolicy) -> None:
        self.engine.load(policy)
        self.policy = policy

    def bind(self, port: Port) -> None:
        """Have the port, whose device exists now, filtered as it is told to the engine already."""

    def forget(self, port: Port) -> None:
        """Have a port know nothing of the address that it learned."""
        self.engine.drop_ports([port])
        self.engine.put_ports([port], self.policy)

    def let_go(self) -> None:
        """End the filtering of all ports, whose devices are there still."""

    def restart(self) -> None:
        """Start again what the filters depend on."""

    def disagreements(self, cases: Sequence[Case]) -> list[str]:
        """Send all cases; where what arrived is not what the oracle says of the policy."""
        self.wire.network.forget_connections()
        self.wire.settle()
        found = []
        for case, came in zip(cases, send(self.wire, self.places, cases)):
            expected = would_accept(self.policy, case.steps[-1].packet)
            if came is not (expected is (case.name not in self.limits)):
                words = {None: "lost before the last step", True: "arrived", False: "did not arrive"}
                found.append(f"{case.name}: {words[came]}")
        return found

    def remove(self) -> None:
        self.let_go()
        self.engine.load(HostPolicy())


class NwfilterFirewall(Firewall):
    """libvirt's own, through bindings: what a domain's interface has when it runs."""

    quick = False
    limits = frozenset(
        {
            # Rules of IP see only what the bridge passes on from one port to another.
            "tcp from the host to a closed port",
            "from the host",
            "from the host to a project",
            # libvirt lets a port without an address do nothing but DHCP.
            "no address yet: tcp in",
            "no address yet: ARP probe",
            "no address yet: link-local IPv6",
        }
    )

    def __init__(self, wire: Wire, runner: Runner, platform: QemuPlatform) -> None:
        import libvirt

        self._libvirt = libvirt
        self._platform = platform
        super().__init__(wire, runner)

    def make_engine(self) -> Engine:
        from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.nwfilter import (
            NwfilterEngine,
        )
        from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.store import Declarations

        self._connection = self._libvirt.open(self._platform.uri)
        return NwfilterEngine(Declarations(self._libvirt, self._connection), self.runner)

    def bind(self, port: Port) -> None:
        from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.domain_filters import (
            filter_reference,
        )

        reference = ET.tostring(filter_reference(port.mac), encoding="unicode")
        self._connection.nwfilterBindingCreateXML(
            f"<filterbinding><owner><name>{port.instance}</name><uuid>{uuid.uuid4()}</uuid></owner>"
            f"<portdev name='{port.device}'/><mac address='{port.mac}'/>{reference}</filterbinding>"
        )

    def forget(self, port: Port) -> None:
        # libvirt knows a learned address by the domain's identity, which the new binding does not share.
        self._unbind(port)
        super().forget(port)
        self.bind(port)

    def let_go(self) -> None:
        for port in self.policy.ports:
            with contextlib.suppress(self._libvirt.libvirtError):  # it never came so far
                self._unbind(port)

    def _unbind(self, port: Port) -> None:
        self._connection.nwfilterBindingLookupByPortDev(port.device).delete()

    def restart(self) -> None:
        self._connection.close()
        self._platform.restart_service()
        self.engine = self.make_engine()

    def remove(self) -> None:
        super().remove()
        self._connection.close()


class NftablesFirewall(Firewall):
    def make_engine(self) -> Engine:
        from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.nftables import NftEngine

        return NftEngine(self.runner)


class IptablesFirewall(Firewall):
    # ebtables has no sets: ARP follows what DHCP gave a port when the engine is asked the next time.
    limits = frozenset({"learned: ARP"})

    def make_engine(self) -> Engine:
        from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.iptables import (
            IptablesEngine,
        )

        return IptablesEngine(self.runner)


def _runner_in(network: Network) -> Runner:
    class InNetwork(Runner):
        prefix = network.prefix

    return InNetwork()


@pytest.fixture(scope="module", params=["nwfilter", "nftables", "iptables"])
def firewall(request: pytest.FixtureRequest, host: QemuPlatform) -> Iterator[Firewall]:
    """Each engine in turn, with the policy of ``packet_parties``; who changes that puts it back."""
    network = Network.of_process(host.lab.machine.init_pid)
    makers: dict[str, Callable[[Wire], Firewall]] = {
        "nwfilter": lambda wire: NwfilterFirewall(wire, _runner_in(network), host),
        "nftables": lambda wire: NftablesFirewall(wire, _runner_in(network)),
        "iptables": lambda wire: IptablesFirewall(wire, _runner_in(network)),
    }
    with contextlib.closing(network), open_wire(network, BRIDGE, HOST.mac, HOST_ADDRESSES) as wire:
        made = makers[request.param](wire)
        try:
            made.populate()
            yield made
        finally:
            made.remove()
