# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one changed rule of a security group costs, by engine, with few and with many interfaces in the group, beside
the way of one filter for each instance.

Usage: python -m bench.firewall [--engines nwfilter,nftables,iptables] [--counts 10,100,500] [--nwfilter-counts 1,2,4]
                                [--rules 10] [--repeats 5]

Interfaces are taps without guests, on a bridge of a libvirtd of our own. Each change is over when the kernel has it.
libvirt writes nwfilter's rules one by one, with a program of its own for each: that takes seconds for each interface,
therefore it gets fewer of them, and changes once.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle
from typing import ClassVar, NamedTuple

import libvirt

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.basefilters import ADDRESS, BASE
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.engine import Engine
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.iptables import IptablesEngine
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.nftables import NftEngine
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.nwfilter import NwfilterEngine
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.store import Declarations
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.tools import Runner
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import (
    DEFAULT_EGRESS,
    INGRESS,
    HostPolicy,
    Port,
    Rule,
    SecurityGroup,
)
from contract.platforms.libvirt_calls import LibvirtCalls
from lab.hosts import LibvirtHost
from lab.packets.network import Network

BRIDGE = "bench0"
GROUP = "bench"
MANY_RULES = 1000


class Row(NamedTuple):
    """One measurement: the seconds and calls of one change, ours and with one filter for each instance."""

    engine: str
    ports: int
    rules: int
    seconds: float
    calls: int
    peer_s: float
    peer_calls: int


class Site:
    """A libvirtd with a bridge, and what is counted there."""

    def __init__(self, host: LibvirtHost, network: Network) -> None:
        class Counting(Runner):
            prefix = network.prefix
            made = 0

            def run(self, argv: Sequence[str], stdin: str = "") -> str:
                Counting.made += 1
                return super().run(argv, stdin)

        self.network = network
        self.runner = Counting()
        self.libvirt_calls = LibvirtCalls()
        self.connection = libvirt.open(host.uri)
        network.run("ip", "link", "add", BRIDGE, "type", "bridge")

    def count(self, change: Callable[[], object]) -> int:
        """The calls of libvirt and the programs run."""
        before = self.runner.made
        with self.libvirt_calls.recording() as record:
            change()
        return len(record) + self.runner.made - before

    @contextmanager
    def ports(self, count: int) -> Iterator[tuple[Port, ...]]:
        """Taps on the bridge for the time being, all in one group."""
        made = tuple(_port(number) for number in range(count))
        self._ip(
            line
            for port in made
            for line in (f"tuntap add dev {port.device} mode tap", f"link set {port.device} master {BRIDGE} up")
        )
        try:
            yield made
        finally:
            self._ip(f"link delete {port.device}" for port in made)

    def _ip(self, orders: Iterator[str]) -> None:
        with tempfile.NamedTemporaryFile("w") as batch:
            batch.write("\n".join(orders))
            batch.flush()
            self.network.run("ip", "-batch", batch.name)


class Contender(ABC):
    """An engine, and the same rules with one filter for each instance."""

    name: ClassVar[str]
    is_slow: ClassVar[bool] = False

    def __init__(self, site: Site) -> None:
        self.site = site
        self.engine = self.make_engine()

    @abstractmethod
    def make_engine(self) -> Engine: ...

    @abstractmethod
    def change_each(self, ports: Sequence[Port], rules: Sequence[Rule]) -> None:
        """Give each port's own filter these rules."""

    @abstractmethod
    def remove_each(self, ports: Sequence[Port]) -> None:
        """Remove these filters."""

    def bind(self, ports: Sequence[Port], filter_of: Callable[[Port], str]) -> None:
        """Have the ports filtered, where that is not the engine's own work."""
        return

    def unbind(self, ports: Sequence[Port]) -> None:
        """The opposite."""
        return


