# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How VMs can get to another host or pool, and what keeps them from it.

The server has the last word: its own check (VM.assert_can_migrate, VM.assert_can_boot_here) is asked where nothing else
speaks against it, since it tells only the first thing that it finds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from ...errors import AnyvirtError, InvalidUri, Unsupported
from ...model import power_state
from ...model.instance import Instance, Nic
from ...model.migration import COLD, LIVE, MigrationPlan, MigrationWishes
from .. import migrationchecks as checks
from ..migration import MigrationDriver
from .errors import code_of
from .guests import NOT_YET
from .instances import choose
from .metadata import BY_BRIDGE, KEY
from .migrationdisks import DiskPlan, DiskPlanner, read_disks
from .migrationhosts import Receivers
from .migrationscope import MigrationScopeMixin
from .records import NULL, Object, state_of
from .travels import Travel

_NOT_COLD = NOT_YET | {
    *("VM_BAD_POWER_STATE", "VM_INCOMPATIBLE_WITH_THIS_HOST"),
    *("VM_HAS_SRIOV_VIF", "VM_IS_IMMOBILE", "VM_IS_USING_NESTED_VIRT"),
}
"""What keeps only guests that are active from being moved."""
_NO_MEMORY = "HOST_NOT_ENOUGH_FREE_MEMORY"
_DEVICES = {"VGPUs": "a graphics processor", "VUSBs": "a USB device", "attached_PCIs": "a PCI device"}
"""Fields of VMs that have devices of their host."""
_UNKNOWN_WISHES = {
    "peer_uri": "hosts know each other's addresses",
    "migrate_uri": "hosts receive instances at their management interfaces",
    "listen_address": "hosts receive instances at their management interfaces",
    "disks_port": "hosts receive disks at their own ports",
}


@dataclass
class Route:
    """How one VM is moved: what its plan remembers.

    Attributes:
        host: The reference of the host that takes it.
        network: That of the network on which that one receives it.
        disks: What becomes of its disks.
        vif_map: The networks of its interfaces in another pool.
        compress: Its memory is compressed.
        groups: Its security groups.
        affinity: The host that it was bound to, or none.
        resident: The host that it runs on, or none.
        travel: What is kept with it.
    """

    ref: str
    host: str
    network: str
    disks: DiskPlan
    travel: Travel
    vif_map: dict[str, str] = field(default_factory=dict)
    compress: bool = False
    groups: list[str] = field(default_factory=list)
    affinity: str = NULL
    resident: str = NULL


class MigrationPlanMixin(MigrationScopeMixin):
    """Planning."""

    def plan_migrations(
        self,
        destination: MigrationDriver,
        instances: Mapping[str, Instance],
        wishes: MigrationWishes,
        probing: bool,
    ) -> dict[str, MigrationPlan]:
        """As the contract says. What is shared is known without a test."""
        try:
            there = self.facing(destination)
        except (InvalidUri, Unsupported) as error:
            return {
                name: self._impossible(destination, instance, wishes, error) for name, instance in instances.items()
            }
        self.forget_places()
        there.forget_places()
        with self.guard("look up the instances"):
            vms = choose(self.find_vms(instances))
        planner = _Planner(self, there, instances, vms, wishes)
        return planner.plans()

    def _impossible(
        self, destination: MigrationDriver, instance: Instance, wishes: MigrationWishes, error: AnyvirtError
    ) -> MigrationPlan:
        mode = checks.mode_for(self, instance, wishes)
        record, _incoming = checks.records(self, destination, instance, mode)
        return MigrationPlan(instance.name, mode, wishes, record, problems=[str(error)])

    def facing(self, destination: MigrationDriver) -> MigrationScopeMixin:
        """The destination, which this one faces from then on.

        Raises:
            Unsupported: it is no XenServer.
        """
        if not isinstance(destination, MigrationScopeMixin):
            raise Unsupported(
                f"dest: instances of the {self.name} driver cannot go to one of the {destination.name} one"
            )
        if self.partner is not destination or self.is_destination:
            self.face(destination)
        return destination

    def send_token(self, route: Route) -> dict[str, str]:
        """What the source's server has to be told to send a VM to the destination's host: it has the session of our
        connection with the destination."""
        there = self.partner
        if there is None:
            raise InvalidUri("dest: the driver was not told the destination")
        with there.guard("let the destination receive an instance"):
            told: dict[str, str] = there.call("host.migrate_receive", route.host, route.network, {})
        return told


