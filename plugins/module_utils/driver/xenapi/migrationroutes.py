# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of one VM to one host, and what the server itself has against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Callable

from ...errors import AnyvirtError
from ...model import power_state
from ...model.migration import COLD, LIVE, MigrationPlan
from .errors import code_of, details_of
from .guests import NOT_YET
from .migrationdisks import DiskPlan
from .migrationscope import MigrationScopeMixin
from .records import NULL, Object, state_of
from .travels import Travel

WITHIN, BETWEEN = "pool_migrate", "migrate_send"
"""Operations on VMs that move them: with their disks where they are, and with disks or between pools."""

_NOT_COLD = NOT_YET | {
    *("VM_BAD_POWER_STATE", "VM_INCOMPATIBLE_WITH_THIS_HOST"),
    *("VM_HAS_SRIOV_VIF", "VM_IS_IMMOBILE", "VM_IS_USING_NESTED_VIRT"),
}
"""What keeps only guests that are active from being moved."""
_NO_MEMORY = "HOST_NOT_ENOUGH_FREE_MEMORY"
_OF_HOST = ("HOST_", "VM_HOST_", "VM_INCOMPATIBLE_WITH_", "VM_REQUIRES_", "INTERFACE_", "SR_NOT_ATTACHED")
"""How the codes of failures begin that are about a host rather than about the VM."""


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

    @property
    def is_sent(self) -> bool:
        """Whether it is sent with its disks, or to another pool, and does not merely change its host."""
        return self.disks.is_moved or not self.travel.within


class ServerCheck:
    """The server's own check.

    Args:
        send_token: Tells what the source's server has to be told to send a VM; it is asked once for each host.
    """

    def __init__(
        self,
        source: MigrationScopeMixin,
        destination: MigrationScopeMixin,
        send_token: Callable[[Route], dict[str, str]],
    ) -> None:
        source.labels.update(destination.labels)  # the source's server speaks of hosts and pools of both
        self._source = source
        self._within = source.shares_pool
        self._send_token = send_token
        self._tokens: dict[str, dict[str, str]] = {}

    def refusal(self, plan: MigrationPlan, vm: Object) -> AnyvirtError | None:
        """What the server has against it; None for nothing. It may add a warning."""
        state = state_of(vm)
        is_sent = plan.private.is_sent
        if not is_sent and state == power_state.SHUTOFF and not plan.record.start:
            return None
        try:
            self._ask(plan, is_sent)
        except AnyvirtError as error:
            code = code_of(error)
            if not code:
                raise
            is_unneeded = code == _NO_MEMORY and not plan.record.start and not (is_sent and self._within)
            is_stopped = plan.mode == COLD and state != power_state.SUSPENDED
            if is_unneeded or (is_stopped and code in _NOT_COLD):
                return None
            if code not in NOT_YET:
                return error
            is_ready = False
        else:
            # Of one that goes without its disks, the check leaves the guest out.
            is_ready = is_sent or plan.mode == COLD or WITHIN in vm["allowed_operations"]
        if not is_ready:
            plan.warnings.append(
                "its guest has not said yet that it can be moved: it may still be booting, or have no XenServer tools"
            )
        return None

    def _ask(self, plan: MigrationPlan, is_sent: bool) -> None:
        route: Route = plan.private
        with self._source.guard(f"move instance {plan.name!r}", plan.name):
            if not is_sent:
                self._source.call("VM.assert_can_boot_here", route.ref, route.host)
                return
            if route.host not in self._tokens:
                self._tokens[route.host] = self._send_token(route)
            maps: tuple[Mapping[str, str], ...] = (route.disks.where, route.vif_map, {})
            token = self._tokens[route.host]
            self._source.call("VM.assert_can_migrate", route.ref, token, plan.mode == LIVE, *maps)


def is_about_host(refusal: AnyvirtError, host: str) -> bool:
    """Whether a refusal is no matter of the VM, so that another host may take it."""
    return code_of(refusal).startswith(_OF_HOST) or host in details_of(refusal)
