# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that only this driver knows, as ``Instance.hypervisor`` has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import Problem
from ...model.instance import Instance
from .metadata import CLONE_TAG, KEY, foreign_keys
from .travels import TRAVEL

HVM, PV, PVH = "hvm", "pv", "pvh"
DOMAIN_TYPES = (HVM, PV, PVH)

AUTOSTART = "auto_poweron"
"""The key of a VM's and of the pool's other_config that lets VMs start with their host."""
CORES = "cores-per-socket"
"""The key of platform that arranges a guest's virtual processors, as the option cpu says."""
GUEST_DATA = "vm-data/"
"""How the keys of xenstore_data begin that reach the guest."""
HOSTNAME = f"{GUEST_DATA}hostname"
NETWORKING = f"{GUEST_DATA}networking/"
"""How the keys begin under which a guest finds its network interfaces."""

MAPPINGS: Mapping[str, str] = {
    "platform": "platform",
    "vcpus_params": "VCPUs_params",
    "xenstore_data": "xenstore_data",
    "other_config": "other_config",
}
"""Options that are dictionaries, each with the VM's field that it goes into."""

_TEXTS = ("template", "domain_type", "affinity", "bootloader")
_OPTIONS = (*_TEXTS, *MAPPINGS)


def wanted_domain_type(instance: Instance, template: Instance | None = None) -> str:
    """How the guest is virtualized: as asked, or as its way to boot needs, or as its template is."""
    asked = instance.hypervisor.get("domain_type")
    if asked:
        return str(asked)
    has_kernel = instance.boot is not None and bool(instance.boot.kernel)
    if has_kernel or instance.hypervisor.get("bootloader"):
        return PV
    return HVM if template is None else str(template.hypervisor["domain_type"])


def domain_type(vm: Mapping[str, Any]) -> str:
    """How a VM that is there is virtualized; those of old versions have no word for it."""
    kind = str(vm["domain_type"])
    if kind == "unspecified":
        return HVM if vm["HVM_boot_policy"] else PV
    return PV if kind == "pv_in_pvh" else kind  # a PV guest in a container of its own, which is the host's affair


def read_extras(vm: Mapping[str, Any], hosts: Mapping[str, str]) -> dict[str, Any]:
    """What a VM has of them.

    Args:
        hosts: The hosts' names by their references.
    """
    extras: dict[str, Any] = {"domain_type": domain_type(vm)}
    for option, field in MAPPINGS.items():
        values = {key: value for key, value in foreign_keys(vm[field]).items() if _setter(option, key) is None}
        if values:
            extras[option] = values
    for option, value in (("affinity", hosts.get(vm["affinity"])), ("bootloader", vm["PV_bootloader"])):
        if value:
            extras[option] = value
    return extras


def merged(old: Mapping[str, str], wanted: Mapping[str, Any] | None) -> dict[str, str]:
    """A VM's map with what an option asks for: what it does not mention stays, and None takes a key away."""
    whole = dict(old)
    for key, value in (wanted or {}).items():
        if value is None:
            whole.pop(str(key), None)
        else:
            whole[str(key)] = as_text(value)
    return whole


def differing(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> set[str]:
    """The options whose ``wanted`` value is not there. A template is for the beginning only."""
    found = set()
    for option, value in wanted.items():
        now = current.get(option)
        if option in MAPPINGS:
            if merged(now or {}, value) != dict(now or {}):
                found.add(option)
        elif option != "template" and value != (now or ""):
            found.add(option)
    return found


def as_text(value: Any) -> str:
    """A value as XenAPI's maps have it; YAML makes truths and numbers of some words."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def text_problems(where: str, value: Any) -> Iterator[Problem]:
    """What is wrong with a text that may have several lines."""
    if isinstance(value, str) and "\r" in value:
        yield Problem(where, "has carriage returns, which XenAPI does not keep; end its lines with newlines alone")


def extras_problems(instance: Instance) -> Iterator[Problem]:
    """What is wrong with them."""
    extras = instance.hypervisor
    for option, value in extras.items():
        where = f"hypervisor.{option}"
        if option not in _OPTIONS:
            yield Problem(where, f"there is no such option; there are {', '.join(_OPTIONS)}")
        elif option in MAPPINGS:
            yield from _mapping_problems(where, option, value)
        elif not isinstance(value, str):
            yield Problem(where, f"has to be a text, not {value!r}")
    kind = extras.get("domain_type")
    if kind is not None and kind not in DOMAIN_TYPES:
        yield Problem("hypervisor.domain_type", f"{kind!r} is not one of {', '.join(DOMAIN_TYPES)}")
    if extras.get("template") == "":
        yield Problem("hypervisor.template", "must not be empty")
    if extras.get("template") is not None and instance.image is not None:
        yield Problem("hypervisor.template", "brings a root disk of its own, so it makes no sense beside image")


def _mapping_problems(where: str, option: str, value: Any) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        yield Problem(where, f"has to be a dictionary, not {value!r}")
        return
    for key, item in value.items():
        name = str(key)
        if isinstance(item, (Mapping, list)):
            yield Problem(f"{where}.{name}", "has to be a text")
        yield from text_problems(f"{where}.{name}", item)
        if option == "xenstore_data" and not name.startswith(GUEST_DATA):
            yield Problem(f"{where}.{name}", f"does not reach the guest: its keys begin with {GUEST_DATA}")
        if option == "other_config" and (name in (KEY, TRAVEL) or name.startswith(CLONE_TAG)):
            yield Problem(f"{where}.{name}", "is a key of this collection's own")
        setter = _setter(option, name)
        if setter is not None:
            yield Problem(f"{where}.{name}", f"is what the option {setter} sets")


def _setter(option: str, key: str) -> str | None:
    """The option for all hypervisors that sets this key of one of our options."""
    if option == "xenstore_data" and key.startswith(NETWORKING):
        return "networks"
    return {("other_config", AUTOSTART): "autostart", ("platform", CORES): "cpu"}.get((option, key))
