# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of all kinds out of and into real guests that the driver made, compared with the oracle.

A container's interface is used from within its network namespace. A QEMU guest is a bridge between its filtered
interface and one that nobody filters, through which the tests speak and hear.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.oracle import would_accept
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewall import FirewallDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Nic
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import HostPolicy, SecurityGroup
from contract.firewall_engines import HOST_ADDRESSES
from contract.helpers import eventually
from contract.packet_parties import BRIDGE, HOST, STREET, STREET_DEVICE, WEB, WEB_RULES
from contract.packet_sending import BIG, Case, answer, send
from contract.packet_table import DHCP_CLIENT, DHCP_SERVER, PING, STRANGE_MAC, arp, discovery, one, step
from contract.platforms.libvirt_qemu import HostedPlatform
from lab.packets import payloads
from lab.packets.endpoints import Datagrams, Endpoint, Interface
from lab.packets.frames import BROADCAST, ICMP, TCP, UDP, VLAN
from lab.packets.network import Network
from lab.packets.wire import Wire, open_wire

pytestmark = [pytest.mark.on("libvirt", "lxc"), pytest.mark.slow]

NAME = WEB.port.instance
GROUP = SecurityGroup("web", tuple(rule for rule in WEB_RULES if not rule.protocol.isdigit()))
NOTHING = SecurityGroup("web", ())
ENGINES = ("nwfilter", "nftables", "iptables")
POLICY = HostPolicy((WEB.port,), {GROUP.name: GROUP})
MOUTH, THROAT = ("127.0.0.1", 7001), ("127.0.0.1", 7002)
"""Where the test and the guest's second interface send their frames."""
SECOND_MAC = "52:54:00:99:01:0b"
BOOT_S = 60.0
_BECOME_A_BRIDGE = (
    "killall udhcpc; for nic in eth0 eth1; do ip link set $nic down; ip addr flush dev $nic; done;"
    # Its own address would be the bridge's, which keeps for itself what is sent there.
    " ip link set eth0 address 02:00:00:99:02:00; ip link set eth1 address 02:00:00:99:02:01;"
    " brctl addbr br0 && echo 0 >/sys/class/net/br0/bridge/multicast_snooping;"
    " for nic in eth0 eth1; do brctl addif br0 $nic; ip link set $nic up; done; ip link set br0 up"
)


def cases() -> list[Case]:
    asked = step(WEB, STREET, UDP, dport=4444)
    return [
        one("its own MAC", WEB, STREET, UDP),
        one("a foreign MAC", WEB, STREET, UDP, src_mac=STRANGE_MAC),
        one("IPv6", WEB, STREET, TCP, 6, dport=443),
        one("a foreign IPv4 address", WEB, STREET, UDP, src="10.99.0.99"),
        one("a foreign IPv6 address", WEB, STREET, UDP, 6, src="fd99::99"),
        arp("ARP", WEB, STREET),
        arp("ARP with the gateway's address", WEB, STREET, src=HOST.v4),
        one("DHCP client", WEB, STREET, UDP, src="0.0.0.0", dst="255.255.255.255", dst_mac=BROADCAST, **DHCP_CLIENT),
        one("a rogue DHCP server", WEB, STREET, UDP, **DHCP_SERVER),
        discovery("a rogue router advertisement", WEB, STREET, payloads.ROUTER_ADVERTISEMENT),
        discovery("neighbour solicitation", WEB, STREET, payloads.NEIGHBOUR_SOLICITATION),
        one("a VLAN tag", WEB, STREET, UDP, ethertype=VLAN),
        one("fragments", WEB, STREET, UDP, fragments=BIG),
        one("tcp to an open port", STREET, WEB, TCP, dport=80),
        one("tcp to a closed port", STREET, WEB, TCP, dport=22),
        one("tcp to an open port, IPv6", STREET, WEB, TCP, 6, dport=80),
        one("udp to a closed port, IPv6", STREET, WEB, UDP, 6, dport=5009),
        one("echo request", STREET, WEB, ICMP, **PING),
        Case("the answer to what it sent", (asked, answer(asked))),
    ]


@pytest.fixture
def network(platform: HostedPlatform) -> Iterator[Network]:
    with closing(Network.of_process(platform.lab.machine.init_pid)) as opened:
        yield opened


@pytest.fixture
def wire(network: Network) -> Iterator[Wire]:
    with open_wire(network, BRIDGE, HOST.mac, HOST_ADDRESSES) as opened:
        yield opened


