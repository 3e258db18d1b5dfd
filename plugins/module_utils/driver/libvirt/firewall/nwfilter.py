# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nwfilter engine: libvirt makes ebtables and iptables rules of definitions, for the interfaces that refer to them.

One definition serves for each group, one for the operator's rules, some for what every guest may do, and one for each
interface names them: a changed rule is one call, whatever the number of instances.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from ....errors import Unsupported
from ....model.secgroup import Drift, HostPolicy, Port, ProviderRule, Rule, SecurityGroup
from ..domain_filters import filter_name
from .basefilters import BASE, base_filters, load_of, next_load
from .engine import Engine
from .filterrules import PROVIDER_PRIORITIES, cannot_be_said, provider_changes
from .nicfilter import is_nic_filter
from .nwfilterdrift import NOT_HELD, definition_drift, unfiltered_ports
from .nwfilterhold import Hold
from .nwfilterkernel import KernelView
from .policyfilters import needed_by_ports, policy_filters
from .store import Declarations, group_filter_name, is_shared
from .tools import Runner

_NO_DRIVER = (
    "libvirt has no nwfilter driver: install it (Debian has it in libvirt-daemon, Fedora in "
    "libvirt-daemon-driver-nwfilter), or choose the firewall nftables or iptables"
)


class NwfilterEngine(Engine):
    """Enforces the declarations by defining them.

    Args:
        declarations: Where they are kept.
        runner: Runs programs on the hypervisor's host; None where that is another one. Then libvirt's word is taken
            for what the kernel has.
    """

    name: ClassVar[str] = "nwfilter"

    def __init__(self, declarations: Declarations, runner: Runner | None = None) -> None:
        self._store = declarations
        self._kernel = None if runner is None else KernelView(runner)
        self._hold = None if runner is None else Hold(runner)

    def problems(self) -> list[str]:
        try:
            self._store.names()
        except Unsupported:
            return [_NO_DRIVER]
        return [] if self._kernel is None else self._kernel.problems()

    def unsupported_rules(self, rules: Collection[Rule]) -> list[str]:
        protocols = sorted({rule.protocol for rule in rules if cannot_be_said(rule)})
        return [
            f"nwfilter has no name for protocol {protocol}: choose the firewall nftables or iptables"
            for protocol in protocols
        ]

    def put_ports(self, ports: Sequence[Port], policy: HostPolicy) -> None:
        if ports:
            needed = needed_by_ports(replace(policy, ports=tuple(ports)))
            before = self._store.read_all(policy_filters(needed, {}).keys())
            self._take_hold()
            wanted = policy_filters(needed, before, self._bound())
            # What is not of these ports alone is left to those who change it: they may just be doing so.
            self._store.define(*(root for name, root in wanted.items() if name not in before or not is_shared(name)))

    def drop_ports(self, ports: Sequence[Port]) -> None:
        self._store.undefine(filter_name(port.mac) for port in ports)
        if self._hold is not None and not any(map(is_nic_filter, self._store.names())):
            self._hold.release()

    def put_groups(self, groups: Sequence[SecurityGroup], members: Mapping[str, frozenset[str]]) -> None:
        self._store.define_groups(groups, members)

    def drop_groups(self, names: Collection[str]) -> None:
        self._store.undefine(map(group_filter_name, sorted(names)))

    def put_provider_rules(self, rules: Sequence[ProviderRule]) -> None:
        if provider_changes(rules) > PROVIDER_PRIORITIES:
            raise Unsupported(
                f"nwfilter has room for {PROVIDER_PRIORITIES} changes between accept and drop in the operator's rules: "
                "put rules with the same action together, or choose the firewall nftables or iptables"
            )
        self._store.set_provider(rules)

    def put_members(self, members: Mapping[str, frozenset[str]]) -> None:
        self._store.put_members(members)

    def load(self, policy: HostPolicy) -> None:
        before = self._store.read_ours()
        wanted = policy_filters(policy, before, self._bound())
        if policy.ports:
            self._take_hold()
        self._store.define(*wanted.values())
        # One that has an interface is of an instance that somebody has started since the policy was made.
        gone = before.keys() - wanted.keys() - self._bound()
        self._store.undefine(name for name in sorted(gone) if is_nic_filter(name))
        if policy.ports and (not self._can_look() or self._unfiltered(policy)):
            # Nothing else makes libvirt look again at rules that it has made.
            self._store.define(*base_filters(next_load(load_of(before.get(BASE)))))
            for port, _drift in self._unfiltered(policy):
                self._store.bind_anew(port)

    def drift(self, policy: HostPolicy) -> list[Drift]:
        found = self._store.read_ours()
        drift = definition_drift(policy.ports, policy_filters(policy, found, self._bound()), found)
        held = self._hold is None or not policy.ports or not self._can_look() or self._hold.is_taken()
        return [*drift, *([] if held else [NOT_HELD]), *(drift for _port, drift in self._unfiltered(policy))]

    def _bound(self) -> frozenset[str]:
        """The names of the definitions that interfaces have now."""
        return frozenset(self._store.bindings().values())

    def _take_hold(self) -> None:
        if self._hold is not None and self._can_look():
            self._hold.take()

    def _can_look(self) -> bool:
        return self._kernel is not None and self._kernel.sees(self._store.bindings().keys())

    def _unfiltered(self, policy: HostPolicy) -> list[tuple[Port, Drift]]:
        listing = self._kernel.read() if self._kernel is not None and self._can_look() else None
        return list(unfiltered_ports(policy.ports, self._store.read_ours(), self._store.bindings(), listing))
