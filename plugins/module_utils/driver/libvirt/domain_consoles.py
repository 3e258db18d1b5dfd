# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A domain's serial console and VNC display."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement

from ...model.instance import Console
from .element import find_or_make, make, remove_all, set_attribute

LOOPBACK = "127.0.0.1"


def read_console(domain: Element) -> Console:
    """How people reach the guest. Where libvirt keeps no logs of consoles, having one at all is enough."""
    graphics = domain.find("devices/graphics[@type='vnc']")
    console = Console(serial=_has_serial(domain), vnc=graphics is not None)
    if graphics is not None:
        listen = graphics.find("listen")
        console.vnc_listen = graphics.get("listen") or (None if listen is None else listen.get("address"))
        if graphics.get("autoport") == "no" and int(graphics.get("port", "-1")) >= 0:
            console.vnc_port = int(graphics.get("port", "-1"))
    return console


def write_console(domain: Element, console: Console, log_path: str | None) -> None:
    """Set what is mentioned."""
    if console.serial is not None and console.serial != _has_serial(domain):
        if console.serial:
            _add_serial(domain, log_path)
        else:
            _remove_serial(domain)
    now = read_console(domain)
    if console.vnc is False:
        remove_all(domain, "devices/graphics[@type='vnc']")
    elif console.vnc or (now.vnc and (console.vnc_listen or console.vnc_port)):
        _write_vnc(domain, now, console)


def _has_serial(domain: Element) -> bool:
    consoles = domain.findall("devices/serial") + domain.findall("devices/console")
    if domain.get("type") in ("lxc", "xen"):
        return bool(consoles)
    return any(console.find("log") is not None for console in consoles)


def _add_serial(domain: Element, log_path: str | None) -> None:
    devices = find_or_make(domain, "devices")
    if domain.get("type") in ("lxc", "xen"):
        console = SubElement(devices, "console", {"type": "pty"})
        console.append(make("target", {"type": str(domain.get("type")), "port": "0"}))
        return
    serial = devices.find("serial")
    if serial is None:
        serial = SubElement(devices, "serial", {"type": "pty"})
        SubElement(serial, "target", {"port": "0"})
    _set_log(serial, log_path)
    # libvirt keeps a <console> as the first serial port's twin, and takes the log from it.
    twin = devices.find("console")
    if twin is not None and find_or_make(twin, "target").get("type", "serial") == "serial":
        _set_log(twin, log_path)


def _set_log(device: Element, log_path: str | None) -> None:
    remove_all(device, "log")
    if log_path is not None:
        SubElement(device, "log", {"file": log_path, "append": "off"})


def _remove_serial(domain: Element) -> None:
    """Only the log where there is one: the port itself may be what the guest's kernel writes to."""
    if domain.get("type") in ("lxc", "xen"):
        remove_all(domain, "devices/serial")
        remove_all(domain, "devices/console")
        return
    for device in domain.findall("devices/serial") + domain.findall("devices/console"):
        remove_all(device, "log")


def _write_vnc(domain: Element, now: Console, console: Console) -> None:
    graphics = domain.find("devices/graphics[@type='vnc']")
    if graphics is None:
        graphics = SubElement(find_or_make(domain, "devices"), "graphics", {"type": "vnc"})
    listen = console.vnc_listen or now.vnc_listen or LOOPBACK
    if listen != now.vnc_listen:
        remove_all(graphics, "listen")
        graphics.set("listen", listen)
    if not now.vnc or (console.vnc_port is not None and console.vnc_port != now.vnc_port):
        has_port = console.vnc_port is not None
        graphics.set("autoport", "no" if has_port else "yes")
        set_attribute(graphics, "port", str(console.vnc_port) if has_port else None)