class Nwfilter(Contender):
    """Redefining a filter makes libvirt write all rules anew of all interfaces that refer to it. The peer's filters
    refer to the same base."""

    name = "nwfilter"
    is_slow = True

    def make_engine(self) -> Engine:
        return NwfilterEngine(Declarations(libvirt, self.site.connection), self.site.runner)

    def change_each(self, ports: Sequence[Port], rules: Sequence[Rule]) -> None:
        for port in ports:
            # With the identity that it has, as whoever redefines one has to.
            identity = uuid.uuid5(uuid.NAMESPACE_DNS, port.mac)
            self.site.connection.nwfilterDefineXML(
                f"<filter name='{_own_filter(port)}' chain='root'><uuid>{identity}</uuid><filterref filter='{BASE}'/>"
                f"<filterref filter='{ADDRESS}'><parameter name='IP' value='{port.addresses[0].partition('/')[0]}'/>"
                f"</filterref>{''.join(map(_nwfilter_rule, rules))}</filter>"
            )

    def remove_each(self, ports: Sequence[Port]) -> None:
        for port in ports:
            self.site.connection.nwfilterLookupByName(_own_filter(port)).undefine()

    def bind(self, ports: Sequence[Port], filter_of: Callable[[Port], str]) -> None:
        for port in ports:
            self.site.connection.nwfilterBindingCreateXML(
                f"<filterbinding><owner><name>{port.instance}</name><uuid>{uuid.uuid4()}</uuid></owner>"
                f"<portdev name='{port.device}'/><mac address='{port.mac}'/>"
                f"<filterref filter='{filter_of(port)}'/></filterbinding>"
            )

    def unbind(self, ports: Sequence[Port]) -> None:
        for port in ports:
            self.site.connection.nwfilterBindingLookupByPortDev(port.device).delete()


class Nftables(Contender):
    """The peer is kindly given one transaction for all."""

    name = "nftables"

    def make_engine(self) -> Engine:
        return NftEngine(self.site.runner)

    def change_each(self, ports: Sequence[Port], rules: Sequence[Rule]) -> None:
        lines = ["add table bridge each"]
        for port in ports:
            chain = f"bridge each {_own_filter(port)}"
            lines += [f"add chain {chain}", f"flush chain {chain}"]
            lines += [
                f"add rule {chain} ip saddr {rule.cidr} tcp dport {rule.port_min}-{rule.port_max} accept"
                for rule in rules
            ]
        self.site.runner.run(("nft", "-f", "-"), "\n".join(lines) + "\n")

    def remove_each(self, ports: Sequence[Port]) -> None:
        self.site.runner.run(("nft", "delete", "table", "bridge", "each"))


class Iptables(Contender):
    """The peer is kindly given one transaction for all."""

    name = "iptables"

    def make_engine(self) -> Engine:
        return IptablesEngine(self.site.runner)

    def change_each(self, ports: Sequence[Port], rules: Sequence[Rule]) -> None:
        chains = [_own_filter(port) for port in ports]
        lines = [f":{chain} - [0:0]" for chain in chains]
        lines += [
            f"-A {chain} -s {rule.cidr} -p tcp --dport {rule.port_min}:{rule.port_max} -j ACCEPT"
            for chain in chains
            for rule in rules
        ]
        self._restore(lines)

    def remove_each(self, ports: Sequence[Port]) -> None:
        self._restore([f"-{order} {_own_filter(port)}" for order in "FX" for port in ports])

    def _restore(self, lines: Sequence[str]) -> None:
        self.site.runner.run(("iptables-restore", "--noflush"), "\n".join(("*filter", *lines, "COMMIT")) + "\n")


CONTENDERS: dict[str, type[Contender]] = {kind.name: kind for kind in (Nwfilter, Nftables, Iptables)}


def measure_one(contender: Contender, count: int, rules: int, repeats: int) -> Row:
    """One rule of a group with so many others changes, for so many interfaces."""
    site, engine = contender.site, contender.engine
    ways = [_rules(rules, last) for last in (1, 2)]
    with site.ports(count) as ports:
        turns = cycle(ways)
        engine.put_ports(ports, HostPolicy(groups={GROUP: _group(next(turns))}))
        contender.bind(ports, lambda port: f"anyvirt-nic-{port.mac.replace(':', '')}")

        def change() -> None:
            engine.put_groups([_group(next(turns))], {})

        seconds, calls = _median_s(change, repeats), site.count(change)
        contender.unbind(ports)
        engine.drop_ports(ports)
        engine.drop_groups([GROUP])

        contender.change_each(ports, next(turns))
        contender.bind(ports, _own_filter)

        def change_each() -> None:
            contender.change_each(ports, next(turns))

        peer_s, peer_calls = _median_s(change_each, repeats), site.count(change_each)
        contender.unbind(ports)
        contender.remove_each(ports)
    return Row(contender.name, count, rules, seconds, calls, peer_s, peer_calls)


