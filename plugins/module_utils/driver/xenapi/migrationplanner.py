# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans for VMs that go to another host or pool: for each the host that takes it, and what speaks against it.

Who comes first, by name, is served first, by the host that has most memory left of those that can take it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Callable

from ...errors import AnyvirtError
from ...model import power_state
from ...model.instance import Instance, Nic
from ...model.migration import COLD, LIVE, MigrationPlan, MigrationWishes
from .. import migrationchecks as checks
from .metadata import BY_BRIDGE, KEY
from .migrationdisks import DiskPlanner, read_disks
from .migrationhosts import Needs, Receivers
from .migrationroutes import BETWEEN, WITHIN, Route, ServerCheck, is_about_host
from .migrationscope import MigrationScopeMixin
from .records import NULL, Object
from .travels import Travel

_DEVICES = {"VGPUs": "a graphics processor", "VUSBs": "a USB device", "attached_PCIs": "a PCI device"}
"""Fields of VMs that have devices of their host."""
_PCI = "pci"
"""Key of the other_config of VMs with the addresses of devices that they get at each start, on whatever host."""
_UNKNOWN_WISHES = {
    "peer_uri": "hosts know each other's addresses",
    "migrate_uri": "hosts receive instances at their management interfaces",
    "listen_address": "hosts receive instances at their management interfaces",
    "disks_port": "hosts receive disks at their own ports",
}


@dataclass
class _Try:
    """How one VM would get to one host.

    Attributes:
        of_host: What keeps it from there, in words that name the host.
        of_vm: What keeps it from there, in words that do not.
    """

    plan: MigrationPlan
    needs: Needs
    of_host: list[str]
    of_vm: list[str]

    @property
    def host(self) -> str:
        """The reference of the host."""
        route: Route = self.plan.private
        return route.host

    def is_hindered_by(self, hindrances: set[str]) -> bool:
        """Whether nothing but these keeps it from there."""
        return not self.of_host and hindrances.issuperset(self.of_vm)


