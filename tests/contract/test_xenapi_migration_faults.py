# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever breaks while an instance of XenServer is moved: one of it is there, and the next run of the task ends what
was begun and leaves nothing behind. The pool's own tasks go on when their client is gone."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.api import Api, is_read
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    HypervisorUnavailable,
    InstanceDuplicated,
    MigrationAborted,
    MigrationFailed,
    TimeoutExpired,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk, Instance
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.helpers import eventually
from contract.moving import Move, migrate, moved
from contract.platforms.xenapi import XenApiPlatform

pytestmark = pytest.mark.on("xenapi")

NAME = "web1"
_LOCAL, _SHARED = "Local storage", "shared"
ENDS = {"within": _SHARED, "local": _LOCAL, "between": _SHARED}
"""Kinds of ends, with the pool in which disks are: hosts that share it, hosts that do not, and two pools."""


class Case:
    """Two ends, and an instance on the first."""

    def __init__(self, here: XenApiPlatform, there: XenApiPlatform, kind: str) -> None:
        self.here, self.there, self.kind = here, there, kind
        self.before: Instance
        self.pictures: list[Any] = []

    def spawn(self, running: bool = True) -> None:
        source = self.here.migration_driver()
        disks = [Disk(size_bytes=8 * MIB), Disk(size_bytes=4 * MIB)]
        nics = [self.here.nic()]
        self.before = self.here.spawned(source, NAME, power_on=running, disks=disks, nics=nics, pool=ENDS[self.kind])
        if running:
            self.here.wait_ready(source, NAME)
        self.pictures = self.picture()

    def picture(self) -> list[Any]:
        return [self.here.snapshot(), self.there.snapshot()]

    def migrate(self, **params: Any) -> Move:
        return migrate(self.here, self.there, name=NAME, **params)

    def machines(self) -> list[str]:
        """The power states of all VMs of the name, wherever they are."""
        found = []
        for server in dict.fromkeys([self.here.server, self.there.server]):
            vms = server.db.find("VM", name_label=NAME)
            found += [str(server.db.get("VM", vm, "power_state")) for vm in vms]
        return found

    def busy(self) -> bool:
        """Whether a server moves something."""
        return any(server.world.operations for server in (self.here.server, self.there.server))

    def assert_moves_in_the_end(self, **params: Any) -> None:
        """The same task again brings it to its end, and once more it does nothing."""
        moved(self.here, self.there, name=NAME, **params)
        after = self.there.migration_driver().get_instances([NAME])[NAME]
        assert _without_place(after) == _without_place(self.before)
        assert self.machines() == ["Running" if self.before.power_state == 1 else "Halted"]
        again = moved(self.here, self.there, name=NAME, **params)
        assert (again.changed, [call.name for call in again.calls if call.writes]) == (False, [])
        with self.there.session() as api:
            [vm] = api.VM.get_by_name_label(NAME)
            assert "anyvirt-migration" not in api.VM.get_other_config(vm)
        self.there.migration_driver().destroy(NAME)
        assert self.here.volumes() == self.there.volumes() == set()


def _without_place(instance: Instance) -> Instance:
    kept = {option: value for option, value in instance.hypervisor.items() if option != "affinity"}
    return replace(instance, hypervisor=kept)


@pytest.fixture(params=list(ENDS))
def case(request: pytest.FixtureRequest, platform: XenApiPlatform) -> Iterator[Case]:
    """Each kind of ends."""
    if request.param == "between":
        yield Case(platform, platform.partner(), request.param)
        return
    with platform.two_hosts() as (here, there):
        yield Case(here, there, request.param)


@pytest.fixture
def between(platform: XenApiPlatform) -> Case:
    """Two pools."""
    return Case(platform, platform.partner(), "between")


def slow(case: Case, seconds: float = 30.0) -> None:
    """Let memory take so long to move, until further notice."""
    case.here.server.let_migrations_take(seconds)


# -- the client dies --------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process is no more."""


@contextmanager
def killed_after(number: int) -> Iterator[list[str]]:
    """Within the block the client is dead from the moment at which it has made so many calls that change something;
    what it called so far."""
    made: list[str] = []
    real = Api.call_on

    def call_on(self: Api, line: Any, method: str, *params: Any) -> Any:
        if len(made) >= number:
            raise Killed
        answer = real(self, line, method, *params)
        if not is_read(method) and not method.startswith(("VM.assert_", "host.migrate_receive")):
            made.append(method)
            if len(made) >= number:
                raise Killed
        return answer

    with mock.patch.object(Api, "call_on", call_on), mock.patch.object(Api, "close"):
        yield made


@pytest.mark.parametrize(
    ("case", "mode"),
    [("within", "live"), ("local", "cold"), ("between", "live"), ("between", "cold")],
    indirect=["case"],
)
def test_killed_after_each_call_that_changes_something(case: Case, mode: str):
    for number in itertools.count(1):
        case.spawn()
        with killed_after(number) as made:
            with suppress(Killed):
                case.migrate(mode=mode)
        assert len(case.machines()) >= 1
        assert case.machines().count("Running") <= 1
        case.assert_moves_in_the_end(mode=mode)
        if len(made) < number:
            assert number > 4, made
            return


