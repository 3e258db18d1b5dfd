# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots inside of qcow2 files.

libvirt has no call for them but for those of instances. So a file whose users are off is lent to a passing domain that
never starts, and whose snapshots are the file's; the file's own users know nothing of it.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from ...model.instance import Instance
from .errors import NO_DOMAIN, code_of
from .instances import InstancesMixin
from .scratch import SCRATCH_PREFIX
from .xmltext import from_libvirt

if TYPE_CHECKING:
    import libvirt

_NAMESPACE = uuid.UUID("3f0c1d5e-3b6a-5c0e-9b39-6a1f7c2f1d11")
_DEVICE = "vda"
_END_ATTEMPTS = 2


class InternalSnapshots:
    """The snapshots inside of one disk of a domain, which is a passing one, or whose disks are all qcow2."""

    def __init__(self, library: Any, domain: libvirt.virDomain, device: str = _DEVICE) -> None:
        self._libvirt = library
        self._domain = domain
        self._device = device

    def create(self, snapshot: str) -> None:
        """Make a snapshot."""
        self._domain.snapshotCreateXML(self._document(snapshot, None), 0)

    def revert(self, snapshot: str) -> None:
        """Go back to a snapshot that the volume has."""
        self._domain.revertToSnapshot(self._known(snapshot), 0)

    def delete(self, snapshot: str) -> None:
        """Delete a snapshot that the volume has."""
        self._known(snapshot).delete(0)

    def _known(self, snapshot: str) -> libvirt.virDomainSnapshot:
        """Tell libvirt of a snapshot that is there."""
        own = from_libvirt(self._domain.XMLDesc(self._libvirt.VIR_DOMAIN_XML_INACTIVE))
        redefine = self._libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE
        return self._domain.snapshotCreateXML(self._document(snapshot, own), redefine)

    def _document(self, snapshot: str, domain: Element | None) -> str:
        root = Element("domainsnapshot")
        SubElement(root, "name").text = snapshot
        SubElement(SubElement(root, "disks"), "disk", name=self._device, snapshot="internal")
        if domain is not None:
            SubElement(root, "state").text = "shutoff"
            SubElement(root, "creationTime").text = str(int(time.time()))
            root.append(domain)
        return ElementTree.tostring(root, encoding="unicode")


class ScratchDomainsMixin(InstancesMixin):
    """Passing domains."""

    @contextmanager
    def scratch_domain(self, path: str, what: str) -> Iterator[InternalSnapshots]:
        """A passing domain with the qcow2 volume at ``path``. One that a killed process left is replaced.

        Args:
            what: What is done with it, to be read after "cannot".
        """
        name = _scratch_name(path)
        self.drop_scratch(path)
        with self.guard(what):
            domain = self.conn.defineXML(self._scratch_document(name, path))
            try:
                yield InternalSnapshots(self.libvirt, domain)
            finally:
                self._end(domain)

    def _end(self, domain: libvirt.virDomain) -> None:
        """Remove a passing domain whose work is done. One that will not go is replaced by the next of its volume, and
        goes with its volume; until then nobody sees it as an instance."""
        for _unused in range(_END_ATTEMPTS):
            with suppress(self.libvirt.libvirtError):
                domain.undefineFlags(self.libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA)
                return

    def drop_scratch(self, path: str) -> None:
        """Remove the passing domain of a volume; fine when there is none."""
        if self.kind != "qemu":
            return
        try:
            domain = self.conn.lookupByName(_scratch_name(path))
            domain.undefineFlags(self.libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA)
        except self.libvirt.libvirtError as error:
            if code_of(error) != NO_DOMAIN:
                with self.guard(f"remove the passing domain of the volume {path!r}"):
                    raise

    def _scratch_document(self, name: str, path: str) -> str:
        host = self.host_facts(Instance(name))
        root = Element("domain", type=host.domain_type)
        SubElement(root, "name").text = name
        SubElement(root, "uuid").text = str(uuid.uuid5(_NAMESPACE, name))
        SubElement(root, "description").text = f"made by anyvirt for a snapshot of {path}; it can be removed"
        SubElement(root, "memory", unit="MiB").text = "1"
        SubElement(SubElement(root, "os"), "type", arch=host.arch).text = "hvm"
        disk = SubElement(SubElement(root, "devices"), "disk", type="file", device="disk")
        SubElement(disk, "driver", name="qemu", type="qcow2")
        SubElement(disk, "source", file=path)
        SubElement(disk, "target", dev=_DEVICE, bus="virtio")
        return ElementTree.tostring(root, encoding="unicode")


def _scratch_name(path: str) -> str:
    return SCRATCH_PREFIX + hashlib.sha256(path.encode()).hexdigest()[:24]
