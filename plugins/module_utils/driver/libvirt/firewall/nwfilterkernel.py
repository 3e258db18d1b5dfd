# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the kernel has what libvirt made of nwfilter definitions: somebody may have flushed it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element

from .bridgecalls import bridge_call_problems, devices_in_sight
from .filterxml import FROM_GUEST, TO_GUEST, parameters
from .tools import Runner

_IPV4 = "iptables"
_IPV6 = "ip6tables"
_ETHERNET = "ebtables"
_LIST = {_IPV4: ("-S",), _IPV6: ("-S",), _ETHERNET: ("-t", "nat", "-L")}
_ETHERNET_RULES = frozenset(("mac", "arp", "rarp", "ip", "ipv6"))
_COUNTED = re.compile(r"^(?:-A (\S+)|Bridge chain: (\S+), entries: (\d+))", re.MULTILINE)
_JUMPS = {
    _ETHERNET: ("-i {0} -j libvirt-I-{0}", "-o {0} -j libvirt-O-{0}"),
    _IPV4: (
        "-A libvirt-in -m physdev --physdev-in {0} -g FI-{0}",
        "-A libvirt-out -m physdev --physdev-out {0} --physdev-is-bridged -g FO-{0}",
        "-A libvirt-host-in -m physdev --physdev-in {0} -g HI-{0}",
    ),
}
_JUMPS[_IPV6] = _JUMPS[_IPV4]
_ENTRIES = ("-A FORWARD -j libvirt-in", "-A FORWARD -j libvirt-out", "-A INPUT -j libvirt-host-in")

_PASSED_BY = re.compile(r"-A FORWARD(?: -i (\S+) -o \1)?(?: -m physdev --physdev-is-bridged)? -j ACCEPT$")
"""What people put into FORWARD so that guests on a bridge reach each other."""

_DHCP_ONLY = 2
"""How many rules libvirt has for what a guest sends whose address it does not know yet."""

Counts = Mapping[tuple[str, str], int]
"""How many rules the chains of each tool have."""


class Listing(NamedTuple):
    """The rules that the kernel has.

    Attributes:
        is_passed_by: A rule of somebody else's lets bridged packets through before libvirt's rules see them.
    """

    lines: Mapping[str, frozenset[str]]
    counts: Counts
    is_passed_by: bool

    def has_all(self, device: str, expected: Counts, learns: bool) -> bool:
        """Whether the chains of a port are there, all in use, each with its number of rules."""
        if self.is_passed_by or not self._has_jumps(device, _ETHERNET):
            return False
        if learns and self.counts.get((_ETHERNET, f"libvirt-I-{device}")) == _DHCP_ONLY:
            return True
        return all(self._has_jumps(device, tool) for tool in (_IPV4, _IPV6)) and all(
            self.counts.get(chain, 0) == count for chain, count in expected.items()
        )

    def _has_jumps(self, device: str, tool: str) -> bool:
        wanted = {jump.format(device) for jump in _JUMPS[tool]}
        return wanted <= self.lines[tool] and (tool == _ETHERNET or self.lines[tool].issuperset(_ENTRIES))


class KernelView:
    """Looks at the kernel of the host on which the module runs."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def problems(self) -> list[str]:
        """What in the kernel's settings keeps nwfilter from filtering."""
        return bridge_call_problems(self._runner)

    def sees(self, devices: Collection[str]) -> bool:
        """Whether it is the kernel's part that libvirt works on: in a container of its own it has other interfaces."""
        return devices_in_sight(self._runner).issuperset(devices)

    def read(self) -> Listing:
        """All rules of the tables that libvirt uses."""
        lines: dict[str, frozenset[str]] = {}
        counts: Counter[tuple[str, str]] = Counter()
        is_passed_by = False
        for tool, arguments in _LIST.items():
            text = self._runner.run((tool, *arguments))
            in_order = [line.strip() for line in text.splitlines()]
            lines[tool] = frozenset(in_order)
            is_passed_by |= _is_passed_by(in_order)
            for appended, chain, entries in _COUNTED.findall(text):
                counts[tool, appended or chain] += int(entries or 1)
        return Listing(lines, counts, is_passed_by)


def _is_passed_by(lines: Sequence[str]) -> bool:
    waiting = {"libvirt-in", "libvirt-out"}
    for line in lines:
        if waiting and _PASSED_BY.match(line):
            return True
        if line.startswith("-A FORWARD "):
            waiting.discard(line.rpartition(" ")[2])
    return False


def expected_counts(device: str, root: Element, definitions: Mapping[str, Element]) -> Counts:
    """How many rules libvirt makes for an interface.

    Args:
        root: The interface's definition.
        definitions: All that it refers to.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for rule, copies in _rules(root, definitions, {}):
        kind, direction = rule[0].tag, rule.get("direction")
        sides = [side for side, other in (("I", TO_GUEST), ("O", FROM_GUEST)) if direction != other]
        if kind in _ETHERNET_RULES:
            for side in sides:
                counts[_ETHERNET, f"libvirt-{side}-{device}"] += copies
        else:
            tool = _IPV6 if kind.endswith("v6") else _IPV4
            for prefix in [f"F{side}" for side in sides] + ["HI"] * ("I" in sides):
                counts[tool, f"{prefix}-{device}"] += copies
    return counts


def _rules(
    root: Element, definitions: Mapping[str, Element], variables: Mapping[str, Sequence[str]]
) -> Iterator[tuple[Element, int]]:
    """The rules of a definition and of all that it refers to, each with how many are made of it: one for each value of
    its variables, which are counted through together. MAC and a learned IP have one."""
    for child in root:
        if child.tag == "rule" and len(child):
            used = [value[1:] for value in child[0].attrib.values() if value.startswith("$")]
            copies = max((len(variables[name]) for name in used if name in variables), default=1)
            yield child, copies
        elif child.tag == "filterref":
            inner = definitions.get(child.get("filter", ""))
            if inner is not None:
                yield from _rules(inner, definitions, {**variables, **parameters(child)})
