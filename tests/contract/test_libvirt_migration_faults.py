# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever breaks while a real guest is moved: one copy of it runs, it counts on, and the next run of the task takes it
there and leaves nothing behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.nicfilter import is_nic_filter
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.helpers import eventually
from contract.moments import AFTER, MOMENTS, SENDING, at_moment
from contract.moving import Move, answer_of, migrate, migrate_and_die
from contract.moving_guests import MovingGuest, kept
from contract.moving_hosts import MovingHosts
from contract.platforms.base import Snapshot
from contract.platforms.libvirt_qemu import QemuPlatform
from contract.platforms.libvirt_storage import SMALL_FOLDER

pytestmark = pytest.mark.on("libvirt")

SLOW = {"bandwidth": 20}
"""So that there is time for mischief while it is sent."""
SOME = ("begun", "accepted", "half", "moved", "finishing")
_SETTLED_S = 15.0
_MENDED_S = 60.0


@pytest.fixture(scope="module")
def hosts(host: QemuPlatform) -> Iterator[MovingHosts]:
    with closing(MovingHosts([host, host.partner()])) as found:
        yield found


@pytest.fixture(scope="module")
def kept_guest(hosts: MovingHosts) -> Iterator[MovingGuest]:
    pool = hosts.platforms[0].pool
    disks = [Disk(role="root", size_bytes=16 * MIB, pool=pool), Disk(size_bytes=8 * MIB, pool=pool)]
    # Filters of libvirt's own take seconds each time; test_libvirt_migration_guest.py has them.
    with kept(MovingGuest(hosts, "faulty", pool, disks=disks, security_groups=None)) as found:
        yield found


@pytest.fixture
def trial(kept_guest: MovingGuest, platform: QemuPlatform) -> Iterator[Trial]:
    """The guest on either host, running, with its disks in the pool of that host."""
    if not kept_guest.is_well:
        kept_guest.start()
    with Trial(kept_guest) as found:
        yield found


class Trial:
    """A guest that is watched from before a fault to after the last run."""

    def __init__(self, guest: MovingGuest) -> None:
        self.guest = guest
        self.hosts, self.name = guest.hosts, guest.name
        self.start = guest.here
        self.source, self.destination = guest.source, guest.destination
        self._before = self.hosts.pictures()
        self._watching = ExitStack()

    def __enter__(self) -> Trial:
        self._counter, self._talking = self._watching.enter_context(self.hosts.watched(self.name))
        return self

    def __exit__(self, *_error: object) -> None:
        self._watching.close()

    def migrate(self, **over: object) -> Move:
        """The task that is run again and again."""
        return migrate(self.source, self.destination, name=self.name, **over)

    def phase(self) -> str:
        """What ``state: status`` says in one word."""
        (result,) = answer_of(self.source, self.destination, name=self.name, state="status")["instances"]
        return str(result["status"]["phase"])

    def runs(self, has_left: bool) -> bool:
        """Whether it comes to run where it began, or where it is to go, and there is no other process of it."""
        where = 1 - self.start if has_left else self.start
        return eventually(
            lambda: self.hosts.running_on(self.name) == [where] and self.hosts.processes(self.name) == 1, _SETTLED_S
        )

    def is_as_before(self) -> bool:
        """Whether both hosts are as if nobody had ever tried to move it."""
        return [_outline(picture) for picture in self.hosts.pictures()] == [_outline(one) for one in self._before]

    def converges(self, **over: object) -> None:
        """The next run of the task brings it there and leaves nothing; the one after it has nothing to do."""
        second = self.migrate(**over)
        assert second.kind is None, second.result
        assert self.runs(has_left=True)
        third = self.migrate(**over)
        assert (third.kind, third.changed, third.calls.lasting_writes) == (None, False, [])
        after = self.hosts.pictures()
        source, destination = self.start, 1 - self.start
        assert _outline(after[source]) == _outline(self._before[destination]), "on the source"
        assert _outline(after[destination]) == _outline(self._before[source]), "on the destination"
        self.has_counted_on()

    def has_counted_on(self) -> None:
        """Its counter left out nothing and repeated nothing, and its connection lasts."""
        self._counter.goes_on()
        self._talking.goes_on()
        assert self._counter.lost_and_repeated() == []
        assert self._talking.broken == ""


def _outline(picture: Snapshot) -> dict[str, object]:
    """What there is on a host, without sizes and contents, and without what a host keeps once it has filtered."""
    return {
        "domains": sorted(picture["domains"]),
        "volumes": {pool: sorted(volumes) for pool, volumes in picture["pools"].items()},
        "filters": sorted(name for name in picture["filters"] if is_nic_filter(name)),
        "bindings": picture["bindings"],
        "files": sorted(picture["files"]),
    }


