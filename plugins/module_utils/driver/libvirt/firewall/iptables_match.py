# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rule of a security group matches, in the words of iptables, ip6tables and ebtables."""

from __future__ import annotations

from ....model.secgroup import ANY, ANYWHERE_V4, ANYWHERE_V6, ICMP, ICMPV6, INGRESS, TCP, UDP, Rule
from .iptables_names import members_set

_NUMBERS = {TCP: "6", UDP: "17", ICMP: "1", ICMPV6: "58"}
_ANYWHERE = (None, ANYWHERE_V4, ANYWHERE_V6)


def unsupported(rule: Rule) -> str | None:
    """Why iptables can never enforce the rule, in words."""
    if rule.protocol.isdecimal() and int(rule.protocol) == 0:
        return "protocol 0: iptables takes it for any protocol; say any if that is meant"
    if rule.protocol == ICMP and rule.icmp_type == 255:
        return "ICMP type 255: iptables takes it for any type; leave icmp_type out if that is meant"
    return None


def ip_match(rule: Rule, family: int) -> str:
    """For iptables and ip6tables; ``family`` is one of the rule's."""
    words = []
    if rule.cidr not in _ANYWHERE:
        words.append(f"{'-s' if rule.direction == INGRESS else '-d'} {rule.cidr}")
    if rule.protocol != ANY:
        words.append(f"-p {_number(rule)}")
    if _has_ports(rule):
        words.append(f"-m {rule.protocol} --dport {_ports(rule)}")
    if rule.icmp_type is not None:
        words.append(f"{'-m icmp --icmp-type' if family == 4 else '-m icmp6 --icmpv6-type'} {_icmp(rule)}")
    if rule.group is not None:
        side = "src" if rule.direction == INGRESS else "dst"
        words.append(f"-m set --match-set {members_set(family, rule.group)} {side}")
    return " ".join(words)


def bridge_match(rule: Rule, family: int) -> str:
    """For ebtables, which knows no sets: the rule has a ``cidr``."""
    ip = "ip" if family == 4 else "ip6"
    words = [f"-p IPv{family}"]
    if rule.cidr is not None and rule.cidr not in _ANYWHERE:
        address, length = rule.cidr.split("/")
        words.append(f"--{ip}-src {address if length == ('32' if family == 4 else '128') else rule.cidr}")
    if rule.protocol != ANY:
        words.append(f"--{ip}-proto {_number(rule)}")
    if _has_ports(rule):
        words.append(f"--{ip}-dport {_ports(rule)}")
    if rule.icmp_type is not None:
        words.append(f"--{ip}-icmp-type {_icmp(rule)}")
    return " ".join(words)


def _number(rule: Rule) -> str:
    return _NUMBERS.get(rule.protocol, rule.protocol)


def _has_ports(rule: Rule) -> bool:
    return rule.port_min is not None and (rule.port_min, rule.port_max) != (0, 65535)


def _ports(rule: Rule) -> str:
    return f"{rule.port_min}" if rule.port_min == rule.port_max else f"{rule.port_min}:{rule.port_max}"


def _icmp(rule: Rule) -> str:
    return f"{rule.icmp_type}" if rule.icmp_code is None else f"{rule.icmp_type}/{rule.icmp_code}"
