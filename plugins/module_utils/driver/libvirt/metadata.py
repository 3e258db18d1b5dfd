# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection keeps with a domain: an element of its own in the domain's <metadata>."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, SubElement, register_namespace, tostring

from ...model.flavor import Flavor
from ...model.resize import ResizeRecord
from .filterrecord import FilterRecord, filter_element, read_filter_record
from .migrationrecord import MovingRecord, moving_element, read_moving_record
from .resizerecord import read_resize_record, resize_element

NAMESPACE = "urn:anyvirt:compute:1"
PREFIX = "anyvirt"

register_namespace(PREFIX, NAMESPACE)


@dataclass
class OwnedVolume:
    """A volume that spawn (or an update) made for the instance, so removing the instance removes it.

    Attributes:
        device: The disk's target, e.g. ``vda``.
        role: ``root``, ``swap``, ``seed`` or ``data``.
        image: What it was made from.
        size_bytes: How big it was made, or has been grown to since.
    """

    device: str
    pool: str
    volume: str
    role: str = "data"
    image: str | None = None
    size_bytes: int | None = None


@dataclass
class UsedVolume:
    """A volume that was there before: the domain itself has only its path.

    Attributes:
        path: What the domain has; another one there means that something else has taken the device since. None in
            records of earlier versions.
    """

    device: str
    pool: str
    volume: str
    path: str | None = None


@dataclass
class Record:
    """What is known of an instance beyond the domain's own configuration."""

    flavor: Flavor | None = None
    image: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    locked: bool = False
    protected: bool = False
    cloud_init_fingerprint: str | None = None
    owned: list[OwnedVolume] = field(default_factory=list)
    used: list[UsedVolume] = field(default_factory=list)
    unfinished: bool = False
    filtering: FilterRecord = field(default_factory=FilterRecord)
    moving: MovingRecord | None = None
    resize: ResizeRecord | None = None

    def owns(self, device: str | None) -> OwnedVolume | None:
        """The owned volume behind a disk."""
        return next((volume for volume in self.owned if volume.device == device), None)

    def uses(self, device: str | None, path: str | None) -> UsedVolume | None:
        """The volume of others behind a disk that has its data at ``path``."""
        return next((used for used in self.used if used.device == device and used.path in (None, path)), None)

    def drop(self, device: str) -> None:
        """The device is no disk any more, or another one."""
        self.owned = [volume for volume in self.owned if volume.device != device]
        self.used = [volume for volume in self.used if volume.device != device]


def read_record(domain: Element) -> Record:
    """The record in a <domain>; an empty one when there is none."""
    root = domain.find(f"metadata/{_tag('instance')}")
    if root is None:
        return Record()
    flavor = root.find(_tag("flavor"))
    return Record(
        flavor=None if flavor is None else _read_flavor(flavor),
        image=_text(root, "image"),
        metadata={item.get("key", ""): item.text or "" for item in root.findall(_tag("item"))},
        locked=root.get("locked") == "yes",
        protected=root.get("protected") == "yes",
        cloud_init_fingerprint=_text(root, "cloud-init"),
        owned=[_read_owned(item) for item in root.findall(_tag("owned"))],
        used=[
            UsedVolume(item.get("device", ""), item.get("pool", ""), item.get("volume", ""), item.get("path"))
            for item in root.findall(_tag("used"))
        ],
        unfinished=root.get("unfinished") == "yes",
        filtering=read_filter_record(root, NAMESPACE),
        moving=read_moving_record(root, NAMESPACE),
        resize=read_resize_record(root, NAMESPACE),
    )


def write_record(domain: Element, record: Record) -> None:
    """Put the record into a <domain>, in place of the one there; other tools' metadata stays. An empty record leaves
    nothing behind."""
    holder = domain.find("metadata")
    if holder is not None:
        for old in holder.findall(_tag("instance")):
            holder.remove(old)
    if record != Record():
        if holder is None:
            holder = SubElement(domain, "metadata")
        holder.append(_to_element(record))
    if holder is not None and len(holder) == 0:
        domain.remove(holder)


def record_text(record: Record) -> str | None:
    """The record for virDomainSetMetadata, which adds the namespace by itself; None for an empty one."""
    if record == Record():
        return None
    root = _to_element(record)
    for element in root.iter():
        element.tag = element.tag.partition("}")[2]
    return tostring(root, encoding="unicode")


def _to_element(record: Record) -> Element:
    root = Element(_tag("instance"))
    for name in ("unfinished", "locked", "protected"):
        if getattr(record, name):
            root.set(name, "yes")
    if record.flavor is not None:
        SubElement(root, _tag("flavor"), {key: str(value) for key, value in record.flavor.as_dict().items()})
    for name, value in (("image", record.image), ("cloud-init", record.cloud_init_fingerprint)):
        if value is not None:
            SubElement(root, _tag(name)).text = value
    for key, value in sorted(record.metadata.items()):
        SubElement(root, _tag("item"), {"key": key}).text = value
    for volumes, name in ((record.owned, "owned"), (record.used, "used")):
        for volume in volumes:
            values = {key: str(value) for key, value in vars(volume).items() if value is not None}
            SubElement(root, _tag(name), values)
    if record.filtering != FilterRecord():
        root.append(filter_element(record.filtering, NAMESPACE))
    if record.moving is not None:
        root.append(moving_element(record.moving, NAMESPACE))
    if record.resize is not None:
        root.append(resize_element(record.resize, NAMESPACE))
    return root


def _tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"


def _text(root: Element, name: str) -> str | None:
    return root.findtext(_tag(name)) or None


def _number(text: str | None, convert: Callable[[str], float]) -> float:
    try:
        return convert(text or "0")
    except ValueError:
        return 0


def _read_flavor(element: Element) -> Flavor:
    def whole(name: str) -> int:
        return int(_number(element.get(name), int))

    return Flavor(
        element.get("name", ""),
        whole("memory_mb"),
        whole("vcpus"),
        whole("root_gb"),
        whole("swap_mb"),
        _number(element.get("rxtx"), float),
    )


def _read_owned(element: Element) -> OwnedVolume:
    return OwnedVolume(
        element.get("device", ""),
        element.get("pool", ""),
        element.get("volume", ""),
        element.get("role", "data"),
        element.get("image"),
        int(_number(element.get("size_bytes"), int)) or None,
    )