class Planner:
    """Plans for some instances that go to one end.

    Args:
        send_token: See ``ServerCheck``.
    """

    def __init__(
        self,
        source: MigrationScopeMixin,
        destination: MigrationScopeMixin,
        instances: Mapping[str, Instance],
        vms: Mapping[str, Object],
        wishes: MigrationWishes,
        send_token: Callable[[Route], dict[str, str]],
    ) -> None:
        self._source = source
        self._destination = destination
        self._instances = instances
        self._refs = {vm["name_label"]: ref for ref, vm in vms.items()}
        self._vms = vms
        self._wishes = wishes
        self._within = source.shares_pool
        self._facts = read_disks(source, destination, vms)
        with source.guard("read the network interfaces of instances"):
            self._vifs = source.fetch_refs("VIF", [vif for vm in vms.values() for vif in vm["VIFs"]])
        with source.guard("read the hosts"):
            self._metrics = source.fetch("host_metrics")
        self._hosts = Receivers(source, destination, instances)
        self._server = ServerCheck(source, destination, send_token)
        self._host_problems: dict[str, list[str]] = {}

    def plans(self) -> dict[str, MigrationPlan]:
        """All of them, with all problems."""
        places = {} if self._within else self._place_problems()
        wanted = [name for name in self._instances if name in self._refs]
        found = {name: self._plan(name, places.get(name, [])) for name in sorted(wanted)}
        return {name: found[name] for name in wanted}

    def _plan(self, name: str, places: list[str]) -> MigrationPlan:
        instance, vm = self._instances[name], self._vms[self._refs[name]]
        mode = checks.mode_for(self._source, instance, self._wishes)
        anywhere = [
            *self._of_ends(mode),
            *checks.unmet_wishes(self._source, self._destination, self._wishes, mode),
            *_strange_wishes(self._wishes),
            *self._own_problems(instance, vm, mode),
            *places,
        ]
        tries: list[_Try] = []
        for host in self._hosts.in_order():
            tried = self._try(instance, vm, mode, host)
            tries.append(tried)
            if tried.of_host or tried.of_vm:
                continue
            refusal = None if anywhere else self._server.refusal(tried.plan, vm)
            if refusal is None:
                if not anywhere:
                    self._hosts.reserve(name, host, tried.needs)
                return _with_problems(tried, anywhere)
            if not is_about_host(refusal, host):
                return _with_problems(tried, [str(refusal)])
            where = f"on {self._hosts.name(host)}: " if self._hosts.are_several else ""
            tried.of_host.append(f"{where}{refusal}")
        return self._impossible(tries, anywhere)

    def _impossible(self, tries: list[_Try], anywhere: list[str]) -> MigrationPlan:
        """What keeps it from all hosts is told once, and all else for each of them, if there is none without."""
        common = set(tries[0].of_vm).intersection(*(tried.of_vm for tried in tries))
        best = next((tried for tried in tries if tried.is_hindered_by(common)), None)
        found = [*anywhere, *(problem for problem in tries[0].of_vm if problem in common)]
        for tried in tries if best is None else ():
            name = self._hosts.name(tried.host)
            found += tried.of_host
            found += [f"on {name}: {problem}" for problem in tried.of_vm if problem not in common]
        return _with_problems(best or tries[0], found)

    def _try(self, instance: Instance, vm: Object, mode: str, host: str) -> _Try:
        wishes = self._wishes
        disks = DiskPlanner(self._facts, self._destination, host, self._within, wishes).plan(vm)
        outgoing, _incoming = checks.records(self._source, self._destination, instance, mode)
        record = replace(outgoing, volumes=checks.copied_volumes(disks.moves))
        travel = Travel(
            id=record.id,
            mode=mode,
            vm=vm["uuid"],
            source=self._source.host_identity(),
            destination=self._destination.host_identity(),
            start=record.start,
            paused=record.paused,
            started_s=record.started_s,
            within=self._within,
            pinned=vm["affinity"] not in ("", NULL) and vm["affinity"] in (vm["resident_on"], self._source.own_host()),
            left=list(record.volumes),
            made=list(checks.made_volumes(disks.moves)),
            repositories=sorted(self._destination.places().srs[ref]["uuid"] for ref in disks.rooms),
            kept=disks.kept,
            media=disks.media,
            pools=dict(wishes.pools) if disks.is_moved else {},
        )
        route = Route(
            self._refs[instance.name],
            host,
            self._hosts.network(host),
            disks,
            travel,
            {} if self._within else self._vif_map(vm),
            wishes.compression,
            list(instance.security_groups or []),
            vm["affinity"] or NULL,
            vm["resident_on"],
        )
        needs = Needs(
            is_live=mode == LIVE,
            is_sent=route.is_sent,
            is_started=mode == COLD and record.start,
            memory_mb=(instance.memory_mb or 0) if record.start else 0,
            vcpus=int(vm["VCPUs_max"]) if record.start or route.is_sent else 0,
            networks={vif["network"] for vif in self._vifs_of(vm)} if self._within else set(route.vif_map.values()),
            home=self._home(vm),
            rooms=disks.rooms,
        )
        plan = MigrationPlan(
            instance.name, mode, wishes, record, disks.moves, warnings=list(disks.warnings), private=route
        )
        of_host = [*self._hosts.problems(host, needs), *disks.problems_of_host]
        of_vm = [*disks.problems, *self._hosts.room_problems(needs), *_blocks(vm, route, mode)]
        return _Try(plan, needs, of_host, of_vm)

    def _of_ends(self, mode: str) -> list[str]:
        """What is about both ends as a whole."""
        if mode not in self._host_problems:
            # Processors and versions are compared with those of the host that takes it.
            found = checks.host_problems(
                self._source, self._destination, mode, compares_cpu=False, compares_versions=False
            )
            self._host_problems[mode] = found
        return self._host_problems[mode]

    def _own_problems(self, instance: Instance, vm: Object, mode: str) -> Iterator[str]:
        """What is about the machine itself."""
        state = instance.power_state
        if mode == LIVE and state == power_state.PAUSED:
            yield "it is paused, and XenServer moves only guests that run; unpause it first, or use mode cold"
        if mode == COLD and state == power_state.SUSPENDED:
            instance = replace(instance, power_state=power_state.SHUTOFF)  # it moves as what is off does
        yield from checks.state_problems(instance, mode)
        home = self._source.places().hosts.get(vm["resident_on"])
        if home is not None and home["metrics"] in self._metrics and not self._metrics[home["metrics"]]["live"]:
            yield f"{home['name_label']}, on which it runs, is not there: its pool does not hear from it"
        for option, what in _DEVICES.items():
            if vm.get(option):
                yield f"it has {what} of its host; take it away first"
        if vm["other_config"].get(_PCI) and not vm.get("attached_PCIs"):
            yield f"it gets a PCI device of its host when it starts; take the key {_PCI} out of its other_config first"
        networks = self._wishes.networks
        if self._within and any(
            networks.get(nic.network or nic.bridge or "", "") not in ("", nic.network, nic.bridge)
            for nic in instance.nics or []
        ):
            yield "networks: within a pool instances stay on their networks; change the instance's networks afterwards"

    def _place_problems(self) -> checks.Problems:
        """What another pool lacks, or has already."""
        # What there is of pools is told with the disks, in the terms of storage repositories.
        diskless = {name: replace(instance, disks=None) for name, instance in self._instances.items()}
        found = checks.place_problems(self._destination, diskless, self._wishes)
        for name, problems in checks.group_problems(self._source, self._destination, self._instances).items():
            found.setdefault(name, []).extend(problems)
        return found

    def _vif_map(self, vm: Object) -> dict[str, str]:
        """Where its interfaces are to be; those that have no network there are told of by ``_place_problems``."""
        places, wanted = self._source.places(), self._wishes.networks
        found: dict[str, str] = {}
        for ref in vm["VIFs"]:
            vif = self._vifs.get(ref)
            network = None if vif is None else places.networks.get(vif["network"])
            if vif is None or network is None:
                continue
            if vif["other_config"].get(KEY) == BY_BRIDGE:
                nic = Nic(bridge=wanted.get(network["bridge"], network["bridge"]))
            else:
                nic = Nic(network=wanted.get(network["name_label"], network["name_label"]))
            try:
                found[ref] = self._destination.find_network(nic).ref
            except AnyvirtError:
                continue
        return found

    # -- where it is now --------------------------------------------------------------------------------------------

    def _home(self, vm: Object) -> Object:
        """The host that a VM is on; that of the pool's master where it is off."""
        places = self._source.places()
        return places.hosts.get(vm["resident_on"]) or places.hosts[places.pool.record["master"]]

    def _vifs_of(self, vm: Object) -> list[Object]:
        return [self._vifs[ref] for ref in vm["VIFs"] if ref in self._vifs]


def _with_problems(tried: _Try, problems: list[str]) -> MigrationPlan:
    tried.plan.problems = list(dict.fromkeys(problems))
    return tried.plan


def _blocks(vm: Object, route: Route, mode: str) -> Iterator[str]:
    """Whether an administrator lets it be moved that way, and be started again."""
    needed = [BETWEEN] if route.is_sent else [WITHIN] if mode == LIVE else []
    if mode == COLD and route.travel.start:
        needed += ["start", "start_on"]
    for operation in needed:
        reason = vm["blocked_operations"].get(operation)
        if reason is not None:
            yield f"an administrator has blocked {operation} on it (blocked_operations: {reason})"


def _strange_wishes(wishes: MigrationWishes) -> Iterator[str]:
    """Wishes for which XenAPI has no word."""
    for option, instead in _UNKNOWN_WISHES.items():
        if getattr(wishes, option) is not None:
            yield f"{option}: XenServer does not let it be chosen: {instead}; leave it out"
    if not wishes.undefine_source:
        yield "undefine_source: XenServer moves instances, and leaves no definition behind; leave it out"
