# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disks of an instance that is moved: what becomes of them, and how its definition names them where it goes.

Who moves an instance calls, in this order:

* source: ``plan_disks`` for all instances at once (``migrationdiskplans``);
* destination: ``redirect`` the definition that it is to get, define it with the record that names
  ``made_volumes(plan.moves)``, then ``make_arriving_volumes`` (``migrationvolumes``);
* live: the hypervisor copies ``live_copies``, and with ``is_incremental`` no more of them than differs from what they
  lean on; cold: source ``copy_volumes`` (``migrationcold``);
* destination: ``settle_arrived_volumes``, or ``discard_arriving_volumes`` to give it up;
* source: ``volumes_left_behind``, which can be deleted when the definition is gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from xml.etree.ElementTree import Element

from ...model.migration import DiskMove
from ...model.storage import VolumeKey
from .domain import Domain
from .domain_disks import disk_elements, owned_behind, set_source, source_of
from .element import attribute_of
from .volumerecord import Payload
from .volumexml import Backing, to_libvirt_format


@dataclass(frozen=True)
class DiskCopy:
    """A volume that is made on the destination for a disk.

    Attributes:
        device: Of the disk.
        source: The volume that it is on now; None where its data is in no pool.
        source_path: Where its data is now.
        destination: The volume to be made.
        path: Where its data will be.
        format: Of the volume to be made, as libvirt calls it.
        size_bytes: What the guest sees of it.
        grow_to_bytes: What the guest is to see of it, where that is more.
        backing: What it leans on there, so that only the rest is copied.
        is_flattened: It leans on something here, and on nothing there.
        source_format: Of the volume that it is on now.
        at_once: Nobody writes to it: it is copied when it is made, also where the instance runs.
        remembered: What is kept in the record beside the new volume.
        encrypted: What is in it is encrypted, and copied as it is.
        whole_bytes: What a copy that leans on nothing there would take at most.
    """

    device: str
    source: VolumeKey | None
    source_path: str
    destination: VolumeKey
    path: str
    format: str
    size_bytes: int
    source_format: str
    grow_to_bytes: int | None = None
    backing: Backing | None = None
    is_flattened: bool = False
    at_once: bool = False
    remembered: Payload = field(default_factory=dict)
    encrypted: bool = False
    whole_bytes: int = 0


@dataclass
class DiskPlan:
    """What becomes of the disks of one instance.

    Attributes:
        moves: In words of the contract, for ``MigrationPlan.disks``.
        copies: Volumes to be made on the destination.
        paths: Of disks that stay where they are, and that the destination sees elsewhere: device -> path there.
        places: The volume there of each disk that stays and whose volume has another pool or name there; None where no
            pool there has it.
        ejected: Its own volumes whose drives have another medium, or none, now.
        growths: Disks that stay and that the guest is to see more of: device -> path here, size.
        secrets: Passphrases that the destination needs: of the volume at this path here, for that path there.
        lone_secrets: Those of these paths there that no volume is made at, so that nothing removes them with it.
        variables: Where the variables of its UEFI firmware are, if the destination does not see them.
        shares_variables: The destination has them at the same place, so they go with neither definition.
        problems, warnings: In words.
    """

    moves: list[DiskMove] = field(default_factory=list)
    copies: list[DiskCopy] = field(default_factory=list)
    paths: dict[str, str] = field(default_factory=dict)
    places: dict[str, VolumeKey | None] = field(default_factory=dict)
    ejected: list[VolumeKey] = field(default_factory=list)
    growths: dict[str, tuple[str, int]] = field(default_factory=dict)
    secrets: list[tuple[str, str]] = field(default_factory=list)
    lone_secrets: list[str] = field(default_factory=list)
    variables: str | None = None
    shares_variables: bool = False
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def left_volumes(self) -> tuple[str, ...]:
        """``pool/name`` of the source's volumes that are of no use when the instance has gone: for the source's
        record."""
        copied = [copy.source for copy in self.copies if copy.source is not None]
        return tuple(str(key) for key in (*copied, *self.ejected))


def live_copies(plan: DiskPlan) -> list[str]:
    """The devices that the hypervisor copies while the guest runs (libvirt's ``migrate_disks``)."""
    return [copy.device for copy in plan.copies if not copy.at_once]


def is_incremental(plan: DiskPlan) -> bool:
    """Whether the hypervisor is to copy only the topmost layer (NON_SHARED_INC), which is the whole of a disk that
    leans on nothing."""
    return any(copy.backing is not None and not copy.at_once for copy in plan.copies)


def even_out(plan: DiskPlan) -> None:
    """A hypervisor copies the topmost layers of all disks of an instance, or all of them whole."""
    if not any(copy.is_flattened for copy in plan.copies):
        return
    layered = {copy.device: copy.whole_bytes for copy in plan.copies if copy.backing is not None}
    plan.copies = [replace(copy, backing=None, is_flattened=True) if copy.backing else copy for copy in plan.copies]
    plan.moves = [
        move._replace(how="copy", size_bytes=layered[move.device]) if move.device in layered else move
        for move in plan.moves
    ]


def variables_path(domain: Element) -> str | None:
    """The file with the variables of a domain's UEFI firmware. libvirt keeps the way of naming it that it was given."""
    nvram = domain.find("os/nvram")
    if nvram is None:
        return None
    source = nvram.find("source")
    return (nvram.text or "").strip() or None if source is None else source.get("file")


def pending_disks(config: Domain, running: Domain) -> list[str]:
    """What keeps a guest from being moved while it runs because its disks are others than configured: of what the
    configuration names and what the guest has, only one can go along."""
    here, now = (
        {attribute_of(disk, "target", "dev"): source_of(disk) for disk in disk_elements(domain.root)}
        for domain in (config, running)
    )
    differing = sorted(device or "" for device in {**here, **now} if here.get(device, "") != now.get(device, ""))
    if not differing:
        return []
    return [f"its disks as it runs differ from those configured ({', '.join(differing)}); restart it or move it cold"]


def redirect(domain: Domain, plan: DiskPlan) -> None:
    """Let a definition, and our record in it, name the disks as they are on the destination."""
    copies = {copy.device: copy for copy in plan.copies}
    record = domain.record
    for element in domain.root.iterfind("devices/disk"):
        device = attribute_of(element, "target", "dev") or ""
        copy, path = copies.get(device), plan.paths.get(device)
        owned, former = owned_behind(element, record), record.owns(device)
        if owned is None and former is not None:
            record.owned.remove(former)  # it does not come along
        if copy is not None:
            set_source(element, copy.path, to_libvirt_format(copy.format), copy.encrypted)
        elif path is not None:
            encrypted = element.find("source/encryption") is not None
            set_source(element, path, attribute_of(element, "driver", "type") or "raw", encrypted)
        place = copy.destination if copy is not None else plan.places.get(device)
        if place is None:
            if device in plan.places:
                record.drop(device)  # or its name would be that of whatever is called so there
            continue
        if owned is not None:
            owned.pool, owned.volume = place
            if copy is not None and copy.grow_to_bytes is not None:
                owned.size_bytes = copy.grow_to_bytes
        for used in record.used:
            if used.device == device:
                used.pool, used.volume = place
                used.path = source_of(element)
