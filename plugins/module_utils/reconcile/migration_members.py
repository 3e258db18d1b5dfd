# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Security groups when instances change hosts: rules about a group's members hold wherever these are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..driver.migration import MigrationDriver
from ..errors import AnyvirtError, Unsupported
from .migration_ends import Ends
from .migration_item import Item

_Groups = Mapping[str, "tuple[str, ...]"]


class Members:
    """Keeps both hosts informed of the members on the other, with one call for all instances of a task.

    Attributes:
        error: Why they could not be brought up to date in the end.
    """

    def __init__(self, ends: Ends, items: Sequence[Item]) -> None:
        self._ends = ends
        self._items = items
        drivers = (ends.source, ends.destination)
        self._concerned = all(driver.supports("group_references") for driver in drivers) and any(
            _is_member(item) for item in items if item.error is None and item.plan
        )
        self.error: AnyvirtError | None = None

    def announce(self) -> None:
        """Before any is moved: on the source, the members there count as members on the destination too, so that none
        is shut out from the moment in which it arrives."""
        if not self._concerned:
            return
        ends = self._ends
        here, there = ends.source.get_group_members(), ends.destination.get_group_members()
        self._tell(ends.source, ends.there, _merged(here, there))
        self._tell(ends.destination, ends.here, here)

    def bring_up_to_date(self) -> None:
        """Afterwards: both know what is on the other now."""
        if not self._concerned:
            return
        ends = self._ends
        try:
            self._tell(ends.source, ends.there, ends.destination.get_group_members(), refresh=True)
            self._tell(ends.destination, ends.here, ends.source.get_group_members(), refresh=True)
        except AnyvirtError as error:
            self.error = error

    def _tell(self, driver: MigrationDriver, host: str, groups: _Groups, refresh: bool = False) -> None:
        """What is known of the other host is replaced in one call, with which all rules get the addresses of now; where
        nothing is new no call is made that writes.

        Of two hosts with packet filters at most one is that on which this runs. That the other one does not know of
        the move lets nobody in who was not let in before.
        """
        try:
            if dict(driver.get_remote_members().get(host, {})) != dict(groups):
                driver.set_remote_members({host: groups})
            elif refresh and driver.stale_group_members():
                driver.refresh_security_group_members()
        except Unsupported as error:
            self._warn(
                f"{driver.options.uri} learns where members of security groups are when the playbook "
                f"anyvirt.compute.security_groups runs: {error}"
            )

    def _warn(self, text: str) -> None:
        """Once, with the first that is moved."""
        for item in self._items:
            if item.error is None and item.plan:
                if text not in item.warnings:
                    item.warnings.append(text)
                return


def _is_member(item: Item) -> bool:
    instance = item.source.instance or item.destination.instance
    return instance is not None and (instance.security_groups is not None or instance.project is not None)


def _merged(one: _Groups, other: _Groups) -> dict[str, tuple[str, ...]]:
    return {group: tuple(sorted({*one.get(group, ()), *other.get(group, ())})) for group in sorted({*one, *other})}
