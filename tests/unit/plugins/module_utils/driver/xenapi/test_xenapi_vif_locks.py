# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What network interfaces are locked to, and what guests can use while that changes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.vifaddresses import (
    UNLOCKED,
    Lock,
    address_problems,
    lock_changes,
    lock_for,
    lock_in,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Nic

MAC = "52:54:00:12:34:56"
ANYTHING = frozenset({"a", "b", "c", "6a", "6b"})
LOCKS = (
    UNLOCKED,
    Lock("network_default", frozenset("c")),
    Lock("unlocked"),
    Lock("disabled", frozenset("a")),
    Lock("locked"),
    Lock("locked", frozenset("ab"), frozenset({"6a"})),
    Lock("locked", frozenset("bc"), frozenset({"6b"})),
)


@pytest.mark.parametrize(
    ("addresses", "ipv4", "ipv6"),
    [
        (None, set(), set()),
        (["10.0.0.7"], {"10.0.0.7"}, set()),
        (["10.0.0.7/32", "10.0.0.8/31"], {"10.0.0.7", "10.0.0.8", "10.0.0.9"}, set()),
        (["FD00::0007"], set(), {"fd00::7", "fe80::5054:ff:fe12:3456"}),
        (["10.0.0.0/8", "10.0.0.7/24", "host", ""], set(), set()),
    ],
)
def test_what_a_nic_is_locked_to(addresses: list[str] | None, ipv4: set[str], ipv6: set[str]):
    assert lock_for(Nic(mac=MAC, addresses=addresses)) == Lock("locked", frozenset(ipv4), frozenset(ipv6))


def test_how_many_addresses_a_network_may_have():
    assert len(lock_for(Nic(mac=MAC, addresses=["10.0.0.0/26"])).ipv4) == 64
    assert not list(address_problems("nics[0]", Nic(addresses=["10.0.0.0/26", "fd00::/122"])))
    problems = list(address_problems("nics[0]", Nic(addresses=["10.0.0.0/25", "fd00::/121"])))
    assert [problem.option for problem in problems] == ["nics[0].addresses"] * 2
    assert "10.0.0.0/25 is too large" in problems[0].message


def test_fields_are_read_as_written():
    lock = lock_for(Nic(mac=MAC, addresses=["10.0.0.7", "fd00::7"]))
    assert lock_in(lock.fields) == lock


def usable(vif: Mapping[str, Any]) -> frozenset[str]:
    """The addresses that a guest can use."""
    if vif["locking_mode"] == "disabled":
        return frozenset()
    allowed = frozenset(vif["ipv4_allowed"]) | frozenset(vif["ipv6_allowed"])
    return allowed if vif["locking_mode"] == "locked" else ANYTHING


@pytest.mark.parametrize(("before", "after"), list(itertools.permutations(LOCKS, 2)))
def test_what_a_guest_can_use_on_the_way(before: Lock, after: Lock):
    vif = dict(before.fields)
    first, last = usable(before.fields), usable(after.fields)
    for method, value in lock_changes(before, after):
        vif[method.removeprefix("VIF.set_")] = value
        assert first & last <= usable(vif) <= first | last, method
    assert lock_in(vif) == after


def test_what_is_so_already_is_not_written():
    for lock in LOCKS:
        assert not list(lock_changes(lock, lock))
