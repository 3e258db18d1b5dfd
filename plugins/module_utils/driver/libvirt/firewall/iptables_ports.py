# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chains and sets of ports, and how packets find their port's: in steps, not by asking one port after the other."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ....model.secgroup import EGRESS, INGRESS, Port, project_group
from .iptables_base import (
    BRIDGE_IF_PASSED,
    DHCP_ANSWER,
    DHCP_REQUEST,
    DHCPV6_ANSWER,
    IF_PASSED,
    Chains,
    icmpv6,
)
from .iptables_names import (
    BRIDGE,
    DHCP,
    DIRECT,
    EGRESS_BASE,
    EGRESS_PORTS,
    EGRESS_PROFILE,
    FROM,
    FROM_HOST,
    INGRESS_BASE,
    INGRESS_PORTS,
    INGRESS_PROFILE,
    LEARN,
    PASS,
    RAW,
    SECURITY,
    SOURCE,
    TO,
    UNCHECKED,
    UNSEEN,
    Table,
    bare,
    group_chain,
    members_set,
    port_set,
    profile_of,
    profile_set,
    with_colons,
)
from .iptables_text import comment

_STEPS = (9, 10)
"""A device ``av525400abcdef`` is looked for with the digits that differ first: at most 16 questions a step."""

_LEAF = re.compile(
    r"-?-(?:physdev-in|physdev-out|i|o) (?P<device>\S+)"
    r"(?: -m comment --comment \"[0-9a-f:]{17} (?P<instance>[^\"]*)\")?"
    rf" -[gj] (?P<kind>{SOURCE}|{EGRESS_PROFILE}|{INGRESS_PROFILE})(?P<which>[0-9a-f]+)$"
)


class Entry(NamedTuple):
    """What has to be known of each port to find it.

    Attributes:
        profile: See ``profile_of``.
        learns: Whether DHCP gives it an address.
    """

    device: str
    mac: str
    profile: str
    instance: str
    learns: bool

    @property
    def comment(self) -> str:
        return comment(f"{self.mac} {self.instance}")


def entry_of(port: Port, device: str) -> Entry:
    """Of a port that has this device."""
    return Entry(device, port.mac, profile_of(port), port.instance, port.learns)


def entries_in(chains: Mapping[Table, Mapping[str, Sequence[str]]]) -> dict[str, Entry]:
    """The ports that the kernel has, by MAC address. One that is only half there counts."""
    macs: dict[str, str] = {}
    profiles: dict[str, str] = {}
    instances: dict[str, str] = {}
    for table in chains.values():
        for rules in table.values():
            for rule in rules:
                found = _LEAF.search(rule)
                if found is None:
                    continue
                if found["kind"] == SOURCE:
                    macs[found["device"]] = with_colons(found["which"])
                else:
                    profiles[found["device"]] = found["which"]
                    instances[found["device"]] = found["instance"] or instances.get(found["device"], "")
    learning = chains.get(RAW[4], {})
    return {
        mac: Entry(device, mac, profiles[device], instances[device], f"{LEARN}{bare(mac)}" in learning)
        for device, mac in macs.items()
        if device in profiles
    }


def dispatch_chains(entries: Iterable[Entry]) -> dict[Table, Chains]:
    """The ways to all ports."""
    ports = sorted(entries)
    chains: dict[Table, Chains] = {BRIDGE: {}}
    sources = {port.device: f"{SOURCE}{bare(port.mac)}" for port in ports}
    for family in (4, 6):
        chains[RAW[family]] = {
            **_tree(FROM, "-m physdev --physdev-in", {device: f"-g {chain}" for device, chain in sources.items()}),
            # Frames to the addresses that bridges keep for themselves (LLDP's, say) come to the host past the bridge's
            # tables, from the port's own device.
            **_tree(DIRECT, "-i", dict.fromkeys(sources, "-j DROP")),
        }
        chains[SECURITY[family]] = {
            **_tree(
                EGRESS_PORTS,
                "-m physdev --physdev-in",
                {port.device: f"{port.comment} -g {EGRESS_PROFILE}{port.profile}" for port in ports},
            ),
            **_tree(
                INGRESS_PORTS,
                "-m physdev --physdev-out",
                {port.device: f"{port.comment} -g {INGRESS_PROFILE}{port.profile}" for port in ports},
            ),
            FROM_HOST: [
                f"-m set --match-set {profile_set(family, profile)} dst -j {INGRESS_PROFILE}{profile}"
                for profile in sorted({port.profile for port in ports})
            ],
        }
    # Of bridged answers those that come to the guest's port count: others, to other addresses, may come from anywhere.
    chains[RAW[4]].update(_learning(dict.fromkeys(ports, "")))
    chains[SECURITY[4]].update(_learning({port: f"-m physdev --physdev-out {port.device} " for port in ports}))
    chains[BRIDGE].update(_tree(FROM, "-i", {device: f"-j {chain}" for device, chain in sources.items()}))
    to = _tree(TO, "-o", {port.device: f"-j {INGRESS_PROFILE}{port.profile}" for port in ports})
    to[TO].insert(0, f"--mark {UNSEEN:#x}/{UNSEEN:#x} -j DROP")
    chains[BRIDGE].update(to)
    return chains


