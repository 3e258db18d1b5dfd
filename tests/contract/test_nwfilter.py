# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declarations as nwfilter definitions of a real libvirt, and what its rules do when somebody meddles with them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

import libvirt
import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewall import FirewallDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.domain_filters import filter_reference
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.nwfilter import NwfilterEngine
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.store import Declarations
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.tools import Runner
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import HypervisorError, Unsupported
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import (
    ACCEPT,
    DEFAULT_EGRESS,
    DROP,
    EGRESS,
    INGRESS,
    STALE_MEMBERS,
    Drift,
    HostPolicy,
    Port,
    ProviderRule,
    Rule,
    SecurityGroup,
)
from contract.platforms.libvirt_qemu import QemuPlatform
from contract.secgroup_helpers import OPEN
from contract.secgroup_helpers import filtered as filtered_instance

pytestmark = pytest.mark.on("libvirt")

SSH = Rule(INGRESS, "tcp", "10.0.0.0/8", port_min=22, port_max=22, description="é <&'\" and _5f: all of it")
FROM_WEB = Rule(INGRESS, "any", group="web")
DB = SecurityGroup("db", (SSH, FROM_WEB, Rule(EGRESS, "47", "fd00::/8"), *DEFAULT_EGRESS), "the <data>")
MEMBERS = {"web": frozenset({"10.0.0.1/32", "10.0.0.2/32", "fd00::1/128"})}
FIXED = Port("fixed", "52:54:00:00:77:01", "nwf1", ("10.0.0.7/32", "10.5.0.0/16", "fd00::7/128"), groups=("db",))
LEARNING = Port("learning", "52:54:00:00:77:02", "nwf2", learns=True, project="blue", allow_project=True)
POLICY = HostPolicy((FIXED, LEARNING), {"db": DB}, (), MEMBERS)


@pytest.fixture
def connection(platform: QemuPlatform) -> Iterator[Any]:
    with platform.connection() as opened:
        yield opened


@pytest.fixture
def declarations(connection: Any) -> Declarations:
    return Declarations(libvirt, connection)


@pytest.fixture
def filtered(platform: QemuPlatform, connection: Any, declarations: Declarations) -> Iterator[NwfilterEngine]:
    """An engine, and the ports of POLICY on taps without guests."""
    engine = NwfilterEngine(declarations, Runner())
    engine.put_ports(POLICY.ports, POLICY)
    for port in POLICY.ports:
        platform.run_on_host("ip", "tuntap", "add", str(port.device), "mode", "tap")
        platform.run_on_host("ip", "link", "set", str(port.device), "master", platform.bridge, "up")
        connection.nwfilterBindingCreateXML(binding_xml(port))
    try:
        yield engine
    finally:
        for port in POLICY.ports:
            connection.nwfilterBindingLookupByPortDev(port.device).delete()
            platform.run_on_host("ip", "link", "delete", str(port.device))
        engine.drop_ports(POLICY.ports)


def binding_xml(port: Port) -> str:
    root = Element("filterbinding")
    owner = SubElement(root, "owner")
    SubElement(owner, "name").text = port.instance
    SubElement(owner, "uuid").text = "8f0e5a4c-6b0e-4b7a-9d6e-0000000000" + port.mac[-2:]
    SubElement(root, "portdev", name=str(port.device))
    SubElement(root, "mac", address=port.mac)
    root.append(filter_reference(port.mac))
    return tostring(root, encoding="unicode")


