# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory of hosts: who has how much, and where a VM finds room."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lab.xenapi import vm_devices
from lab.xenapi.database import Database, Ref
from lab.xenapi.datamodel import NULL
from lab.xenapi.failures import Failure
from lab.xenapi.settings import MIB


def memory_overhead(static_max: int, vcpus: int) -> int:
    """What the hypervisor takes beside the memory that the guest sees."""
    return (1 + max(vcpus, 0) + -(-static_max // (128 * MIB))) * MIB


def free_memory(db: Database, host: Ref) -> int:
    """Bytes that are free when every guest is squeezed to its minimum."""
    return _usable(db, host) - sum(_least(record) for _vm, record in _occupants(db, host))


def assert_can_boot(db: Database, vm: Ref, host: Ref, *, disks: bool = True) -> None:
    """Raise what keeps the VM from running on this host, its disks left out of account where they come along.

    The caller holds the database's lock.
    """
    record = db.view("VM", vm)
    assert_host_takes(db, host, record["VCPUs_max"])
    if disks:
        vm_devices.check_devices(db, vm, host)
    _assert_networks(db, vm, host)
    assert_room(db, host, record)


def assert_host_takes(db: Database, host: Ref, vcpus: int) -> None:
    """Raise what keeps the host from taking any VM with so many processors."""
    if not db.get("host", host, "enabled"):
        raise Failure("HOST_DISABLED", host)
    if not db.get("host_metrics", db.get("host", host, "metrics"), "live"):
        raise Failure("HOST_OFFLINE", host)
    cpus = len(db.get("host", host, "host_CPUs"))
    if vcpus > cpus:
        raise Failure("HOST_NOT_ENOUGH_PCPUS", str(vcpus), str(cpus))


def assert_upgraded(db: Database, host: Ref) -> None:
    """Raise NOT_SUPPORTED_DURING_UPGRADE for a host on which nothing is started, since others are newer."""
    if platform(db, host) < max(platform(db, one) for one in db.refs("host")):
        raise Failure("NOT_SUPPORTED_DURING_UPGRADE")


def platform(db: Database, host: Ref) -> tuple[int, ...]:
    """The version of a host's platform."""
    version = db.get("host", host, "software_version").get("platform_version", "0")
    return tuple(int(part) for part in version.split("."))


def assert_room(db: Database, host: Ref, record: Mapping[str, Any]) -> None:
    """Raise HOST_NOT_ENOUGH_FREE_MEMORY where a VM of this record, perhaps of another pool, has no room."""
    free = free_memory(db, host)
    is_there = host in (record["resident_on"], record["scheduled_to_be_resident_on"])
    if not is_there and _least(record) > free:
        raise Failure("HOST_NOT_ENOUGH_FREE_MEMORY", str(_least(record)), str(max(free, 0)))


def possible_hosts(db: Database, vm: Ref) -> list[Ref]:
    """The hosts that could run the VM now, the one it prefers first, then those with most memory free."""
    with db.lock:
        found = [host for host in db.refs("host") if _can_boot(db, vm, host)]
        affinity = db.get("VM", vm, "affinity")
        return sorted(found, key=lambda host: (host != affinity, -free_memory(db, host)))


def choose_host(db: Database, vm: Ref) -> Ref:
    """Where the VM is to run; NO_HOSTS_AVAILABLE where nowhere."""
    hosts = possible_hosts(db, vm)
    if not hosts:
        raise Failure("NO_HOSTS_AVAILABLE")
    return hosts[0]


def reserve(db: Database, vm: Ref, host: Ref) -> None:
    """Keep room on the host for a VM that is about to run there."""
    db.set("VM", vm, scheduled_to_be_resident_on=host)
    rebalance(db, host)


def release(db: Database, vm: Ref) -> None:
    """Give up what `reserve` kept, if it still does."""
    with db.lock:
        if not db.exists("VM", vm):
            return
        host = db.get("VM", vm, "scheduled_to_be_resident_on")
        if host != NULL:
            db.set("VM", vm, scheduled_to_be_resident_on=NULL)
            rebalance(db, host)


def rebalance(db: Database, host: Ref) -> None:
    """Give each guest of the host its maximum, or, where that is too much, all the same part of their ranges."""
    occupants = [(vm, record) for vm, record in _occupants(db, host) if not record["is_control_domain"]]
    spare = free_memory(db, host)
    wanted = sum(record["memory_dynamic_max"] - record["memory_dynamic_min"] for _vm, record in occupants)
    part = 1.0 if wanted <= spare else max(spare, 0) / wanted
    given = 0
    for vm, record in occupants:
        least = record["memory_dynamic_min"]
        more = int((record["memory_dynamic_max"] - least) * part) // MIB * MIB if part < 1.0 else None
        target = record["memory_dynamic_max"] if more is None else least + more
        given += target - least
        if record["resident_on"] == host:
            _set_memory(db, vm, target)
    db.set("host_metrics", db.get("host", host, "metrics"), memory_free=max(spare - given, 0))


def _set_memory(db: Database, vm: Ref, target: int) -> None:
    db.set("VM", vm, memory_target=target)
    db.set("VM_metrics", db.get("VM", vm, "metrics"), memory_actual=target)


def _usable(db: Database, host: Ref) -> int:
    total = db.get("host_metrics", db.get("host", host, "metrics"), "memory_total")
    return int(total - db.get("host", host, "memory_overhead"))


def _occupants(db: Database, host: Ref) -> Iterator[tuple[Ref, Mapping[str, Any]]]:
    """The VMs that run on the host or are about to."""
    for vm in db.refs("VM"):
        record = db.view("VM", vm)
        if host in (record["resident_on"], record["scheduled_to_be_resident_on"]):
            yield vm, record


def _least(record: Mapping[str, Any]) -> int:
    return int(record["memory_dynamic_min"] + record["memory_overhead"])


def _can_boot(db: Database, vm: Ref, host: Ref) -> bool:
    try:
        assert_can_boot(db, vm, host)
    except Failure:
        return False
    return True


def _assert_networks(db: Database, vm: Ref, host: Ref) -> None:
    """A network that has interfaces of hosts is there only on these hosts; one without is made where it is needed."""
    for vif in db.get("VM", vm, "VIFs"):
        network = db.get("VIF", vif, "network")
        pifs = db.get("network", network, "PIFs")
        if pifs and not any(db.get("PIF", pif, "host") == host for pif in pifs):
            raise Failure("VM_REQUIRES_NETWORK", vm, network)
