# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Security groups as a XenServer pool keeps them: written by several at once, cut short, and scribbled over."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.firewalldriver import FakeFirewallDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.packet import Packet
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewall import FirewallDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AnyvirtError,
    HypervisorUnavailable,
    PermissionDenied,
    Unsupported,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Instance, Nic
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import (
    ANYWHERE_V4,
    EGRESS,
    INGRESS,
    TCP,
    ProviderRule,
    Rule,
    SecurityGroup,
)
from contract.platforms.xenapi import HOUSEKEEPING
from contract.xenapi_firewall import (
    LOCKED,
    MAC,
    OPEN,
    OTHER_MAC,
    UNLOCKED,
    V4,
    WEB,
    filtered,
    locks,
    pool_keys,
    spawned,
)

if TYPE_CHECKING:
    from contract.platforms.xenapi import XenApiPlatform

pytestmark = pytest.mark.on("xenapi")

ELSEWHERE = {"host-b": {"web": ("192.0.2.10/32",)}, "host-c": {"open": ("192.0.2.11/32", "2001:db8::11/128")}}


@pytest.fixture
def driver(platform: XenApiPlatform) -> FirewallDriver:
    return platform.firewall_driver()


def scribble(platform: XenApiPlatform, key: str, text: str) -> None:
    """Write into the pool's other_config as anybody may who may change the pool."""
    with platform.session() as api:
        [pool] = api.pool.get_all()
        api.pool.add_to_other_config(pool, key, text)


def test_all_hosts_of_the_pool_know_the_same_groups(driver: FirewallDriver, platform: XenApiPlatform):
    driver.define_security_group(WEB)
    other = platform.firewall_driver(uri=f"{platform.uri}?host=xen2")
    assert other.get_security_groups() == {"web": WEB}


def test_each_text_has_one_key(driver: FirewallDriver, platform: XenApiPlatform):
    for number in range(3):
        driver.define_security_group(replace(WEB, description=str(number)))
    driver.set_remote_members(ELSEWHERE)
    assert sorted(pool_keys(platform)) == [
        "anyvirt-group:web#3",
        "anyvirt-members:host-b#1",
        "anyvirt-members:host-c#1",
    ]
    driver.set_remote_members({"host-b": {"web": ()}, "host-c": {**ELSEWHERE["host-c"], "web": ()}})
    assert driver.get_remote_members() == {"host-c": ELSEWHERE["host-c"]}
    driver.delete_security_group("web")
    assert sorted(pool_keys(platform)) == ["anyvirt-members:host-c#1"]


def test_what_is_there_already_is_not_written(driver: FirewallDriver, platform: XenApiPlatform):
    driver.define_security_group(WEB)
    driver.set_remote_members(ELSEWHERE)
    with platform.calls.recording() as calls:
        driver.define_security_group(WEB)
        driver.set_remote_members(ELSEWHERE)
        driver.set_remote_members({})
        driver.set_provider_rules(())
        driver.delete_security_group("nobody")
        driver.refresh_security_group_members()
    assert calls.writes == []


def test_two_write_different_groups_at_once(driver: FirewallDriver, platform: XenApiPlatform):
    names = [f"group-{number}" for number in range(20)]
    with ThreadPoolExecutor(8) as workers:
        list(workers.map(lambda name: driver.define_security_group(SecurityGroup(name)), names))
    assert sorted(driver.get_security_groups()) == sorted(names)


def test_two_write_one_group_at_once(driver: FirewallDriver, platform: XenApiPlatform):
    wanted = [replace(WEB, description=f"version {number}") for number in range(12)]
    drivers = [driver, platform.firewall_driver(), platform.firewall_driver()]
    with ThreadPoolExecutor(3) as workers:
        for one, group in zip(drivers * 4, wanted):
            workers.submit(one.define_security_group, group)
    assert driver.get_security_groups()["web"] in wanted
    driver.define_security_group(WEB)
    assert driver.get_security_groups() == {"web": WEB}
    assert len(pool_keys(platform)) == 1


