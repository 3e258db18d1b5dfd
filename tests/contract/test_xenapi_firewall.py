# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filtered instances of a XenServer pool: their network interfaces are locked to the addresses that are declared."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewall import FirewallDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AnyvirtError,
    InvalidInput,
    SecurityGroupNotFound,
    Unsupported,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Instance, Nic
from contract.helpers import bring_to
from contract.storage_helpers import fail_each_call
from contract.xenapi_firewall import (
    EVERYTHING,
    LINK_LOCAL,
    LOCKED,
    MAC,
    OPEN,
    OTHER_MAC,
    UNLOCKED,
    V4,
    V6,
    WEB,
    filtered,
    locks,
    spawned,
    with_addresses,
)

if TYPE_CHECKING:
    from contract.platforms.xenapi import XenApiPlatform

pytestmark = pytest.mark.on("xenapi")


@pytest.fixture
def driver(platform: XenApiPlatform) -> FirewallDriver:
    """One that has the open group already, and a group with a rule."""
    opened = platform.firewall_driver()
    opened.define_security_group(OPEN)
    opened.define_security_group(WEB)
    return opened


def changed(driver: FirewallDriver, current: Instance, **values: Any) -> None:
    desired = Instance(current.name, **values)
    driver.update_instance(current, desired, set(values), driver.live_options(current, desired, set(values)))


# -- from the first moment ---------------------------------------------------------------------------------------------


def test_a_nic_is_locked_from_the_moment_it_is_there(driver: FirewallDriver, platform: XenApiPlatform):
    with platform.calls.recording() as calls:
        instance = spawned(platform, driver, power_on=True, project="shop")
    assert locks(platform) == {MAC: LOCKED}
    assert [name for name in calls.writes if name.startswith("VIF.set_")] == [], "it was made so"
    assert instance.security_groups == ["open"]
    assert (instance.firewall, instance.project, instance.allow_project_net_traffic) == (None, "shop", False)
    assert [nic.addresses for nic in instance.nics or []] == [[V4, V6]]


def test_what_complete_says_is_what_is_read_back(driver: FirewallDriver, platform: XenApiPlatform):
    wanted = driver.complete(filtered(platform, security_groups=["web", "open", "web"], project=""))
    driver.spawn(wanted, power_on=False)
    found = driver.get_instances(["one"])["one"]
    for option in ("nics", "firewall", "security_groups", "project", "allow_project_net_traffic"):
        assert getattr(found, option) == getattr(wanted, option), option
    assert found.security_groups == ["open", "web"]


def test_unfiltered_instances_are_not_locked(driver: FirewallDriver, platform: XenApiPlatform):
    for name, over in (("none", {"firewall": "none"}), ("unsaid", {"security_groups": None})):
        instance = spawned(platform, driver, name=name, nics=[platform.nic(addresses=[V4])], **over)
        assert list(locks(platform, name).values()) == [UNLOCKED]
        assert [nic.addresses for nic in instance.nics or []] == [[V4]], "what is declared is kept all the same"


@pytest.mark.parametrize(
    ("addresses", "ipv4", "ipv6"),
    [
        ([V4], [V4], []),
        (["192.168.177.8/30"], ["192.168.177.10", "192.168.177.11", "192.168.177.8", "192.168.177.9"], []),
        ([V6], [], [V6, LINK_LOCAL]),
        (["2001:db8::/127", V4], [V4], ["2001:db8::", "2001:db8::1", LINK_LOCAL]),
        (["192.168.177.7/32", "2001:DB8::7/128"], [V4], [V6, LINK_LOCAL]),
    ],
)
def test_what_a_declaration_comes_to(
    driver: FirewallDriver, platform: XenApiPlatform, addresses: list[str], ipv4: list[str], ipv6: list[str]
):
    spawned(platform, driver, nics=[platform.nic(mac=MAC, addresses=addresses)])
    assert locks(platform) == {MAC: ("locked", ipv4, ipv6)}


