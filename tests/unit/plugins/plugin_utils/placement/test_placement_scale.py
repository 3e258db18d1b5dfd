# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A thousand hosts with twenty thousand instances: what a plan costs, in looks at hosts or rows of hosts.

Looking at all hosts for each instance would be 20 million. Time is not measured: it is the machine's.
"""

from __future__ import annotations

import random
from unittest import mock

import pytest

from ansible_collections.anyvirt.compute.plugins.plugin_utils.placement.model import (
    PACK,
    SPREAD,
    Cluster,
    Host,
    Instance,
    Resource,
    Rule,
    Wishes,
)
from ansible_collections.anyvirt.compute.plugins.plugin_utils.placement.plan import Plan, make_plan
from ansible_collections.anyvirt.compute.plugins.plugin_utils.placement.reading import Names

HOSTS = 1_000
INSTANCES = 20_000
RESOURCES = (Resource("vcpus", "", True), Resource("memory", "MiB", True))


def cluster(drained: int = 0, new: bool = False, uneven: bool = False, room: float = 0.7) -> Cluster:
    """Hosts that are ``room`` full on average, no two instances of a size."""
    chance = random.Random(1)
    hosts = [
        Host(
            f"h{number:04}",
            ("fake",),
            (1,),
            (128, 131_072),
            "is to be empty" if number < drained else "",
            number < drained,
        )
        for number in range(HOSTS)
    ]
    mean_mb = int(131_072 * room * HOSTS / INSTANCES)
    instances = []
    for number in range(INSTANCES):
        place = chance.random()
        home = int(HOSTS * (place * place if uneven else place))
        demand = (chance.choice([1, 2, 4]), chance.randint(mean_mb // 2, mean_mb * 3 // 2))
        instances.append(Instance(f"i{number:05}", None if new else home, demand))
    apart = [
        Rule(f"group {first}", False, first % 20 == 0, 1, tuple(range(first, first + 5)))
        for first in range(0, INSTANCES, 10)
    ]
    return Cluster(RESOURCES, hosts, instances, apart)


def plan(subject: Cluster, **wishes) -> Plan:
    made = make_plan(subject, Wishes(**wishes))
    for host, free in zip(subject.hosts, made.after.free):
        assert host.closed or min(free) >= 0 or free == made.before.free[subject.hosts.index(host)]
    return made


def test_places_for_all() -> None:
    made = plan(cluster(new=True))
    assert len(made.moves) == INSTANCES
    assert made.after.steps < 100 * INSTANCES


def test_places_for_all_packed() -> None:
    made = plan(cluster(new=True), strategy=PACK)
    assert len(made.moves) == INSTANCES
    assert sum(1 for load in made.after.load if load) < 0.75 * HOSTS
    assert made.after.steps < 150 * INSTANCES


def test_too_many_for_all() -> None:
    """Those who have no place are not the dearest."""
    made = plan(cluster(new=True, room=1.3))
    assert len(made.moves) > 0.6 * INSTANCES
    assert made.stays
    assert made.after.steps < 200 * INSTANCES


def test_a_hundred_hosts_are_drained() -> None:
    made = plan(cluster(drained=100, room=0.5))
    assert not made.stays
    assert len(made.moves) < 2.5 * INSTANCES / 10
    assert made.after.steps < 100 * len(made.moves)


def test_the_load_is_evened_out() -> None:
    made = plan(cluster(uneven=True, room=0.5), strategy=SPREAD, rebalance=True)
    assert max(made.after.load) - min(made.after.load) <= 0.1
    assert len(made.moves) < 0.4 * INSTANCES
    assert made.after.steps < 500 * INSTANCES


@pytest.mark.parametrize("together", [False, True])
def test_a_preference_of_half_of_all(together: bool) -> None:
    """Not each of them is compared with each host."""
    subject = cluster(drained=100, room=0.5)
    everybody = Rule("many", together, False, 1, tuple(range(0, INSTANCES, 2)))
    made = plan(subject._replace(rules=(everybody,)))
    assert not made.stays
    assert made.after.steps < 200 * len(made.moves)


def test_patterns_look_only_at_names_that_begin_like_them() -> None:
    names = Names(f"app{number % 1000:03}-{number:05}" for number in range(INSTANCES))
    with mock.patch.object(Names, "_beginning_with", autospec=True, side_effect=Names._beginning_with) as looked:
        for _twice in range(2):
            assert [len(names.matching(f"app{number:03}-*")) for number in range(1000)] == [20] * 1000
    assert looked.call_count == 1000
    assert len(list(names._beginning_with("app007"))) == 20


def test_hosts_are_emptied() -> None:
    made = plan(cluster(room=0.4), strategy=PACK, rebalance=True)
    assert sum(1 for load in made.after.load if load) < 0.55 * HOSTS
    assert made.after.steps < 500 * INSTANCES
