# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A domain's size, boot and processor."""

from __future__ import annotations

import math
from xml.etree.ElementTree import Element, SubElement

from ...model.instance import Boot, Cpu
from .element import attribute_of, find_or_make, make, remove_all, set_attribute, set_text, text_of
from .units import KIB_OF

_ORDER = {"hd": "disk", "cdrom": "cdrom", "network": "network"}
_DEV_OF = {word: dev for dev, word in _ORDER.items()}
BIOS, UEFI = "bios", "uefi"
DEFAULT, CUSTOM = "default", "custom"


# -- memory and processors ------------------------------------------------------------------------------------------


def read_memory(domain: Element) -> tuple[int | None, int | None]:
    """MiB at the start and the most to which it can grow."""
    most = _mib(domain.find("memory"))
    current = _mib(domain.find("currentMemory"))
    return (most if current is None else current), most


def _present_and_limit(
    now: tuple[int | None, int | None], present: int | None, limit: int | None
) -> tuple[int, int] | None:
    """A size and the most to which it can grow, where one or both are to be set; None when nothing changes."""
    present = now[0] if present is None else present
    limit = now[1] if limit is None else limit
    if present is None:
        present = limit
    if present is None:
        return None
    wanted = (present, present if limit is None else max(limit, present))
    return None if wanted == now else wanted


def write_memory(domain: Element, memory_mb: int | None, max_memory_mb: int | None) -> None:
    """Set one or both; the maximum is never less than the present value."""
    change = _present_and_limit(read_memory(domain), memory_mb, max_memory_mb)
    if change is None:
        return
    present, limit = change
    for tag, value in (("memory", limit), ("currentMemory", present)):
        element = find_or_make(domain, tag)
        if _mib(element) != value:
            element.text = str(value * 1024)
            element.set("unit", "KiB")


def read_vcpus(domain: Element) -> tuple[int | None, int | None]:
    """Processors at the start and the most to which they can grow."""
    text = text_of(domain, "vcpu")
    if text is None:
        return None, None
    return int(attribute_of(domain, "vcpu", "current") or text), int(text)


def write_vcpus(domain: Element, vcpus: int | None, max_vcpus: int | None) -> None:
    """Set one or both; the maximum is never less than the present value."""
    change = _present_and_limit(read_vcpus(domain), vcpus, max_vcpus)
    if change is None:
        return
    present, limit = change
    element = find_or_make(domain, "vcpu")
    element.text = str(limit)
    set_attribute(element, "current", None if present == limit else str(present))
    remove_all(domain, "vcpus")  # each one's state, which would contradict the number
    _fit_topology(domain, limit)


