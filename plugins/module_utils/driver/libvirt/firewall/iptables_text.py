# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One form for rules of iptables, ip6tables and ebtables: what is written and what is read back compare as texts.

The tools print some things otherwise than they were said: names for protocols and ICMP types, MAC addresses without
leading zeros, quotes.
"""

from __future__ import annotations

import functools
import re
import socket
from collections.abc import Iterable, Iterator

_WORDS = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_WORD = re.compile(r"[\w.:/,+!-]+\Z", re.ASCII)
_MAC = re.compile(r"[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2}){5}\Z")
_PROTOCOL_OPTIONS = ("-p", "--ip-proto", "--ip6-proto")
_ADDRESS_OPTIONS = ("-s", "-d", "--ip6-src", "--ip6-dst")

_PROTOCOLS = {
    "icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ah": 51, "ipv6-icmp": 58, "icmpv6": 58, "sctp": 132,
    "udplite": 136,
}  # fmt: skip
"""Those that the tools know by themselves; others are asked of the host's list, as the tools do."""

_FRAMES = {"IPv4": "0x0800", "ARP": "0x0806", "RARP": "0x8035", "IPv6": "0x86dd"}
"""What ebtables' -p says; it knows the names only where the host has a list of them."""

_ICMP_TYPES = {
    "--ip-icmp-type": {
        "echo-reply": "0", "destination-unreachable": "3", "network-unreachable": "3/0", "host-unreachable": "3/1",
        "protocol-unreachable": "3/2", "port-unreachable": "3/3", "fragmentation-needed": "3/4",
        "source-route-failed": "3/5", "network-unknown": "3/6", "host-unknown": "3/7", "network-prohibited": "3/9",
        "host-prohibited": "3/10", "TOS-network-unreachable": "3/11", "TOS-host-unreachable": "3/12",
        "communication-prohibited": "3/13", "host-precedence-violation": "3/14", "precedence-cutoff": "3/15",
        "source-quench": "4", "redirect": "5", "network-redirect": "5/0", "host-redirect": "5/1",
        "TOS-network-redirect": "5/2", "TOS-host-redirect": "5/3", "echo-request": "8", "router-advertisement": "9",
        "router-solicitation": "10", "time-exceeded": "11", "ttl-zero-during-transit": "11/0",
        "ttl-zero-during-reassembly": "11/1", "parameter-problem": "12", "ip-header-bad": "12/0",
        "required-option-missing": "12/1", "timestamp-request": "13", "timestamp-reply": "14",
        "address-mask-request": "17", "address-mask-reply": "18",
    },
    "--ip6-icmp-type": {
        "destination-unreachable": "1", "no-route": "1/0", "communication-prohibited": "1/1", "beyond-scope": "1/2",
        "address-unreachable": "1/3", "port-unreachable": "1/4", "failed-policy": "1/5", "reject-route": "1/6",
        "packet-too-big": "2", "time-exceeded": "3", "ttl-zero-during-transit": "3/0",
        "ttl-zero-during-reassembly": "3/1", "parameter-problem": "4", "bad-header": "4/0",
        "unknown-header-type": "4/1", "unknown-option": "4/2", "echo-request": "128", "echo-reply": "129",
        "router-solicitation": "133", "router-advertisement": "134", "neighbour-solicitation": "135",
        "neighbour-advertisement": "136", "redirect": "137",
    },
}  # fmt: skip
"""What ebtables prints instead of numbers."""


@functools.lru_cache(maxsize=65536)
def canonical(rule: str) -> str:
    """The form in which rules are compared, which the tools understand, too."""
    words = rule.split() if '"' not in rule else [quoted or word for quoted, word in _WORDS.findall(rule)]
    return " ".join(_quoted(word) for word in _plain_words(words))


def targets_of(rules: Iterable[str]) -> Iterator[str]:
    """What rules jump or go to."""
    for rule in rules:
        words = rule.rsplit(" ", 2)
        if len(words) >= 2 and words[-2] in ("-j", "-g"):
            yield words[-1]


def comment(text: str) -> str:
    """A comment for people, of characters that no tool writes otherwise."""
    return f'-m comment --comment "{re.sub(r"[^A-Za-z0-9 ._:/@-]", "_", text)[:200]}"'


def _plain_words(words: list[str]) -> Iterator[str]:
    option = ""
    for word in words:
        if option in _PROTOCOL_OPTIONS and word != "!":
            yield _protocol(word)
        elif option in _ICMP_TYPES:
            plain = _ICMP_TYPES[option].get(word, word)
            yield plain[: -len("/0:255")] if plain.endswith("/0:255") else plain
        elif ":" in word and _MAC.match(word):
            yield ":".join(part.rjust(2, "0") for part in word.lower().split(":"))
        elif ":" in word and option in _ADDRESS_OPTIONS:
            yield _address6(word)
        else:
            yield word
        option = word


def _protocol(name: str) -> str:
    if name in _FRAMES:
        return _FRAMES[name]
    if name.startswith("0x"):
        return f"0x{int(name, 16):04x}"
    if name.isdecimal():
        return name
    if name in _PROTOCOLS:
        return str(_PROTOCOLS[name])
    try:
        return str(socket.getprotobyname(name))
    except OSError:
        return name


def _address6(text: str) -> str:
    """As the tools print it: with an IPv4 address in it where there may be one."""
    address, slash, length = text.partition("/")
    try:
        packed = socket.inet_pton(socket.AF_INET6, address)
    except OSError:
        return text
    return f"{socket.inet_ntop(socket.AF_INET6, packed)}{slash}{length}"


def _quoted(word: str) -> str:
    return word if _WORD.match(word) else f'"{word}"'