class _Planner:
    """Plans for some instances that go to one end."""

    def __init__(
        self,
        source: MigrationPlanMixin,
        destination: MigrationScopeMixin,
        instances: Mapping[str, Instance],
        vms: Mapping[str, Object],
        wishes: MigrationWishes,
    ) -> None:
        self._source = source
        self._destination = destination
        self._instances = instances
        self._refs = {vm["name_label"]: ref for ref, vm in vms.items()}
        self._vms = vms
        self._wishes = wishes
        self._within = source.shares_pool
        self._facts = read_disks(source, vms)
        with source.guard("read the network interfaces of instances"):
            self._vifs = source.fetch_refs("VIF", [vif for vm in vms.values() for vif in vm["VIFs"]])
        self._hosts = Receivers(destination)
        self._host_problems: dict[str, list[str]] = {}
        self._tokens: dict[str, dict[str, str]] = {}

    def plans(self) -> dict[str, MigrationPlan]:
        """All of them, with all problems."""
        plans = {name: self._plan(name, self._refs[name]) for name in self._instances if name in self._refs}
        needing = {name: replace(plan, disks=plan.private.disks.needed) for name, plan in plans.items()}
        rooms = checks.room_problems(self._destination, self._instances, needing)
        places = {} if self._within else self._place_problems()
        for name, plan in plans.items():
            plan.problems += [*places.get(name, ()), *rooms.get(name, ())]
            if not plan.problems:
                self._ask_server(plan)
        return plans

    def _plan(self, name: str, ref: str) -> MigrationPlan:
        instance, vm, wishes = self._instances[name], self._vms[ref], self._wishes
        mode = checks.mode_for(self._source, instance, wishes)
        host = self._hosts.take(instance)
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
            kept=disks.kept,
            media=disks.media,
            pools=dict(wishes.pools) if disks.is_moved else {},
        )
        problems = [
            *self._of_hosts(mode),
            *checks.unmet_wishes(self._source, self._destination, wishes, mode),
            *_strange_wishes(wishes),
            *self._own_problems(instance, vm, mode, disks),
            *disks.problems,
        ]
        route = Route(ref, host, self._hosts.network(host), disks, travel, {}, wishes.compression)
        route.affinity, route.resident = vm["affinity"] or NULL, vm["resident_on"]
        route.groups = list(instance.security_groups or [])
        if not self._within:
            route.vif_map = self._vif_map(vm)
        return MigrationPlan(name, mode, wishes, record, disks.moves, problems, list(disks.warnings), route)

    def _of_hosts(self, mode: str) -> list[str]:
        if mode not in self._host_problems:
            self._host_problems[mode] = checks.host_problems(self._source, self._destination, mode)
        return [*self._host_problems[mode], *self._hosts.problems]

    def _own_problems(self, instance: Instance, vm: Object, mode: str, disks: DiskPlan) -> Iterator[str]:
        """What is about the machine itself."""
        state = instance.power_state
        if mode == LIVE and state == power_state.PAUSED:
            yield "it is paused, and XenServer moves only guests that run; unpause it first, or use mode cold"
        if mode == COLD and state == power_state.SUSPENDED:
            instance = replace(instance, power_state=power_state.SHUTOFF)  # it moves as what is off does
        yield from checks.state_problems(instance, mode)
        for option, what in _DEVICES.items():
            if vm.get(option):
                yield f"it has {what} of its host; take it away first"
        if disks.is_moved and self._wishes.delete_volumes == "none":
            yield "delete_volumes: none: XenServer moves volumes, so that nothing of them stays; use own"
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

    # -- the server's own check ------------------------------------------------------------------------------------

    def _ask_server(self, plan: MigrationPlan) -> None:
        """Add what the server itself has against it."""
        route, source, name = plan.private, self._source, plan.name
        state = state_of(self._vms[route.ref])
        is_copied = route.disks.is_moved or not self._within
        if not is_copied and state == power_state.SHUTOFF and not plan.record.start:
            return
        try:
            with source.guard(f"move instance {name!r}", name):
                if is_copied:
                    token = self._token(route)
                    live = plan.mode == LIVE
                    maps = (route.disks.where, route.vif_map)
                    source.call("VM.assert_can_migrate", route.ref, token, live, *maps, {})
                else:
                    source.call("VM.assert_can_boot_here", route.ref, route.host)
        except AnyvirtError as error:
            code = code_of(error)
            if not code:
                raise
            is_unneeded = code == _NO_MEMORY and not plan.record.start and not (is_copied and self._within)
            is_stopped = plan.mode == COLD and state != power_state.SUSPENDED
            if is_unneeded or (is_stopped and code in _NOT_COLD):
                return
            if code in NOT_YET:
                plan.warnings.append("its guest has not said yet that it can be moved: it may still be booting")
            else:
                plan.problems.append(str(error))

    def _token(self, route: Route) -> dict[str, str]:
        """What the server needs for its check; asked for once for each host."""
        if route.host not in self._tokens:
            self._tokens[route.host] = self._source.send_token(route)
        return self._tokens[route.host]


def _strange_wishes(wishes: MigrationWishes) -> Iterator[str]:
    """Wishes for which XenAPI has no word."""
    for option, instead in _UNKNOWN_WISHES.items():
        if getattr(wishes, option) is not None:
            yield f"{option}: XenServer does not let it be chosen: {instead}; leave it out"
    if not wishes.undefine_source:
        yield "undefine_source: XenServer moves instances, and leaves no definition behind; leave it out"
