# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection keeps with a VM and with a VDI: one key of ours, holding JSON, in their other_config."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from ...model.flavor import Flavor
from ...model.instance import Nic
from ...model.resize import ResizeRecord, read_resize
from .travels import TRAVEL

KEY = "anyvirt"
"""Our key in the other_config of VMs, VDIs and VIFs."""

BY_BRIDGE = "bridge"
"""A VIF's value of our key: the task named the bridge, not the network."""

CLONE_TAG = "anyvirt-clone:"
"""Begins the key that marks a VDI while it is cloned, so that a clone that carries it is known as one cut short; the
rest of the key is the record's id."""

STATE = "anyvirt-state"
"""The key in the other_config of VDIs that says what became of an unfinished one, or of one that is to take another's
place. Adding a key fails where it is there
already, so that of who finishes a VDI and who takes it for a leftover one comes first, and the other knows."""
FINISHED, DOOMED = "finished", "doomed"


@dataclass
class Record:
    """What is known of an instance beyond the VM's own fields.

    Attributes:
        id: Names the instance's volumes' owner; never changes.
        vm_uuid: The VM that this was written for. A copy of the VM carries the record too, and is not ours.
        pool: The storage pool named by the task.
        unfinished: A spawn has not come to its end.
        deferred: Options that wait for the next start: name -> plain value.
        firewall, security_groups, project, allow_project_net_traffic: See Instance.
        addresses: Those that the guest may use, by the MAC address of the NIC.
        resize: A ``ResizeRecord`` as plain data, and what else it takes to go back; empty where none waits.
    """

    id: str = ""
    vm_uuid: str | None = None
    flavor: Flavor | None = None
    image: str | None = None
    pool: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    locked: bool = False
    protected: bool = False
    cloud_init_fingerprint: str | None = None
    unfinished: bool = False
    deferred: dict[str, Any] = field(default_factory=dict)
    firewall: str | None = None
    security_groups: list[str] | None = None
    project: str | None = None
    allow_project_net_traffic: bool = False
    addresses: dict[str, list[str]] = field(default_factory=dict)
    resize: dict[str, Any] = field(default_factory=dict)


@dataclass
class VolumeRecord:
    """What is known of a volume that was made for an instance, of one that was made by itself, or of a snapshot.

    Attributes:
        owner: The id of the instance's record; of a volume by itself what ``place_id`` says of its name.
        instance: The instance's name; empty for a volume by itself.
        role: ``root``, ``swap``, ``seed`` or ``data``.
        image: What it was made from.
        size_bytes: The size asked for; repositories round it up.
        doomed: Its instance is being destroyed, and it goes along.
        making: Tells it from others of its name, when it is looked for because the reply to its making was lost, and
            from then on: a reverted volume keeps it, and its snapshots have it as ``snapshot_of``.
        vdi: The uuid of the VDI that this was written for, where that is known. A copy carries the record too.
        holder: The uuid of the VDI that has the snapshots of ``making``, where ``vdi`` is not known.
        unfinished: It is still being filled, unless the key ``STATE`` says otherwise.
        parent: The uuid of the VDI that it was cloned from.
        metadata: The user's own keys and values.
        snapshot: The name of a snapshot of the volume that has ``snapshot_of`` as its ``making``.
        number: Its place among the volume's snapshots; their times are those of whole seconds.
        replaces: The uuid of the VDI whose place it takes; see ``has_taken_over``.
        moves: The VBDs that go over to it, each as what it is created from, with the VM's uuid.
        cached: What is known of an image of the cache; None for other volumes.
    """

    owner: str
    instance: str = ""
    role: str = "data"
    image: str | None = None
    size_bytes: int | None = None
    doomed: bool = False
    making: str | None = None
    vdi: str | None = None
    holder: str | None = None
    unfinished: bool = False
    parent: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    snapshot: str | None = None
    snapshot_of: str | None = None
    number: int = 0
    replaces: str | None = None
    moves: list[dict[str, Any]] = field(default_factory=list)
    cached: dict[str, Any] | None = None


_TYPES: Mapping[str, type] = {
    **dict.fromkeys(("flavor", "metadata", "deferred", "cached", "addresses", "resize"), dict),
    **dict.fromkeys(("moves", "security_groups"), list),
    **dict.fromkeys(("locked", "protected", "unfinished", "doomed", "allow_project_net_traffic"), bool),
    **dict.fromkeys(("size_bytes", "number"), int),
}
"""Of values that are no texts."""

