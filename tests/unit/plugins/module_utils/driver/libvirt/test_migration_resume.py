# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Going on with a post-copy migration that broke off: libvirt's call, which may never return, and what comes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt import migrationlive
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.migrationdriver import (
    LibvirtMigrationDriver,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.oversight import Oversight
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import HypervisorError
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import (
    LIVE,
    OUTGOING,
    MigrationPlan,
    MigrationRecord,
    MigrationWishes,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.progress import SILENT

HALF_HERE, HALF_THERE, RUNNING, OFF = (3, 13), (1, 11), (1, 5), (5, 3)


class Library:
    """libvirt's module: each constant is one bit, and parameters are their own names."""

    VIR_DOMAIN_CONTROL_OK = 0
    VIR_DOMAIN_JOB_NONE = 0

    class libvirtError(Exception):  # noqa: N801
        pass

    def __init__(self) -> None:
        self.guests: dict[str, Guest] = {}
        self._names: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if "_PARAM_" in name or name.startswith("__"):
            return name
        if name not in self._names:
            self._names.append(name)
        return 1 << self._names.index(name)


class Guest:
    """A domain of one host, and the host's only connection."""

    def __init__(self, state: tuple[int, int], migrate: Callable[[], object]) -> None:
        self.found = state
        self.is_busy = False
        self._migrate = migrate

    def lookupByName(self, _name: str) -> Guest:  # noqa: N802
        return self

    def isAlive(self) -> bool:  # noqa: N802
        return True

    def isActive(self) -> bool:  # noqa: N802
        return self.found[0] != OFF[0]

    def state(self) -> list[int]:
        return list(self.found)

    def controlInfo(self, _flags: int) -> list[int]:  # noqa: N802
        return [int(self.is_busy), 0, 0]

    def jobStats(self, _flags: int) -> dict[str, int]:  # noqa: N802
        return {"type": 1 if self.found in (HALF_HERE, HALF_THERE) else 0, "memory_processed": 1}

    def migrate3(self, _there: Guest, parameters: dict[str, Any], flags: int) -> None:
        assert flags
        assert "VIR_MIGRATE_PARAM_DEST_XML" not in parameters, "the destination has it"
        self._migrate()

    def setKeepAlive(self, _interval_s: int, _count: int) -> None:  # noqa: N802
        pass

    def close(self) -> None:
        pass


class Host(LibvirtMigrationDriver):
    """A driver for a host that is not there."""

    connect = staticmethod(lambda library, options: library.guests[options.uri])

    def __init__(self, uri: str, library: Library, guest: Guest) -> None:
        super().__init__(ConnectionOptions(uri))
        self.libvirt = library
        library.guests[uri] = guest

    @property
    def conn(self) -> Any:
        return self.libvirt.guests[self.options.uri]


class Ends:
    """A guest of which each host has a part."""

    def __init__(self, migrate: Callable[[], object]) -> None:
        library = Library()
        self.here, self.there = Guest(HALF_HERE, migrate), Guest(HALF_THERE, migrate)
        # pylint: disable-next=abstract-class-instantiated  # it gives up on so many bases
        self._source = Host("qemu+tls://host-a/system", library, self.here)
        # pylint: disable-next=abstract-class-instantiated  # it gives up on so many bases
        self._destination = Host("qemu+tls://host-b/system", library, self.there)

    def migrate(self) -> bool:
        """Run the task again; whether it came to a result by post-copy."""
        record = MigrationRecord("an-id", OUTGOING, "host-b", LIVE, start=True)
        plan = MigrationPlan("web1", LIVE, MigrationWishes(), record)
        oversight = Oversight("web1", LIVE, plan.wishes, SILENT.measure("web1"))
        return self._source.migrate_instance(self._destination, plan, oversight).post_copy


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("_END_S", 0.1), ("_POLL_S", 0.01), ("NOTICE_S", 0.05), ("GLANCE_S", 0.05)):
        monkeypatch.setattr(migrationlive, name, seconds)


@pytest.fixture
def unanswered() -> Iterator[Ends]:
    """libvirt's call does not return."""
    over = threading.Event()
    yield Ends(lambda: over.wait(60))
    over.set()


def test_a_call_that_never_returns_is_not_waited_for_where_the_destination_hangs(unanswered: Ends):
    unanswered.there.is_busy = True
    with pytest.raises(HypervisorError, match="does not answer its libvirt any more"):
        unanswered.migrate()


def test_nobody_is_told_to_end_a_guest_whose_hosts_only_do_not_reach_each_other(unanswered: Ends):
    with pytest.raises(HypervisorError, match="broke off") as caught:
        unanswered.migrate()
    assert "When they reach each other again, run the task again" in str(caught.value)
    assert "virsh destroy" not in str(caught.value)


def test_it_goes_on_to_its_end():
    def migrate() -> None:
        ends.here.found, ends.there.found = OFF, RUNNING

    ends = Ends(migrate)
    assert ends.migrate()
