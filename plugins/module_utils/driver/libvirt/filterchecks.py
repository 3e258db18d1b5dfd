# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the filters are as declared, and making them so."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ...model.secgroup import STALE_MEMBERS, Drift, HostPolicy
from ..members import members_of
from .domain import Domain
from .domain_filters import ENGINES, NWFILTER, PACKET_ENGINES, filters_of
from .errors import NO_DOMAIN, code_of
from .groupreading import FilteredDomain, merged
from .secgroups import SecurityGroupsMixin

if TYPE_CHECKING:
    from .firewall.engine import Engine

_ROUNDS = 5


class FilterChecksMixin(SecurityGroupsMixin):
    """Everything declared beside everything that is there."""

    def stale_group_members(self) -> list[str]:
        self.require("group_references")
        now = merged(self.local_members(), *self.declarations.remote().values())
        return sorted(
            {
                group
                for known in self.declarations.known_members()
                for group, addresses in known.items()
                if addresses != now.get(group, frozenset())
            }
        )

    def instance_filter_exists(self, name: str) -> bool:
        self.require("firewall")
        handle = self.lookup(name)
        self.forget(name)  # others may have changed it since it was read
        document = self.filtered_document(name, handle)
        if document is None or document.record.filtering.engine is None:
            return False
        groups = document.record.filtering.security_groups or ()
        return not any(
            drift.instance == name or (drift.instance is None and _matters(drift, groups))
            for drift in self.verify_filters([name])
        )

    def verify_filters(self, names: Collection[str] | None = None) -> list[Drift]:
        self.require("firewall")
        found = self._differences()
        if found:  # while somebody changes it, what is there is not what was declared a moment ago
            still = self._differences()
            found = [drift for drift in found if drift in still]
        return [drift for drift in found if names is None or drift.instance is None or drift.instance in names]

    def _differences(self) -> list[Drift]:
        domains = self.filtered_domains()
        found = [drift for domain in domains for drift in _untied(domain)]
        for name in self._engines_of(domains):
            known = {(drift.instance, drift.subject) for drift in found}
            drifts = self.engine(name).drift(self._whole_policy(name, domains))
            found += [drift for drift in drifts if (drift.instance, drift.subject) not in known]
            if name in PACKET_ENGINES:
                found += self._out_of_sight([domain for domain in domains if domain.record.engine == name])
        return found

    def _out_of_sight(self, domains: Sequence[FilteredDomain]) -> list[Drift]:
        """Where filters of running guests are as declared, but in a network namespace that is not libvirt's."""
        from .firewall.bridgecalls import devices_in_sight

        ports = {(domain.config.name, mac, device) for domain in domains for mac, device in domain.devices.items()}
        present = devices_in_sight(self.runner()) if ports else set()
        missing = {port for port in ports if port[2] not in present}
        if missing:  # a guest may have stopped meanwhile
            names = {domain.config.name for domain in self.filtered_domains() if domain.active}
            missing = {port for port in missing if port[0] in names}
        problem = "is not in the network namespace of this module, and not filtered: run the module in that of libvirt"
        return [Drift(name, f"port {mac}", f"its device {device} {problem}") for name, mac, device in sorted(missing)]

    def restore_filters(self) -> None:
        self.require("firewall")
        domains = self.filtered_domains()
        for name in self._engines_of(domains):
            engine = self.engine(name)
            if name in PACKET_ENGINES and any(domain.record.engine == name for domain in domains):
                self.declarations.mark_engine(name)
            self._load_all(engine, domains)
        self._tie_all()
        with self.other_driver() as other:
            if isinstance(other, FilterChecksMixin):
                other._tie_all()
        for name in self.declarations.engines_in_use():
            self.unmark_unused(name)
        self.refresh_security_group_members()

    def _load_all(self, engine: Engine, domains: Sequence[FilteredDomain]) -> None:
        """Load everything, and once more if it is something else by then: what was not among the instances when these
        were read loses its filters, though somebody may just have made them."""
        policy = self._whole_policy(engine.name, domains)
        for _round in range(_ROUNDS):
            engine.load(policy)
            before, policy = policy, self._whole_policy(engine.name, self.filtered_domains())
            if policy == before:
                return

    def _engines_of(self, domains: Sequence[FilteredDomain]) -> list[str]:
        """The engines that have something to do here, or had."""
        used = {domain.record.engine for domain in domains} | self.declarations.engines_in_use() | {NWFILTER}
        return [name for name in ENGINES if name in used]

    def _whole_policy(self, name: str, domains: Sequence[FilteredDomain]) -> HostPolicy:
        """All that one engine has to do on this host."""
        ports = self.ports_of_all([domain for domain in domains if domain.record.engine == name])
        local = members_of(self.ports_of_all([domain for domain in domains if domain.active]))
        members = merged(local, *self.declarations.remote().values())
        return HostPolicy(tuple(ports), self.declarations.groups(), self.declarations.provider(), members)

    def _tie_all(self) -> None:
        """Tie the interfaces of this driver's domains to their filters again, where somebody has untied them."""
        with self.guard("list the instances"):
            handles = self.conn.listAllDomains(0)
        for handle in handles:
            self.forget(handle.name())
            config = self.filtered_document(handle.name(), handle)
            if config is None:
                continue
            try:
                self.tie_again(handle)
            except self.libvirt.libvirtError as error:
                if code_of(error) != NO_DOMAIN:  # otherwise it went meanwhile
                    with self.guard(f"tie instance {handle.name()!r} to its filters"):
                        raise


def _matters(drift: Drift, groups: Collection[str]) -> bool:
    kind, _space, name = drift.subject.partition(" ")
    if drift.problem == STALE_MEMBERS or kind == "port":
        return False
    return kind != "group" or name in groups


def _untied(domain: FilteredDomain) -> list[Drift]:
    """Interfaces that do not refer to their filters: somebody has changed the domain."""
    wired = Domain.parse(domain.config.text())
    wired.wire()
    wanted = filters_of(wired.root)
    if domain.record.engine != NWFILTER:
        return []
    configured, running = filters_of(domain.config.root), domain.filters
    missing = {mac for mac in wanted if configured.get(mac) != wanted[mac]}
    if domain.active:
        missing |= {mac for mac in wanted if mac in domain.devices and running.get(mac) != wanted[mac]}
    return [Drift(domain.config.name, f"port {mac}", "not tied to its filter") for mac in sorted(missing)]