def test_a_real_guest_agrees(secgroups: FirewallDriver, platform: HostedPlatform, wire: Wire):
    """With each engine, to which it changes while it runs; and when its group loses its rules."""
    secgroups.define_security_group(GROUP)
    nic = Nic(bridge=BRIDGE, mac=WEB.mac, addresses=list(WEB.port.addresses))
    instance = platform.small(NAME, nics=[nic], security_groups=[GROUP.name], firewall=ENGINES[0])
    secgroups.spawn(secgroups.complete(instance))
    places = {STREET.mac: wire.add_tap(STREET_DEVICE, STREET.mac)}
    places[WEB.mac] = wire.add(mouth_of(platform, wire.network))
    for engine in ENGINES:
        change_to(engine, secgroups)
        assert (engine, disagreements(wire, places, POLICY)) == (engine, [])
        secgroups.define_security_group(NOTHING)
        bare = replace(POLICY, groups={GROUP.name: NOTHING})
        assert (engine, disagreements(wire, places, bare)) == (engine, [])
        secgroups.define_security_group(GROUP)
    secgroups.destroy(NAME)
    assert secgroups.verify_filters() == []


def change_to(engine: str, secgroups: FirewallDriver) -> None:
    current = secgroups.get_instances([NAME])[NAME]
    if current.firewall != engine:
        secgroups.update_instance(current, replace(current, firewall=engine), {"firewall"}, {"firewall"})


def disagreements(wire: Wire, places: dict[str, Endpoint], policy: HostPolicy) -> list[str]:
    wire.network.forget_connections()
    wire.settle()
    wanted = [case for case in cases() if all(would_accept(policy, earlier.packet) for earlier in case.steps[:-1])]
    arrived = send(wire, places, wanted)
    return [
        f"{case.name}: {'arrived' if came else 'did not arrive'}"
        for case, came in zip(wanted, arrived)
        if came is not would_accept(policy, case.steps[-1].packet)
    ]


def mouth_of(platform: HostedPlatform, network: Network) -> Endpoint:
    """Where frames go into the guest that shall leave by its filtered interface, and come out that it got there."""
    if platform.name == "lxc":
        inside = Network.of_process(first_process(platform.process_of(NAME)))
        with closing(inside):
            inside.run("ip", "link", "set", "eth0", "up")
            return Interface(inside, "eth0", "eth0", WEB.mac)
    mouth = Datagrams(network, "mouth", WEB.mac, MOUTH, THROAT)
    become_a_bridge(platform)
    return mouth


def first_process(controller: int) -> int:
    """Of a container, by the outer id of the process that looks after it."""
    children = Path(f"/proc/{controller}/task/{controller}/children")
    assert eventually(lambda: bool(children.read_text().split()))
    return int(children.read_text().split()[0])


def become_a_bridge(platform: HostedPlatform) -> None:
    """Give the guest a second interface and have it pass on what it gets on either. libvirt does not know of it, for
    all that it knows of are filtered."""
    ends = f"udp={':'.join(map(str, MOUTH))},localaddr={':'.join(map(str, THROAT))}"
    with platform.connection() as connection:
        domain = connection.lookupByName(NAME)
        said = f"ANYVIRT NIC eth1 mac={SECOND_MAC}".encode()
        assert eventually(lambda: b"ANYVIRT AGENT started" in platform.console(None, NAME), BOOT_S)
        tell_qemu(domain, f"netdev_add socket,id=throat,{ends}")
        tell_qemu(domain, f"device_add virtio-net-pci,netdev=throat,mac={SECOND_MAC}")
        assert eventually(lambda: said in platform.console(None, NAME), BOOT_S)
        ask(domain, _BECOME_A_BRIDGE)


def tell_qemu(domain: Any, command: str) -> None:
    import libvirt_qemu

    answer = libvirt_qemu.qemuMonitorCommand(domain, command, libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP)
    assert answer.strip() == "", f"{command}: {answer}"


def ask(domain: Any, script: str) -> None:
    """Have the guest's agent run it, to its end."""
    import libvirt
    import libvirt_qemu

    def command(name: str, **arguments: Any) -> Any:
        order = json.dumps({"execute": name, "arguments": arguments})
        return json.loads(libvirt_qemu.qemuAgentCommand(domain, order, 10, 0))["return"]

    def start() -> Any:
        deadline = time.monotonic() + BOOT_S
        while True:
            try:
                return command("guest-exec", path="/bin/busybox", arg=["sh", "-c", script])["pid"]
            except libvirt.libvirtError:  # it does not listen yet
                assert time.monotonic() < deadline
                time.sleep(0.2)

    started = start()
    answers: list[Any] = []

    def ended() -> bool:
        answers.append(command("guest-exec-status", pid=started))
        return bool(answers[-1]["exited"])

    assert eventually(ended, BOOT_S)
    assert answers[-1]["exitcode"] == 0, answers[-1]
