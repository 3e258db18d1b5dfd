# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters of single instances: put in place, changed and taken away."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, tostring

from ...errors import InvalidInput, Problem, Unsupported
from ...model.instance import Nic
from ...model.secgroup import Port
from ...undo import Undo, UndoStack
from .domain import Domain
from .domain_filters import (
    NWFILTER,
    PACKET_ENGINES,
    devices_of,
    filter_binding,
    filter_name,
    filtering_problems,
    has_linux_bridge,
    mac_of,
    network_of,
    wire,
    wire_interface,
)
from .domain_nics import nic_elements
from .element import attribute_of
from .engines import EnginesMixin
from .errors import NO_NETWORK, NO_NWFILTER_BINDING, code_of
from .filterrecord import FILTER_OPTIONS
from .groupreading import groups_known_to, leaving_nics
from .xmltext import from_libvirt

if TYPE_CHECKING:
    import libvirt

    from .firewall.engine import Engine


class FilteringMixin(EnginesMixin):
    """What spawn, update, power operations and destroy do about an instance's filters; nothing where it has none."""

    def require_filterable(self, config: Domain) -> None:
        """Raise unless everything is there that the filters of a new configuration need. Changes nothing."""
        record = config.record.filtering
        if record.engine is None:
            return
        self.engine(record.engine)
        found = filtering_problems(config.root, record.engine, self._unbridged_networks(config))
        problems = [Problem(f"nics[{number}]", message) for number, message in found]
        if problems:
            raise InvalidInput(problems)
        rules = [rule for name in record.security_groups or () for rule in self.require_group(name).rules]
        refused = self.engine(record.engine).unsupported_rules(rules)
        if refused:
            raise Unsupported(f"the security groups of instance {config.name!r} need more: {'; '.join(refused)}")

    def _unbridged_networks(self, config: Domain) -> list[str]:
        """Those of its networks whose guests no filter sees."""
        names = {network_of(interface) for interface in nic_elements(config.root)}
        return [name for name in names if name is not None and not self._is_bridged(name)]

    def _is_bridged(self, network: str) -> bool:
        with self.guard(f"read the network {network!r}"):
            try:
                return has_linux_bridge(from_libvirt(self.conn.networkLookupByName(network).XMLDesc(0)))
            except self.libvirt.libvirtError as error:
                if code_of(error) != NO_NETWORK:
                    raise
                return True  # libvirt starts nothing on it

    def require_reachable(self, config: Domain) -> None:
        """Raise where an instance's filters could not be removed from here."""
        name = config.record.filtering.engine
        if name in PACKET_ENGINES and not self.is_on_this_host:
            self.engine(name)

    def put_filters(self, config: Domain, done: UndoStack) -> None:
        """Filter an instance that does not run (yet)."""
        name = config.record.filtering.engine
        if name is None:
            return
        ports = self.ports_of_domain(config, {})
        engine = self.engine(name)
        self.mark_engine(name, done)
        done.push("remove the filters", lambda: engine.drop_ports(ports))
        self.put_ports(name, ports)

    def ensure_filters(self, handle: libvirt.virDomain, known: Domain) -> Domain:
        """See to it before a start that the filters are there, and the instance tied to them: after a reboot of the
        host some are not, and somebody may have changed its configuration, or saved it before it was filtered.

        Args:
            known: The configuration as it was read; others may have changed it since.

        Returns:
            The configuration of now.
        """
        if known.record.filtering.engine is None:
            return known
        with self.guard(f"tie instance {known.name!r} to its filters", known.name):
            saved = self._saved_guest(handle)
            config = self._tie_configuration(handle, starts_anew=saved is None)
        name = config.record.filtering.engine
        if name is not None:
            devices = {} if saved is None else devices_of(saved.root)
            leaving = [] if saved is None else leaving_nics(saved, config)
            self.put_ports(name, self.ports_of_domain(config, devices, leaving))
        if saved is not None:
            with UndoStack() as done:
                self._tie_saved(handle, saved, config, done)
        return config

    def leaving_of(self, handle: libvirt.virDomain, config: Domain) -> list[Nic]:
        """The filtered interfaces that a guest has until its next start."""
        guest = None if config.record.filtering.engine is None else self._guest(handle, config.name)
        return [] if guest is None else leaving_nics(guest, config)

    def drop_filters(self, config: Domain, leaving: Sequence[Nic], done: UndoStack) -> None:
        """Filter an instance no more that does not run and is about to be removed.

        Args:
            leaving: What ``leaving_of`` said before it was stopped.
        """
        name = config.record.filtering.engine
        if name is None:
            return
        ports = self.ports_of_domain(config, {}, leaving)
        if self.engine_problem(name) is not None:
            return  # whoever can reach it removes what has no owner
        engine = self.engine(name)
        done.push("put the filters back", self._putting_back(engine, ports))
        engine.drop_ports(ports)
        self.unmark_unused(name, config.uuid)

    def refresh_members_of(self, config: Domain | None) -> None:
        """An instance has started, stopped, or is about to go: rules about its groups follow."""
        if config is not None:
            self.refresh_members(groups_known_to(config.record.filtering))

    # -- changing ---------------------------------------------------------------------------------------------------

    def change_filters(self, handle: libvirt.virDomain, old: Domain, new: Domain, done: UndoStack) -> None:
        """Before ``new`` becomes the configuration: filter all of its interfaces as it says, and those that run now."""
        before, after = old.record.filtering.engine, new.record.filtering.engine
        if before is None and after is None:
            return
        self.require_filterable(new)
        running, saved = self._running_guest(handle, new.name), None
        guest = running
        if running is None:
            guest = saved = self._saved_guest(handle)
        devices = {} if guest is None else devices_of(guest.root)
        leaving = [] if guest is None else leaving_nics(guest, old)
        old_ports = [] if before is None else self.ports_of_domain(old, devices, leaving)
        if after is not None:
            leaving += [] if guest is None else _taken_away(old, new, guest)
            ports = self.ports_of_domain(new, devices, leaving)
            had = old_ports if before == after else []
            self._put_changed(after, had, ports, done)
        if running is not None:
            self._tie_running(handle, running, after == NWFILTER, done)
        if saved is not None:
            self._tie_saved(handle, saved, new, done)
        if before is not None and before != after:
            self._drop_changed(before, old_ports, new.uuid, done)

    def drop_unplugged(self, handle: libvirt.virDomain, old: Domain, new: Domain, done: UndoStack) -> None:
        """After the guest has let go of NICs: their filters go, too. One that has them until its next start keeps them
        filtered."""
        name = new.record.filtering.engine
        if name is None or name != old.record.filtering.engine:
            return
        kept = _macs(new)
        gone = [port for port in self.ports_of_domain(old, {}) if port.mac not in kept]
        guest = self._guest(handle, new.name) if gone else None
        present = set() if guest is None else _macs(guest)
        gone = [port for port in gone if port.mac not in present]
        if gone:
            engine = self.engine(name)
            done.push("put the filters back", self._putting_back(engine, gone))
            engine.drop_ports(gone)

    def changed_memberships(self, old: Domain, new: Domain) -> frozenset[str]:
        """The groups whose members are others after this change, if the instance is active."""
        before, after = old.record.filtering, new.record.filtering
        had, has = groups_known_to(before), groups_known_to(after)
        return had ^ has if before.addresses == after.addresses and _macs(old) == _macs(new) else had | has

    def _running_guest(self, handle: libvirt.virDomain, name: str) -> Domain | None:
        """What the guest has at present; None while it does not run."""
        with self.guard(f"read the running instance {name!r}", name):
            return Domain.parse(handle.XMLDesc(self.libvirt.VIR_DOMAIN_XML_SECURE)) if handle.isActive() else None

    def _saved_guest(self, handle: libvirt.virDomain) -> Domain | None:
        """What a suspended guest has when it goes on, whatever its configuration says; None where there is none."""
        with self.guard("read the saved image of an instance"):
            if not self.supports("suspend") or not handle.hasManagedSaveImage():
                return None
            return Domain.parse(handle.managedSaveGetXMLDesc(self.libvirt.VIR_DOMAIN_SAVE_IMAGE_XML_SECURE))

    def _guest(self, handle: libvirt.virDomain, name: str) -> Domain | None:
        """What the guest has, be it running or suspended; None while it is off."""
        return self._running_guest(handle, name) or self._saved_guest(handle)

    def _put_changed(self, name: str, had: Sequence[Port], ports: Sequence[Port], done: UndoStack) -> None:
        if list(had) == list(ports):
            return
        engine, known = self.engine(name), {port.mac for port in had}
        self.mark_engine(name, done)
        new = [port for port in ports if port.mac not in known]
        if had:
            done.push("put the filters back", self._putting_back(engine, had))
        if new:
            done.push("remove the filters", lambda: engine.drop_ports(new))
        self.put_ports(name, ports)

    def _drop_changed(self, name: str, ports: Sequence[Port], but: str | None, done: UndoStack) -> None:
        engine = self.engine(name)

        done.push("put the filters back", self._putting_back(engine, ports))
        engine.drop_ports(ports)
        self.unmark_unused(name, but)

    def _putting_back(self, engine: Engine, ports: Sequence[Port]) -> Undo:
        def put_back() -> None:
            with UndoStack() as marks:
                self.mark_engine(engine.name, marks)
            self.put_ports(engine.name, ports)

        return put_back

    def tie_again(self, handle: libvirt.virDomain) -> None:
        """Tie an instance's interfaces to their filters, in its configuration and while it runs or is suspended, where
        they are not."""
        config = self._tie_configuration(handle)
        running = self._running_guest(handle, config.name)
        saved = self._saved_guest(handle) if running is None else None
        with UndoStack() as done:
            if running is not None:
                self._tie_running(handle, running, config.record.filtering.engine == NWFILTER, done)
            if saved is not None:
                self._tie_saved(handle, saved, config, done)

    def _tie_configuration(self, handle: libvirt.virDomain, starts_anew: bool = False) -> Domain:
        """The configuration, tied to its filters. A guest that ``starts_anew`` asks for its addresses again."""
        flags = self.libvirt.VIR_DOMAIN_XML_INACTIVE | self.libvirt.VIR_DOMAIN_XML_SECURE
        config = Domain.parse(handle.XMLDesc(flags))
        before = config.text()
        config.wire()
        if starts_anew:
            config.record.filtering.carried.clear()
        if handle.isPersistent() and config.text() != before:
            self.conn.defineXML(config.text())
            self.forget(config.name)
        return config

    def _tie_saved(self, handle: libvirt.virDomain, saved: Domain, config: Domain, done: UndoStack) -> None:
        """Have a suspended guest go on behind the filters that its configuration says, or behind none."""
        before = saved.text()
        wire(saved.root, config.record.filtering, config.type)
        if saved.text() != before:
            with self.guard(f"change the filters of the suspended instance {config.name!r}", config.name):
                handle.managedSaveDefineXML(saved.text())
            done.push("tie the suspended instance as it was", lambda: handle.managedSaveDefineXML(before) and None)

    # -- running domains --------------------------------------------------------------------------------------------

    def _tie_running(self, handle: libvirt.virDomain, running: Domain, filtered: bool, done: UndoStack) -> None:
        """Give a running domain's interfaces their nwfilters, or take these away."""
        with self.guard(f"change the filters of the running instance {running.name!r}", running.name):
            for interface in nic_elements(running.root):
                if self.kind == "lxc":
                    self._tie_container(handle, interface, filtered, done)
                    continue
                wanted = copy.deepcopy(interface)
                wire_interface(wanted, filtered)
                if attribute_of(wanted, "filterref", "filter") != attribute_of(interface, "filterref", "filter"):
                    done.push(f"tie NIC {mac_of(interface)} as it was", self._tying(handle, interface))
                    self._tying(handle, wanted)()

    def _tying(self, handle: libvirt.virDomain, interface: Element) -> Undo:
        text = tostring(interface, encoding="unicode")

        def tie() -> None:
            handle.updateDeviceFlags(text, self.libvirt.VIR_DOMAIN_AFFECT_LIVE)

        return tie

    def _tie_container(self, handle: libvirt.virDomain, interface: Element, filtered: bool, done: UndoStack) -> None:
        """libvirt changes nothing about a running container's interface. But where it refers to a filter, what puts
        that into force can be taken away and given again; where it does not, that waits for the next start."""
        mac, device = mac_of(interface), attribute_of(interface, "target", "dev")
        if mac is None or device is None or attribute_of(interface, "filterref", "filter") != filter_name(mac):
            return
        binding = self._binding(device)
        if filtered and binding is None:
            self._bind(handle, mac, device)
            done.push(f"untie NIC {mac}", lambda: self._unbind(device))
        elif not filtered and binding is not None:
            binding.delete()
            done.push(f"tie NIC {mac} again", lambda: self._bind(handle, mac, device))

    def _binding(self, device: str) -> libvirt.virNWFilterBinding | None:
        try:
            return self.conn.nwfilterBindingLookupByPortDev(device)
        except self.libvirt.libvirtError as error:
            if code_of(error) != NO_NWFILTER_BINDING:
                raise
            return None

    def _unbind(self, device: str) -> None:
        binding = self._binding(device)
        if binding is not None:
            binding.delete()

    def _bind(self, handle: libvirt.virDomain, mac: str, device: str) -> None:
        self.conn.nwfilterBindingCreateXML(filter_binding(handle.name(), handle.UUIDString(), mac, device), 0)


def _macs(domain: Domain) -> set[str | None]:
    return {mac_of(element) for element in nic_elements(domain.root)}


def _taken_away(old: Domain, new: Domain, running: Domain) -> list[Nic]:
    """The NICs that the new configuration has no more and that the guest still has."""
    stay, present = _macs(new), _macs(running)
    return [nic for nic in old.to_instance().nics or () if nic.mac in present and nic.mac not in stay]


def waits_for_restart(kind: str, before: str | None, after: str | None) -> bool:
    """Whether a running instance of that kind gets the filters of another engine only when it starts again."""
    return kind == "lxc" and after == NWFILTER and before != after


def concerns_filters(options: Collection[str]) -> bool:
    """Whether a change of these fields of Instance may need other filters."""
    return bool({"nics", "hypervisor", *FILTER_OPTIONS} & set(options))
