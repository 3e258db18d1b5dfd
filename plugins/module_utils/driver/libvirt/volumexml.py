# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes as libvirt describes them."""

from __future__ import annotations

from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from .xmltext import from_libvirt

FILE, BLOCK = "file", "block"
_OUR_FORMATS = {"vpc": "vhd", "luks": "raw"}
_THEIR_FORMATS = {"vhd": "vpc", "iso": "raw"}


class Backing(NamedTuple):
    """What a copy-on-write volume leaves out because it is in another file."""

    path: str
    format: str


class Locked(NamedTuple):
    """How a volume is encrypted.

    Attributes:
        secret: The UUID of the libvirt secret that holds its passphrase.
        cipher: Name, bits of the key and mode; None is QEMU's choice.
    """

    secret: str
    cipher: tuple[str, str, str] | None = None


class VolumeFacts(NamedTuple):
    """What libvirt tells of a volume.

    Attributes:
        kind: ``file``, ``block``, ``dir`` ...
        secret: The UUID of the secret of an encrypted one; empty where libvirt has none for it.
    """

    name: str
    kind: str
    path: str
    format: str
    size_bytes: int
    allocation_bytes: int
    backing: str | None
    encrypted: bool
    secret: str


def volume_document(
    name: str,
    size_bytes: int,
    volume_format: str,
    backing: Backing | None = None,
    *,
    allocation_bytes: int = 0,
    locked: Locked | None = None,
) -> str:
    """libvirt's description of a volume to be made.

    Args:
        allocation_bytes: Room that it takes before anything is written to it.
    """
    root = Element("volume")
    SubElement(root, "name").text = name
    SubElement(root, "capacity", unit="bytes").text = str(size_bytes)
    SubElement(root, "allocation", unit="bytes").text = str(allocation_bytes)
    target = SubElement(root, "target")
    SubElement(target, "format", type=to_libvirt_format(volume_format))
    if volume_format == "qcow2":
        # libvirt's default is the version of 2010, which cannot hold the bitmaps of checkpoints.
        SubElement(target, "compat").text = "1.1"
    if locked is not None:
        target.append(_encryption(locked))
    if backing is not None:
        store = SubElement(root, "backingStore")
        SubElement(store, "path").text = backing.path
        SubElement(store, "format", type=to_libvirt_format(backing.format))
    return ElementTree.tostring(root, encoding="unicode")


def read_volume(text: str) -> VolumeFacts:
    """What a <volume> says."""
    root = from_libvirt(text)
    found = root.find("target/format")
    encryption = root.find("target/encryption")
    secret = None if encryption is None else encryption.find("secret")
    kind = "raw" if found is None else found.get("type", "raw")
    return VolumeFacts(
        root.findtext("name", ""),
        root.get("type", FILE),
        root.findtext("target/path", ""),
        _OUR_FORMATS.get(kind, kind),
        int(root.findtext("capacity", "0")),
        int(root.findtext("allocation", "0")),
        root.findtext("backingStore/path") or None,
        encryption is not None,
        "" if secret is None else secret.get("uuid", ""),
    )


def to_libvirt_format(volume_format: str) -> str:
    """libvirt's and QEMU's name for a format."""
    return _THEIR_FORMATS.get(volume_format, volume_format)


def _encryption(locked: Locked) -> Element:
    element = Element("encryption", format="luks")
    SubElement(element, "secret", type="passphrase", uuid=locked.secret)
    if locked.cipher is not None:
        name, bits, mode = locked.cipher
        SubElement(element, "cipher", name=name, size=bits, mode=mode, hash="sha256")
        if mode != "ecb":
            SubElement(element, "ivgen", name="plain64", hash="sha256")
    return element
