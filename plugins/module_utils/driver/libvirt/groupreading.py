# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is in which security group, as the domains' records and the networks' leases tell."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from ...errors import HypervisorUnavailable
from ...model.instance import Address, Instance, Nic
from ...model.secgroup import Port, project_group
from ..members import LEASE, members_of, ports_of
from ..uri import ConnectionOptions
from .addresses import AddressesMixin
from .domain import Domain
from .domain_filters import PACKET_ENGINES, device_name, devices_of, filters_of, mac_of
from .domain_nics import nic_elements
from .errors import NO_DOMAIN, code_of
from .filterrecord import FilterRecord
from .metadata import NAMESPACE

if TYPE_CHECKING:
    import libvirt

    from .firewall.store import Declarations

_READERS = 4
_MARKS = (NAMESPACE, "filtering")
"""What stands in the XML of each domain whose record is about filters: most need not be parsed."""
_OTHER_KIND = {"qemu": "lxc", "lxc": "qemu"}
_NO_SUCH_DRIVER = ("no connection driver available", "built without", "no such file or directory")
"""How libvirt says that a host has no driver of that kind: one daemon for all does not know it, one of its own has no
socket."""


class FilteredDomain(NamedTuple):
    """A domain that is in groups or a project, or that a firewall looks after.

    Attributes:
        config: Its configuration.
        devices: The host's names for the interfaces of a running one, by their MAC addresses.
        filters: The nwfilters that the interfaces of a running one refer to, likewise.
        leaving: Interfaces that a running one has until its next start.
    """

    config: Domain
    active: bool
    devices: Mapping[str, str]
    filters: Mapping[str, str]
    leaving: Sequence[Nic] = ()

    @property
    def record(self) -> FilterRecord:
        """How it is to be filtered."""
        return self.config.record.filtering


class Look:
    """What was read in one look, for as long as that lasts."""

    def __init__(self) -> None:
        self.domains: dict[bool, list[FilteredDomain]] = {}
        self.leases: Mapping[str, Sequence[Address]] | None = None
        self.declarations: Declarations | None = None


class GroupReadingMixin(AddressesMixin):
    """Reading what there is to filter."""

    def __init__(self, options: ConnectionOptions) -> None:
        super().__init__(options)
        self.group_look: Look | None = None

    @contextlib.contextmanager
    def one_look(self) -> Iterator[None]:
        self.group_look = Look()
        try:
            yield
        finally:
            self.group_look = None

    def filtered_document(self, name: str, handle: libvirt.virDomain | None = None) -> Domain | None:
        """An instance's configuration if it is in groups or a project; costs nothing where it was read already."""
        document = self.documents.get(name)
        if document is None and self.supports("firewall"):
            handle = self.lookup(name) if handle is None else handle
            with self.guard(f"read the configuration of instance {name!r}", name):
                document = _parse_filtered(handle.XMLDesc(self.libvirt.VIR_DOMAIN_XML_INACTIVE))
        return document if document is not None and document.record.filtering.is_known_to_groups else None

    def filtered_domains(self, active_only: bool = False) -> list[FilteredDomain]:
        """All of this host, those that libvirt's other driver on it runs included: they share the filters. One call
        for each instance, and one more for each of those that run behind a firewall."""
        known = {} if self.group_look is None else self.group_look.domains
        for every in (False, active_only):
            if every in known:
                return [domain for domain in known[every] if domain.active or not active_only]
        known[active_only] = found = self._filtered_here(active_only)
        with self.other_driver() as other:
            if other is not None:
                found += other._filtered_here(active_only)
        return found

    def get_group_members(self) -> dict[str, tuple[str, ...]]:
        members = self.local_members()
        return {group: tuple(sorted(addresses)) for group, addresses in sorted(members.items())}

    def local_members(self) -> dict[str, frozenset[str]]:
        """The addresses of each group's active members on this host."""
        return members_of(self.ports_of_all(self.filtered_domains(active_only=True)))

    def ports_of_all(self, domains: Iterable[FilteredDomain]) -> list[Port]:
        """The ports of these domains, with what the host itself leased to them."""
        domains = list(domains)
        instances = [_with_leaving(domain.config, domain.leaving) for domain in domains]
        leases = self._leases_for(instances)
        return [
            port
            for domain, instance in zip(domains, instances)
            for port in _ports(instance, domain.config, domain.devices, leases)
        ]

    def ports_of_domain(self, config: Domain, devices: Mapping[str, str], leaving: Sequence[Nic] = ()) -> list[Port]:
        """The ports of one domain; ``devices`` and ``leaving`` as in ``FilteredDomain``."""
        instance = _with_leaving(config, leaving)
        return _ports(instance, config, devices, self._leases_for([instance]))

    def _leases_for(self, instances: Iterable[Instance]) -> Mapping[str, Sequence[Address]]:
        """All leases, by the MAC addresses; none where nobody's addresses depend on them."""
        if any(nic.mac and not nic.addresses for instance in instances for nic in instance.nics or ()):
            return self._leases_of_now()
        return {}

    def _leases_of_now(self) -> Mapping[str, Sequence[Address]]:
        if self.group_look is None:
            return self._leases()
        if self.group_look.leases is None:
            self.group_look.leases = self._leases()
        return self.group_look.leases

    def _filtered_here(self, active_only: bool) -> list[FilteredDomain]:
        if not self.supports("firewall"):
            return []
        flags = self.libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE if active_only else 0
        with self.guard("list the instances"):
            handles = self.conn.listAllDomains(flags)
        from concurrent.futures import ThreadPoolExecutor  # takes long to import, and most runs do without

        with ThreadPoolExecutor(_READERS) as readers:
            return [found for found in readers.map(self._read_filtered, handles) if found is not None]

    def _read_filtered(self, handle: libvirt.virDomain) -> FilteredDomain | None:
        try:
            config = _parse_filtered(handle.XMLDesc(self.libvirt.VIR_DOMAIN_XML_INACTIVE))
            if config is None or not config.record.filtering.is_known_to_groups:
                return None
            active = handle.ID() != -1
            devices, filters, leaving = {}, {}, []
            if active and config.record.filtering.engine is not None:
                running = Domain.parse(handle.XMLDesc(0))
                devices, filters = devices_of(running.root), filters_of(running.root)
                leaving = leaving_nics(running, config)
        except self.libvirt.libvirtError as error:
            if code_of(error) == NO_DOMAIN:
                return None  # it went meanwhile
            with self.guard("read the configuration of an instance"):
                raise
        return FilteredDomain(config, active, devices, filters, leaving)

    @contextlib.contextmanager
    def other_driver(self) -> Iterator[GroupReadingMixin | None]:
        """The same host through libvirt's other driver that shares the filters; None where it has no such driver.

        Raises:
            HypervisorUnavailable, PermissionDenied: it has one, perhaps, with instances that nobody can see now: what
                is theirs would be taken for left behind.
        """
        uri = self._other_uri()
        other = None if uri is None else type(self)(replace(self.options, uri=uri))
        if other is not None:
            try:
                other.open()
            except HypervisorUnavailable as error:
                if not any(sign in str(error).lower() for sign in _NO_SUCH_DRIVER):
                    raise
                other = None
        try:
            yield other
        finally:
            if other is not None:
                other.close()

    def _other_uri(self) -> str | None:
        scheme, separator, rest = self.options.uri.partition("://")
        place, question_mark, query = rest.partition("?")
        host, _slash, path = place.partition("/")
        if path not in ("", "system") or self.kind not in _OTHER_KIND:
            return None  # a user's own daemon has no filters
        other = scheme.replace(self.kind, _OTHER_KIND[self.kind], 1)
        return f"{other}{separator}{host}/system{question_mark}{query}"