class Counting:
    """A connection that counts what is written."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.written = 0

    def nwfilterDefineXML(self, xml: str) -> Any:  # noqa: N802
        self.written += 1
        return self._connection.nwfilterDefineXML(xml)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def test_all_that_is_declared_is_read_back(declarations: Declarations):
    rules = (ProviderRule(SSH, DROP), ProviderRule(replace(SSH, port_min=1), ACCEPT), ProviderRule(SSH, ACCEPT))
    remote = {"web": ("10.9.0.1/32", "fd09::1/128"), "nobody": ()}
    other = SecurityGroup("Other.group-with_all", ())
    for group in (DB, other):
        declarations.define_group(group, MEMBERS)
    declarations.set_provider(rules)
    declarations.set_remote("host: <1>", remote)
    declarations.mark_engine("nftables")
    assert declarations.groups() == {"db": DB, other.name: other}
    assert declarations.group("db") == DB
    assert declarations.group("web") is None
    assert declarations.provider() == rules
    assert declarations.remote() == {"host: <1>": {"nobody": (), "web": remote["web"]}}
    assert declarations.engines_in_use() == {"nftables"}
    declarations.delete_group("db")
    declarations.delete_group("db")
    declarations.set_provider(())
    declarations.set_remote("host: <1>", {})
    declarations.unmark_engine("nftables")
    assert (declarations.groups(), declarations.provider(), declarations.remote()) == ({other.name: other}, (), {})
    assert declarations.engines_in_use() == set()


def test_what_is_there_already_is_not_written(connection: Any):
    counting = Counting(connection)
    engine = NwfilterEngine(Declarations(libvirt, counting))
    rules = (ProviderRule(SSH), ProviderRule(Rule(EGRESS, "icmpv6", "::/0", icmp_type=128), ACCEPT))
    policy = replace(POLICY, provider=rules)
    for expected in (True, False):
        counting.written = 0
        engine.put_ports(policy.ports, policy)
        engine.put_groups([DB], MEMBERS)
        engine.put_members(MEMBERS)
        engine.put_provider_rules(rules)
        assert bool(counting.written) is expected
    assert engine.drift(replace(policy, ports=tuple(replace(port, device=None) for port in policy.ports))) == []


def test_each_change_can_be_taken_back(declarations: Declarations):
    changed = replace(DB, rules=(FROM_WEB,), description="")
    undo_making = declarations.define_group(DB, MEMBERS)
    undo_change = declarations.define_group(changed, {})
    undo_members = declarations.put_members({"web": {"10.0.0.9/32"}})
    undo_removal = declarations.delete_group("db")
    undo_removal()
    assert declarations.group("db") == changed
    undo_members()
    undo_change()
    assert declarations.group("db") == DB
    assert declarations.put_members(MEMBERS) is not None
    undo_making()
    assert declarations.groups() == {}


def test_filters_of_others_and_those_changed_by_hand_do_no_harm(connection: Any, declarations: Declarations):
    declarations.define_group(DB, MEMBERS)
    mine = connection.nwfilterLookupByName("anyvirt-group-db").XMLDesc()
    foreign = {
        "anyvirt-group-strange": "<rule action='drop' direction='in'/>",
        "anyvirt-group-copy": mine[mine.index("</uuid>") + 7 : mine.index("</filter>")],
        "anyvirt-host-strange": "<filterref filter='anyvirt-note'/>",
        "anyvirt-provider": "<filterref filter='anyvirt-note'><parameter name='RULE' value='drop:x'/></filterref>",
        "mine": "",
    }
    for name, content in foreign.items():
        connection.nwfilterDefineXML(f"<filter name='{name}' chain='root'>{content}</filter>")
    assert declarations.groups() == {"db": DB}
    assert declarations.provider() == ()
    assert declarations.remote() == {}
    declarations.put_members({"web": set()})
    assert declarations.groups() == {"db": DB}
    declarations.set_provider([ProviderRule(SSH)])
    assert declarations.provider() == (ProviderRule(SSH),)
    connection.nwfilterLookupByName("mine").undefine()


def test_two_define_at_once(platform: QemuPlatform):
    """Whoever comes second replaces what the first one made."""
    groups = [replace(DB, description=str(number)) for number in range(8)]

    def define(group: SecurityGroup) -> None:
        with platform.connection() as connection:
            Declarations(libvirt, connection).define_group(group, MEMBERS)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(define, groups))
    with platform.connection() as connection:
        found = Declarations(libvirt, connection).group("db")
    assert found in groups


def test_a_definition_of_ours_under_another_identity_is_replaced(connection: Any, declarations: Declarations):
    connection.nwfilterDefineXML("<filter name='anyvirt-group-db' chain='root'/>")
    declarations.define_group(DB, MEMBERS)
    assert declarations.group("db") == DB


def test_the_kernel_has_what_is_declared_and_what_it_lost_comes_back(platform: QemuPlatform, filtered: NwfilterEngine):
    def problems() -> set[str | None]:
        return {drift.instance for drift in filtered.drift(POLICY)}

    assert filtered.problems() == []
    assert filtered.drift(POLICY) == []
    platform.run_on_host("ip6tables", "-D", "FO-nwf1", "-j", "DROP")
    assert problems() == {"fixed"}
    for tool in (("iptables",), ("ip6tables",), ("ebtables", "-t", "nat")):
        platform.run_on_host(*tool, "-F")
    # None: what keeps all filtered while libvirt makes rules.
    assert problems() == {None, "fixed", "learning"}
    filtered.load(POLICY)
    assert filtered.drift(POLICY) == []


@pytest.mark.parametrize("conditions", ["", "-m physdev --physdev-is-bridged", "-i labbr0 -o labbr0"])
def test_rules_that_come_before_libvirts_are_noticed(platform: QemuPlatform, filtered: NwfilterEngine, conditions: str):
    """They let through what filters would drop. A repair puts libvirt's rules before them, and leaves them alone."""
    rule = ("FORWARD", *conditions.split(), "-j", "ACCEPT")
    platform.run_on_host("iptables", "-I", *rule)
    try:
        assert {drift.instance for drift in filtered.drift(POLICY)} == {"fixed", "learning"}
        filtered.load(POLICY)
        assert filtered.drift(POLICY) == []
    finally:
        platform.run_on_host("iptables", "-D", *rule)


