# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the nftables engine that knows answers to the host from what only looks like them.

What the host sends or routes to a guest is a known connection before the bridge has decided about its first packet; was
that dropped, then a packet the other way would be an answer to something that the guest never got. Therefore such
connections are noted in their own mark as undecided, what the bridge lets through to guests is remembered for a while,
and only what answers to that (or comes from a port that nobody filters) decides them. The bridge asks before addresses
are translated back.
"""

from __future__ import annotations

from typing import NamedTuple

from .nftbits import ANSWER, CLEAR_UNDECIDED, ESTABLISHED, FROM_BRIDGE, KEPT, OTHERS, UNDECIDED
from .nfttable import NftSet

_WITH_PORTS = "{ tcp, udp, udplite, sctp, dccp }"
_LIFETIME = "size 65535; flags dynamic,timeout; timeout 2m;"
_ANSWER = f"meta mark set meta mark & {KEPT:#x} | {ANSWER:#x} accept"


class _Family(NamedTuple):
    """How a version of IP calls things.

    Attributes:
        ends: Bits that tell sender and receiver, in the header. Not all of them: nft 1.0.6 gives whole addresses a type
            that such a set cannot have when it reads again what it has listed.
        errors: ICMP's types that quote a packet. ``quoted``: the same bits in the quoted packet.
    """

    number: int
    kind: str
    address_type: str
    ends: str
    errors: str
    quoted: str


_FAMILIES = (
    _Family(
        number=4,
        kind="ip",
        address_type="ipv4_addr",
        ends="@nh,104,24 . @nh,136,24",
        errors="icmp icmp type { 3, 4, 11, 12 }",
        quoted="@th,168,24 . @th,200,24",
    ),
    _Family(
        number=6,
        kind="ip6",
        address_type="ipv6_addr",
        ends="@nh,160,32 . @nh,288,32",
        errors="icmpv6 icmpv6 type { 1, 2, 3, 4 }",
        quoted="@th,224,32 . @th,352,32",
    ),
)


def answer_sets() -> dict[str, NftSet]:
    """What was let through to guests of late: connections, protocols and pairs of addresses, by version of IP."""
    sets = {}
    for family in _FAMILIES:
        protocols = (family.address_type, family.address_type, "inet_proto")
        connections = (*protocols, "inet_service", "inet_service")
        for name, types in ((f"let-in{family.number}", connections), (f"let-in{family.number}-protocols", protocols)):
            sets[name] = NftSet(types, declaration=f"type {' . '.join(types)}; {_LIFETIME}")
        sets[f"let-in{family.number}-pairs"] = NftSet(
            ("integer", "integer"), declaration=f"typeof {family.ends}; {_LIFETIME}"
        )
    return sets


def remembering() -> list[tuple[str, str]]:
    """Rules for what the host sends to a guest, and the guest gets."""
    rules = [("oifname != @ports accept", "to others"), (f"meta mark & {ESTABLISHED:#x} != 0 accept", "decided")]
    for family in _FAMILIES:
        ether, ports = f"ether type {family.kind}", f"meta l4proto {_WITH_PORTS}"
        protocol = f"{family.kind} saddr . {family.kind} daddr . meta l4proto"
        connection = f"{protocol} . th sport . th dport"
        rules += [
            (f"{ether} update @let-in{family.number}-pairs {{ {family.ends} }}", "let through"),
            (f"{ether} {ports} update @let-in{family.number} {{ {connection} }} accept", "let through"),
            (f"{ether} update @let-in{family.number}-protocols {{ {protocol} }}", "let through"),
        ]
    return rules


def recognizing() -> list[tuple[str, str]]:
    """Rules for what comes to a bridge, before connection tracking sees it."""
    rules = [
        (f"iifname != @ports {_ANSWER}", "whoever is not filtered may answer"),
        (f"meta mark & {ANSWER:#x} != 0 meta mark set meta mark & {KEPT:#x}", "ours alone"),
    ]
    for family in _FAMILIES:
        ether = f"ether type {family.kind}"
        protocol = f"{family.kind} daddr . {family.kind} saddr . meta l4proto"
        connection = f"{protocol} . th dport . th sport"
        rules += [
            (f"{ether} meta l4proto {_WITH_PORTS} {connection} @let-in{family.number} {_ANSWER}", "an answer"),
            (f"{ether} {protocol} @let-in{family.number}-protocols {_ANSWER}", "an answer"),
            (
                f"{ether} meta l4proto {family.errors} {family.quoted} @let-in{family.number}-pairs {_ANSWER}",
                "an error",
            ),
        ]
    return rules


def undecided(hook: str) -> list[tuple[str, str]]:
    """Rules of the inet table, before the state of a connection goes into the mark."""
    doubtful = f"ct state established,related ct mark & {UNDECIDED:#x} != 0"
    decide = f"ct mark set ct mark & {CLEAR_UNDECIDED:#x}"
    as_new = f"meta mark set meta mark & {OTHERS:#x} | {FROM_BRIDGE:#x} accept"
    if hook == "prerouting":
        return [
            (f'meta iifkind != "bridge" {doubtful} ct direction reply {decide}', "answered by other ways"),
            ('meta iifkind != "bridge" accept', "not from a bridge"),
            (f"{doubtful} meta mark & {ANSWER:#x} == 0 {as_new}", "no answer"),
            (f"{doubtful} ct state established {decide}", "answered"),
        ]
    return [
        ('meta oifkind != "bridge" accept', "not to a bridge"),
        (f"meta mark & {FROM_BRIDGE:#x} != 0 accept", "from port to port, marked before"),
        (f"ct state new ct mark set ct mark | {UNDECIDED:#x}", "the bridge decides later"),
        (f"{doubtful} meta mark set meta mark & {OTHERS:#x} accept", "not answered yet"),
    ]
