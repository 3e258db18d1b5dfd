# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses: what leases and agents tell; silence is no error."""

from __future__ import annotations

import ipaddress

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Nic
from contract.helpers import eventually
from contract.platforms.base import Platform

MAC, BRIDGED = "52:54:00:0c:00:01", "52:54:00:0c:00:02"


def test_of_nobody(driver: ComputeDriver, platform: Platform):
    platform.spawned(driver, "off", nics=[platform.nic()])
    found = driver.get_addresses(["off", "ghost"])
    assert not found.get("off")
    assert not found.get("ghost")
    assert driver.get_addresses([]) == {}


def test_silence_of_the_agent_is_no_error(driver: ComputeDriver, platform: Platform):
    platform.spawned(driver, "mute", nics=[], power_on=True)
    assert not driver.get_addresses(["mute"], ask_guest=True).get("mute")


@pytest.mark.on("fake", "libvirt")
def test_by_lease(driver: ComputeDriver, platform: Platform):
    platform.spawned(driver, "leased", nics=[platform.nic(mac=MAC)], power_on=True)
    platform.wait_ready(driver, "leased")
    assert eventually(lambda: bool(driver.get_addresses(["leased"]).get("leased")), timeout_s=30)
    [address] = driver.get_addresses(["leased"])["leased"]
    assert address.mac == MAC
    assert address.source == "lease"
    assert ipaddress.ip_address(address.address)
    assert address.prefix is not None
    assert 0 < address.prefix <= 32


@pytest.mark.on("fake", "libvirt")
def test_by_agent(driver: ComputeDriver, platform: Platform):
    """Nobody gave out a lease on the bridge, but the guest has an address there and its agent tells."""
    nics = [platform.nic(mac=MAC), Nic(bridge=platform.bridge, mac=BRIDGED)]
    platform.spawned(driver, "talking", nics=nics, power_on=True)
    platform.wait_ready(driver, "talking")
    platform.give_bridged_address("talking")

    def told() -> bool:
        addresses = driver.get_addresses(["talking"], ask_guest=True).get("talking", [])
        return any(address.source == "agent" for address in addresses)

    assert eventually(told, timeout_s=30)
    addresses = driver.get_addresses(["talking"], ask_guest=True)["talking"]
    assert {address.mac for address in addresses} <= {MAC, BRIDGED}
    assert not any(ipaddress.ip_address(address.address).is_loopback for address in addresses)
    assert len(set(addresses)) == len(addresses)


@pytest.mark.on("xenapi")
def test_by_metrics(driver: ComputeDriver, platform: Platform):
    """What the guest's tools tell the pool."""
    platform.spawned(driver, "talking", nics=[platform.nic(mac=MAC)], power_on=True)
    platform.wait_ready(driver, "talking")
    assert eventually(lambda: bool(driver.get_addresses(["talking"]).get("talking")), timeout_s=10)
    addresses = driver.get_addresses(["talking"])["talking"]
    assert {(address.mac, address.source) for address in addresses} == {(MAC, "metrics")}
    assert all(ipaddress.ip_address(address.address) for address in addresses)