@pytest.mark.parametrize("case", ["within", "between"], indirect=True)
def test_what_the_server_does_goes_on_and_is_followed(case: Case):
    case.spawn()
    slow(case, 4.0)
    with killed_after(2), pytest.raises(Killed):
        case.migrate()
    assert case.busy()
    status = case.migrate(state="status").one["status"]
    assert status["progress"]["percent"] is not None, status
    follower = case.migrate(check=True)
    assert any("take over" in step for step in follower.one["steps"]), follower.one
    case.assert_moves_in_the_end()


@pytest.mark.parametrize("case", ["between"], indirect=True)
def test_what_goes_on_can_be_aborted(case: Case):
    case.spawn()
    slow(case)
    with killed_after(2), pytest.raises(Killed):
        case.migrate()
    aborted = case.migrate(state="aborted")
    assert (aborted.kind, aborted.changed) == (None, True)
    assert case.picture() == case.pictures
    assert not case.migrate(state="aborted").changed
    slow(case, 0.1)
    case.assert_moves_in_the_end()


@pytest.mark.parametrize("mode", ["live", "cold"])
def test_a_guest_that_ends_by_itself_after_the_client_died(case: Case, mode: str):
    """It runs nowhere, and the source is the only one that has it: there is nothing that could be lost."""
    case.spawn()
    with killed_after(1), pytest.raises(Killed):
        case.migrate(mode=mode)
    with case.here.session() as api:
        [vm] = api.VM.get_by_name_label(NAME)
        api.VM.hard_shutdown(vm)
    assert case.migrate(mode="live").kind is not None
    moved(case.here, case.there, name=NAME)
    assert case.machines() == ["Halted" if mode == "live" else "Running"]
    assert NAME in case.there.migration_driver().list_instances()
    again = moved(case.here, case.there, name=NAME)
    assert (again.changed, [call.name for call in again.calls if call.writes]) == (False, [])


def test_a_guest_that_ended_and_whose_source_has_lost_its_disks(between: Case):
    """It had left, and the server died before it had removed the rest: what is here must not be moved again."""
    between.spawn()
    with killed_after(1), pytest.raises(Killed):
        between.migrate()
    with between.here.session() as api:
        [vm] = api.VM.get_by_name_label(NAME)
        api.VM.hard_shutdown(vm)
        for vbd in api.VM.get_VBDs(vm):
            vdi = api.VBD.get_VDI(vbd)
            api.VBD.destroy(vbd)
            api.VDI.destroy(vdi)
    assert between.migrate().kind == InstanceDuplicated.kind


def test_many_that_were_cut_short_cost_no_more_than_one(between: Case):
    source = between.here.migration_driver()
    names = [f"many{number}" for number in range(4)]
    for name in names:
        between.here.spawned(source, name)
        with killed_after(1), pytest.raises(Killed):
            migrate(between.here, between.there, name=name)
    asked = [
        Counter(call.name for call in migrate(between.here, between.there, state="status", instances=some).calls)
        for some in (names[:1], names)
    ]
    assert asked[0] == asked[1]


# -- it takes too long, or nobody wants it any more -------------------------------------------------------------------


def test_too_slow(case: Case):
    case.spawn()
    slow(case)
    move = case.migrate(timeout_s=0.7)
    assert move.kind == TimeoutExpired.kind
    assert case.picture() == case.pictures


def test_too_slow_and_going_on(case: Case):
    case.spawn()
    slow(case, 1.2)
    move = case.migrate(timeout_s=0.6, on_timeout="continue")
    assert move.kind is None
    assert any("longer" in warning for warning in move.one["warnings"])
    assert case.machines() == ["Running"]


def test_interrupted(case: Case):
    case.spawn()
    slow(case)
    began = time.monotonic()
    move = case.migrate(interrupted=lambda: "interrupted" if time.monotonic() > began + 0.7 else None)
    assert move.kind == MigrationAborted.kind
    assert case.picture() == case.pictures


def test_somebody_else_cancels_the_task(case: Case):
    case.spawn()
    slow(case)

    def cancel() -> None:
        with case.here.session() as api:
            assert eventually(case.busy)
            [vm] = api.VM.get_by_name_label(NAME)
            api.task.cancel(next(iter(api.VM.get_current_operations(vm))))

    canceller = threading.Thread(target=cancel)
    canceller.start()
    move = case.migrate()
    canceller.join()
    assert move.kind == MigrationAborted.kind
    assert case.picture() == case.pictures


# -- the servers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["mirror", "metadata", "memory", "switch"])
def test_the_server_gives_up(case: Case, point: str):
    case.spawn()
    case.here.server.faults.fail(f"point:{point}", "VM_MIGRATE_FAILED", "vm", "here", "there", "as asked")
    move = case.migrate()
    case.here.server.faults.clear()
    if case.kind == "within" and point in ("mirror", "metadata"):
        assert move.kind is None, "it has no such moment"
        return
    assert move.kind == MigrationFailed.kind
    assert "as asked" in move.result["msg"]
    assert case.picture() == case.pictures
    case.assert_moves_in_the_end()


