# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The yardstick: what the playbooks of the bench ask for, done by a script that calls libvirt and nothing else.

Usage: python -m bench.direct_libvirt URI define|facts|remove COUNT
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import libvirt

from bench.names import PREFIX, names

DOMAIN = """<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>64</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64'>hvm</type></os>
  <devices><serial type='pty'/><graphics type='vnc' listen='127.0.0.1'/></devices>
</domain>"""


def define(connection: libvirt.virConnect, count: int) -> None:
    """Define them, without looking what is there."""
    for name in names(count):
        connection.defineXML(DOMAIN.format(name=name))


def facts(connection: libvirt.virConnect, count: int) -> None:
    """State, size and counters of all, and the host's."""
    found = connection.listAllDomains()
    stats = connection.getAllDomainStats()
    connection.getInfo()
    connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
    if not len(found) == len(stats) >= count:
        sys.exit(f"expected {count} domains, found {len(found)}")


def remove(connection: libvirt.virConnect, _count: int) -> None:
    """Undefine what the bench defined."""
    for domain in connection.listAllDomains():
        if domain.name().startswith(PREFIX):
            domain.undefine()


def main() -> None:
    """Open a connection and do one of them."""
    actions: dict[str, Callable[[libvirt.virConnect, int], None]] = {"define": define, "facts": facts, "remove": remove}
    uri, action, count = sys.argv[1:]
    connection = libvirt.open(uri)
    actions[action](connection, int(count))
    connection.close()


if __name__ == "__main__":
    main()