def profile_chains(port: Port) -> dict[Table, Chains]:
    """What is asked for each packet of the ports that share the port's groups."""
    profile = profile_of(port)
    chains: dict[Table, Chains] = {}
    for family, table in SECURITY.items():
        egress = [f"-j {EGRESS_BASE}", IF_PASSED]
        ingress = [f"-j {INGRESS_BASE}", IF_PASSED]
        if port.project is not None and port.allow_project:
            project = members_set(family, project_group(port.project))
            ingress.append(f"-m set --match-set {project} src -g {PASS}")
        for group in port.groups:
            label = comment(f"group {group}")
            egress += [f"{label} -j {group_chain(EGRESS, group)}", IF_PASSED]
            ingress += [f"{label} -j {group_chain(INGRESS, group)}", IF_PASSED]
        if port.groups:
            egress.append("-j DROP")
        ingress.append("-j DROP")
        chains[table] = {f"{EGRESS_PROFILE}{profile}": egress, f"{INGRESS_PROFILE}{profile}": ingress}
    bridge = [f"-j {INGRESS_BASE}", BRIDGE_IF_PASSED]
    for group in port.groups:
        bridge += [f"-j {group_chain(INGRESS, group)}", BRIDGE_IF_PASSED]
    chains[BRIDGE] = {f"{INGRESS_PROFILE}{profile}": [*bridge, "-j DROP"]}
    return chains


def source_chains(mac: str, arp_networks: Iterable[str]) -> dict[Table, Chains]:
    """What a guest may say of itself.

    Args:
        arp_networks: The IPv4 networks of ARP. The bridge has no sets: they stand here one by one.
    """
    chain = f"{SOURCE}{bare(mac)}"
    mark = f"-j mark --mark-or {UNSEEN | UNCHECKED:#x} --mark-target RETURN"
    return {
        RAW[4]: {
            chain: [
                f"{DHCP_ANSWER} -j DROP",
                f"-m set --match-set {port_set(4, mac)} src -j RETURN",
                f"-s 0.0.0.0/32 {DHCP_REQUEST} -j RETURN",
                "-j DROP",
            ]
        },
        RAW[6]: {
            chain: [
                f"{icmpv6(134)} -j DROP",
                f"{icmpv6(137)} -j DROP",
                f"{DHCPV6_ANSWER} -j DROP",
                f"-m set --match-set {port_set(6, mac)} src -j RETURN",
                "-s fe80::/10 -j RETURN",
                *(f"-s ::/128 {icmpv6(number)} -j RETURN" for number in (133, 135, 143)),
                "-j DROP",
            ]
        },
        BRIDGE: {
            chain: [
                f"-s ! {mac} -j DROP",
                *(_arp_rule(mac, network) for network in ("0.0.0.0/32", *sorted(arp_networks))),
                "-p RARP -j RETURN",
                f"-p IPv4 {mark}",
                f"-p IPv6 {mark}",
                "-j DROP",
            ]
        },
    }


def device_of(rule: str) -> str | None:
    """The device whose packets a rule sends to their chains."""
    found = _LEAF.search(rule)
    return None if found is None else found["device"]


def _arp_rule(mac: str, network: str) -> str:
    return f"-p ARP --arp-ip-src {network.removesuffix('/32')} --arp-mac-src {mac} -j RETURN"


def _learning(where: Mapping[Entry, str]) -> Chains:
    """Addresses to which DHCP servers send answers go into the sets of the port whose MAC address the answer names.

    Args:
        where: What else a port's answers have to match.
    """
    chains: Chains = {DHCP: []}
    for entry, match in where.items():
        if not entry.learns:
            continue
        chain = f"{LEARN}{bare(entry.mac)}"
        chains[DHCP].append(f'{DHCP_ANSWER} {match}-m u32 --u32 "{_answer_to(entry.mac)}" -j {chain}')
        chains[chain] = [
            f"-j SET --add-set {port_set(4, entry.mac)} dst --exist",
            f"-j SET --add-set {profile_set(4, entry.profile)} dst --exist",
        ]
    return chains


def _answer_to(mac: str) -> str:
    """The beginning of a BOOTP message (after IP's header of any length, and UDP's 8 bytes) as u32 sees it: op is 2,
    chaddr is the MAC address."""
    digits = bare(mac)
    after_ip = "0x0>>0x16&0x3c@"
    return (
        f"{after_ip}0x8>>0x18=0x2&&"
        f"{after_ip}0x24={int(digits[:8], 16):#x}&&"
        f"{after_ip}0x28>>0x10={int(digits[8:], 16):#x}"
    )


def _tree(root: str, match: str, leaves: Mapping[str, str]) -> Chains:
    """Chains that find a device's leaf by the beginnings of its name."""
    chains: defaultdict[str, list[str]] = defaultdict(list)
    chains[root] = []
    steps: set[str] = set()
    for device in sorted(leaves, key=lambda name: (len(name) > _STEPS[-1], name)):
        chain = root
        for length in _STEPS if len(device) > _STEPS[-1] else ():
            start = device[:length]
            below = f"{root}-{start}"
            if start not in steps:
                steps.add(start)
                chains[chain].append(f"{match} {start}+ {'-j' if match in ('-i', '-o') else '-g'} {below}")
            chain = below
        chains[chain].append(f"{match} {device} {leaves[device]}")
    return dict(chains)