@pytest.mark.parametrize("mode", ["live", "cold"])
@pytest.mark.parametrize("point", ["mirror", "metadata", "switch"])
def test_the_other_pool_is_cut_off(between: Case, point: str, mode: str):
    """The source's server cannot clear up there."""
    between.spawn()
    there = between.there.server
    between.here.server.faults.delay(f"point:{point}", 0.6)

    def cut() -> None:
        assert eventually(between.busy)
        time.sleep(0.2)
        there.stop_listening()

    cutter = threading.Thread(target=cut)
    cutter.start()
    move = between.migrate(mode=mode)
    cutter.join()
    assert move.kind in (MigrationFailed.kind, HypervisorUnavailable.kind)
    assert between.here.migration_driver().get_instances([NAME])[NAME].power_state in (1, 5)
    between.here.server.faults.clear()
    there.listen_again()
    between.assert_moves_in_the_end(mode=mode)


def test_a_server_that_died_before_it_removed_the_source(between: Case):
    """The disks go first: what is on the destination is all there is, and no leftover to be removed."""
    between.spawn(running=False)
    there = between.there.server
    between.here.server.faults.delay("point:switch", 0.6)

    def cut() -> None:
        assert eventually(lambda: there.db.find("VM", name_label=NAME))
        there.stop_listening()

    cutter = threading.Thread(target=cut)
    cutter.start()
    assert between.migrate().kind is not None
    cutter.join()
    between.here.server.faults.clear()
    there.listen_again()
    with between.here.session() as api:
        [vm] = api.VM.get_by_name_label(NAME)
        for vbd in api.VM.get_VBDs(vm):
            vdi = api.VBD.get_VDI(vbd)
            api.VBD.destroy(vbd)
            api.VDI.destroy(vdi)
    copies = between.there.volumes()
    assert len(copies) == 2
    for _again in range(2):
        move = between.migrate()
        assert move.kind == InstanceDuplicated.kind, move.result
        assert between.there.volumes() == copies
    assert between.migrate(state="aborted").kind == InstanceDuplicated.kind
    with between.here.session() as api:
        api.VM.destroy(vm)
    between.assert_moves_in_the_end()


def test_a_copy_of_one_that_moves(case: Case):
    """It has the note of the other one, which is none of its own."""
    case.spawn(running=False)
    with case.here.session() as api:
        [vm] = api.VM.get_by_name_label(NAME)
        api.VM.add_to_other_config(vm, "anyvirt-migration", json.dumps({"id": "x", "vm": "another"}))
    case.assert_moves_in_the_end()


@pytest.mark.parametrize("lost", ["VM.migrate_send", "VM.pool_migrate", "task.get_record", "VM.add_to_other_config"])
def test_replies_get_lost(case: Case, lost: str):
    """The first one of that call, after it took effect, together with the client library's own second try."""
    case.spawn()
    slow(case, 0.7)
    case.here.server.faults.drop(lost, when="after", times=1)
    move = case.migrate()
    case.here.server.faults.clear()
    assert move.kind in (None, HypervisorUnavailable.kind), move.result
    if move.kind is not None:
        assert eventually(lambda: not case.busy())
    case.assert_moves_in_the_end()


@pytest.mark.parametrize(
    ("case", "mode"), [("within", "cold"), ("local", "live"), ("between", "cold")], indirect=["case"]
)
def test_each_call_that_changes_something_fails(case: Case, mode: str):
    server = case.here.server
    for number in itertools.count():
        case.spawn()
        server.faults.fail("*", skip=number, writing_only=True, but=("session.*", "event.*", "task.*"))
        move = case.migrate(mode=mode)
        was_hit = number < len([call for call in move.calls if call.writes])
        server.faults.clear()
        if move.kind is not None and NAME in case.here.migration_driver().list_instances():
            assert case.picture() == case.pictures, (number, move.result)
        case.assert_moves_in_the_end(mode=mode)
        if not was_hit:
            assert number > 1
            return


def test_the_servers_take_three_at_a_time(between: Case):
    source = between.here.migration_driver()
    names = [f"many{number}" for number in range(5)]
    for name in names:
        between.here.spawned(source, name)
    between.here.server.faults.delay("point:switch", 0.3)
    move = moved(between.here, between.there, instances=names, workers=5)
    assert [one["changed"] for one in move.result["instances"]] == [True] * 5
    assert between.there.migration_driver().list_instances() == names


def test_a_guest_that_still_boots_is_waited_for(between: Case):
    """An HVM guest tells what it can do when its tools are up."""
    server = between.here.server
    server.pool.world.settings = replace(server.settings, boot_s=0.8)
    source = between.here.migration_driver()
    between.here.spawned(source, NAME, power_on=True, boot=None, disks=[Disk(size_bytes=8 * MIB)])
    move = moved(between.here, between.there, name=NAME)
    assert move.one["mode"] == "live"
    assert between.machines() == ["Running"]
