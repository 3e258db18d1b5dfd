# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances whose filters change while something else than their configuration says how they go on: a saved image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewall import FirewallDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import HypervisorError
from contract.platforms.libvirt_qemu import QemuPlatform
from contract.secgroup_helpers import OPEN, filtered, own_nic

pytestmark = pytest.mark.on("libvirt")


@pytest.fixture(autouse=True)
def open_group(secgroups: FirewallDriver) -> Iterator[None]:
    secgroups.define_security_group(OPEN)
    yield
    secgroups.destroy("one")


def change(driver: FirewallDriver, **over: Any) -> None:
    current = driver.get_instances(["one"])["one"]
    desired = replace(current, **over)
    driver.update_instance(current, desired, set(over), driver.live_options(current, desired, over))


def running_interface(platform: QemuPlatform) -> tuple[str | None, str | None]:
    """The filter and the device of a running instance's only interface."""
    with platform.connection() as connection:
        root = fromstring(connection.lookupByName("one").XMLDesc(0))
    reference, target = root.find(".//interface/filterref"), root.find(".//interface/target")
    assert target is not None
    return None if reference is None else reference.get("filter"), target.get("dev")


@pytest.mark.parametrize("engine", ["nwfilter", "nftables"])
def test_a_suspended_instance_resumes_with_the_filters_that_it_was_given(
    secgroups: FirewallDriver, platform: QemuPlatform, engine: str
):
    secgroups.spawn(secgroups.complete(platform.small("one", nics=[own_nic(platform, 1)])))
    secgroups.suspend("one")
    change(secgroups, security_groups=["open"], firewall=engine)
    secgroups.resume("one")
    assert secgroups.instance_filter_exists("one")
    assert secgroups.verify_filters() == []
    secgroups.suspend("one")
    change(secgroups, firewall="none")
    secgroups.resume("one")
    assert running_interface(platform)[0] is None
    assert secgroups.verify_filters() == []


def test_an_instance_filtered_while_it_ran_is_filtered_when_it_resumes(
    secgroups: FirewallDriver, platform: QemuPlatform
):
    """While it runs it is known by the name that its interface has then, which another start does not give it."""
    secgroups.spawn(secgroups.complete(platform.small("one", nics=[own_nic(platform, 1)])))
    change(secgroups, security_groups=["open"], firewall="nftables")
    secgroups.suspend("one")
    secgroups.resume("one")
    assert running_interface(platform)[1].startswith("av")
    assert secgroups.instance_filter_exists("one")


def test_a_failed_change_leaves_the_saved_image_as_it_was(
    secgroups: FirewallDriver, platform: QemuPlatform, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_arguments: Any) -> None:
        raise HypervisorError("the test says so")

    secgroups.spawn(secgroups.complete(platform.small("one", nics=[own_nic(platform, 1)])))
    secgroups.suspend("one")
    monkeypatch.setattr(secgroups, "_redefine", fail)
    with pytest.raises(HypervisorError, match="the test says so"):
        change(secgroups, security_groups=["open"])
    secgroups.resume("one")
    assert running_interface(platform)[0] is None


def test_interfaces_that_somebody_has_untied_are_tied_at_the_next_start(
    secgroups: FirewallDriver, platform: QemuPlatform
):
    filtered(platform, secgroups, "one")
    with platform.connection() as connection:
        text = connection.lookupByName("one").XMLDesc(0)
        start, end = text.index("<filterref"), text.index("</filterref>") + len("</filterref>")
        connection.defineXML(text[:start] + text[end:])
    secgroups.power_on("one")
    assert secgroups.instance_filter_exists("one")
