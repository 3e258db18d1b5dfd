# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each change of the firewall can be taken back, and when a call of it fails the host is as before."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewall import FirewallDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import AnyvirtError
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Instance
from ansible_collections.anyvirt.compute.plugins.module_utils.undo import Undo
from contract.helpers import where_supported
from contract.platforms.base import Platform
from contract.secgroup_helpers import (
    ELSEWHERE,
    OPEN,
    PROVIDER,
    RICH,
    WEB,
    calls_about_filters,
    fail_each_call_once_primed,
    filtered,
    own_nic,
    wanted,
)

# Containers take the way of the other instances of libvirt; test_libvirt_firewall_wiring has what is theirs.
pytestmark = [pytest.mark.on("fake", "libvirt", "xenapi"), pytest.mark.slow]

OPERATIONS: dict[str, Callable[[FirewallDriver], Undo]] = {
    "make": lambda driver: driver.define_security_group(RICH),
    "change": lambda driver: driver.define_security_group(replace(OPEN, description="very open")),
    "delete": lambda driver: driver.delete_security_group("web"),
    "provider_rules": lambda driver: driver.set_provider_rules(PROVIDER),
    "members": lambda driver: driver.set_remote_members({**ELSEWHERE, "host-d": {"open": ["192.0.2.99/32"]}}),
    "forget_members": lambda driver: driver.set_remote_members({"host-d": {}}),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_call_of_a_change_fails_once(secgroups: FirewallDriver, platform: Platform, name: str):
    for group in (OPEN, WEB):
        secgroups.define_security_group(group)
    if secgroups.supports("provider_rules"):
        secgroups.set_provider_rules(PROVIDER[:1])
    secgroups.set_remote_members({"host-d": {"web": ["198.51.100.99/32"]}})
    filtered(platform, secgroups, "one", power_on=True)
    with where_supported(secgroups, *(["provider_rules"] if name == "provider_rules" else [])):
        if name == "provider_rules" and not secgroups.supports(name):
            secgroups.set_provider_rules(PROVIDER)
        fail_each_call_once_primed(platform, lambda: OPERATIONS[name](secgroups))


@pytest.mark.parametrize("power_on", [True, False])
def test_each_call_of_a_spawn_fails_once(secgroups: FirewallDriver, platform: Platform, power_on: bool):
    """With an instance that is filtered nothing of its filters stays, at whatever call it ends."""
    secgroups.define_security_group(OPEN)
    instance = secgroups.complete(wanted(platform, "one"))

    def spawn() -> Undo:
        secgroups.spawn(instance, power_on=power_on)
        return lambda: _destroyed(secgroups)

    fail_each_call_once_primed(platform, spawn, calls_about_filters(platform))


@pytest.mark.parametrize("power_on", [True, False])
def test_each_call_of_a_removal_fails_once(secgroups: FirewallDriver, platform: Platform, power_on: bool):
    """Whatever fails, the instance is there with its filters or the next removal ends it; nothing is left behind."""
    secgroups.define_security_group(OPEN)
    filtered(platform, secgroups, "one")
    secgroups.destroy("one")
    empty = platform.snapshot()
    filtered(platform, secgroups, "one", power_on=power_on)
    with platform.calls.recording() as calls:
        secgroups.destroy("one")
    assert platform.snapshot() == empty
    for number, call in enumerate(calls, start=1):
        if not re.search(calls_about_filters(platform), call.name):
            continue
        filtered(platform, secgroups, "one", power_on=power_on)
        try:
            with platform.calls.recording(fail_at=number):
                secgroups.destroy("one")
        except AnyvirtError:
            secgroups.destroy("one")
        assert platform.snapshot() == empty, f"call {number}: {call.name}"


CHANGES: dict[str, dict[str, Any]] = {
    "other_groups": {"security_groups": ["also-open", "open"]},
    "no_filters": {"firewall": "none"},
    "project": {"project": "blue"},
}


@pytest.mark.parametrize("power_on", [True, False])
@pytest.mark.parametrize("change", [*CHANGES, "addresses", "groups_at_all"])
def test_each_call_of_an_update_fails_once(secgroups: FirewallDriver, platform: Platform, change: str, power_on: bool):
    for group in (OPEN, replace(OPEN, name="also-open")):
        secgroups.define_security_group(group)
    over = {"security_groups": None} if change == "groups_at_all" else {}
    current = filtered(platform, secgroups, "one", power_on=power_on, **over)
    fields = CHANGES.get(change, {"security_groups": ["open"]})
    if change == "addresses":
        [nic] = current.nics or []
        fields = {"nics": [replace(nic, addresses=own_nic(platform, 99).addresses)]}
    desired: Instance = replace(current, **fields)
    options = set(fields)
    live = secgroups.live_options(current, desired, options)
    assert live == options, "none of it needs a restart"
    fail_each_call_once_primed(
        platform,
        lambda: secgroups.update_instance(current, desired, options, live),
        calls_about_filters(platform) if power_on else "",
    )


def _destroyed(driver: FirewallDriver) -> None:
    driver.destroy("one")
