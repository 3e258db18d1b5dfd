# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a pool's records counts when two moments are compared."""

from __future__ import annotations

from typing import Any

_DEVICES = {"VIF": "device", "VBD": "userdevice"}
_OF_A_LIFE = ("VM_guest_metrics", "console")
"""Classes of what a guest has from one start to the next stop."""
_OF_LIVES: dict[str, tuple[str, ...]] = {
    "VM": ("domid", "guest_metrics", "consoles", "allowed_operations", "generation_id"),
    "VM_metrics": ("start_time", "last_updated", "install_time"),
    "VIF": ("uuid", "allowed_operations"),
    "VBD": ("uuid", "allowed_operations"),
    "VDI": ("allowed_operations",),
}
"""Fields that change as guests start, boot and stop, or that something has anew which was put back."""


def comparable(records: dict[str, Any]) -> dict[str, Any]:
    """Records by class and reference without what a guest that started anew has for itself; disks and network
    interfaces are known by their place in the VM, so that one that was put back is the same."""
    names = {
        ref: f"{kind} {record[number]} of {record['VM']}"
        for kind, number in _DEVICES.items()
        for ref, record in records[kind].items()
    }
    kept = {
        kind: {
            ref: {name: value for name, value in record.items() if name not in _OF_LIVES[kind]}
            for ref, record in of_kind.items()
        }
        if kind in _OF_LIVES
        else of_kind
        for kind, of_kind in records.items()
        if kind not in _OF_A_LIFE
    }
    kept["pool"] = {
        ref: {**record, "other_config": _without_counts(record["other_config"])} for ref, record in kept["pool"].items()
    }
    renamed: dict[str, Any] = _renamed(kept, names)
    return renamed


def _without_counts(other_config: dict[str, str]) -> dict[str, str]:
    """Groups are kept under names that count how often they were changed; what counts is how many there are of each."""
    kept: dict[str, str] = {}
    for key in sorted(other_config):
        name, counted, _count = key.rpartition("#")
        number = sum(other.startswith(f"{name}#") for other in kept)
        kept[f"{name}#{number}" if counted else key] = other_config[key]
    return kept


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, dict):
        return {names.get(key, key): _renamed(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return sorted((_renamed(item, names) for item in value), key=str)
    return value
