# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether network interfaces are locked as declared."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from ...errors import FilterDrift
from ...model.instance import Nic
from ...model.secgroup import Drift, SecurityGroup
from ..firewall import FirewallDriver
from ..members import is_filtered
from .devicechanges import VIF
from .errors import code_of
from .groups import is_open, read_groups
from .members import Member, MembersMixin
from .records import Object
from .storage import GONE
from .vifaddresses import Lock, lock_for, lock_in
from .viflocks import VifLocksMixin


class _Filtered(NamedTuple):
    """A filtered instance, and its VIFs by reference."""

    member: Member
    vifs: Mapping[str, Object]

    def wrong_locks(self) -> Iterator[tuple[str, Object, Lock]]:
        """VIFs with another lock than declared: reference, record, and the lock that it should have."""
        for ref, vif in self.vifs.items():
            wanted = _wanted(vif, self.member)
            if lock_in(vif) != wanted:
                yield ref, vif, wanted


class FiltersMixin(VifLocksMixin, MembersMixin, FirewallDriver):
    """Looking after locks."""

    def instance_filter_exists(self, name: str) -> bool:
        ref, _vm = self.lookup(name)
        filtered, _groups = self._look()
        return ref in filtered and not any(filtered[ref].wrong_locks())

    def verify_filters(self, names: Collection[str] | None = None) -> list[Drift]:
        filtered, groups = self._look()
        return [
            drift
            for one in sorted(filtered.values(), key=lambda one: one.member.name)
            if names is None or one.member.name in names
            for drift in _drifts(one, groups)
        ]

    def restore_filters(self) -> None:
        """As the contract says.

        Raises:
            FilterDrift: instances are in groups that XenAPI cannot filter by, as others have made it while the driver
                looked elsewhere.
        """
        filtered, groups = self._look()
        with self.guard("lock the network interfaces of instances"):
            for one in filtered.values():
                for ref, vif, wanted in one.wrong_locks():
                    self._set_unless_gone(ref, vif, wanted)
        left = [drift for one in filtered.values() for drift in _group_drifts(one.member, groups)]
        if left:
            told = "; ".join(f"instance {drift.instance}: {drift.subject}: {drift.problem}" for drift in left)
            raise FilterDrift(f"the xenapi driver cannot mend this, change the instances' groups: {told}")

    def _look(self) -> tuple[dict[str, _Filtered], dict[str, SecurityGroup]]:
        """The filtered instances by their VMs' references, and all groups: three calls."""
        with self.guard("look after the locks of network interfaces"):
            members = {ref: one for ref, one in self.find_members().items() if is_filtered(one.instance())}
            vifs: dict[str, dict[str, Object]] = {ref: {} for ref in members}
            for ref, vif in (self.fetch(VIF) if members else {}).items():
                if vif["VM"] in vifs:
                    vifs[vif["VM"]][ref] = vif
            _ref, pool = self.pool()
        found = {ref: _Filtered(member, vifs[ref]) for ref, member in members.items()}
        return found, read_groups(pool["other_config"])

    def _set_unless_gone(self, ref: str, vif: Object, wanted: Lock) -> None:
        try:
            self.set_lock(ref, lock_in(vif), wanted)
        except self.api.library.Failure as failure:
            if code_of(failure) != GONE:
                raise


def _drifts(one: _Filtered, groups: Mapping[str, SecurityGroup]) -> Iterator[Drift]:
    for _ref, vif, wanted in one.wrong_locks():
        has = lock_in(vif)
        problem = "its list of addresses differs" if has.is_locked else f"is {has.mode} instead of {wanted.mode}"
        yield Drift(one.member.name, f"port {vif['MAC'].lower()}", problem)
    yield from _group_drifts(one.member, groups)


def _group_drifts(member: Member, groups: Mapping[str, SecurityGroup]) -> Iterator[Drift]:
    """Of who became a member while its group was given other rules."""
    names = member.record.security_groups or []
    for name in names:
        if name not in groups:
            yield Drift(member.name, f"group {name}", "missing")
    if not is_open([groups[name] for name in names if name in groups]):
        yield Drift(member.name, f"groups {', '.join(names)}", "do not let everything through, which is not enforced")


def _wanted(vif: Object, member: Member) -> Lock:
    mac = vif["MAC"].lower()
    return lock_for(Nic(mac=mac, addresses=member.record.addresses.get(mac)))