# -- what cannot be ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("over", "error", "words"),
    [
        ({"security_groups": []}, Unsupported, "xenapi driver .* firewall: none"),
        ({"security_groups": ["web"]}, Unsupported, "xenapi driver .* add a group"),
        ({"security_groups": ["open", "nowhere"]}, SecurityGroupNotFound, "'nowhere'"),
        ({"firewall": "nwfilter"}, Unsupported, "leave firewall out"),
        ({"firewall": "nftables"}, Unsupported, "xenapi driver"),
        ({"firewall": "iptables"}, Unsupported, "xenapi driver"),
        ({"firewall": "pf"}, InvalidInput, "'pf'"),
        ({"allow_project_net_traffic": True, "project": "shop"}, Unsupported, "xenapi driver"),
        ({"nics": [Nic("lab", mac=MAC)]}, InvalidInput, r"nics\[0\].addresses: is needed"),
        ({"nics": [Nic("lab", addresses=[V4]), Nic("lab", addresses=[])]}, InvalidInput, r"nics\[1\].addresses"),
        ({"nics": [Nic("lab", addresses=[V4, "10.0.0.0/8"])]}, InvalidInput, r"nics\[0\].addresses: 10.0.0.0/8"),
        ({"nics": [Nic("lab", addresses=["2001:db8::/64"])]}, InvalidInput, "too large"),
    ],
)
def test_refused(
    driver: FirewallDriver, platform: XenApiPlatform, over: dict[str, Any], error: type[AnyvirtError], words: str
):
    before = platform.snapshot()
    wanted = filtered(platform, **over)
    with platform.calls.recording() as calls, pytest.raises(error, match=words):
        driver.spawn(wanted)
    assert not calls.writes
    assert platform.snapshot() == before
    told = driver.check_parameter_syntax(wanted) + driver.validate_parameters([wanted]).get("one", [])
    assert told, "it is known before anything is done"
    current = spawned(platform, driver, nics=[platform.nic(mac=MAC)], security_groups=None)
    options = ("security_groups", "nics", "firewall", "allow_project_net_traffic")
    values = {option: getattr(wanted, option) for option in options}
    before = platform.snapshot()
    with pytest.raises(error, match=words):
        changed(driver, current, **{option: value for option, value in values.items() if value is not None})
    assert platform.snapshot() == before


def test_a_template_whose_nics_nobody_declares(driver: FirewallDriver, platform: XenApiPlatform):
    template = "golden"
    with platform.session() as api:
        [network] = api.network.get_by_name_label("lab")
        fields = {"device": "0", "MAC": OTHER_MAC, "MTU": "1500", "other_config": {}}
        qos = {"qos_algorithm_type": "", "qos_algorithm_params": {}}
        api.VIF.create({**fields, **qos, "VM": api.VM.get_by_name_label(template)[0], "network": network})
    extras = {"template": template}
    wanted = platform.small("one", boot=None, hypervisor=extras, nics=None, security_groups=["open"])
    with pytest.raises(InvalidInput, match="brings network interfaces"):
        driver.spawn(wanted)
    driver.spawn(driver.complete(replace(wanted, nics=[platform.nic(mac=MAC, addresses=[V4, V6])])), power_on=False)
    assert locks(platform) == {MAC: LOCKED}


def test_licenses_that_do_not_include_it(driver: FirewallDriver, platform: XenApiPlatform):
    db = platform.server.db
    [pool] = db.refs("pool")
    db.set("pool", pool, restrictions={"restrict_vif_locking": "true"})
    before = platform.snapshot()
    with pytest.raises(Unsupported, match="license") as caught:
        spawned(platform, driver, power_on=True)
    assert caught.value.not_undone == []
    assert platform.snapshot() == before


# -- changes -----------------------------------------------------------------------------------------------------------

STATES = ("shutoff", "running", "paused", "suspended")


@pytest.mark.parametrize("state", STATES)
def test_filtered_and_unfiltered_in_any_state(driver: FirewallDriver, platform: XenApiPlatform, state: str):
    spawned(platform, driver, security_groups=None)
    bring_to(driver, "one", state)
    changed(driver, driver.get_instances(["one"])["one"], security_groups=["web", "open"])
    assert locks(platform) == {MAC: LOCKED}
    current = driver.get_instances(["one"])["one"]
    assert (current.security_groups, current.pending) == (["open", "web"], {})
    assert driver.instance_filter_exists("one")
    changed(driver, current, firewall="none")
    assert locks(platform) == {MAC: UNLOCKED}
    current = driver.get_instances(["one"])["one"]
    assert (current.security_groups, current.firewall, current.pending) == (["open", "web"], "none", {})
    assert [nic.addresses for nic in current.nics or []] == [[V4, V6]]
    assert not driver.instance_filter_exists("one")


@pytest.mark.parametrize("state", STATES)
def test_other_addresses_in_any_state(driver: FirewallDriver, platform: XenApiPlatform, state: str):
    spawned(platform, driver)
    bring_to(driver, "one", state)
    current = driver.get_instances(["one"])["one"]
    desired = Instance("one", nics=with_addresses(current, "192.168.177.9"))
    assert driver.live_options(current, desired, {"nics"}) == {"nics"}
    changed(driver, current, nics=desired.nics)
    assert locks(platform) == {MAC: ("locked", ["192.168.177.9"], [])}
    found = driver.get_instances(["one"])["one"]
    assert [nic.addresses for nic in found.nics or []] == [["192.168.177.9"]]
    assert not found.pending


