# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Network interfaces that are locked to some addresses."""

from __future__ import annotations

import pytest

from lab.xenapi_objects import fails, make_vm, network_named, start, vif_record

UNLICENSED = ["LICENCE_RESTRICTION", "VIF_locking"]
CONTROLLED = ["OPERATION_NOT_ALLOWED", "A vswitch controller is active"]


@pytest.fixture
def lab(xenapi):
    return network_named(xenapi, "lab")


@pytest.fixture
def vm(xenapi):
    return make_vm(xenapi)


@pytest.fixture
def vif(xenapi, vm, lab):
    return xenapi.VIF.create(vif_record(vm, lab))


@pytest.fixture
def no_license(xenapi_server):
    db = xenapi_server.db
    [pool] = db.refs("pool")
    db.set("pool", pool, restrictions={**db.get("pool", pool, "restrictions"), "restrict_vif_locking": "true"})


def locks(xenapi, vif):
    record = xenapi.VIF.get_record(vif)
    return record["locking_mode"], record["ipv4_allowed"], record["ipv6_allowed"]


def test_a_new_interface_follows_its_network(xenapi, vif, lab):
    assert locks(xenapi, vif) == ("network_default", [], [])
    assert xenapi.network.get_default_locking_mode(lab) == "unlocked"


def test_made_locked(xenapi, vm, lab):
    wanted = {"locking_mode": "locked", "ipv4_allowed": ["10.88.0.7"], "ipv6_allowed": ["2001:db8::7"]}
    assert locks(xenapi, xenapi.VIF.create(vif_record(vm, lab, **wanted))) == tuple(wanted.values())


@pytest.mark.parametrize("running", [False, True])
def test_changed(xenapi, vm, vif, running):
    if running:
        start(xenapi, vm)
    xenapi.VIF.set_locking_mode(vif, "locked")
    xenapi.VIF.set_ipv4_allowed(vif, ["10.88.0.7", "10.88.0.7"])
    xenapi.VIF.add_ipv4_allowed(vif, "10.88.0.8")
    xenapi.VIF.add_ipv4_allowed(vif, "10.88.0.8")
    assert locks(xenapi, vif) == ("locked", ["10.88.0.7", "10.88.0.8"], [])
    xenapi.VIF.remove_ipv4_allowed(vif, "10.88.0.7")
    xenapi.VIF.remove_ipv4_allowed(vif, "10.88.0.9")
    xenapi.VIF.set_ipv6_allowed(vif, ["2001:db8::7"])
    xenapi.VIF.add_ipv6_allowed(vif, "2001:db8::8")
    xenapi.VIF.remove_ipv6_allowed(vif, "2001:db8::7")
    assert locks(xenapi, vif) == ("locked", ["10.88.0.8"], ["2001:db8::8"])
    xenapi.VIF.set_locking_mode(vif, "network_default")
    assert locks(xenapi, vif) == ("network_default", ["10.88.0.8"], ["2001:db8::8"])


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("address", ["10.88.0.0/24", "10.88.0", "", "host", "2001:db8::/64", "10.88.0.7/32"])
def test_only_single_addresses(xenapi, vif, version, address):
    parameter = f"ipv{version}_allowed"
    for call, value in ((f"set_{parameter}", [address]), (f"add_{parameter}", address)):
        assert fails(getattr(xenapi.VIF, call), vif, value) == ["INVALID_IP_ADDRESS_SPECIFIED", parameter]


def test_addresses_of_the_other_kind(xenapi, vif):
    assert fails(xenapi.VIF.add_ipv6_allowed, vif, "10.88.0.7") == ["INVALID_IP_ADDRESS_SPECIFIED", "ipv6_allowed"]
    assert fails(xenapi.VIF.add_ipv4_allowed, vif, "2001:db8::7") == ["INVALID_IP_ADDRESS_SPECIFIED", "ipv4_allowed"]


def test_unknown_modes_and_interfaces(xenapi, vif):
    assert fails(xenapi.VIF.set_locking_mode, vif, "ajar")[0] == "INTERNAL_ERROR"
    assert fails(xenapi.VIF.set_locking_mode, "OpaqueRef:none", "locked")[0] == "HANDLE_INVALID"


