# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plugging devices into running guests and out of them."""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING, Callable
from xml.etree.ElementTree import Element, tostring

from ...errors import TimeoutExpired
from ...model import power_state
from .domain_disks import disk_elements
from .domain_nics import nic_elements, read_nic
from .element import attribute_of
from .errors import DEVICE_MISSING, OPERATION_INVALID, code_of
from .states import to_power_state
from .watch import POLL_S, WatchMixin
from .xmltext import from_libvirt

if TYPE_CHECKING:
    import libvirt

UNPLUG_TIMEOUT_S = 60.0
"""How long a guest may take to let go of a device."""

LXC_INIT_S = 10.0
"""How long a container that was just started may not be able to take a device."""

_ASK_AGAIN_S = 5.0
"""A guest that is still booting misses the request."""

_LATER = ("in the process of unplug", "libxenlight failed to detach")
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


class HotplugMixin(WatchMixin):
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
        self._attach(handle, text_of_device(device))

    def _attach(self, handle: libvirt.virDomain, device: str) -> None:
        """libvirt calls a container running a moment before it knows its first process, without which it plugs in
        nothing."""
        deadline = time.monotonic() + LXC_INIT_S
        while True:
            try:
                handle.attachDeviceFlags(device, self.libvirt.VIR_DOMAIN_AFFECT_LIVE)
                return
            except self.libvirt.libvirtError as error:
                may_soon = self.kind == "lxc" and "init PID" in str(error) and time.monotonic() < deadline
                if code_of(error) != OPERATION_INVALID or not may_soon:
                    raise
            time.sleep(POLL_S)

    def unplug(self, handle: libvirt.virDomain, what: str, find: Find, timeout_s: float = UNPLUG_TIMEOUT_S) -> None:
        """Unplug a device and wait until the guest has let go of it; nothing happens when it is not there.

        A guest that stands still is not asked before it runs again: it would let go at some time nobody waits for.

        Raises:
            TimeoutExpired: the guest keeps it.
        """
        now = time.monotonic()
        deadline, next_ask = now + timeout_s, now
        with self.watch_devices([handle.name()]) as watch:
            while True:
                state = to_power_state(handle.state()[0])
                device = None if state in power_state.OFF else find(from_libvirt(handle.XMLDesc(0)))
                if device is None:
                    return
                now = time.monotonic()
                if now >= deadline:
                    raise TimeoutExpired(
                        f"the guest did not let go of {what} within {timeout_s:g} s; {_reason(state)}",
                        last_seen=f"plugged in, {power_state.name(state)}",
                    )
                if now >= next_ask and state in power_state.EXECUTING:
                    next_ask = now + _ASK_AGAIN_S
                    self._ask_to_let_go(handle, device)
                watch.wait(min(deadline, max(next_ask, now + POLL_S)) - now)

    def _ask_to_let_go(self, handle: libvirt.virDomain, device: Element) -> None:
        alias, flag = attribute_of(device, "alias", "name"), self.libvirt.VIR_DOMAIN_AFFECT_LIVE
        try:
            if self.kind == "qemu" and alias is not None:
                handle.detachDeviceAlias(alias, flag)  # the other one waits for the guest by itself
            else:
                handle.detachDeviceFlags(text_of_device(device), flag)
        except self.libvirt.libvirtError as error:
            # It is at it since an earlier request, or has just done it, or (on Xen) does not know the device yet.
            if code_of(error) != DEVICE_MISSING and not any(sign in str(error) for sign in _LATER):
                raise


def _reason(state: int) -> str:
    if state in power_state.EXECUTING:
        return "is it still booting, or does it use it?"
    return f"it is {power_state.name(state)} and can let go of nothing"


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
