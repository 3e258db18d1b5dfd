# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters and addresses."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.domain import Domain
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.errors import (
    AGENT_UNRESPONSIVE,
    INTERNAL_ERROR,
    NO_DOMAIN,
    NO_NETWORK,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    HypervisorError,
    HypervisorUnavailable,
    InvalidPowerState,
    NotFound,
    Unsupported,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Address, BlockStats, InterfaceStats

ONE, TWO = "52:54:00:00:00:01", "52:54:00:00:00:02"
XML = f"""<domain><name>web1</name><devices>
<disk type='file' device='disk'><target dev='vda' bus='virtio'/></disk>
<interface type='network'><mac address='{ONE}'/><source network='lab'/></interface>
<interface type='bridge'><mac address='{TWO.upper()}'/><source bridge='br0'/></interface>
</devices></domain>"""

RECORD = {
    "cpu.time": 5000,
    "vcpu.current": 2,
    "vcpu.0.time": 3000,
    "vcpu.1.time": 2000,
    "vcpu.1.state": 1,
    "balloon.current": 1024,
    "balloon.rss": 512,
    "block.count": 2,
    "block.0.name": "vda",
    "block.0.rd.bytes": 10,
    "block.0.wr.reqs": 3,
    "block.1.rd.bytes": 11,
    "net.count": 1,
    "net.0.name": "vnet3",
    "net.0.rx.bytes": 7,
    "net.0.tx.drop": 1,
    "state.state": 1,
}
FLAT = {
    "cpu_time_ns": 5000,
    "vcpus": 2,
    "cpu0_time_ns": 3000,
    "cpu1_time_ns": 2000,
    "memory_kib": 1024,
    "memory_rss_kib": 512,
    "vda_rd_bytes": 10,
    "vda_wr_req": 3,
    "disk1_rd_bytes": 11,
    "nic0_rx_bytes": 7,
    "nic0_tx_drop": 1,
}


def test_flat(stubs):
    one, two = stubs.domain("one"), stubs.domain("two")
    driver = stubs.opened(one, two, getAllDomainStats=[(one, RECORD), (two, {})])
    assert driver.get_all_diagnostics() == {"one": FLAT, "two": {}}
    assert driver.get_all_diagnostics(["one", "ghost"]) == {"one": FLAT}
    assert driver.conn.called.count("getAllDomainStats") == 2
    assert driver.get_all_diagnostics([]) == {}
    assert driver.conn.called.count("getAllDomainStats") == 2


def test_of_one(stubs):
    one = stubs.domain("one")
    driver = stubs.opened(one, domainListGetStats=[(one, RECORD)])
    assert driver.get_diagnostics("one") == FLAT
    assert "getAllDomainStats" not in driver.conn.called
    driver.conn.answers["domainListGetStats"] = []
    assert driver.get_diagnostics("one") == {}


@pytest.mark.parametrize(("uri", "memory"), [("lxc:///", "memory_rss_kib"), ("xen:///system", "memory_kib")])
def test_one_by_one(stubs, uri: str, memory: str):
    counters = [1, 2, 3, 4, 5, 6, 7, -1]
    known = {"info": [1, 2048, 1024, 3, 77], "XMLDesc": XML, "interfaceStats": counters}
    gone = stubs.domain("gone", info=stubs.Error(NO_DOMAIN))
    driver = stubs.opened(stubs.domain("one", **known), gone, stubs.domain("off", state=5), uri=uri)
    found = driver.get_all_diagnostics()
    assert set(found) == {"one"}
    assert found["one"] == driver.get_diagnostics("one")
    assert found["one"]["cpu_time_ns"] == 77
    assert found["one"][memory] == 1024
    assert found["one"]["memory_max_kib"] == 2048
    assert found["one"]["nic1_rx_bytes"] == 1
    assert found["one"]["nic1_tx_bytes"] == 5
    assert found["one"]["nic1_tx_drop"] == 0
    assert driver.vcpus_in_use() == {"one": 3}
    broken = stubs.domain("broken", info=stubs.Error(INTERNAL_ERROR))
    with pytest.raises(HypervisorError):
        stubs.opened(broken, uri=uri).get_all_diagnostics()


def test_the_host_itself_is_no_instance(stubs):
    host = stubs.domain("Domain-0", ID=0)
    assert stubs.opened(host, uri="xen:///system").get_all_diagnostics() == {}


def test_devices(stubs):
    domain = stubs.domain(XMLDesc=XML, blockStats=[1, 2, 3, 4, -1], interfaceStats=[1, 2, 3, 4, 5, 6, 7, 8])
    driver = stubs.opened(domain)
    assert driver.list_disks("web1") == ["vda"]
    assert driver.block_stats("web1", "vda") == BlockStats(1, 2, 3, 4, 0)
    second = driver.list_interfaces("web1")[1]
    assert driver.interface_stats("web1", second) == InterfaceStats(1, 2, 3, 4, 5, 6, 7, 8)
    with pytest.raises(NotFound, match="vdb"):
        driver.block_stats("web1", "vdb")
    with pytest.raises(NotFound, match="eth9"):
        driver.interface_stats("web1", "eth9")


def test_while_off(stubs):
    driver = stubs.opened(stubs.domain(state=5, XMLDesc=XML))
    for look in (
        lambda: driver.block_stats("web1", "vda"),
        lambda: driver.interface_stats("web1", ONE),
        lambda: driver.get_diagnostics("web1"),
    ):
        with pytest.raises(InvalidPowerState, match="web1"):
            look()


def test_no_disk_counters_there(stubs):
    for uri in ("lxc:///", "xen:///system"):
        with pytest.raises(Unsupported):
            stubs.opened(stubs.domain(), uri=uri).block_stats("web1", "vda")


# -- addresses ------------------------------------------------------------------------------------------------------


def lease(mac: str, address: str) -> dict[str, Any]:
    return {"mac": mac, "ipaddr": address, "prefix": 24, "expirytime": 0}


def told(mac: str | None, *addresses: str) -> dict[str, Any]:
    return {"hwaddr": mac, "addrs": [{"addr": address, "prefix": 64} for address in addresses] or None}


def network(stubs: Any, *leases: dict[str, Any]) -> Any:
    return stubs.Recorder(DHCPLeases=list(leases))


def test_leases_of_all_networks(stubs):
    gone = stubs.Recorder(DHCPLeases=stubs.Error(NO_NETWORK))
    networks = [network(stubs, lease(ONE.upper(), "10.0.0.1"), lease("52:54:00:ff:ff:ff", "10.0.0.9")), gone]
    networks.append(network(stubs, lease(TWO, "10.1.0.2")))
    driver = stubs.opened(stubs.domain(XMLDesc=XML), listAllNetworks=networks)
    assert driver.get_addresses(["web1", "ghost"]) == {
        "web1": [Address(ONE, "10.0.0.1", 24, "lease"), Address(TWO, "10.1.0.2", 24, "lease")]
    }


def test_those_that_are_off_have_none_any_more(stubs):
    driver = stubs.opened(stubs.domain(state=5, XMLDesc=XML), listAllNetworks=[network(stubs, lease(ONE, "10.0.0.1"))])
    assert driver.get_addresses(["web1"]) == {}
    assert driver.get_addresses([]) == {}


def test_what_was_read_is_not_read_again(stubs):
    driver = stubs.opened(stubs.domain(XMLDesc=XML), listAllNetworks=[network(stubs, lease(ONE, "10.0.0.1"))])
    driver.documents["web1"] = Domain.parse(XML)
    domain = driver.lookup("web1")
    assert driver.get_addresses(["web1"])["web1"]
    assert "XMLDesc" not in domain.called


def test_the_guest_is_asked(stubs):
    interfaces = {
        "lo": told("00:00:00:00:00:00", "127.0.0.1"),
        "eth0": told(ONE.upper(), "10.0.0.1", "fe80::1"),
        "eth1": told(TWO),
        "tun0": told(None, "10.9.9.9"),
    }
    domain = stubs.domain(XMLDesc=XML, interfaceAddresses=interfaces)
    driver = stubs.opened(domain, listAllNetworks=[network(stubs, lease(ONE, "10.0.0.1"))])
    assert driver.get_addresses(["web1"], ask_guest=True)["web1"] == [
        Address(ONE, "10.0.0.1", 24, "lease"),
        Address(ONE, "fe80::1", 64, "agent"),
    ]
    driver.get_addresses(["web1"])
    assert domain.called.count("interfaceAddresses") == 1


def test_a_silent_guest_and_a_silent_host(stubs):
    domain = stubs.domain(XMLDesc=XML, interfaceAddresses=stubs.Error(AGENT_UNRESPONSIVE))
    driver = stubs.opened(domain, listAllNetworks=[])
    assert driver.get_addresses(["web1"], ask_guest=True) == {"web1": []}
    domain.answers["interfaceAddresses"] = stubs.Error(INTERNAL_ERROR, "client socket is closed", 7)
    with pytest.raises(HypervisorUnavailable):
        driver.get_addresses(["web1"], ask_guest=True)


def test_one_that_goes_meanwhile(stubs):
    driver = stubs.opened(stubs.domain(XMLDesc=stubs.Error(NO_DOMAIN)), listAllNetworks=[])
    assert driver.get_addresses(["web1"]) == {"web1": []}