def test_without_license_nothing_is_locked_and_everything_unlocked(xenapi, vm, lab, vif, no_license):
    assert fails(xenapi.VIF.set_locking_mode, vif, "locked") == UNLICENSED
    assert fails(xenapi.VIF.set_ipv4_allowed, vif, ["10.88.0.7"]) == UNLICENSED
    assert fails(xenapi.VIF.add_ipv6_allowed, vif, "2001:db8::7") == UNLICENSED
    assert fails(xenapi.VIF.create, vif_record(vm, lab, device="1", locking_mode="locked")) == UNLICENSED
    assert fails(xenapi.VIF.create, vif_record(vm, lab, device="1", ipv4_allowed=["10.88.0.7"])) == UNLICENSED
    assert fails(xenapi.network.set_default_locking_mode, lab, "disabled") == UNLICENSED
    xenapi.VIF.set_locking_mode(vif, "disabled")
    xenapi.VIF.set_locking_mode(vif, "network_default")
    xenapi.VIF.set_ipv4_allowed(vif, [])
    xenapi.VIF.remove_ipv6_allowed(vif, "2001:db8::7")
    xenapi.network.set_default_locking_mode(lab, "unlocked")


def test_a_controller_of_the_switches_is_not_interfered_with(xenapi, xenapi_server, vif, lab):
    xenapi_server.db.create("SDN_controller", protocol="ssl", address="10.88.1.99", port=6632)
    assert fails(xenapi.VIF.set_locking_mode, vif, "locked") == CONTROLLED
    assert fails(xenapi.network.set_default_locking_mode, lab, "disabled") == CONTROLLED
    xenapi.VIF.set_locking_mode(vif, "network_default")


def test_a_network_whose_interfaces_are_off_by_default(xenapi, vm, lab, vif):
    xenapi.network.set_default_locking_mode(lab, "disabled")
    assert xenapi.network.get_default_locking_mode(lab) == "disabled"
    assert fails(xenapi.network.set_default_locking_mode, lab, "locked")[0] == "INTERNAL_ERROR"
    start(xenapi, vm)
    assert fails(xenapi.network.set_default_locking_mode, lab, "unlocked") == ["VIF_IN_USE", lab, vif]


def test_addresses_that_the_guest_is_given(xenapi, vif):
    xenapi.VIF.configure_ipv4(vif, "Static", "10.88.0.8/24", "10.88.0.1")
    record = xenapi.VIF.get_record(vif)
    assert (record["ipv4_addresses"], record["ipv4_gateway"]) == (["10.88.0.8/24"], "10.88.0.1")
    assert fails(xenapi.VIF.configure_ipv4, vif, "Static", "10.88.0.8") == ["INVALID_CIDR_ADDRESS_SPECIFIED", "address"]
    assert fails(xenapi.VIF.configure_ipv4, vif, "Static", "10.88.0.8/24", "gate") == [
        "INVALID_IP_ADDRESS_SPECIFIED",
        "gateway",
    ]
    xenapi.VIF.set_locking_mode(vif, "locked")
    xenapi.VIF.set_ipv6_allowed(vif, ["2001:db8::7"])
    xenapi.VIF.configure_ipv6(vif, "Static", "2001:db8::7/64", "")
    for configure, address in (
        (xenapi.VIF.configure_ipv4, "10.88.0.8/24"),
        (xenapi.VIF.configure_ipv6, "2001:db8::8/64"),
    ):
        assert fails(configure, vif, "Static", address, "") == ["ADDRESS_VIOLATES_LOCKING_CONSTRAINT", address]


def test_copies_are_locked_too(xenapi, vm, vif):
    xenapi.VIF.set_ipv4_allowed(vif, ["10.88.0.7"])
    xenapi.VIF.set_locking_mode(vif, "locked")
    [copied] = xenapi.VM.get_VIFs(xenapi.VM.clone(vm, "copy"))
    assert locks(xenapi, copied) == ("locked", ["10.88.0.7"], [])