def print_table(rows: Iterator[Row]) -> None:
    """One line as soon as it is measured."""
    print("\nOne changed rule of a security group, in the kernel")
    print(
        f"{'engine':<10} {'ports':>5} {'rules':>6} {'seconds':>8} {'calls':>6} {'x fewest':>9} "
        f"{'each':>8} {'calls':>6} {'x each':>7}"
    )
    fewest: dict[tuple[str, int], float] = {}
    for row in rows:
        first = fewest.setdefault((row.engine, row.rules), row.seconds)
        print(
            f"{row.engine:<10} {row.ports:>5} {row.rules:>6} {row.seconds:>8.3f} {row.calls:>6} "
            f"{row.seconds / first:>9.2f} {row.peer_s:>8.3f} {row.peer_calls:>6} {row.seconds / row.peer_s:>7.2f}",
            flush=True,
        )


def counts_by_engine(many: str = "10,100,500", few: str = "1,2,4") -> dict[str, list[int]]:
    """How many interfaces to measure with: ``few`` of them for slow engines."""
    return {
        name: [int(count) for count in (few if kind.is_slow else many).split(",")] for name, kind in CONTENDERS.items()
    }


def measure(counts: Mapping[str, Sequence[int]], rules: int = 10, repeats: int = 5) -> None:
    """All of it.

    Args:
        counts: How many interfaces, by engine.
    """
    with ExitStack() as stack:
        host = stack.enter_context(LibvirtHost("bench-firewall"))
        network = Network.of_process(host.machine.init_pid)
        stack.callback(network.close)
        site = Site(host, network)
        stack.callback(site.connection.close)
        print_table(_rows(site, counts, rules, repeats))


def _rows(site: Site, counts: Mapping[str, Sequence[int]], rules: int, repeats: int) -> Iterator[Row]:
    for name, numbers in counts.items():
        contender = CONTENDERS[name](site)
        for count, size in [*((number, rules) for number in numbers), (min(numbers), MANY_RULES)]:
            yield measure_one(contender, count, size, 1 if contender.is_slow else repeats)


def _median_s(change: Callable[[], object], repeats: int) -> float:
    times = []
    for _turn in range(repeats):
        start = time.perf_counter()
        change()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _port(number: int) -> Port:
    mac = f"52:54:00:be:{number // 256:02x}:{number % 256:02x}"
    address = f"10.98.{number // 250}.{number % 250 + 1}/32"
    return Port(f"bench{number:03}", mac, f"av{mac.replace(':', '')}", (address,), groups=(GROUP,))


def _rules(count: int, last: int) -> list[Rule]:
    cidrs = [f"10.{number // 250}.{number % 250}.0/24" for number in range(count)]
    rules = [
        Rule(INGRESS, "tcp", cidr, port_min=1000 + number, port_max=1005 + number) for number, cidr in enumerate(cidrs)
    ]
    return [*rules[:-1], Rule(INGRESS, "tcp", cidrs[-1], port_min=80, port_max=80 + last)]


def _group(rules: Sequence[Rule]) -> SecurityGroup:
    return SecurityGroup(GROUP, (*DEFAULT_EGRESS, *rules))


def _nwfilter_rule(rule: Rule) -> str:
    address = (rule.cidr or "").partition("/")[0]
    return (
        f"<rule action='accept' direction='in'><tcp srcipaddr='{address}' srcipmask='24' "
        f"dstportstart='{rule.port_min}' dstportend='{rule.port_max}'/></rule>"
    )


def _own_filter(port: Port) -> str:
    return f"each-{port.mac.replace(':', '')}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engines", default=",".join(CONTENDERS), help="of these, separated by commas")
    parser.add_argument("--counts", default="10,100,500", help="how many interfaces, separated by commas")
    parser.add_argument("--nwfilter-counts", default="1,2,4", help="the same for nwfilter")
    parser.add_argument("--rules", type=int, default=10, help="of the group")
    parser.add_argument("--repeats", type=int, default=5, help="changes of which the median is taken")
    arguments = parser.parse_args()
    counts = counts_by_engine(arguments.counts, arguments.nwfilter_counts)
    wanted = arguments.engines.split(",")
    measure({name: counts[name] for name in wanted}, arguments.rules, arguments.repeats)


if __name__ == "__main__":
    main()
