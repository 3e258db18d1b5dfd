# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of a domain's record that says that it is being moved to or from another host."""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement

from ...model.migration import MigrationRecord

_FLAGS = ("autostart", "passing", "shares_variables")
_NUMBER = re.compile(r"\d+(\.\d+)?$")


@dataclass(frozen=True)
class MovingRecord:
    """What is kept with a domain while it is moved.

    Attributes:
        migration: What the contract says of it.
        autostart: It starts with its host when it is not being moved. Meanwhile no host starts it by itself, since it
            may be on the other one.
        passing: Its definition is there only while it is moved: on the source it was transient before, on the
            destination it is to be afterwards.
        shares_variables: Both hosts have its UEFI variables in one file, which goes with neither definition.
        groups: Security groups that the destination has taken over for it.
        snapshots: libvirt's descriptions of its snapshots, parents first, which it does not move.
        current_snapshot: The name of the one that it goes on from.
        secrets: Paths there of disks that both hosts see and whose passphrases the destination has got for it.
    """

    migration: MigrationRecord
    autostart: bool = False
    passing: bool = False
    groups: tuple[str, ...] = ()
    snapshots: tuple[str, ...] = ()
    current_snapshot: str | None = None
    shares_variables: bool = False
    secrets: tuple[str, ...] = ()


def read_moving_record(root: Element, namespace: str) -> MovingRecord | None:
    """What the collection's element of a domain's metadata says; None where it is not being moved."""
    element = root.find(f"{{{namespace}}}migration")
    if element is None:
        return None

    def texts(name: str) -> tuple[str, ...]:
        return tuple(child.text or "" for child in element.findall(f"{{{namespace}}}{name}"))

    started = element.get("started_s", "")
    record = MigrationRecord(
        id=element.get("id", ""),
        direction=element.get("direction", ""),
        peer=element.get("peer", ""),
        mode=element.get("mode", ""),
        phase=element.get("phase", ""),
        start=element.get("start") == "yes",
        paused=element.get("paused") == "yes",
        started_s=float(started) if _NUMBER.match(started) else None,
        volumes=texts("volume"),
    )
    flags = {name: element.get(name) == "yes" for name in _FLAGS}
    snapshot = element.get("current_snapshot")
    return MovingRecord(
        record,
        groups=texts("group"),
        secrets=texts("secret"),
        snapshots=texts("snapshot"),
        current_snapshot=snapshot,
        **flags,
    )


def moving_element(record: MovingRecord, namespace: str) -> Element:
    """The element that ``read_moving_record`` reads."""
    migration = record.migration
    element = Element(f"{{{namespace}}}migration")
    for name in ("id", "direction", "peer", "mode", "phase"):
        element.set(name, getattr(migration, name))
    for name in ("start", "paused"):
        if getattr(migration, name):
            element.set(name, "yes")
    for name in _FLAGS:
        if getattr(record, name):
            element.set(name, "yes")
    if migration.started_s is not None:
        element.set("started_s", f"{migration.started_s:.3f}")
    if record.current_snapshot is not None:
        element.set("current_snapshot", record.current_snapshot)
    for name, texts in (
        ("volume", migration.volumes),
        ("group", record.groups),
        ("secret", record.secrets),
        ("snapshot", record.snapshots),
    ):
        for text in texts:
            SubElement(element, f"{{{namespace}}}{name}").text = text
    return element