def _fit_topology(domain: Element, vcpus: int) -> None:
    """Sockets, cores and threads have to multiply to the maximum of processors."""
    topology = domain.find("cpu/topology")
    if topology is None:
        return
    per_socket = math.prod(int(topology.get(name, "1")) for name in ("dies", "clusters", "cores", "threads"))
    if vcpus % per_socket:
        for name in ("dies", "clusters", "cores", "threads"):
            if name in topology.attrib:
                topology.set(name, "1")
        per_socket = 1
    topology.set("sockets", str(vcpus // per_socket))


# -- boot -----------------------------------------------------------------------------------------------------------


def read_boot(domain: Element) -> Boot:
    """How it starts."""
    os = domain.find("os")
    if os is None:
        return Boot()
    devices = [_ORDER[dev] for dev in (item.get("dev", "") for item in os.findall("boot")) if dev in _ORDER]
    is_hvm = os.findtext("type") == "hvm"
    return Boot(
        kernel=text_of(os, "kernel"),
        initrd=text_of(os, "initrd"),
        cmdline=text_of(os, "cmdline"),
        order=devices or _order_of_devices(domain) or None,
        firmware=(UEFI if _is_uefi(os) else BIOS) if is_hvm else None,
        init=text_of(os, "init"),
    )


def write_boot(domain: Element, boot: Boot) -> None:
    """Set what is mentioned; the empty text takes a kernel, ramdisk, command line or init away."""
    os = find_or_make(domain, "os")
    now = read_boot(domain)
    for name in ("kernel", "initrd", "cmdline", "init"):
        value = getattr(boot, name)
        if value is not None and value != (getattr(now, name) or ""):
            set_text(os, name, value)
    if boot.order is not None and boot.order != now.order:
        _write_order(domain, os, boot.order)
    if boot.firmware is not None and boot.firmware != now.firmware:
        _write_firmware(os, boot.firmware)


def _write_order(domain: Element, os: Element, order: list[str]) -> None:
    """By kinds of devices, which libvirt does not allow beside an order by single devices."""
    remove_all(os, "boot")
    for device in domain.findall("devices/*"):
        remove_all(device, "boot")
    for word in order:
        SubElement(os, "boot", {"dev": _DEV_OF[word]})


def _write_firmware(os: Element, firmware: str) -> None:
    for tag in ("loader", "nvram", "firmware"):
        remove_all(os, tag)
    # libvirt finds the files by itself.
    set_attribute(os, "firmware", "efi" if firmware == UEFI else None)


def _is_uefi(os: Element) -> bool:
    return os.get("firmware") == "efi" or attribute_of(os, "loader", "type") == "pflash"


def _order_of_devices(domain: Element) -> list[str]:
    """The kinds in an order that single devices have."""
    numbered = []
    for device in domain.findall("devices/*"):
        number = attribute_of(device, "boot", "order")
        word = (
            "network" if device.tag == "interface" else device.get("device", "disk") if device.tag == "disk" else None
        )
        if number is not None and word in _DEV_OF:
            numbered.append((int(number), word))
    return list(dict.fromkeys(word for _number, word in sorted(numbered)))


# -- processor ------------------------------------------------------------------------------------------------------


def read_cpu(domain: Element) -> Cpu:
    """Its processor."""
    element = domain.find("cpu")
    if element is None:
        return Cpu(mode=DEFAULT)
    mode, model = element.get("mode"), text_of(element, "model")
    if mode is None:
        mode = CUSTOM if model else DEFAULT
    # What libvirt writes for a domain that asked for no processor is never checked against the host's.
    if mode == CUSTOM and element.get("check") == "none" and element.find("feature") is None:
        mode, model = DEFAULT, None
    if mode != CUSTOM:
        model = None
    topology = element.find("topology")
    counts = {} if topology is None else {name: int(topology.get(name, "1")) for name in _TOPOLOGY}
    return Cpu(mode, model, **counts)


_TOPOLOGY = ("sockets", "cores", "threads")


def write_cpu(domain: Element, cpu: Cpu) -> None:
    """Set what is mentioned; features and other details stay while mode and model do."""
    now = read_cpu(domain)
    if (cpu.mode or now.mode, cpu.model or now.model) != (now.mode, now.model):
        _write_mode(domain, cpu)
    wanted = [getattr(cpu, name) for name in _TOPOLOGY]
    if any(count is not None and count != getattr(now, name) for name, count in zip(_TOPOLOGY, wanted)):
        topology = find_or_make(domain, "cpu/topology")
        if now.sockets is None:
            topology.set("dies", "1")
        for name, count in zip(_TOPOLOGY, wanted):
            topology.set(name, str(count or getattr(now, name) or 1))


def _write_mode(domain: Element, cpu: Cpu) -> None:
    old = domain.find("cpu")
    kept = [] if old is None else [child for child in old if child.tag in ("topology", "numa")]
    if old is not None:
        domain.remove(old)
    mode = cpu.mode or CUSTOM
    if mode == DEFAULT and not kept:
        return
    element = SubElement(domain, "cpu")
    if mode == CUSTOM:
        element.attrib.update({"mode": CUSTOM, "match": "exact", "check": "partial"})
        element.append(make("model", {"fallback": "allow"}, cpu.model))
    elif mode != DEFAULT:
        element.set("mode", mode)
    element.extend(kept)


def _mib(element: Element | None) -> int | None:
    """Rounded to whole MiB: Xen's own numbers may be a few KiB off what was asked for."""
    if element is None or not (element.text or "").strip():
        return None
    factor = KIB_OF.get(element.get("unit", "KiB").lower(), 1)
    return round(int((element.text or "").strip()) * factor / 1024)