def test_a_group_in_use_follows_its_members_and_cannot_go(filtered: NwfilterEngine, declarations: Declarations):
    now = {"web": frozenset({"10.0.0.99/32"})}
    assert filtered.drift(replace(POLICY, members=now)) == [Drift(None, "group web", STALE_MEMBERS)]
    filtered.put_members(now)
    assert filtered.drift(replace(POLICY, members=now)) == []
    assert "-A FO-nwf1 -s 10.0.0.99/32 -j ACCEPT" in Runner().run(("iptables", "-S", "FO-nwf1"))
    with pytest.raises(HypervisorError, match="in use"):
        declarations.delete_group("db")
    assert declarations.group("db") == DB


def test_a_declaration_that_is_taken_back_leaves_no_gap(filtered: NwfilterEngine):
    """libvirt would take all rules away from a port that begins to learn while it is filtered."""
    learning = replace(FIXED, addresses=(), learns=True)
    policy = replace(POLICY, ports=(learning, LEARNING))
    filtered.put_ports([learning], policy)
    assert filtered.drift(policy) == []
    assert "-A FO-nwf1 -j DROP" in Runner().run(("iptables", "-S", "FO-nwf1"))
    assert "10.0.0.7" not in Runner().run(("ebtables", "-t", "nat", "-L"))


def test_nothing_of_ours_is_left_in_the_kernel(platform: QemuPlatform, declarations: Declarations):
    engine = NwfilterEngine(declarations, Runner())
    engine.put_ports([FIXED], POLICY)
    assert "anyvirt" in Runner().run(("iptables", "-S"))
    engine.drop_ports([FIXED])
    engine.drop_ports([FIXED])
    assert "anyvirt" not in Runner().run(("iptables", "-S")) + Runner().run(("ip6tables", "-S"))
    assert [name for name in declarations.names() if "nic" in name] == []


def test_an_instance_that_libvirt_has_stopped_to_filter(platform: QemuPlatform, secgroups: FirewallDriver):
    secgroups.define_security_group(OPEN)
    filtered_instance(platform, secgroups, "one", power_on=True)
    with platform.connection() as connection:
        [binding] = connection.listAllNWFilterBindings()
        binding.delete()
    assert [drift.instance for drift in secgroups.verify_filters()] == ["one"]
    secgroups.restore_filters()
    assert secgroups.verify_filters() == []
    assert secgroups.instance_filter_exists("one")


def test_a_libvirt_without_nwfilter():
    connection = libvirt.open("test:///default")
    try:
        [problem] = NwfilterEngine(Declarations(libvirt, connection)).problems()
    finally:
        connection.close()
    assert "install it" in problem
    assert "nftables" in problem


def test_what_nwfilter_cannot_do_is_refused_in_words(declarations: Declarations):
    engine = NwfilterEngine(declarations)
    assert engine.unsupported_rules(DB.rules) == [
        "nwfilter has no name for protocol 47: choose the firewall nftables or iptables"
    ]
    rules = [ProviderRule(SSH, (ACCEPT, DROP)[number % 2]) for number in range(801)]
    with pytest.raises(Unsupported, match="room for 800 changes"):
        engine.put_provider_rules(rules)
    assert declarations.provider() == ()
