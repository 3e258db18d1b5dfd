# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plugging devices into running guests and out of them."""

from __future__ import annotations

import contextlib
import copy
import time
from typing import TYPE_CHECKING, Callable
from xml.etree.ElementTree import Element, tostring

from ...errors import TimeoutExpired
from .connection import LibvirtBase
from .domain_disks import disk_elements
from .domain_nics import nic_elements, read_nic
from .xmltext import from_libvirt

if TYPE_CHECKING:
    import libvirt

UNPLUG_TIMEOUT_S = 60.0
"""How long a guest may take to let go of a device."""

_ASK_AGAIN_S = 5.0
"""A guest that is still booting misses the request."""

_POLL_S = 0.1
_ANOTHER_TIME = ("alias", "address", "target", "link", "backend")
"""What libvirt chose for a device while it was plugged in."""

Find = Callable[[Element], "Element | None"]


def by_mac(mac: str) -> Find:
    """Finds a domain's NIC."""

    def find(domain: Element) -> Element | None:
        return next((element for element in nic_elements(domain) if read_nic(element).mac == mac), None)

    return find


def by_device(device: str) -> Find:
    """Finds a domain's disk."""

    def find(domain: Element) -> Element | None:
        for element in disk_elements(domain):
            target = element.find("target")
            if target is not None and target.get("dev") == device:
                return element
        return None

    return find


class HotplugMixin(LibvirtBase):
    """Devices of running domains."""

    def plug(self, handle: libvirt.virDomain, running: Element, device: Element) -> None:
        """Plug in a device of the configuration: at its address there, so that it keeps it at the next start, or at
        another one when something else is there now."""
        device = copy.deepcopy(device)
        address = device.find("address")
        if address is not None and any(
            address.attrib == other.attrib for other in running.iterfind("devices/*/address")
        ):
            device.remove(address)
        handle.attachDeviceFlags(text_of_device(device), self.libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def unplug(self, handle: libvirt.virDomain, what: str, find: Find) -> None:
        """Unplug a device and wait until the guest has let go of it; nothing happens when it is not there.

        Raises:
            TimeoutExpired: the guest keeps it.
        """
        device = find(from_libvirt(handle.XMLDesc(0)))
        if device is None:
            return
        flag = self.libvirt.VIR_DOMAIN_AFFECT_LIVE
        handle.detachDeviceFlags(text_of_device(device), flag)
        now = time.monotonic()
        deadline, ask_again = now + UNPLUG_TIMEOUT_S, now + _ASK_AGAIN_S
        while (device := find(from_libvirt(handle.XMLDesc(0)))) is not None:
            now = time.monotonic()
            if now > deadline:
                raise TimeoutExpired(
                    f"the guest did not let go of {what} within {UNPLUG_TIMEOUT_S:g} s; is it still booting?",
                    last_seen="plugged in",
                )
            if now > ask_again:
                ask_again = now + _ASK_AGAIN_S
                with contextlib.suppress(self.libvirt.libvirtError):  # it is at it, or has just done it
                    handle.detachDeviceFlags(text_of_device(device), flag)
            time.sleep(_POLL_S)


def text_of_device(device: Element) -> str:
    """The device's XML."""
    return tostring(device, encoding="unicode")


def fresh_device(device: Element) -> Element:
    """A copy of a running domain's device that can be plugged in again, in any place."""
    fresh = copy.deepcopy(device)
    for tag in _ANOTHER_TIME if device.tag == "interface" else ("alias", "address", "backingStore"):
        for element in fresh.findall(tag):
            fresh.remove(element)
    return fresh
