# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an instance's record looks like, and how it becomes an ``Instance`` and back.

``config`` is what it is configured to be, ``running`` what the guest has while it is active or saved (otherwise None).
Both hold plain data with the field names of ``Instance``, without those that are None.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ...model.flavor import Flavor
from ...model.instance import Boot, Console, Cpu, Disk, Instance, IoLimits, Nic
from ...model.migration import MigrationRecord
from ...model.resize import read_resize
from . import guest as guests
from .guest import Look
from .store import Record

SEED = "seed"
ROOT = "root"

FELT = (
    "memory_mb",
    "max_memory_mb",
    "vcpus",
    "max_vcpus",
    "disks",
    "nics",
    "boot",
    "cpu",
    "console",
    "hypervisor",
    "cloud_init_fingerprint",
)
"""What the guest notices of its configuration."""

UNFELT = (
    *("flavor", "image", "pool", "autostart", "description", "metadata", "locked", "protected"),
    *("firewall", "security_groups", "project", "allow_project_net_traffic"),
)
"""What it does not."""

_SECRET = ("passphrase",)
"""Fields that no record keeps."""

_OPTION_OF = {"cloud_init_fingerprint": "cloud_init"}


def plain(value: Any) -> Any:
    """A field of ``Instance`` as plain data for a record."""
    if isinstance(value, Flavor):
        return value.as_dict()
    if isinstance(value, (Disk, Nic, Boot, Cpu, Console, IoLimits)):
        parts = ((part.name, plain(getattr(value, part.name))) for part in fields(value))
        return {name: part for name, part in parts if part not in (None, {}) and name not in _SECRET}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def config_of(instance: Instance) -> Record:
    """The ``config`` of a record for this instance."""
    values = {field: getattr(instance, field) for field in (*FELT, *UNFELT)}
    return {field: plain(value) for field, value in values.items() if value is not None}


def new_record(instance: Instance) -> Record:
    """The record with which a spawn begins."""
    return {
        "name": instance.name,
        "uuid": os.urandom(16).hex(),
        "unfinished": True,
        "made_pools": [],
        "leases": {},
        "config": config_of(instance),
        "running": None,
        "power": guests.OFF,
    }


def felt(config: Record) -> Record:
    """What a guest that is started with this configuration has."""
    return {field: value for field, value in config.items() if field in FELT}


def without_addresses(nic: Record) -> Record:
    """The same NIC, but for the addresses that it may use: of these only the host's firewall knows."""
    return {field: value for field, value in nic.items() if field != "addresses"}


def option_value(instance: Instance, option: str) -> tuple[str, Any]:
    """The record's field for an option, and the instance's value for it as plain data."""
    if option == "cloud_init":
        fingerprint = instance.cloud_init.fingerprint() if instance.cloud_init else None
        return "cloud_init_fingerprint", fingerprint
    return option, plain(getattr(instance, option))


def to_instance(record: Record, seen: Look) -> Instance:
    """The instance that a record tells of."""
    config = record["config"]
    return Instance(
        name=record["name"],
        **{field: config.get(field) for field in _AS_THEY_ARE},
        flavor=Flavor(**config["flavor"]) if config.get("flavor") else None,
        disks=[to_disk(disk) for disk in config.get("disks", [])],
        nics=[Nic(**nic) for nic in config.get("nics", [])],
        boot=Boot(**config.get("boot", {})),
        cpu=Cpu(**config.get("cpu", {})),
        console=Console(**config.get("console", {})),
        metadata=dict(config.get("metadata", {})),
        hypervisor=dict(config.get("hypervisor", {})),
        power_state=seen.state,
        unfinished=record["unfinished"],
        migration=migration_of(record),
        pending=pending(record),
        resize=read_resize(record["resize"]) if record.get("resize") else None,
    )


def migration_of(record: Record) -> MigrationRecord | None:
    """What the record of an instance that is being moved says about that."""
    migration = record.get("migration")
    return MigrationRecord(**{**migration, "volumes": tuple(migration["volumes"])}) if migration else None


def to_disk(record: Record) -> Disk:
    """The disk that a part of a record tells of."""
    limits = record.get("limits")
    return Disk(**{**record, "limits": IoLimits(**limits) if limits else None})


_AS_THEY_ARE = (
    "memory_mb",
    "max_memory_mb",
    "vcpus",
    "max_vcpus",
    "image",
    "pool",
    "autostart",
    "description",
    "locked",
    "protected",
    "firewall",
    "security_groups",
    "project",
    "allow_project_net_traffic",
    "cloud_init_fingerprint",
)


def pending(record: Record) -> dict[str, tuple[Any, Any]]:
    """Options whose configured value the running guest does not have yet."""
    if record["running"] is None:
        return {}
    running, config = (_as_guests_see(record[part]) for part in ("running", "config"))
    return {
        _OPTION_OF.get(field, field): (running.get(field), config.get(field))
        for field in FELT
        if running.get(field) != config.get(field)
    }


def _as_guests_see(config: Record) -> Record:
    return {**config, "nics": [without_addresses(nic) for nic in config["nics"]]} if "nics" in config else config


def macs_of(record: Record) -> set[str]:
    """The MAC addresses that an instance takes, configured and running."""
    nics = [*record["config"].get("nics", []), *(record["running"] or {}).get("nics", [])]
    return {nic["mac"] for nic in nics if "mac" in nic}


def volume_keys(record: Record) -> set[str]:
    """The keys of the volumes that an instance uses, configured and running."""
    return {volume_key(disk) for disk in disks_of(record) if "volume" in disk}


def disks_of(record: Record) -> list[Record]:
    """The disks that an instance has, configured and running; those that are both are in it twice."""
    return [*record["config"].get("disks", []), *(record["running"] or {}).get("disks", [])]


def seeds_of(record: Record) -> set[str]:
    """The keys of the volumes with an instance's data for cloud-init."""
    disks = record["config"].get("disks", [])
    return {volume_key(disk) for disk in disks if disk["role"] == SEED and "volume" in disk}


def volume_key(disk: Mapping[str, Any]) -> str:
    """The store's key of a disk's volume."""
    return f"{disk['pool']}/{disk['volume']}"