def test_no_addresses_any_more(driver: FirewallDriver, platform: XenApiPlatform):
    current = spawned(platform, driver)
    with pytest.raises(InvalidInput, match="addresses"):
        changed(driver, current, nics=with_addresses(current))
    changed(driver, current, firewall="none", nics=with_addresses(current))
    assert locks(platform) == {MAC: UNLOCKED}
    assert [nic.addresses for nic in driver.get_instances(["one"])["one"].nics or []] == [None]


def test_a_nic_of_a_running_guest_is_locked_before_it_is_plugged(driver: FirewallDriver, platform: XenApiPlatform):
    spawned(platform, driver, power_on=True)
    platform.prepare_hotplug(driver, "one")
    with pytest.raises(InvalidInput, match=r"nics\[1\].addresses"):
        driver.plug_vifs("one", [platform.nic(mac=OTHER_MAC)])
    with platform.calls.recording() as calls:
        driver.plug_vifs("one", [platform.nic(mac=OTHER_MAC, addresses=["192.168.177.8"])])
    assert locks(platform) == {MAC: LOCKED, OTHER_MAC: ("locked", ["192.168.177.8"], [])}
    assert calls.writes.index("VIF.create") < calls.writes.index("VIF.plug")
    assert not any(name.startswith("VIF.set_") for name in calls.writes)
    driver.unplug_vifs("one", [OTHER_MAC])
    assert [nic.addresses for nic in driver.get_instances(["one"])["one"].nics or []] == [[V4, V6]]
    assert not any(OTHER_MAC in text for text in kept_with_the_vm(platform).values())


def kept_with_the_vm(platform: XenApiPlatform) -> dict[str, str]:
    db = platform.server.db
    [vm] = db.find("VM", name_label="one")
    return {key: text for key, text in db.get("VM", vm, "other_config").items() if key == "anyvirt"}


def test_nics_that_wait_for_the_next_start(driver: FirewallDriver, platform: XenApiPlatform):
    current = spawned(platform, driver, power_on=True)
    driver.pause("one")
    current = driver.get_instances(["one"])["one"]
    nics = [*(current.nics or []), platform.nic(mac=OTHER_MAC, addresses=["192.168.177.8"])]
    driver.update_instance(current, Instance("one", nics=nics), {"nics"}, set())
    assert locks(platform) == {MAC: LOCKED}
    driver.force_off("one")
    driver.power_on("one")
    assert locks(platform) == {MAC: LOCKED, OTHER_MAC: ("locked", ["192.168.177.8"], [])}
    assert driver.verify_filters() == []


def test_a_nic_keeps_its_addresses_where_nothing_is_said_of_them(driver: FirewallDriver, platform: XenApiPlatform):
    current = spawned(platform, driver)
    changed(driver, current, nics=[platform.nic(mac=MAC.upper()), platform.nic(mac=OTHER_MAC, addresses=[V4])])
    assert locks(platform) == {MAC: LOCKED, OTHER_MAC: ("locked", [V4], [])}


def test_a_nic_that_moves_stays_locked(driver: FirewallDriver, platform: XenApiPlatform):
    current = spawned(platform, driver, power_on=True)
    with platform.session() as api:
        api.network.create({"name_label": "second", "other_config": {}})
    driver.forget_places()
    changed(driver, current, nics=[Nic("second", mac=MAC)])
    assert locks(platform) == {MAC: LOCKED}


def test_locks_that_others_have_set_stay(driver: FirewallDriver, platform: XenApiPlatform):
    current = spawned(platform, driver, security_groups=None)
    with platform.session() as api:
        [vif] = api.VM.get_VIFs(api.VM.get_by_name_label("one")[0])
        api.VIF.set_locking_mode(vif, "disabled")
    changed(driver, current, nics=with_addresses(current, V4), description="other", project="shop")
    assert locks(platform) == {MAC: ("disabled", [], [])}


def test_nothing_is_left_of_an_instance_that_is_gone(driver: FirewallDriver, platform: XenApiPlatform):
    before = platform.snapshot()
    spawned(platform, driver, power_on=True)
    driver.destroy("one")
    assert platform.snapshot() == before


def test_a_machine_of_others_is_filtered(driver: FirewallDriver, platform: XenApiPlatform):
    platform.define_foreign("one")
    driver.plug_vifs("one", [platform.nic(mac=MAC)])
    current = driver.get_instances(["one"])["one"]
    changed(driver, current, security_groups=["open"], nics=with_addresses(current, V4))
    assert locks(platform) == {MAC: ("locked", [V4], [])}
    assert driver.get_group_members() == {}, "it is off"
    assert driver.security_group_uses(["open"])["open"].instances == ("one",)


