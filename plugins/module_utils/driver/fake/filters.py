# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters that a host has in place, beside those that it is to have.

``FIREWALL/applied`` is to this host what the kernel's tables are to a real one: packets are judged by it, and it can be
flushed. It follows each operation, in the same moment: filters are there before a guest's first packet, and gone with
the instance. Each operation puts in place what it is about and no more, so what somebody else has destroyed shows until
it is restored.

It holds ``ports`` by MAC address, ``groups`` by name, the operator's ``provider`` rules, and the addresses of the
``members`` of the groups that rules are about.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable

from ...model import power_state
from ...model.instance import Instance
from ...model.secgroup import STALE_MEMBERS, Drift, project_group
from ..members import LEASE, is_filtered, members_of, ports_of
from .firewallrecords import group_of, member_records, port_record
from .guest import Look
from .leases import leases_of
from .records import to_instance
from .store import FIREWALL, GROUPS, INSTANCES, Changes, Record, View

APPLIED = "applied"
PROVIDER = "provider"
REMOTE = "remote"

LookAt = Callable[[Record], tuple[Record, Look]]


def follow(changes: Changes, look_at: LookAt) -> None:
    """Put filters in place for what an operation has changed."""
    if not any(_concerns_filters(changes, kind, key) for kind, key in changes.made):
        return
    applied = applied_filters(changes)
    for kind, key in list(changes.made):
        if kind == INSTANCES:
            _follow_instance(changes, key, applied)
        elif kind == GROUPS:
            _put(applied["groups"], key, changes.get(GROUPS, key))
        elif (kind, key) == (FIREWALL, PROVIDER):
            applied["provider"] = provider_rules(changes)
    applied["members"] = wanted_members(changes, look_at)
    _store(changes, applied)


def refresh_members(changes: Changes, look_at: LookAt) -> None:
    """Give the rules about members the addresses of now."""
    _store(changes, {**applied_filters(changes), "members": wanted_members(changes, look_at)})


def restore(changes: Changes, look_at: LookAt) -> None:
    """Put all filters in place that are to be there, and no others."""
    _store(changes, wanted_filters(changes, look_at))


def flush(changes: Changes, instance: str | None = None) -> None:
    """Lose all filters, or those of one instance, as when somebody else empties the host's tables."""
    applied = applied_filters(changes)
    ports = {
        mac: port for mac, port in applied["ports"].items() if instance is not None and port["instance"] != instance
    }
    _store(changes, {**(_NONE if instance is None else applied), "ports": ports})


def drifts(view: View, look_at: LookAt) -> Iterator[Drift]:
    """Where the filters in place are not those that are to be there."""
    wanted, found = wanted_filters(view, look_at), applied_filters(view)
    for mac in sorted({*wanted["ports"], *found["ports"]}):
        problem = _difference(wanted["ports"].get(mac), found["ports"].get(mac), "differs")
        if problem:
            port = wanted["ports"].get(mac) or found["ports"][mac]
            yield Drift(port["instance"], f"port {mac}", problem)
    for name in sorted({*wanted["groups"], *found["groups"]}):
        problem = _difference(wanted["groups"].get(name), found["groups"].get(name), "rules differ")
        if problem:
            yield Drift(None, f"group {name}", problem)
    if wanted["provider"] != found["provider"]:
        yield Drift(None, "the operator's rules", "rules differ" if found["provider"] else "missing")
    for name in sorted({*wanted["members"], *found["members"]}):
        if wanted["members"].get(name) != found["members"].get(name):
            yield Drift(None, f"group {name}", STALE_MEMBERS)


def applied_filters(view: View) -> Record:
    """A copy of the filters in place, of which each part can be changed."""
    found = {**_NONE, **(view.get(FIREWALL, APPLIED) or {})}
    return {**found, "ports": dict(found["ports"]), "groups": dict(found["groups"])}


def wanted_filters(view: View, look_at: LookAt) -> Record:
    """The filters that are to be in place."""
    ports: Record = {}
    for record in view.all(INSTANCES).values():
        ports.update(wanted_ports(record))
    return {
        "ports": ports,
        "groups": view.all(GROUPS),
        "provider": provider_rules(view),
        "members": wanted_members(view, look_at),
    }


