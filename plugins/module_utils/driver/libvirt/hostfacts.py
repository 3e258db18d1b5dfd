# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host can give to a new domain: the domain type, architecture, emulator and machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element

from ...errors import Unsupported
from .xmltext import from_libvirt

_PREFERRED_TYPES = ("kvm", "qemu", "xen", "lxc")
_NO_DEFAULT_MACHINE = {"aarch64": "virt", "armv7l": "virt", "riscv64": "virt"}
"""Architectures whose emulator's default machine is a board that nobody means."""


class HostFacts(NamedTuple):
    """What a new domain is built for.

    Attributes:
        domain_type: ``kvm``, ``qemu``, ``xen`` or ``lxc``.
        emulator: Path; None leaves it to libvirt.
        os_type: ``hvm``, ``xen`` (PV), ``xenpvh`` or ``exe``.
        machine: The machine type, never an alias; None where there are none.
    """

    domain_type: str
    arch: str
    emulator: str | None
    os_type: str
    machine: str | None


class _Guest(NamedTuple):
    os_type: str
    arch: Element
    domain: Element


def host_facts(kind: str, capabilities: str, wanted: Mapping[str, Any], kernel_boot: bool = False) -> HostFacts:
    """Choose from what libvirt says the host can do.

    Args:
        kind: ``qemu``, ``lxc`` or ``xen``.
        capabilities: libvirt's XML.
        wanted: The user's ``type``, ``os_type``, ``machine``, as far as given.
        kernel_boot: The domain boots a kernel of its own; Xen makes it a PV guest then.

    Raises:
        Unsupported: the host has nothing like that.
    """
    root = from_libvirt(capabilities)
    host_arch = root.findtext("host/cpu/arch") or "x86_64"
    os_type = wanted.get("os_type")
    if os_type is None:
        os_type = {"lxc": "exe", "xen": "xen" if kernel_boot else "hvm"}.get(kind, "hvm")
    guests = [guest for guest in _guests(root) if guest.os_type == os_type and guest.arch.get("name") == host_arch]
    types = [guest.domain.get("type", "") for guest in guests]
    wanted_type = wanted.get("type") or next((name for name in _PREFERRED_TYPES if name in types), None)
    guest = next((guest for guest in guests if guest.domain.get("type") == wanted_type), None)
    if guest is None or wanted_type is None:
        offers = sorted({f"{guest.domain.get('type')} ({guest.os_type})" for guest in _guests(root)})
        asked = " ".join(filter(None, (wanted.get("type"), f"({os_type})")))
        raise Unsupported(f"the host cannot run domains of type {asked}; it offers {', '.join(offers) or 'none'}")
    emulator = guest.domain.findtext("emulator") or guest.arch.findtext("emulator")
    return HostFacts(wanted_type, host_arch, emulator, os_type, _machine(guest, host_arch, wanted.get("machine")))


def canonical_machine(capabilities: str, arch: str, machine: str) -> str:
    """The machine type that an alias such as ``q35`` stands for."""
    for guest in _guests(from_libvirt(capabilities)):
        if guest.arch.get("name") == arch:
            for element in _machines(guest):
                if element.text == machine:
                    return element.get("canonical") or machine
    return machine


def _guests(root: Element) -> Iterator[_Guest]:
    for guest in root.findall("guest"):
        os_type = guest.findtext("os_type") or ""
        for arch in guest.findall("arch"):
            for domain in arch.findall("domain"):
                # libvirt's name for PV guests is linux, that of newer versions xen.
                yield _Guest("xen" if os_type == "linux" else os_type, arch, domain)


def _machines(guest: _Guest) -> list[Element]:
    """Those of the domain type, which stand for themselves, or else those of the architecture."""
    return guest.domain.findall("machine") or guest.arch.findall("machine")


def _machine(guest: _Guest, arch: str, wanted: str | None) -> str | None:
    machines = _machines(guest)
    if not machines:
        return wanted
    name = wanted or _NO_DEFAULT_MACHINE.get(arch) or machines[0].text
    for element in machines:
        if element.text == name:
            return element.get("canonical") or name
    raise Unsupported(f"the host has no machine type {name!r} for {arch} guests")
