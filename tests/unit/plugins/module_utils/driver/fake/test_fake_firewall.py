# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fake's firewall as tests of playbooks use it: packets, flushes, leases that come late."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake import dial
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.firewalldriver import FakeFirewallDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.packet import Packet
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import InvalidInput, NotFound
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Instance, Nic
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import (
    DEFAULT_EGRESS,
    INGRESS,
    STALE_MEMBERS,
    Drift,
    Rule,
    SecurityGroup,
)

DATABASE = SecurityGroup("db", (Rule(INGRESS, "tcp", group="web", port_min=5432, port_max=5432), *DEFAULT_EGRESS))


@pytest.fixture
def firewall(root: str) -> Iterator[FakeFirewallDriver]:
    driver = FakeFirewallDriver(ConnectionOptions(dial.uri(root)))
    with driver:
        driver.define_security_group(DATABASE)
        driver.define_security_group(SecurityGroup("web"))
        yield driver


@pytest.fixture
def pair(firewall: FakeFirewallDriver, make: Callable[..., Instance]) -> Callable[..., Packet]:
    """A web server and a database; packets from the one to the other."""
    for name, group in (("web1", "web"), ("db1", "db")):
        firewall.spawn(make(name, security_groups=[group], disks=[]))

    def packet(**fields: Any) -> Packet:
        macs = {name: instance.nics[0].mac for name, instance in firewall.get_instances().items() if instance.nics}
        leases = firewall.get_addresses(["web1", "db1"])
        usual = {
            "sender": macs["web1"],
            "receiver": macs["db1"],
            "src": leases["web1"][0].address if leases["web1"] else "192.0.2.1",
            "dst": leases["db1"][0].address if leases["db1"] else "192.0.2.2",
            "protocol": "tcp",
            "dport": 5432,
        }
        return Packet(**{**usual, **fields})

    return packet


def test_leases_are_learnt(firewall: FakeFirewallDriver, pair: Callable[..., Packet]):
    assert firewall.would_accept(pair())
    assert not firewall.would_accept(pair(dport=22))
    assert not firewall.would_accept(pair(src="192.168.122.250"))
    assert not firewall.would_accept(pair(sender=None, src="192.0.2.9"))


def test_who_is_off_sends_and_gets_nothing(firewall: FakeFirewallDriver, pair: Callable[..., Packet]):
    packet = pair()
    firewall.force_off("web1")
    assert not firewall.would_accept(packet)
    firewall.power_on("web1")
    assert firewall.would_accept(packet)
    firewall.force_off("db1")
    assert not firewall.would_accept(packet)


def test_a_mac_address_that_nobody_has(firewall: FakeFirewallDriver, pair: Callable[..., Packet]):
    with pytest.raises(NotFound, match="52:54:00:99:99:99"):
        firewall.would_accept(pair(receiver="52:54:00:99:99:99"))


def test_after_a_flush_everything_passes(firewall: FakeFirewallDriver, root: str, pair: Callable[..., Packet]):
    spoofed = pair(src="192.0.2.99", dport=22)
    dial.flush_filters(root, "web1")
    assert [drift.instance for drift in firewall.verify_filters()] == ["web1"]
    assert not firewall.would_accept(spoofed)
    dial.flush_filters(root)
    assert firewall.would_accept(spoofed)
    assert {drift.problem for drift in firewall.verify_filters()} == {"missing", STALE_MEMBERS}
    assert not firewall.instance_filter_exists("db1")
    firewall.restore_filters()
    assert firewall.verify_filters() == []
    assert not firewall.would_accept(spoofed)


def test_a_flush_by_order(firewall: FakeFirewallDriver, root: str, pair: Callable[..., Packet]):
    order = {"operation": "pause", "instance": "web1", "when": "after", "flush_filters": True, "times": 1}
    dial.write_faults(root, faults=[order])
    firewall.pause("db1")
    assert firewall.verify_filters() == []
    firewall.pause("web1")
    assert firewall.verify_filters() != []
    firewall.restore_filters()
    firewall.unpause("web1")
    assert firewall.verify_filters() == []


def test_operations_mend_no_more_than_they_are_about(
    firewall: FakeFirewallDriver, root: str, pair: Callable[..., Packet]
):
    """So a flush is seen, whatever happens after it; but nobody starts without filters."""
    pair()
    dial.flush_filters(root)
    firewall.pause("web1")
    firewall.unpause("web1")
    assert not firewall.instance_filter_exists("web1")
    firewall.define_security_group(SecurityGroup("web", DEFAULT_EGRESS, "another one"))
    assert not firewall.instance_filter_exists("web1")
    firewall.force_off("web1")
    firewall.power_on("web1")
    assert firewall.instance_filter_exists("web1")
    assert not firewall.instance_filter_exists("db1")


def test_rules_that_are_left_over(firewall: FakeFirewallDriver, root: str, pair: Callable[..., Packet]):
    """A record that came back by hand, an operation that was cut short: whatever it was, it is told and removed."""
    pair()
    applied = firewall.verify_filters()
    assert applied == []
    firewall.define_security_group(SecurityGroup("old"))
    path = f"{root}/hosts/fake1/security_groups/old.json"
    with open(path, encoding="utf-8") as file:
        text = file.read()
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace('"description": ""', '"description": "changed by hand"'))
    other = FakeFirewallDriver(ConnectionOptions(dial.uri(root)))
    with other:
        assert other.verify_filters() == [Drift(None, "group old", "rules differ")]
        other.restore_filters()
        assert other.verify_filters() == []


def test_a_lease_that_comes_late_is_a_stale_member(
    firewall: FakeFirewallDriver, root: str, make: Callable[..., Instance]
):
    dial.write_faults(root, guests={"web1": {"boot_s": 0.1}})
    firewall.spawn(make("web1", security_groups=["web"], disks=[]))
    assert firewall.stale_group_members() == []
    while not firewall.get_addresses(["web1"])["web1"]:
        pass
    assert firewall.stale_group_members() == ["web"]
    firewall.refresh_security_group_members()
    assert firewall.stale_group_members() == []


def test_declared_addresses_alone_count(firewall: FakeFirewallDriver, make: Callable[..., Instance]):
    nic = Nic(network="default", addresses=["10.9.9.9", "10.8.0.0/16"])
    firewall.spawn(make("web1", security_groups=["web"], disks=[], nics=[nic]))
    [found] = firewall.get_instances(["web1"])["web1"].nics or []
    [lease] = firewall.get_addresses(["web1"])["web1"]
    for address, expected in (("10.9.9.9", True), ("10.8.1.2", True), (lease.address, False), ("10.9.9.8", False)):
        packet = Packet(sender=found.mac, src=address, dst="192.0.2.1", protocol="tcp", dport=1)
        assert firewall.would_accept(packet) is expected, address


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "x" * 300])
def test_names_that_no_record_can_have(firewall: FakeFirewallDriver, name: str):
    [problem] = firewall.check_security_group(SecurityGroup(name))
    assert problem.option == "name"
    with pytest.raises(InvalidInput):
        firewall.define_security_group(SecurityGroup(name))
    firewall.delete_security_group(name)


def test_an_engine_that_nobody_has(firewall: FakeFirewallDriver, make: Callable[..., Instance]):
    [problem] = firewall.check_parameter_syntax(make("web1", firewall="pf", security_groups=[]))
    assert problem.option == "firewall"
    assert "nftables" in problem.message