def test_a_copy_of_an_instance_is_nobodys_member(driver: FirewallDriver, platform: XenApiPlatform):
    spawned(platform, driver, power_on=True)
    driver.force_off("one")
    with platform.session() as api:
        copy = api.VM.clone(api.VM.get_by_name_label("one")[0], "copy")
        api.VM.start(copy, False, False)
    assert driver.get_group_members() == {}
    assert driver.get_instances(["copy"])["copy"].security_groups is None


# -- undo --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize(
    "values",
    [
        {"security_groups": ["open", "web"], "project": "shop"},
        {"firewall": "none"},
        {"nics": [Nic("lab", mac=MAC, addresses=["192.168.177.9"])]},
        {"nics": [Nic("lab", mac=OTHER_MAC, addresses=["192.168.177.9"])]},
        {"nics": [Nic("lab", mac=MAC), Nic("lab", mac=OTHER_MAC)], "firewall": "none"},
    ],
    ids=["groups", "unfiltered", "addresses", "nic", "nics"],
)
def test_each_call_of_a_change_fails(
    driver: FirewallDriver, platform: XenApiPlatform, running: bool, values: dict[str, Any]
):
    current = spawned(platform, driver, power_on=running)
    if running:
        platform.prepare_hotplug(driver, "one")
        current = driver.get_instances(["one"])["one"]
    desired = Instance("one", **values)
    fail_each_call(platform, lambda: driver.update_instance(current, desired, set(values), set(values)))


@pytest.mark.slow
def test_each_call_of_the_first_filtering_fails(driver: FirewallDriver, platform: XenApiPlatform):
    current = spawned(platform, driver, power_on=True, security_groups=None)
    values = {"security_groups": ["open"]}
    desired = Instance("one", security_groups=["open"])
    fail_each_call(platform, lambda: driver.update_instance(current, desired, set(values), set(values)))


# -- looking after them ------------------------------------------------------------------------------------------------


def test_what_is_not_as_declared(driver: FirewallDriver, platform: XenApiPlatform):
    spawned(platform, driver, power_on=True)
    spawned(platform, driver, name="two", nics=[platform.nic(mac=OTHER_MAC, addresses=["192.168.177.8"])])
    assert driver.verify_filters() == []
    with platform.session() as api:
        [vif] = api.VM.get_VIFs(api.VM.get_by_name_label("one")[0])
        api.VIF.set_locking_mode(vif, "unlocked")
        [other] = api.VM.get_VIFs(api.VM.get_by_name_label("two")[0])
        api.VIF.add_ipv4_allowed(other, "192.168.177.99")
    with platform.calls.recording() as calls:
        found = driver.verify_filters()
    assert [(drift.instance, drift.subject) for drift in found] == [
        ("one", f"port {MAC}"),
        ("two", f"port {OTHER_MAC}"),
    ]
    assert [drift.problem for drift in found] == ["is unlocked instead of locked", "its list of addresses differs"]
    assert len(calls) == 3
    assert [drift.instance for drift in driver.verify_filters(["two"])] == ["two"]
    assert driver.verify_filters([]) == []
    assert not driver.instance_filter_exists("one")
    driver.restore_filters()
    assert driver.verify_filters() == []
    assert locks(platform) == {MAC: LOCKED}
    with platform.calls.recording() as calls:
        driver.restore_filters()
    assert not calls.writes


def test_a_member_of_a_group_that_restricts(driver: FirewallDriver, platform: XenApiPlatform):
    """Others have made it so, or two runs at the same moment."""
    spawned(platform, driver)
    with platform.session() as api:
        [pool] = api.pool.get_all()
        api.pool.remove_from_other_config(pool, "anyvirt-group:open#1")
    assert {drift.subject for drift in driver.verify_filters()} == {"group open", "groups open"}
    with pytest.raises(AnyvirtError, match="change the instances' groups") as caught:
        driver.restore_filters()
    assert caught.value.kind == "filter_drift"


def test_rules_cannot_be_taken_from_members(driver: FirewallDriver, platform: XenApiPlatform):
    spawned(platform, driver, security_groups=["open", "web"])
    before = platform.snapshot()
    with pytest.raises(Unsupported, match=r"'open' .* instance 'one' is in it: the xenapi driver .* add a group"):
        driver.define_security_group(replace(OPEN, rules=EVERYTHING[1:]))
    assert platform.snapshot() == before
    driver.define_security_group(replace(WEB, rules=()))
    driver.update_instance(
        driver.get_instances(["one"])["one"], Instance("one", firewall="none"), {"firewall"}, {"firewall"}
    )
    driver.define_security_group(replace(OPEN, rules=()))
    current = driver.get_instances(["one"])["one"]
    with pytest.raises(Unsupported):
        changed(driver, replace(current, firewall=None), firewall=None, security_groups=["open", "web"])
