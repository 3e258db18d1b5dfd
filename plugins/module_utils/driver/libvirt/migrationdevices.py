# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a domain cannot leave its host, or only while it is off."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from .domain import Domain
from .domain_disks import disk_elements
from .element import attribute_of
from .groupreading import leaving_nics

_PASSED_THROUGH = ("hostdev", "vdpa", "vhostuser")
"""Kinds of network interfaces that are a device or a program of the host."""


def stationary_parts(domain: Element) -> list[str]:
    """What ties a running domain to its host, in words.

    The rules are those of libvirt's QEMU driver, which tells only the first, and QEMU's own migration blockers.
    """
    return list(_stationary_parts(domain))


def _stationary_parts(domain: Element) -> Iterator[str]:
    for device in domain.findall("devices/hostdev"):
        yield f"a device of the host is passed through to it (<hostdev type='{device.get('type', '')}'>)"
    for interface in domain.findall("devices/interface"):
        if interface.get("type") in _PASSED_THROUGH:
            yield f"a network interface of type {interface.get('type')} is a device of the host"
    for folder in domain.findall("devices/filesystem"):
        yield f"a folder of the host is shared with it ({attribute_of(folder, 'source', 'dir') or 'a <filesystem>'})"
    for disk in domain.findall("devices/disk[transient]"):
        yield f"what it writes to the disk {attribute_of(disk, 'target', 'dev')} is in a passing file (<transient>)"
    for memory in domain.findall("devices/shmem"):
        if memory.get("role") != "master":
            yield f"it shares the memory {memory.get('name', '')!r} with others on the host (<shmem>)"
    for model in domain.findall("devices/video/model"):
        if attribute_of(model, "acceleration", "accel3d") == "yes":
            yield "the host's graphics card accelerates its display (accel3d)"
    if domain.find("launchSecurity") is not None:
        yield "its memory is encrypted for this host's processor (<launchSecurity>)"
    cpu = domain.find("cpu")
    if cpu is not None and cpu.get("migratable") == "off":
        yield "its processor is set up not to be migratable"
    if domain.find("cpu/feature[@name='invtsc'][@policy='require']") is not None:
        yield "its processor's clock is the host's own (invtsc)"


def forgotten_parts(domain: Element) -> list[str]:
    """What a domain that is off remembers outside of its disks and its firmware's variables, and what is not copied. A
    running guest takes it along.
    """
    if domain.find("devices/tpm/backend[@type='emulator']") is None:
        return []
    return ["its TPM's memory, with the keys in it, is not copied while it is off; move it live"]


def bound_displays(domain: Element) -> list[str]:
    """Warnings of displays that listen on one of the host's addresses, which another host hardly has; QEMU would not
    start there."""
    found = []
    for display in domain.findall("devices/graphics"):
        named = attribute_of(display, "listen[@type='address']", "address") or display.get("listen")
        try:
            address = None if named is None else ipaddress.ip_address(named)
        except ValueError:  # a name, which may stand for an address of either host
            continue
        if address is not None and not (address.is_unspecified or address.is_loopback):
            found.append(
                f"its {display.get('type', '')} display listens on {address}: if the destination has not got that "
                "address too, it cannot run there; let it listen on 127.0.0.1 or 0.0.0.0"
            )
    return found


def pending_nics(config: Domain, running: Domain) -> list[str]:
    """What keeps a guest from being moved while it runs because it has filtered interfaces that its configuration does
    not name: on the destination it would have them without filters."""
    if config.record.filtering.engine is None:
        return []
    leaving = sorted(nic.mac or "" for nic in leaving_nics(running, config))
    if not leaving:
        return []
    which = ", ".join(leaving)
    return [f"it runs with network interfaces that it is not configured with ({which}); restart it or move it cold"]


def lost_writes(domain: Element, copied: frozenset[str]) -> list[str]:
    """Disks of which the other host may see an older state, since this one is told never to write them out.

    Args:
        copied: The devices whose data is sent over, so that nobody else reads the files.
    """
    return [
        f"the disk {device} has cache unsafe, so what the guest wrote may be in this host's memory only"
        for disk in disk_elements(domain)
        if attribute_of(disk, "driver", "cache") == "unsafe"
        and disk.find("readonly") is None
        and (device := attribute_of(disk, "target", "dev") or "") not in copied
    ]