def groups_known_to(record: FilterRecord) -> frozenset[str]:
    """The groups that others know an instance by, its project's among them."""
    project = () if record.project is None else (project_group(record.project),)
    return frozenset((*(record.security_groups or ()), *project))


def _parse_filtered(text: str) -> Domain | None:
    return Domain.parse(text) if all(mark in text for mark in _MARKS) else None


def leaving_nics(running: Domain, config: Domain) -> list[Nic]:
    """The interfaces that a guest has until its next start, with the addresses that they were started with."""
    stay = set(_macs_of(config.to_instance()))
    if stay.issuperset(filter(None, map(mac_of, nic_elements(running.root)))):
        return []
    nics = running.to_instance().nics or ()
    return [nic for nic in nics if nic.mac and nic.mac not in stay and (nic.network or nic.bridge)]


def _with_leaving(config: Domain, leaving: Sequence[Nic]) -> Instance:
    instance = config.to_instance()
    instance.nics = [*(instance.nics or ()), *leaving]
    return instance


def _macs_of(instance: Instance) -> list[str]:
    return [nic.mac for nic in instance.nics or () if nic.mac]


def _ports(
    instance: Instance, config: Domain, devices: Mapping[str, str], leases: Mapping[str, Sequence[Address]]
) -> list[Port]:
    planned = {}
    if config.record.filtering.engine in PACKET_ENGINES:
        planned = {mac: device_name(mac) for mac in _macs_of(instance)}
        planned.update(devices_of(config.root))
    known = [address for mac in _macs_of(instance) for address in leases.get(mac, ())]
    carried = config.record.filtering.carried.items()
    known += [Address(mac, address, None, LEASE) for mac, addresses in carried for address in addresses]
    return ports_of(instance, known, {**planned, **devices})


def merged(*parts: Mapping[str, Collection[str]]) -> dict[str, frozenset[str]]:
    """Members of groups, from several hosts."""
    whole: dict[str, set[str]] = defaultdict(set)
    for part in parts:
        for group, addresses in part.items():
            whole[group] |= set(addresses)
    return {group: frozenset(addresses) for group, addresses in whole.items()}
