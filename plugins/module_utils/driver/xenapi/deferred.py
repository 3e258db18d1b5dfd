# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes that wait for the next start.

XenAPI has one configuration for a VM, the one that it runs with, so what cannot be changed while it runs is kept in our
record: option -> plain value, in ``Record.deferred``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Callable, NamedTuple

from ...model import power_state
from ...model.instance import DISK, Boot, Cpu, Instance, Nic
from .devices import device_name
from .extras import MAPPINGS, merged
from .metadata import Record
from .records import Object

Deferred = dict[str, Any]


class WaitingSeed(NamedTuple):
    """A seed disk that takes the place of the present one at the next start.

    Attributes:
        vdi: The uuid of its VDI, which is there already.
        was: The fingerprint of the data that the guest has until then.
    """

    vdi: str
    was: str | None


_GROUPS: Mapping[str, Callable[..., Any]] = {"boot": Boot, "cpu": Cpu}
_COUNTS = ("memory_mb", "max_memory_mb", "vcpus", "max_vcpus")
OPTIONS = frozenset({*_COUNTS, *_GROUPS, "nics", "hypervisor", "cloud_init"})
"""What can wait. Of the other options of an update the guest feels nothing, or they do not change at all."""


def overlay(instance: Instance, record: Record) -> None:
    """Let an instance, as XenAPI has it, show what waits: as configured, and, unless it is off, as pending."""
    is_off = instance.power_state in power_state.OFF
    for option, actual, configured in _differences(instance, record):
        if option != "cloud_init":
            setattr(instance, option, configured)
        instance.pending.pop(option, None)
        if not is_off and actual != configured:
            instance.pending[option] = (
                _differing(actual, configured) if option == "hypervisor" else (actual, configured)
            )


def show_unplugged(instance: Instance, vbds: Sequence[Object]) -> None:
    """Let an instance, as XenAPI has it, show the disks that an active guest gets at its next start only."""
    if instance.power_state not in power_state.ACTIVE or instance.disks is None:
        return
    unplugged = {
        device_name(vbd["userdevice"]) for vbd in vbds if vbd["type"] == "Disk" and not vbd["currently_attached"]
    }
    has = [disk for disk in instance.disks if disk.kind != DISK or disk.device not in unplugged]
    if len(has) != len(instance.disks):
        instance.pending["disks"] = (has, instance.disks)


def waiting_seed(record: Record | None) -> WaitingSeed | None:
    """The seed disk that waits."""
    value = None if record is None else record.deferred.get("cloud_init")
    if not isinstance(value, dict) or not isinstance(value.get("vdi"), str):
        return None
    return WaitingSeed(value["vdi"], value.get("was"))


def waiting_options(instance: Instance, record: Record) -> tuple[Instance, set[str]]:
    """What waits, as an instance with these options, and which these are; the seed is left out."""
    waiting, options = Instance(instance.name), set()
    for option in record.deferred:
        value = _parse(option, record.deferred[option])
        if value is not None and option != "cloud_init":
            setattr(waiting, option, value)
            options.add(option)
    return waiting, options


def defer(deferred: Deferred, actual: Instance, desired: Instance, options: Collection[str]) -> Deferred:
    """What waits when ``options`` of ``desired`` do too. What comes to what the guest has waits no longer.

    Args:
        actual: The instance as XenAPI has it.
    """
    whole = dict(deferred)
    for option in OPTIONS.intersection(options) - {"cloud_init"}:
        value = _without_blanks(getattr(desired, option))
        if option == "hypervisor":
            wanted = {**_of_mapping(whole.get(option)), **_add_up(whole.get(option), value)}
            kept = {key: item for key, item in wanted.items() if not _is_there(actual.hypervisor, key, item)}
            whole[option] = kept
        elif value != present(actual, option):
            whole[option] = _plain(value)
        else:
            whole.pop(option, None)
    return {option: value for option, value in whole.items() if value not in (None, {})}


def present(actual: Instance, option: str) -> Any:
    """What the guest has of an option."""
    return actual.pending[option][0] if option in actual.pending else getattr(actual, option)


def _differences(instance: Instance, record: Record) -> list[tuple[str, Any, Any]]:
    found: list[tuple[str, Any, Any]] = []
    for option, kept in record.deferred.items():
        value = _parse(option, kept)
        if value is None:
            continue
        if option == "cloud_init":
            found.append((option, value.was, record.cloud_init_fingerprint))
        elif option == "hypervisor":
            has = instance.hypervisor
            whole = {key: merged(has.get(key, {}), item) if key in MAPPINGS else item for key, item in value.items()}
            found.append((option, has, {**has, **whole}))
        else:
            found.append((option, present(instance, option), value))
    return found


def _differing(actual: Mapping[str, Any], configured: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    keys = sorted(key for key in configured if configured[key] != actual.get(key))
    return {key: actual.get(key) for key in keys}, {key: configured[key] for key in keys}


def _parse(option: str, value: Any) -> Any:
    """The value as the model has it; None for what cannot be one, since others may write into our record."""
    try:
        if option in _COUNTS:
            return value if isinstance(value, int) else None
        if option in _GROUPS:
            return _GROUPS[option](**value)
        if option == "nics":
            return [Nic(**nic) for nic in value]
        if option == "hypervisor":
            return {key: item for key, item in value.items() if key not in MAPPINGS or isinstance(item, dict)} or None
        if option == "cloud_init":
            return WaitingSeed(value["vdi"], value.get("was"))
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
    return None


def _without_blanks(value: Any) -> Any:
    """An empty text inside a group takes away what is there, so that there is nothing to be read back."""
    if not isinstance(value, (Boot, Cpu)):
        return value
    group: Any = value
    return replace(group, **{name: None for name, item in vars(value).items() if item == ""})


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, (Boot, Cpu, Nic)):
        return {name: item for name, item in vars(value).items() if item is not None}
    return value


def _of_mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}


def _add_up(old: Any, new: Mapping[str, Any]) -> dict[str, Any]:
    """Options that are dictionaries say of some keys what they become: newer words add to older ones."""
    before = _of_mapping(old)
    return {
        key: {**_of_mapping(before.get(key)), **_of_mapping(value)} if key in MAPPINGS else value
        for key, value in new.items()
        if key != "template"
    }


def _is_there(extras: Mapping[str, Any], key: str, wanted: Any) -> bool:
    now = extras.get(key)
    return merged(now or {}, wanted) == (now or {}) if key in MAPPINGS else wanted == (now or "")
