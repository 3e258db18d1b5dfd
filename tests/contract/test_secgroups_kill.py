# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kill -9 while filters change, and then the same again: the second run mends what the first left."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewall import FirewallDriver
from contract.helpers import where_supported
from contract.kills import killed_at_many_points
from contract.platforms.base import Platform
from contract.secgroup_helpers import ELSEWHERE, OPEN, PROVIDER, RICH, WEB, filtered, own_nic, wanted

pytestmark = [pytest.mark.on("fake", "libvirt", "xenapi"), pytest.mark.slow]

ROUNDS = {"libvirt": 4, "xenapi": 4}
STEP = 3
"""How many changes of a file in the fake lie between two at which it is killed."""


class Work(NamedTuple):
    """A call of the driver's, by name, done by children that are killed."""

    method: str
    arguments: tuple[Any, ...]

    def run(self, driver: FirewallDriver) -> Any:
        return getattr(driver, self.method)(*self.arguments)

    def killed(self, platform: Platform, duration_s: float) -> Iterator[None]:
        """In the fake at changes of a file, elsewhere at random moments of that time; whoever is given the
        platform after one puts it back as it was."""
        task = {"operation": "firewall", "method": self.method, "arguments": self.arguments}
        return killed_at_many_points(platform, random.Random(20265), duration_s, ROUNDS, STEP, **task)


def kill_often(
    platform: Platform, driver: FirewallDriver, work: Work, again: Callable[[], None], take_back: Callable[[], None]
) -> None:
    """Kill the work at many points. After each time ``again`` does it once more; then everything is as if nobody had
    been killed, and ``take_back`` leads back to the beginning."""
    work.run(driver)
    take_back()
    before = platform.snapshot()
    started = time.monotonic()
    work.run(driver)
    duration_s = time.monotonic() - started
    after = platform.snapshot()
    take_back()
    assert platform.snapshot() == before
    for _turn in work.killed(platform, duration_s):
        again()
        assert driver.verify_filters() == []
        assert platform.snapshot() == after
        take_back()
        assert platform.snapshot() == before


def redone(driver: FirewallDriver, work: Work) -> Callable[[], None]:
    """What a second run does: the same, and put back what is not in place."""

    def again() -> None:
        work.run(driver)
        if driver.verify_filters():
            driver.restore_filters()

    return again


def test_groups_that_are_made(secgroups: FirewallDriver, platform: Platform):
    work = Work("define_security_group", (RICH,))
    kill_often(
        platform, secgroups, work, redone(secgroups, work), lambda: discard(secgroups.delete_security_group(RICH.name))
    )


def test_groups_that_change_while_instances_are_in_them(secgroups: FirewallDriver, platform: Platform):
    secgroups.define_security_group(OPEN)
    filtered(platform, secgroups, "one", power_on=True)
    work = Work("define_security_group", (replace(OPEN, rules=(*OPEN.rules, *WEB.rules), description="more"),))
    kill_often(
        platform, secgroups, work, redone(secgroups, work), lambda: discard(secgroups.define_security_group(OPEN))
    )


def test_groups_that_are_removed(secgroups: FirewallDriver, platform: Platform):
    secgroups.define_security_group(RICH)
    work = Work("delete_security_group", (RICH.name,))
    kill_often(
        platform, secgroups, work, redone(secgroups, work), lambda: discard(secgroups.define_security_group(RICH))
    )


def test_rules_for_all(secgroups: FirewallDriver, platform: Platform):
    with where_supported(secgroups, "provider_rules"):
        work = Work("set_provider_rules", (PROVIDER,))
        if not secgroups.supports("provider_rules"):
            work.run(secgroups)
        secgroups.define_security_group(OPEN)
        filtered(platform, secgroups, "one", power_on=True)
        kill_often(
            platform, secgroups, work, redone(secgroups, work), lambda: discard(secgroups.set_provider_rules(()))
        )


def test_members_elsewhere(secgroups: FirewallDriver, platform: Platform):
    secgroups.define_security_group(RICH)
    work = Work("set_remote_members", (ELSEWHERE,))
    kill_often(
        platform,
        secgroups,
        work,
        redone(secgroups, work),
        lambda: discard(secgroups.set_remote_members({host: {} for host in ELSEWHERE})),
    )


def test_instances_that_are_made(secgroups: FirewallDriver, platform: Platform):
    """What is left of one is unfinished and goes with its filters; what is made has them all."""
    secgroups.define_security_group(OPEN)
    instance = secgroups.complete(wanted(platform, "one"))
    work = Work("spawn", (instance,))
    work.run(secgroups)
    secgroups.destroy("one")
    before = platform.snapshot()
    started = time.monotonic()
    work.run(secgroups)
    duration_s = time.monotonic() - started
    secgroups.destroy("one")
    assert platform.snapshot() == before
    for _turn in work.killed(platform, duration_s):
        found = secgroups.get_instances(["one"]).get("one")
        if found is None or found.unfinished:
            secgroups.destroy("one")
            work.run(secgroups)
        secgroups.power_on("one")
        assert secgroups.instance_filter_exists("one")
        assert secgroups.verify_filters() == []
        secgroups.destroy("one")
        assert platform.snapshot() == before


def test_instances_that_are_removed(secgroups: FirewallDriver, platform: Platform):
    secgroups.define_security_group(OPEN)
    instance = secgroups.complete(wanted(platform, "one"))
    secgroups.spawn(instance)
    secgroups.destroy("one")
    empty = platform.snapshot()
    secgroups.spawn(instance)
    started = time.monotonic()
    secgroups.destroy("one")
    duration_s = time.monotonic() - started
    secgroups.spawn(instance)
    for _turn in Work("destroy", ("one",)).killed(platform, duration_s):
        secgroups.destroy("one")
        assert platform.snapshot() == empty
        secgroups.spawn(instance)


def test_instances_that_are_given_other_addresses(secgroups: FirewallDriver, platform: Platform):
    secgroups.define_security_group(OPEN)
    secgroups.define_security_group(replace(OPEN, name="also-open"))
    current = filtered(platform, secgroups, "one", power_on=True)
    [nic] = current.nics or []
    desired = replace(
        current,
        nics=[replace(nic, addresses=own_nic(platform, 99).addresses)],
        security_groups=["also-open", "open"],
        project="blue",
    )
    options = {"nics", "security_groups", "project"}
    work = Work("update_instance", (current, desired, options, options))
    back = replace(current, project="")

    def take_back() -> None:
        now = secgroups.get_instances(["one"])["one"]
        secgroups.update_instance(now, back, options, options)

    def again() -> None:
        now = secgroups.get_instances(["one"])["one"]
        secgroups.update_instance(now, desired, options, options)
        if secgroups.verify_filters():
            secgroups.restore_filters()

    kill_often(platform, secgroups, work, again, take_back)


def discard(_undo: Any) -> None:
    """What was done is final."""
