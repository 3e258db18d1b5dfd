# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""MAC addresses."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from typing import Callable

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def stable_mac(host_identity: str, instance: str, index: int) -> str:
    """The address of an instance's ``index``-th NIC when the task names none: the same each time, on each run.

    Locally administered and unicast (first octet 0x52), with 40 bits from a hash: among 10,000 NICs the chance of any
    collision is about 1 in 20,000. The host's identity is part of it, so that instances of one name on two hosts of one
    network differ; afterwards the address lives in the instance's own configuration and moves with it.
    """
    digest = hashlib.sha256(f"{host_identity}\n{instance}\n{index}".encode()).digest()
    return ":".join(f"{octet:02x}" for octet in b"\x52" + digest[:5])


def normalize_mac(text: str) -> str:
    """Lower case with colons.

    Raises:
        ValueError: it is not a unicast MAC address.
    """
    mac = text.strip().lower().replace("-", ":")
    if not _MAC.fullmatch(mac):
        raise ValueError(f"{text!r} is not a MAC address")
    if int(mac[:2], 16) & 1:
        raise ValueError(f"{text!r} is a multicast address; a NIC needs a unicast one")
    return mac


def with_addresses(
    identity: Callable[[], str], instance: str, wanted: Sequence[str | None], taken: Collection[str]
) -> list[str]:
    """An address for each NIC of an instance: what is ``wanted`` of it, or else a stable one that is not ``taken``."""
    used = {*taken, *(mac for mac in wanted if mac is not None)}
    addresses = []
    index = 0
    for position, asked in enumerate(wanted):
        index = max(index, position)
        mac = asked
        while mac is None:
            candidate = stable_mac(identity(), instance, index)
            index += 1
            mac = None if candidate in used else candidate
        used.add(mac)
        addresses.append(mac)
    return addresses
