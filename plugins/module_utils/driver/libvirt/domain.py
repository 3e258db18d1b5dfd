# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A domain's XML as a document that can be read as an ``Instance`` and changed without losing what we do not know."""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Mapping
from typing import Any
from xml.etree.ElementTree import Element, SubElement

from ...model.instance import Console, Instance, Nic
from .domain_consoles import read_console, write_console
from .domain_disks import build_disk, note_volume, read_disks
from .domain_filters import wire
from .domain_nics import apply_nics, build_nic, read_nics
from .domain_system import (
    read_boot,
    read_cpu,
    read_memory,
    read_vcpus,
    write_boot,
    write_cpu,
    write_memory,
    write_vcpus,
)
from .element import find_or_make, insert_after, make, set_attribute, set_text, text_of
from .filterrecord import FILTER_OPTIONS
from .hostfacts import HostFacts
from .merge import merge_snippet, parse_snippet
from .metadata import NAMESPACE, PREFIX, read_record, write_record
from .writexml import write_xml
from .xmltext import from_libvirt

_PREFIXES = {
    NAMESPACE: PREFIX,
    "http://libvirt.org/schemas/domain/qemu/1.0": "qemu",
    "http://libvirt.org/schemas/domain/lxc/1.0": "lxc",
    "http://libvirt.org/schemas/domain/xen/1.0": "xen",
    "http://libosinfo.org/xmlns/libvirt/domain/1.0": "libosinfo",
}

_PREFIX = re.compile(r"""\sxmlns:((?!ns\d+=)[\w.-]+)=(["'])(.*?)\2""")

_PV_NAMES = ("linux", "xen")
"""libvirt's Xen driver reads a PV domain back with its older name."""


