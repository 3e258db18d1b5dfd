# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses to which network interfaces are locked: pure functions, no calls.

A locked interface sends from its own MAC address and from the addresses in its lists only; what comes in is not looked
at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ...errors import Problem
from ...model.instance import Nic
from .records import Object

MOST_ADDRESSES = 64
"""A network with more addresses than that is not written into a list: hosts have some rules for each of them."""

_LOCKED, _NETWORK_DEFAULT = "locked", "network_default"


class Lock(NamedTuple):
    """What a VIF lets its guest send.

    Attributes:
        mode: The VIF's locking_mode.
        ipv4, ipv6: Addresses; of no meaning but with the mode ``locked``.
    """

    mode: str
    ipv4: frozenset[str] = frozenset()
    ipv6: frozenset[str] = frozenset()

    @property
    def is_locked(self) -> bool:
        """Whether addresses are looked at."""
        return self.mode == _LOCKED

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the VIF."""
        return {"locking_mode": self.mode, "ipv4_allowed": sorted(self.ipv4), "ipv6_allowed": sorted(self.ipv6)}


UNLOCKED = Lock(_NETWORK_DEFAULT)
"""As the interface's network says, which is how all interfaces begin."""


def lock_in(vif: Object) -> Lock:
    """The lock that a VIF has."""
    return Lock(vif["locking_mode"], frozenset(vif["ipv4_allowed"]), frozenset(vif["ipv6_allowed"]))


def lock_for(nic: Nic) -> Lock:
    """The lock that lets a guest use what is declared. What is no address, which others may have written into our
    record, is left out.

    A guest that may use IPv6 also gets the link-local address that follows from its MAC address: without one it finds
    no neighbours.
    """
    found: dict[int, set[str]] = {4: set(), 6: set()}
    for text in nic.addresses or ():
        for address in _expanded(text):
            found[6 if ":" in address else 4].add(address)
    if found[6] and nic.mac is not None:
        found[6].add(_link_local(nic.mac))
    return Lock(_LOCKED, frozenset(found[4]), frozenset(found[6]))


def lock_changes(now: Lock, wanted: Lock) -> Iterator[tuple[str, Any]]:
    """The calls that change a lock, each with the value that it takes. On the way a guest can use no address that it
    may use neither before nor after, and all that it may use both before and after."""
    mode = ("VIF.set_locking_mode", wanted.mode)
    unlocks = now.is_locked and not wanted.is_locked
    if unlocks:
        yield mode
    if now.ipv4 != wanted.ipv4:
        yield "VIF.set_ipv4_allowed", sorted(wanted.ipv4)
    if now.ipv6 != wanted.ipv6:
        yield "VIF.set_ipv6_allowed", sorted(wanted.ipv6)
    if now.mode != wanted.mode and not unlocks:
        yield mode


def address_problems(where: str, nic: Nic) -> Iterator[Problem]:
    """Why a NIC cannot be locked to what is declared; ``where`` names it."""
    option = f"{where}.addresses"
    if not nic.addresses:
        yield Problem(
            option,
            "is needed: XenServer filters by addresses that it is told, and an instance with security_groups is "
            "filtered; declare those that the guest uses, or give firewall: none",
        )
    for text in nic.addresses or ():
        if not _expanded(text):
            yield Problem(
                option,
                f"{text} is too large: XenServer takes single addresses, and networks of at most {MOST_ADDRESSES}",
            )


def _expanded(text: str) -> list[str]:
    """All addresses of an address or network; none where they are too many, or it is neither."""
    import ipaddress  # takes long to import, and few tasks need it

    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return []
    return [str(address) for address in network] if network.num_addresses <= MOST_ADDRESSES else []


def _link_local(mac: str) -> str:
    """The IPv6 address that guests make of a MAC address by themselves (modified EUI-64)."""
    import ipaddress

    octets = bytes.fromhex(mac.replace(":", ""))
    interface = bytes((octets[0] ^ 2, octets[1], octets[2], 0xFF, 0xFE, *octets[3:]))
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + interface))