def wanted_ports(record: Record | None) -> dict[str, Record]:
    """The ports of an instance that is filtered, by MAC address: those that its guest has or, while it has none, is
    going to have. The addresses that it may use are felt by no guest, so those are the configured ones."""
    if record is None:
        return {}
    config = record["config"]
    if config.get("security_groups") is None:
        return {}
    instance = _with_present_nics(record, _ANY_LOOK)
    return {port.mac: port_record(port) for port in ports_of(instance)} if is_filtered(instance) else {}


def wanted_members(view: View, look_at: LookAt) -> dict[str, list[str]]:
    """The addresses of the members of all groups that rules here are about, on this host and on the others."""
    known = _groups_that_rules_name(view)
    if not known:
        return {}
    found = {name: set(addresses) for name, addresses in local_members(view, look_at).items() if name in known}
    for groups in remote_members(view).values():
        for name in known.intersection(groups):
            found.setdefault(name, set()).update(groups[name])
    return member_records(found)


def local_members(view: View, look_at: LookAt) -> dict[str, frozenset[str]]:
    """The addresses of the members of all groups on this host."""
    ports = []
    for record in view.all(INSTANCES).values():
        if _has_groups(record):
            now, seen = look_at(record)
            if seen.state in power_state.ACTIVE:
                ports += ports_of(_with_present_nics(now, seen), leases_of(now, seen, LEASE))
    return members_of(ports)


def provider_rules(view: View) -> list[Record]:
    """The operator's rules, as they were declared."""
    rules: list[Record] = (view.get(FIREWALL, PROVIDER) or {}).get("rules", [])
    return rules


def remote_members(view: View) -> dict[str, dict[str, list[str]]]:
    """What is known of other hosts: host -> group -> addresses."""
    hosts: dict[str, dict[str, list[str]]] = (view.get(FIREWALL, REMOTE) or {}).get("hosts", {})
    return hosts


def _with_present_nics(record: Record, seen: Look) -> Instance:
    """The instance with the NICs that its guest has, and the addresses that these may use by now."""
    config = record["config"]
    declared = {nic.get("mac"): nic.get("addresses") for nic in config.get("nics", [])}
    nics = [
        {**nic, "addresses": declared.get(nic.get("mac"), nic.get("addresses"))}
        for nic in (record["running"] or config).get("nics", [])
    ]
    return to_instance({**record, "config": {**config, "nics": nics}}, seen)


_NONE: Record = {"ports": {}, "groups": {}, "provider": [], "members": {}}

_ANY_LOOK = Look(power_state.NOSTATE, 0.0, False, None)


def _concerns_filters(changes: Changes, kind: str, key: str) -> bool:
    if kind == INSTANCES:
        return _has_groups(changes.before(INSTANCES, key)) or _has_groups(changes.get(INSTANCES, key))
    return kind in (GROUPS, FIREWALL)


def _has_groups(record: Record | None) -> bool:
    """Whether it is filtered or a member of a project."""
    return record is not None and ("security_groups" in record["config"] or "project" in record["config"])


def _follow_instance(changes: Changes, name: str, applied: Record) -> None:
    before, after = changes.before(INSTANCES, name), changes.get(INSTANCES, name)
    starts = after is not None and after["running"] is not None and (before is None or before["running"] is None)
    ports = wanted_ports(after)
    if ports == wanted_ports(before) and not starts:
        return
    for mac in [mac for mac, port in applied["ports"].items() if port["instance"] == name]:
        del applied["ports"][mac]
    applied["ports"].update(ports)
    for group in {group for port in ports.values() for group in port["groups"]}:
        _put(applied["groups"], group, changes.get(GROUPS, group))
    if ports:
        applied["provider"] = provider_rules(changes)


def _groups_that_rules_name(view: View) -> set[str]:
    known = {name for key, group in view.all(GROUPS).items() for name in group_of(key, group).refers_to}
    for record in view.all(INSTANCES).values():
        config = record["config"]
        if config.get("project") and config.get("allow_project_net_traffic"):
            known.add(project_group(config["project"]))
    return known


def _difference(wanted: Record | None, found: Record | None, otherwise: str) -> str | None:
    if wanted == found:
        return None
    if found is None:
        return "missing"
    return "left over" if wanted is None else otherwise


def _put(records: dict[str, Record], key: str, record: Record | None) -> None:
    records.pop(key, None)
    if record is not None:
        records[key] = record


def _store(changes: Changes, applied: Record) -> None:
    if any(applied.values()):
        changes.put(FIREWALL, APPLIED, applied)
    else:
        changes.delete(FIREWALL, APPLIED)