class Domain:
    """One <domain>.

    ``record`` is the collection's own part of it; a change takes effect by assigning it (or by ``text``, which writes
    what was changed in place).
    """

    def __init__(self, root: Element, prefixes: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.record = read_record(root)
        self._prefixes = {**_PREFIXES, **(prefixes or {})}

    @classmethod
    def parse(cls, text: str) -> Domain:
        """What libvirt says of a domain."""
        return cls(from_libvirt(text), {html.unescape(uri): prefix for prefix, _quote, uri in _PREFIX.findall(text)})

    @classmethod
    def build(cls, instance: Instance, host: HostFacts, console_log: str | None = None) -> Domain:
        """A new domain for a complete instance; its disks have their paths.

        Args:
            console_log: Where the serial console's log is to be on the host.
        """
        template = instance.hypervisor.get("template")
        root = Element("domain") if template is None else parse_snippet(template)
        for child in root.findall("uuid"):
            root.remove(child)
        root.set("type", host.domain_type)
        set_text(root, "name", instance.name)
        set_text(root, "description", instance.description)
        domain = cls(root)
        _write_basics(root, instance, host)
        devices = find_or_make(root, "devices")
        for disk in instance.disks or []:
            insert_after(devices, build_disk(disk, host.domain_type), "disk")
            note_volume(domain.record, disk)
        for nic in instance.nics or []:
            insert_after(devices, build_nic(nic), "interface")
        write_console(root, instance.console or Console(), console_log)
        if host.domain_type in ("qemu", "kvm"):
            _add_agent_channel(devices)
        domain._write_record_fields(instance, _RECORD_FIELDS)
        for snippet in instance.hypervisor.get("xml") or ():
            merge_snippet(root, snippet)
        domain.wire()
        return domain

    @property
    def name(self) -> str:
        """Its name."""
        return self.root.findtext("name") or ""

    @property
    def uuid(self) -> str | None:
        """Its UUID; None before it was defined."""
        return text_of(self.root, "uuid")

    @property
    def type(self) -> str:
        """``kvm``, ``qemu``, ``lxc``, ``xen`` ..."""
        return self.root.get("type", "")

    def text(self) -> str:
        """The XML to define it by."""
        write_record(self.root, self.record)
        return write_xml(self.root, self._prefixes)

    def copy(self) -> Domain:
        """One that can be changed without changing this."""
        return Domain.parse(self.text())

    def to_instance(self) -> Instance:
        """All that it tells; the power state and the like are elsewhere."""
        root, record, filtering = self.root, self.record, self.record.filtering
        memory_mb, max_memory_mb = read_memory(root)
        vcpus, max_vcpus = read_vcpus(root)
        return Instance(
            name=self.name,
            memory_mb=memory_mb,
            max_memory_mb=max_memory_mb,
            vcpus=vcpus,
            max_vcpus=max_vcpus,
            flavor=record.flavor,
            image=record.image,
            pool=record.owned[0].pool if record.owned else None,
            disks=read_disks(root, record),
            nics=self._nics(),
            boot=read_boot(root),
            cpu=read_cpu(root),
            console=read_console(root),
            description=root.findtext("description") or "",
            metadata=dict(record.metadata),
            locked=record.locked,
            protected=record.protected,
            firewall=filtering.firewall,
            security_groups=None if filtering.security_groups is None else list(filtering.security_groups),
            project=filtering.project,
            allow_project_net_traffic=filtering.allow_project_net_traffic,
            cloud_init_fingerprint=record.cloud_init_fingerprint,
            hypervisor=self.extras(),
            unfinished=record.unfinished,
            migration=None if record.moving is None else record.moving.migration,
            resize=record.resize,
        )

    def _nics(self) -> list[Nic]:
        nics = read_nics(self.root)
        for nic in nics:
            declared = self.record.filtering.addresses.get(nic.mac or "")
            nic.addresses = None if declared is None else list(declared)
        return nics

    def wire(self) -> None:
        """Tie the network interfaces to their filters, or untie them."""
        wire(self.root, self.record.filtering, self.type)

    def extras(self) -> dict[str, Any]:
        """What only libvirt's users know: ``type``, ``machine``, ``os_type``."""
        os_type = self.root.find("os/type")
        values = {"type": self.type, "machine": None, "os_type": None}
        if os_type is not None:
            values["machine"] = os_type.get("machine")
            text = (os_type.text or "").strip()
            values["os_type"] = "xen" if text in _PV_NAMES else text
        return {key: value for key, value in values.items() if value}

    def apply(self, desired: Instance, options: Collection[str], console_log: str | None = None) -> None:
        """Give the ``options`` (fields of Instance) their desired values. Appended disks are added, whole; the root
        disk's growth changes nothing here but the record."""
        root = self.root
        if {"memory_mb", "max_memory_mb"} & set(options):
            write_memory(root, *(getattr(desired, name) if name in options else None for name in _MEMORY))
        if {"vcpus", "max_vcpus"} & set(options):
            write_vcpus(root, *(getattr(desired, name) if name in options else None for name in _VCPUS))
        if "description" in options:
            set_text(root, "description", desired.description)
        if "nics" in options:
            apply_nics(root, desired.nics or [])
        if "boot" in options and desired.boot is not None:
            write_boot(root, desired.boot)
        if "cpu" in options and desired.cpu is not None:
            write_cpu(root, desired.cpu)
        if "console" in options and desired.console is not None:
            write_console(root, desired.console, console_log)
        if {"disks", "cloud_init"} & set(options):
            self._apply_disks(desired)
        if "hypervisor" in options:
            self._apply_extras(desired.hypervisor)
        self._write_record_fields(desired, options)
        if {"nics", "hypervisor", *FILTER_OPTIONS} & set(options):
            self.wire()

    def _apply_disks(self, desired: Instance) -> None:
        had = {disk.device: disk for disk in read_disks(self.root, self.record)}
        devices = find_or_make(self.root, "devices")
        for disk in desired.disks or []:
            if disk.device not in had:
                insert_after(devices, build_disk(disk, self.type), "disk")
                note_volume(self.record, disk)
            owned = self.record.owns(disk.device)
            if owned is not None and disk.size_bytes:
                owned.size_bytes = disk.size_bytes

    def _apply_extras(self, wanted: dict[str, Any]) -> None:
        os_type = find_or_make(self.root, "os/type")
        if wanted.get("type"):
            self.root.set("type", wanted["type"])
        if wanted.get("machine"):
            os_type.set("machine", wanted["machine"])
        if wanted.get("os_type"):
            os_type.text = wanted["os_type"]
        for snippet in wanted.get("xml") or ():
            merge_snippet(self.root, snippet)

    def _write_record_fields(self, desired: Instance, options: Collection[str]) -> None:
        record = self.record
        for name in ("flavor", "image"):
            if name in options:
                setattr(record, name, getattr(desired, name))
        if "metadata" in options:
            record.metadata = dict(desired.metadata or {})
        for name in ("locked", "protected"):
            if name in options:
                setattr(record, name, bool(getattr(desired, name)))
        if "cloud_init" in options:
            data = desired.cloud_init
            record.cloud_init_fingerprint = desired.cloud_init_fingerprint if data is None else data.fingerprint()
        record.filtering.change(desired, options)


_MEMORY = ("memory_mb", "max_memory_mb")
_VCPUS = ("vcpus", "max_vcpus")
_RECORD_FIELDS = ("flavor", "image", "metadata", "locked", "protected", "cloud_init", "nics", *FILTER_OPTIONS)
_AGENT = "org.qemu.guest_agent.0"


def _write_basics(root: Element, instance: Instance, host: HostFacts) -> None:
    write_memory(root, instance.memory_mb, instance.max_memory_mb)
    write_vcpus(root, instance.vcpus, instance.max_vcpus)
    os_type = find_or_make(root, "os/type")
    os_type.text = host.os_type
    os_type.set("arch", host.arch)
    set_attribute(os_type, "machine", host.machine)
    if instance.boot is not None:
        write_boot(root, instance.boot)
    if host.os_type == "exe" and root.find("os/init") is None:
        set_text(root, "os/init", "/sbin/init")
    if host.os_type == "hvm" and root.find("features") is None and host.arch in ("x86_64", "i686"):
        # Without ACPI a guest never notices its power button.
        features = SubElement(root, "features")
        features.extend([make("acpi"), make("apic")])
    if root.find("clock") is None:
        SubElement(root, "clock", {"offset": "utc"})
    if instance.cpu is not None:
        write_cpu(root, instance.cpu)
    if host.emulator is not None and root.find("devices/emulator") is None:
        find_or_make(root, "devices").insert(0, make("emulator", text=host.emulator))


def _add_agent_channel(devices: Element) -> None:
    if devices.find(f"channel/target[@name='{_AGENT}']") is None:
        channel = SubElement(devices, "channel", {"type": "unix"})
        SubElement(channel, "target", {"type": "virtio", "name": _AGENT})
