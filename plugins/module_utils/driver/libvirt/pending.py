# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a domain's configuration the running guest does not have yet."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

from ...model.instance import Cpu, Disk, Instance
from ...model.secgroup import NO_FIREWALL
from .domain import Domain
from .domain_filters import NWFILTER, filters_of, mac_of
from .domain_nics import nic_elements
from .domain_system import CUSTOM, DEFAULT
from .element import text_of

_MEMORY_TOLERANCE_MB = 1
"""Xen keeps a little of a guest's memory for itself."""


def pending_options(running: Domain, config: Domain) -> dict[str, tuple[Any, Any]]:
    """Fields of ``Instance`` that differ: what the guest has, and what it is configured to have."""
    # The metadata of a running domain is that of its start.
    running.record = config.record
    now, then = running.to_instance(), config.to_instance()
    pending: dict[str, tuple[Any, Any]] = {}
    for name in ("memory_mb", "max_memory_mb"):
        has, gets = getattr(now, name), getattr(then, name)
        if has is not None and gets is not None and abs(has - gets) > _MEMORY_TOLERANCE_MB:
            pending[name] = (has, gets)
    for name in ("vcpus", "max_vcpus", "nics", "boot", "console"):
        if getattr(now, name) != getattr(then, name):
            pending[name] = (getattr(now, name), getattr(then, name))
    if _sources(now) != _sources(then):
        pending["disks"] = (now.disks, then.disks)
    if _cpu_differs(running, config):
        pending["cpu"] = (now.cpu, then.cpu)
    if unfiltered_until_restart(running.root, config):
        pending["firewall"] = (NO_FIREWALL, config.record.filtering.firewall)
    extras = {key: value for key, value in now.hypervisor.items() if then.hypervisor.get(key) != value}
    if extras:
        pending["hypervisor"] = (extras, {key: then.hypervisor.get(key) for key in extras})
    return pending


def unfiltered_until_restart(running: Element, config: Domain) -> bool:
    """Whether a running domain's interfaces have no filters of nwfilter yet, and their configuration does."""
    present, wanted = filters_of(running), filters_of(config.root)
    here = {mac_of(interface) for interface in nic_elements(running)}
    return config.record.filtering.engine == NWFILTER and any(
        mac in here and present.get(mac) != name for mac, name in wanted.items()
    )


def _sources(instance: Instance) -> list[tuple[Any, ...]]:
    return [_source(disk) for disk in instance.disks or []]


def _source(disk: Disk) -> tuple[Any, ...]:
    return disk.device, disk.kind, disk.path, disk.bus, disk.read_only


def _cpu_differs(running: Domain, config: Domain) -> bool:
    """A running domain's processor is written out: mode host-model or none at all has become a custom one."""
    now, then = running.to_instance().cpu or Cpu(), config.to_instance().cpu or Cpu()
    if (now.sockets, now.cores, now.threads) != (then.sockets, then.cores, then.threads):
        return True
    runs_custom = now.mode in (CUSTOM, DEFAULT)
    if then.mode in (CUSTOM, DEFAULT):
        wanted = text_of(config.root, "cpu/model")
        return not runs_custom or (wanted is not None and text_of(running.root, "cpu/model") != wanted)
    if then.mode == "host-model":
        return not runs_custom and now.mode != then.mode
    return now.mode != then.mode