def pace(moment: str) -> dict[str, int]:
    """How fast it is to go until that moment."""
    return SLOW if moment in SENDING else {}


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_destinations_daemon_is_killed(trial: Trial, moment: str):
    with at_moment(moment, trial.destination.kill_service) as fault:
        first = trial.migrate(**pace(moment))
    assert fault.is_done
    trial.destination.restart_service()
    assert first.kind is not None or moment in AFTER, first.result
    assert trial.runs(has_left=moment in AFTER)
    trial.converges()


@pytest.mark.parametrize("moment", SOME)
def test_the_sources_daemon_is_killed(trial: Trial, moment: str):
    with at_moment(moment, trial.source.kill_service) as fault:
        first = trial.migrate(**pace(moment))
    assert fault.is_done
    trial.source.restart_service()
    assert first.kind is not None, first.result
    assert trial.runs(has_left=moment in AFTER)
    trial.converges()


@pytest.mark.parametrize("moment", SOME)
def test_the_module_is_killed(trial: Trial, moment: str):
    migrate_and_die(trial.source, trial.destination, moment, name=trial.name, **pace(moment))
    assert trial.runs(has_left=moment in AFTER)
    # libvirt takes a moment to cancel what nobody manages any more.
    assert eventually(lambda: trial.phase() != "moving", _SETTLED_S)
    trial.converges()


def test_the_play_is_interrupted(trial: Trial):
    reasons = []
    with at_moment("half", lambda: reasons.append("interrupted by SIGINT")) as fault:
        first = trial.migrate(**SLOW, interrupted=lambda: reasons[0] if reasons else None)
    assert fault.is_done
    assert first.kind == "migration_aborted", first.result
    assert trial.runs(has_left=False)
    assert trial.is_as_before()
    trial.converges()


def test_the_guests_process_on_the_destination_dies(trial: Trial):
    with at_moment("half", lambda: trial.destination.crash(trial.name)) as fault:
        first = trial.migrate(**SLOW)
    assert fault.is_done
    assert first.kind == "migration_failed", first.result
    assert trial.runs(has_left=False)
    assert trial.is_as_before()
    trial.converges()


def test_the_network_between_the_hosts_is_cut_for_a_moment(trial: Trial):
    cables = trial.destination.lab
    mending = threading.Timer(2.0, cables.mend_cable)

    def cut() -> None:
        cables.cut_cable()
        mending.start()

    with at_moment("half", cut) as fault:
        first = trial.migrate(**SLOW)
    mending.join()
    assert fault.is_done
    assert first.kind is None, first.result
    trial.converges()


def test_the_network_between_the_hosts_is_cut(trial: Trial):
    cables = trial.destination.lab
    with at_moment("half", cables.cut_cable) as fault:
        first = trial.migrate(**SLOW, dest=trial.destination.lab.tcp_uri)
    assert fault.is_done
    assert first.kind is not None, first.result
    assert trial.runs(has_left=False)
    cables.mend_cable()
    # QEMU lets go of the disks' connection once the network is back.
    assert eventually(lambda: trial.phase() != "moving", _MENDED_S)
    trial.converges()


def test_the_disk_of_the_destination_becomes_full(trial: Trial):
    trial.guest.inside().fill_by_chance("vdb", 6 * MIB)
    pool = trial.destination.storage.make_small_pool()
    filling = ("fallocate", "-l", "14M", f"{SMALL_FOLDER}/other-file")
    with at_moment("accepted", lambda: trial.destination.run_on_host(*filling)) as fault:
        first = trial.migrate(pools={trial.guest.pool: pool})
    assert fault.is_done
    assert first.kind == "migration_failed", first.result
    assert trial.runs(has_left=False)
    assert set(trial.hosts.pictures()[1 - trial.start]["pools"][pool]) == {"other-file"}
    trial.has_counted_on()
    with trial.destination.connection() as connection:
        small = connection.storagePoolLookupByName(pool)
        small.destroy()
        small.undefine()
    trial.destination.storage.remove_folders()


def test_the_source_daemon_manages_it_and_the_module_is_killed(trial: Trial):
    """The migration goes on without it, and the next run waits for its end."""
    peer = {"manager": "source", "dest": trial.destination.lab.tcp_uri}
    migrate_and_die(trial.source, trial.destination, "half", name=trial.name, **SLOW, **peer)
    assert trial.phase() == "moving"
    trial.converges(**peer)
