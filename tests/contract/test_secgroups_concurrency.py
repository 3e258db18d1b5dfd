# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many at once: processes that change different groups, instances that start while members change."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewall import FirewallDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import (
    DEFAULT_EGRESS,
    INGRESS,
    TCP,
    Rule,
    SecurityGroup,
)
from contract import child
from contract.platforms.base import Platform
from contract.secgroup_helpers import OPEN, WHERE, filtered, wanted

pytestmark = [pytest.mark.on(*WHERE), pytest.mark.slow]

TURNS = 12


def numbered(name: str, number: int) -> SecurityGroup:
    """A group that is another one each time."""
    rules = (Rule(INGRESS, TCP, group="open", port_min=number + 1, port_max=number + 1), *DEFAULT_EGRESS)
    return SecurityGroup(name, rules, f"for the {number}th time")


def test_processes_that_change_different_groups(secgroups: FirewallDriver, platform: Platform):
    """None takes away or garbles what the other declares."""
    children = [
        child.start(
            options=platform.options(),
            operation="define_groups",
            groups=[numbered(f"group-{process}", number) for number in range(TURNS)],
            members={f"host-{process}": {"open": [f"192.0.2.{process}/32"]}},
        )
        for process in range(3)
    ]
    for process in children:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
        assert b"done" in output
    last = [numbered(f"group-{number}", TURNS - 1) for number in range(3)]
    assert secgroups.get_security_groups() == {group.name: group for group in last}
    assert secgroups.get_remote_members() == {
        f"host-{number}": {"open": (f"192.0.2.{number}/32",)} for number in range(3)
    }
    assert secgroups.verify_filters() == []


def test_processes_that_change_one_group(secgroups: FirewallDriver, platform: Platform):
    """One of the definitions is what there is at the end, whole."""
    groups = [[numbered("shared", process * TURNS + number) for number in range(TURNS)] for process in range(2)]
    children = [
        child.start(options=platform.options(), operation="define_groups", groups=these, members={}) for these in groups
    ]
    for process in children:
        _output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
    assert secgroups.get_security_groups()["shared"] in [these[-1] for these in groups]
    assert secgroups.verify_filters() == []


def test_instances_that_start_while_members_change(secgroups: FirewallDriver, platform: Platform):
    """Each has its filters when it runs, and after one more refresh the rules know the members of now."""
    secgroups.define_security_group(OPEN)
    secgroups.define_security_group(numbered("db", 5431))
    count = 4 if platform.name in ("fake", "xenapi") else 2
    instances = [secgroups.complete(wanted(platform, f"one-{number}", number + 1)) for number in range(count)]

    def start(number: int) -> bool:
        driver = platform.closed_firewall_driver()
        with driver:
            driver.spawn(instances[number])
            return driver.instance_filter_exists(f"one-{number}")

    with ThreadPoolExecutor(max_workers=count) as workers:
        started = [workers.submit(start, number) for number in range(count)]
        turn = 0
        while not all(one.done() for one in started):
            turn += 1
            secgroups.set_remote_members({"host-b": {"open": [f"192.0.2.{turn % 250}/32"]}})
        assert all(one.result() for one in started)
    secgroups.refresh_security_group_members()
    assert secgroups.stale_group_members() == []
    assert secgroups.verify_filters() == []
    assert secgroups.get_group_members() == {
        "open": tuple(sorted(f"10.77.0.{number + 1}/32" for number in range(count)))
    }


def test_groups_change_while_instances_come_and_go(secgroups: FirewallDriver, platform: Platform):
    secgroups.define_security_group(OPEN)
    turns = 4 if platform.name in ("fake", "xenapi") else 2

    def come_and_go() -> None:
        driver = platform.closed_firewall_driver()
        with driver:
            for _turn in range(turns):
                filtered(platform, driver, "fleeting", power_on=True)
                driver.destroy("fleeting")

    with ThreadPoolExecutor(max_workers=1) as workers:
        work = workers.submit(come_and_go)
        turn = 0
        while not work.done():
            turn += 1
            secgroups.define_security_group(replace(OPEN, description=f"turn {turn}"))
            secgroups.verify_filters()
            secgroups.security_group_uses(["open"])
        work.result()
    assert secgroups.verify_filters() == []
    secgroups.delete_security_group("open")
