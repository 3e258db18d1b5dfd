# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a domain's interfaces are tied to their filters, and what its record says of them."""

from __future__ import annotations

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.domain import Domain
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.domain_filters import (
    devices_of,
    filtering_problems,
    filters_of,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.filterrecord import (
    FILTER_OPTIONS,
    FilterRecord,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.pending import pending_options
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Instance, Nic

MAC = "52:54:00:aa:bb:01"
OTHER = "52:54:00:aa:bb:02"
FILTER = {MAC: "anyvirt-nic-525400aabb01"}


def domain(*interfaces: str, kind: str = "qemu") -> Domain:
    devices = "".join(interfaces or (interface(),))
    return Domain.parse(f"<domain type='{kind}'><name>one</name><devices>{devices}</devices></domain>")


def interface(inner: str = "", mac: str = MAC, kind: str = "network") -> str:
    return f"<interface type='{kind}'><mac address='{mac}'/><source network='default'/>{inner}</interface>"


def changed(before: Domain, **fields) -> Domain:
    """It after these fields were changed, as libvirt would read it back."""
    before.apply(Instance("one", **fields), set(fields))
    return before.copy()


@pytest.mark.parametrize(
    ("kind", "firewall", "filters", "devices"),
    [
        ("qemu", "nwfilter", FILTER, {}),
        ("lxc", "nwfilter", FILTER, {MAC: "av525400aabb01"}),
        ("qemu", "nftables", {}, {MAC: "av525400aabb01"}),
        ("kvm", "iptables", {}, {MAC: "av525400aabb01"}),
        ("qemu", "none", {}, {}),
    ],
)
def test_each_engine_ties_in_its_own_way(kind: str, firewall: str, filters, devices):
    untouched = domain(kind=kind)
    text = untouched.text()
    tied = changed(domain(kind=kind), firewall=firewall, security_groups=["web"])
    assert filters_of(tied.root) == filters
    assert devices_of(tied.root) == devices
    untied = changed(tied, firewall="none")
    assert (filters_of(untied.root), devices_of(untied.root)) == ({}, {})
    untied.record.filtering = FilterRecord()
    assert untied.text() == text


def test_no_groups_no_filters():
    assert filters_of(changed(domain(), firewall="nwfilter").root) == {}
    assert filters_of(changed(domain(), firewall="nwfilter", security_groups=[]).root) == FILTER


def test_what_others_tied_stays():
    theirs = interface("<target dev='mine0'/><filterref filter='clean-traffic'/>")
    tied = changed(domain(theirs), firewall="nftables", security_groups=[])
    assert (filters_of(tied.root), devices_of(tied.root)) == ({MAC: "clean-traffic"}, {MAC: "mine0"})
    untied = changed(tied, firewall="none")
    assert (filters_of(untied.root), devices_of(untied.root)) == ({MAC: "clean-traffic"}, {MAC: "mine0"})


def test_a_filter_of_another_address_is_replaced():
    """A domain that was cloned with virsh has its original's."""
    cloned = domain(interface("<filterref filter='anyvirt-nic-525400aabb99'/>"))
    assert filters_of(changed(cloned, firewall="nwfilter", security_groups=[]).root) == FILTER


@pytest.mark.parametrize("device", ["av525400aabb99", "mine%d"])
def test_a_name_that_is_not_the_interfaces_own_is_replaced(device: str):
    """Of a clone's original, or another one at each start: the interface would not be known by it."""
    named = domain(interface(f"<target dev='{device}'/>"))
    assert devices_of(changed(named, firewall="nftables", security_groups=[]).root) == {MAC: "av525400aabb01"}


def test_new_interfaces_are_tied_too():
    tied = changed(domain(), firewall="nwfilter", security_groups=["web"])
    more = changed(tied, nics=[Nic("default", mac=MAC), Nic("default", mac=OTHER, addresses=["192.0.2.2"])])
    assert set(filters_of(more.root)) == {MAC, OTHER}
    assert [nic.addresses for nic in more.to_instance().nics or ()] == [None, ["192.0.2.2"]]


def test_addresses_are_kept_until_they_are_taken_back():
    told = changed(domain(), nics=[Nic("default", mac=MAC, addresses=["192.0.2.9", "2001:db8::/64"])])
    assert told.record.filtering.addresses == {MAC: ["192.0.2.9", "2001:db8::/64"]}
    untold = changed(told, nics=[Nic("default", mac=MAC)])
    assert untold.record.filtering.addresses == {MAC: ["192.0.2.9", "2001:db8::/64"]}
    assert changed(untold, nics=[Nic("default", mac=MAC, addresses=[])]).record.filtering == FilterRecord()


@pytest.mark.parametrize(
    "record",
    [
        FilterRecord(),
        FilterRecord(security_groups=[]),
        FilterRecord("nftables", ["a", "b"], "blue", True, {MAC: ["192.0.2.1"], OTHER: ["10.0.0.0/8", "fd00::1"]}),
        FilterRecord("none", project="<&'\">", allow_project_net_traffic=False),
    ],
)
def test_the_record_is_read_back(record: FilterRecord):
    one = domain()
    one.record.filtering = record
    assert one.copy().record.filtering == record
    instance = one.copy().to_instance()
    assert [getattr(instance, name) for name in FILTER_OPTIONS] == [getattr(record, name) for name in FILTER_OPTIONS]


def test_what_cannot_be_filtered():
    one = domain(
        interface(),
        interface(kind="direct"),
        "<interface type='bridge'><source bridge='br0'/></interface>",
        interface("<filterref filter='clean-traffic'/>"),
    )
    problems = dict(filtering_problems(one.root, "nwfilter"))
    assert set(problems) == {1, 2, 3}
    assert "direct" in problems[1]
    assert "<mac>" in problems[2]
    assert "clean-traffic" in problems[3]
    assert set(dict(filtering_problems(one.root, "nftables"))) == {1, 2}


def test_filters_that_wait_for_a_restart():
    config = changed(domain(kind="lxc"), firewall="nwfilter", security_groups=[])
    assert pending_options(domain(kind="lxc"), config)["firewall"] == ("none", "nwfilter")
    assert "firewall" not in pending_options(config.copy(), config)
    assert "firewall" not in pending_options(config.copy(), changed(config.copy(), firewall="none"))