def test_an_undo_leaves_what_others_have_written_since(driver: FirewallDriver, platform: XenApiPlatform):
    driver.define_security_group(WEB)
    undo = driver.define_security_group(replace(WEB, rules=()))
    theirs = replace(WEB, description="theirs")
    platform.firewall_driver().define_security_group(theirs)
    undo()
    assert driver.get_security_groups() == {"web": theirs}
    undo = driver.delete_security_group("web")
    platform.firewall_driver().define_security_group(WEB)
    undo()
    assert driver.get_security_groups() == {"web": WEB}


def test_who_was_killed_between_the_new_text_and_the_old(driver: FirewallDriver, platform: XenApiPlatform):
    driver.define_security_group(WEB)
    [text] = pool_keys(platform).values()
    scribble(platform, "anyvirt-group:web-2", "")  # no number
    scribble(platform, "anyvirt-group:web#9", '{"rules": []}')
    assert driver.get_security_groups()["web"].rules == ()
    driver.define_security_group(WEB)
    assert pool_keys(platform) == {"anyvirt-group:web-2": "", "anyvirt-group:web#10": text}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        '{"rules": 7}',
        '{"rules": [], "description": 7}',
        "[" * 100_000,
    ],
)
def test_what_is_no_group_is_none(driver: FirewallDriver, platform: XenApiPlatform, text: str):
    scribble(platform, "anyvirt-group:open#1", text)
    assert driver.get_security_groups() == {}
    driver.define_security_group(OPEN)
    assert driver.get_security_groups() == {"open": OPEN}


@pytest.mark.parametrize(
    "rule",
    ['{"protocol": "any"}', '{"direction": "egress", "port_min": "7"}', '{"direction": "ingress", "zone": "a"}', "7"],
)
def test_a_rule_that_cannot_be_understood_opens_nothing(driver: FirewallDriver, platform: XenApiPlatform, rule: str):
    known = '{"direction": "egress", "cidr": "0.0.0.0/0"}'
    scribble(platform, "anyvirt-group:open#1", f'{{"rules": [{rule}, {known}]}}')
    assert driver.get_security_groups()["open"].rules == (Rule(EGRESS, cidr=ANYWHERE_V4),)
    with pytest.raises(Unsupported):
        driver.spawn(driver.complete(filtered(platform)))


def test_members_that_are_none(driver: FirewallDriver, platform: XenApiPlatform):
    scribble(platform, "anyvirt-members:host-b#1", '{"web": 7, "open": ["192.0.2.7/32", 7]}')
    assert driver.get_remote_members() == {"host-b": {"open": ("192.0.2.7/32",)}}


def test_members_are_let_in_by_the_rules_of_other_hypervisors(
    driver: FirewallDriver, platform: XenApiPlatform, tmp_path: Path
):
    spawned_in_open(platform, driver, power_on=True)
    db = SecurityGroup("db", (Rule(INGRESS, TCP, group="open", port_min=5432, port_max=5432),))
    packet = Packet(receiver=OTHER_MAC, src=V4, dst="192.168.177.20", protocol="tcp", dport=5432)
    with FakeFirewallDriver(ConnectionOptions(f"fake://{tmp_path}")) as other:
        other.define_security_group(db)
        nic = Nic(network="default", mac=OTHER_MAC, addresses=["192.168.177.20"])
        guest = Instance("db", memory_mb=64, vcpus=1, nics=[nic], security_groups=["db"])
        other.spawn(other.complete(guest))
        assert not other.would_accept(packet)
        other.set_remote_members({driver.host_identity(): driver.get_group_members()})
        assert other.would_accept(packet)
        driver.force_off("one")
        other.set_remote_members({driver.host_identity(): driver.get_group_members()})
        assert not other.would_accept(packet)


def test_rules_of_the_operator(driver: FirewallDriver, platform: XenApiPlatform):
    with platform.calls.recording() as calls, pytest.raises(Unsupported, match=r"xenapi driver .* network"):
        driver.set_provider_rules([ProviderRule(Rule(EGRESS))])
    assert not calls
    assert driver.get_provider_rules() == ()


def test_who_may_not_change_the_pool_is_told(driver: FirewallDriver, platform: XenApiPlatform):
    platform.server.faults.fail(
        "pool.add_to_other_config", "RBAC_PERMISSION_DENIED", "pool.add_to_other_config", "role"
    )
    with pytest.raises(PermissionDenied, match="pool-operator") as caught:
        driver.define_security_group(WEB)
    assert caught.value.rolled_back is not False
    assert pool_keys(platform) == {}