_Kept = TypeVar("_Kept", Record, VolumeRecord)


def declared_addresses(nics: Iterable[Nic]) -> dict[str, list[str]]:
    """The addresses that guests may use, as records have them."""
    return {nic.mac: sorted(nic.addresses) for nic in nics if nic.mac is not None and nic.addresses}


def new_id() -> str:
    """An id for a new record."""
    return str(uuid.uuid4())


def place_id(repository: str, name: str) -> str:
    """The id of a volume's place: the same for whoever makes a volume of this name in the storage repository of this
    uuid, so that what a killed run leaves is found by the next."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"anyvirt:{repository}/{name}"))


def read_record(vm: Mapping[str, Any]) -> Record | None:
    """The record of a VM, given the VM's own; None for one made by others, copies of ours among them."""
    record = _read(vm, Record)
    if record is None or not (record.unfinished or record.vm_uuid == vm.get("uuid")):
        return None
    if record.flavor is not None:
        record.flavor = _read_flavor(record.flavor)
    if record.security_groups is not None:
        record.security_groups = _texts(record.security_groups)
    record.addresses = {mac: _texts(those) for mac, those in record.addresses.items() if isinstance(those, list)}
    return record


def resize_of(record: Record | None) -> ResizeRecord | None:
    """The resize that a record tells of; None where there is none, or somebody else wrote something there."""
    if record is None or not record.resize:
        return None
    try:
        return read_resize(record.resize)
    except (KeyError, TypeError, ValueError):
        return None


def read_volume_record(vdi: Mapping[str, Any]) -> VolumeRecord | None:
    """The record of a volume, given the VDI's own; None for one made by others, copies of ours among them."""
    record = _read(vdi, VolumeRecord)
    if record is None or record.vdi not in (None, vdi.get("uuid")):
        return None
    if is_finished(vdi):
        record.unfinished = False
    return record


def is_finished(vdi: Mapping[str, Any]) -> bool:
    """Whether who made a VDI has said that nothing is missing."""
    return bool(vdi["other_config"].get(STATE) == FINISHED)


def has_taken_over(vdi: Mapping[str, Any]) -> bool:
    """Whether a VDI that takes another's place, which is still there, is the volume by now: a machine has it, so that
    a guest may have written to it, or who made it has said so."""
    state = vdi["other_config"].get(STATE)
    return bool(state == FINISHED or (state != DOOMED and vdi["VBDs"]))


def with_record(other_config: Mapping[str, str], record: Record | VolumeRecord | None) -> dict[str, str]:
    """An other_config with the record in the place of ours; None takes ours away. All other keys stay."""
    kept = {key: value for key, value in other_config.items() if key != KEY}
    if record is not None:
        kept[KEY] = to_text(record)
    return kept


def to_text(record: Record | VolumeRecord) -> str:
    """The record as the value of our key; what is empty is left out."""
    values = asdict(record)
    if isinstance(record, Record) and record.flavor is not None:
        values["flavor"] = record.flavor.as_dict()
    # An instance in no group is something else than one of which nothing was said.
    empty: tuple[Any, ...] = (None, False, {}, "")
    return json.dumps(
        {
            name: value
            for name, value in values.items()
            if value not in empty and (value != [] or name == "security_groups")
        }
    )


def foreign_keys(other_config: Mapping[str, str]) -> dict[str, str]:
    """An other_config without what is ours."""
    ours = (KEY, STATE, TRAVEL)
    return {key: value for key, value in other_config.items() if key not in ours and not key.startswith(CLONE_TAG)}


def _read(owner: Mapping[str, Any], kind: type[_Kept]) -> _Kept | None:
    """Anybody who may change the VM may write into our key: what is no record of ours is none."""
    text = owner.get("other_config", {}).get(KEY)
    try:
        values = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    known = {one.name for one in fields(kind)}
    usable: dict[str, Any] = {
        name: value for name, value in values.items() if name in known and isinstance(value, _TYPES.get(name, str))
    }
    try:
        return kind(**usable)
    except TypeError:  # the owner is missing
        return None


def _texts(values: list[Any]) -> list[str]:
    return [value for value in values if isinstance(value, str)]


def _read_flavor(values: Any) -> Flavor | None:
    try:
        return Flavor(**values)
    except TypeError:
        return None
