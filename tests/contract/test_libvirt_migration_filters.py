# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of instances that are moved: on the destination before the guest is, and gone from the source after it."""

from __future__ import annotations

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.errors import InsufficientCapacity
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Instance
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import LIVE
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import (
    DEFAULT_EGRESS,
    INGRESS,
    TCP,
    Rule,
    SecurityGroup,
)
from contract import moving
from contract.host_runners import run_on_hosts
from contract.migration_helpers import NAME, Ends, begin, both_ends, moved, overseer, plan_of, planned, spawned
from contract.platforms.base import Platform, Snapshot

pytestmark = pytest.mark.on("libvirt")

DATABASES = SecurityGroup("databases")
WEB = SecurityGroup("web", (Rule(INGRESS, TCP, group="databases", port_min=80, port_max=80), *DEFAULT_EGRESS))
ENGINES = ("nwfilter", "nftables", "iptables")


@pytest.fixture
def ends(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Ends:
    """Both hosts; what is run on a driver's own host is run there."""
    run_on_hosts(monkeypatch, platform, platform.partner())
    ends = both_ends(platform)
    for group in (DATABASES, WEB):
        ends.source.define_security_group(group)
    return ends


def filtered(ends: Ends, engine: str, power_on: bool = False) -> Instance:
    """An instance behind an engine's filters."""
    return spawned(ends, power_on=power_on, disks=[], firewall=engine, security_groups=["web"], project="shop")


def trace(ends: Ends, end: int) -> tuple[list[str], bool, list[str]]:
    """What one end has of it: groups, whether it is filtered, and all that is wrong with its filters."""
    driver = (ends.source, ends.destination)[end]
    known = NAME in driver.list_instances()
    drift = [f"{drift.subject}: {drift.problem}" for drift in driver.verify_filters()]
    return sorted(driver.get_security_groups()), known and driver.instance_filter_exists(NAME), drift


def pictures(ends: Ends) -> list[Snapshot]:
    """All on both hosts but the definitions of filters, of which some stay for the next one to come."""
    return [{key: part for key, part in picture.items() if key != "filters"} for picture in ends.pictures()]


BOTH = ["databases", "web"]


@pytest.mark.parametrize("engine", ENGINES)
def test_they_go_with_the_guest(ends: Ends, engine: str):
    instance = filtered(ends, engine, power_on=True)
    plan = planned(ends, instance, mode=LIVE)
    begin(ends, plan)
    assert trace(ends, 1) == (BOTH, True, [])  # the guest is not there yet
    ends.source.migrate_instance(ends.destination, plan, overseer(plan))
    assert trace(ends, 1) == (BOTH, True, [])
    ends.destination.finish_destination(NAME)
    ends.source.finish_source(NAME)
    assert trace(ends, 1) == (BOTH, True, [])
    assert trace(ends, 0) == (BOTH, False, [])
    there = ends.destination.get_instances()[NAME]
    assert (there.firewall, there.security_groups, there.project) == (engine, ["web"], "shop")


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_is_left_of_them_where_it_is_given_up(ends: Ends, engine: str):
    instance = filtered(ends, engine)
    before = pictures(ends)
    begin(ends, planned(ends, instance))
    assert trace(ends, 1) == (BOTH, True, [])
    removed = ends.destination.discard_migration(NAME)
    assert removed == [f"instance {NAME}", "security group web", "security group databases"]
    ends.source.discard_migration(NAME)
    assert trace(ends, 1) == ([], False, [])
    assert trace(ends, 0) == (BOTH, True, [])
    assert pictures(ends) == before


def test_groups_that_others_have_come_to_need_stay(ends: Ends):
    instance = filtered(ends, "nwfilter")
    begin(ends, planned(ends, instance))
    driver = ends.destination
    driver.spawn(driver.complete(ends.partner.small("other", nics=[], security_groups=["databases"])), power_on=False)
    removed = driver.discard_migration(NAME)
    assert removed == [f"instance {NAME}", "security group web"]
    assert sorted(driver.get_security_groups()) == ["databases"]


def test_a_try_that_fails_takes_no_group_from_others(ends: Ends, monkeypatch: pytest.MonkeyPatch):
    plans = []
    for name in ("first", NAME):
        instance = spawned(ends, name=name, power_on=False, disks=[], firewall="nftables", security_groups=["web"])
        plans.append(planned(ends, instance))
        ends.source.begin_migration(plans[-1])

    def fail(*_arguments: object) -> None:
        patch.undo()
        ends.destination.accept_instance(ends.source, plans[1])
        raise InsufficientCapacity("no room")

    with monkeypatch.context() as patch:
        patch.setattr(ends.destination, "make_arriving_volumes", fail)
        with pytest.raises(InsufficientCapacity) as caught:
            ends.destination.accept_instance(ends.source, plans[0])
    assert caught.value.not_undone == []
    assert trace(ends, 1) == (BOTH, True, [])
    ends.destination.discard_migration(NAME)
    assert ends.destination.list_instances() == []


def test_what_dhcp_gave_it_is_let_through_until_it_starts_again(ends: Ends):
    instance = filtered(ends, "nwfilter", power_on=True)
    ends.platform.wait_ready(ends.source, NAME)
    address = wait_for_lease(ends)
    moved(ends, instance, mode=LIVE)
    leased_here = {found.address for found in ends.destination.get_addresses([NAME])[NAME]}
    assert leased_here <= {address}  # it was leased elsewhere, but a guest may ask again at any time
    assert ends.destination.get_group_members() == {"web": (f"{address}/32",), "project:shop": (f"{address}/32",)}
    assert trace(ends, 1) == (BOTH, True, [])
    ends.destination.force_off(NAME)
    ends.destination.power_on(NAME)
    assert ends.destination.verify_filters() == []
    assert ends.destination.get_group_members().get("web", ()) in ((), (f"{address}/32",))


def wait_for_lease(ends: Ends) -> str:
    """The address that it was given."""
    for _attempt in range(100):
        found = ends.source.get_addresses([NAME])[NAME]
        if found:
            return found[0].address
        with ends.source.watch([NAME]) as watch:
            watch.wait(0.2)
    raise AssertionError("it was given no address")


@pytest.mark.parametrize("end", [0, 1])
def test_packet_filters_of_another_host_cannot_be_reached(ends: Ends, end: int):
    instance = filtered(ends, "nftables")
    remote = (ends.platform, ends.partner)[end].migration_driver(uri=(ends.platform, ends.partner)[end].uris[1])
    pair = [ends.source, ends.destination]
    pair[end] = remote
    plan = plan_of(Ends(ends.platform, *pair), instance)
    if end == 0:
        assert plan.problems == []
        assert any("virt_secgroup" in warning for warning in plan.warnings)
    else:
        assert any("nftables works on the hypervisor's host itself" in problem for problem in plan.problems)


def test_a_task_on_the_destination_moves_what_packet_filters_guard(ends: Ends):
    """From one place only one host's packet filters are reached, and the guest needs those of the destination."""
    filtered(ends, "nftables", power_on=True)
    remote = ends.platform.uris[1]
    move = moving.moved(ends.platform, ends.partner, uri=remote, name=NAME, mode=LIVE)
    told = "\n".join(move.one["warnings"])
    assert "its filters on the source stay until virt_secgroup runs on that host" in told
    assert f"{remote} learns where members of security groups are when the playbook" in told
    assert trace(ends, 1) == (BOTH, True, [])
    assert ends.source.list_instances() == []
    again = moving.migrate(ends.platform, ends.partner, uri=remote, name=NAME, mode=LIVE)
    assert (again.kind, again.changed) == (None, False)
    assert {drift.subject for drift in ends.source.verify_filters()} != set()
    ends.source.restore_filters()
    assert ends.source.verify_filters() == []