# -- replies that get lost ---------------------------------------------------------------------------------------------


def each_call_lost(
    platform: XenApiPlatform, when: str, operation: Callable[[], object], back: Callable[[], object]
) -> list[str]:
    """Lose each call of an operation, and do it once more; what was lost. ``back`` leads to where it began."""
    with platform.calls.recording() as calls:
        operation()
    after = picture(platform)
    back()
    before = picture(platform)
    for number in range(1, len(calls) + 1):
        told = f"call {number} of {len(calls)}: {calls[number - 1].name}"
        platform.server.faults.drop("*", when=when, skip=number - 1, but=HOUSEKEEPING)
        try:
            operation()
        except AnyvirtError as error:
            assert isinstance(error, HypervisorUnavailable), (told, error)
            assert error.not_undone == [], told
            assert picture(platform) == before, told
        platform.server.faults.clear()
        operation()
        assert picture(platform) == after, told
        back()
        assert picture(platform) == before, told
    return [call.name for call in calls]


def picture(platform: XenApiPlatform) -> tuple[dict[str, str], object]:
    """What the pool keeps, without the numbers, and how the instance's network interfaces are locked."""
    db = platform.server.db
    kept = {key.rpartition("#")[0]: text for key, text in pool_keys(platform).items()}
    assert len(kept) == len(pool_keys(platform)), "one text for each name"
    return kept, locks(platform) if db.find("VM", name_label="one") else None


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_each_call_of_a_definition_is_lost(driver: FirewallDriver, platform: XenApiPlatform, when: str):
    other = replace(WEB, rules=())
    driver.define_security_group(other)
    spawned_in_open(platform, driver)
    calls = each_call_lost(
        platform, when, lambda: driver.define_security_group(WEB), lambda: driver.define_security_group(other)
    )
    assert "pool.add_to_other_config" in calls
    each_call_lost(
        platform, when, lambda: driver.delete_security_group("web"), lambda: driver.define_security_group(other)
    )


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_each_call_of_a_report_is_lost(driver: FirewallDriver, platform: XenApiPlatform, when: str):
    nobody: dict[str, dict[str, tuple[str, ...]]] = {host: {} for host in ELSEWHERE}
    each_call_lost(
        platform, when, lambda: driver.set_remote_members(ELSEWHERE), lambda: driver.set_remote_members(nobody)
    )


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_each_call_of_a_filtering_is_lost(driver: FirewallDriver, platform: XenApiPlatform, when: str):
    spawned_in_open(platform, driver, power_on=True)

    def give(firewall: str | None, groups: list[str]) -> None:
        current = driver.get_instances(["one"])["one"]
        desired = Instance("one", firewall=firewall, security_groups=groups)
        differing = {
            option for option in ("firewall", "security_groups") if getattr(desired, option) != getattr(current, option)
        }
        driver.update_instance(current, desired, differing, differing)

    driver.define_security_group(WEB)
    assert locks(platform) == {MAC: LOCKED}
    give("none", ["web"])
    assert locks(platform) == {MAC: UNLOCKED}
    calls = each_call_lost(platform, when, lambda: give(None, ["open"]), lambda: give("none", ["web"]))
    assert calls.count("VIF.set_locking_mode") == 1


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_each_call_of_a_restoration_is_lost(driver: FirewallDriver, platform: XenApiPlatform, when: str):
    spawned_in_open(platform, driver)
    db = platform.server.db
    [vif] = db.refs("VIF")

    def restore() -> None:
        db.set("VIF", vif, locking_mode="unlocked", ipv4_allowed=[])
        driver.restore_filters()

    with platform.calls.recording() as calls:
        restore()
    for number in range(1, len(calls) + 1):
        platform.server.faults.drop("*", when=when, skip=number - 1, but=HOUSEKEEPING)
        try:
            restore()
        except HypervisorUnavailable:
            platform.server.faults.clear()
            driver.restore_filters()
        assert driver.verify_filters() == []


def spawned_in_open(platform: XenApiPlatform, driver: FirewallDriver, power_on: bool = False) -> Instance:
    driver.define_security_group(OPEN)
    return spawned(platform, driver, power_on)
