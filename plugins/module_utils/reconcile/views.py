# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances as plain data, in the words of the modules' options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..model import power_state
from ..model.flavor import Flavor
from ..model.instance import SEED, Address, Disk, Instance
from ..model.resize import ResizeRecord

_NOT_SHOWN = frozenset(
    {"cloud_init", "cloud_init_fingerprint", "hypervisor", "nics", "power_state", "pending", "pool_path", "unfinished"}
)
"""Shown in another form, or, as ``pool_path``, asked for and never read back."""
_WORD_OF = {"nics": "networks"}

HIDDEN = "given data"
"""Stands for a document."""


def instance_as_dict(instance: Instance, extras_option: str) -> dict[str, Any]:
    """An instance in the words of the module's options; what is not known is left out, and so are secrets."""
    shown: dict[str, Any] = {"name": instance.name, "power_state": power_state.name(instance.power_state)}
    for field, value in vars(instance).items():
        if value is not None and field not in _NOT_SHOWN:
            shown[field] = plain(value)
    if instance.nics is not None:
        shown["networks"] = plain(instance.nics)
    if instance.cloud_init_fingerprint is not None:
        shown["cloud_init"] = "present"
    extras = {key: plain(value) for key, value in instance.hypervisor.items() if not is_document(value)}
    if extras:
        shown[extras_option] = extras
    if instance.unfinished:
        shown["unfinished"] = True
    return shown


def pending_as_dict(instance: Instance, extras_option: str) -> dict[str, Any]:
    """What waits for a restart: option -> running and configured value."""
    pending = {}
    for field, values in instance.pending.items():
        option = extras_option if field == "hypervisor" else _WORD_OF.get(field, field)
        running, configured = ("other data", "the given data") if field == "cloud_init" else values
        if field == "hypervisor":
            running, configured = (_without_documents(extras) for extras in values)
        pending[option] = {"running": plain(running), "configured": plain(configured)}
    return pending


def address_as_dict(address: Address) -> dict[str, Any]:
    """An address, without what changes by itself and what is not known."""
    shown = {"mac": address.mac, "address": address.address, "prefix": address.prefix, "source": address.source}
    return {key: value for key, value in shown.items() if value is not None}


def _without_documents(extras: Mapping[str, Any]) -> dict[str, Any]:
    return {key: HIDDEN if is_document(value) else value for key, value in extras.items()}


def is_document(value: Any) -> bool:
    """Whether this is data for a configuration, to be merged: nothing for a result, since it may hold passwords."""
    return isinstance(value, (list, Mapping)) or (isinstance(value, str) and "<" in value)


def plain(value: Any) -> Any:
    """Plain data; of the model's objects only what is known."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Flavor):
        return value.as_dict()
    if isinstance(value, ResizeRecord):  # when it was done, and what is kept, is not known beforehand
        return {key: item for key, item in value.as_dict().items() if key not in ("started_s", "kept")}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    known = {key: plain(item) for key, item in vars(value).items() if item is not None}
    if isinstance(value, Disk) and value.owned:
        # Where a pool keeps a volume, and how large a seed becomes, is only known when they are made.
        known.pop("path", None)
        if value.role == SEED:
            known.pop("size_bytes", None)
    return known
