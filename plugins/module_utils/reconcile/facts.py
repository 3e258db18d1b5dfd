# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts: what a host is, what it has left, and what runs on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import Any

from ..driver.base import ComputeDriver
from ..errors import InvalidInput, LibraryMissing, Problem
from ..model import power_state
from ..model.instance import Instance, InstanceInfo
from .task import Task
from .views import address_as_dict, instance_as_dict, pending_as_dict

CONSTANT_COST = ("host", "cpu", "instances", "stats")
"""Subsets that cost the same number of hypervisor calls however many instances there are; what ``all`` means."""

SUBSETS = (*CONSTANT_COST, "config", "security_groups")


FACTS_KEY = "anyvirt"
"""Under which name among ansible_facts."""


def gather_facts(task: Task) -> dict[str, Any]:
    """What ``virt_facts`` returns. All that can be wrong with its options is found before the hypervisor is asked."""
    params = task.params
    subsets = resolve_subsets(params["gather_subset"])
    query = None if params["query"] is None else compile_query(params["query"])
    with task.connect() as driver:
        facts = gather(driver, subsets, params["names"])
    result: dict[str, Any] = {"changed": False, "ansible_facts": {FACTS_KEY: facts}}
    if query is not None:
        result["query"] = run_query(query, facts)
    return result


def resolve_subsets(wanted: Sequence[str]) -> set[str]:
    """The subsets meant by a list such as ``["all", "!stats"]``; only exclusions mean all but those.

    Raises:
        InvalidInput: an unknown subset.
    """
    chosen: set[str] = set()
    excluded: set[str] = set()
    problems = []
    for word in wanted:
        subset = word.lstrip("!")
        if subset not in (*SUBSETS, "all"):
            choices = ", ".join((*SUBSETS, "all"))
            problems.append(Problem("gather_subset", f"{word!r} is not one of {choices}, or one of them after a '!'"))
            continue
        group = CONSTANT_COST if subset == "all" else (subset,)
        (excluded if word.startswith("!") else chosen).update(group)
    if problems:
        raise InvalidInput(problems)
    return (chosen or set(CONSTANT_COST)) - excluded


def compile_query(expression: str) -> Any:
    """A JMESPath expression made ready, so that a bad one is refused before the hypervisor is asked.

    Raises:
        InvalidInput: it is not JMESPath.
        LibraryMissing: jmespath is not installed.
    """
    try:
        import jmespath
        from jmespath.exceptions import JMESPathError
    except ImportError:
        raise LibraryMissing("the option query needs the Python library jmespath: pip install jmespath") from None
    try:
        return jmespath.compile(expression)
    except JMESPathError as error:
        raise InvalidInput([Problem("query", f"this is not a JMESPath expression: {error}")]) from None


def run_query(compiled: Any, facts: Mapping[str, Any]) -> Any:
    """The expression's value over the facts.

    Raises:
        InvalidInput: it is well formed but cannot be applied, e.g. a function given the wrong type.
    """
    from jmespath.exceptions import JMESPathError

    try:
        return compiled.search(facts)
    except JMESPathError as error:
        raise InvalidInput([Problem("query", f"cannot be applied to the facts: {error}")]) from None


def gather(driver: ComputeDriver, subsets: Collection[str], patterns: Sequence[str] = ()) -> dict[str, Any]:
    """The facts.

    Args:
        subsets: Which of ``SUBSETS``.
        patterns: Names of instances, with shell wildcards; empty takes all.
    """
    facts: dict[str, Any] = {"driver": driver.name}
    with driver.one_look():
        if "host" in subsets:
            facts["host"] = driver.get_host_stats().as_dict()
            del facts["host"]["cpu_info"]
        if "cpu" in subsets:
            facts["cpu"] = asdict(driver.get_cpu_info())
        if "security_groups" in subsets:
            facts["security_groups"] = {"host": driver.host_identity(), "members": driver.get_group_members()}
        if not {"instances", "stats", "config"}.isdisjoint(subsets):
            facts["instances"] = _instances(driver, subsets, patterns)
    return facts


def _instances(driver: ComputeDriver, subsets: Collection[str], patterns: Sequence[str]) -> list[dict[str, Any]]:
    here = driver.instances_here()
    found = [
        info
        for info in driver.list_instances_detail()
        if (here is None or info.name in here)
        and (not patterns or any(fnmatchcase(info.name, pattern) for pattern in patterns))
    ]
    # Of several that have one name, nothing but the listing itself can be told apart.
    names = [name for name, count in Counter(info.name for info in found).items() if count == 1]
    only = names if patterns or here is not None else None
    stats = driver.get_all_diagnostics(only) if "stats" in subsets and driver.supports("diagnostics") else {}
    configs = driver.get_instances(only) if "config" in subsets else {}
    addresses = driver.get_addresses(names) if "config" in subsets and driver.supports("addresses") else {}
    facts = []
    for info in found:
        entry = _summary(info)
        if info.name in stats:
            entry["stats"] = dict(stats[info.name])
        if info.name in configs:
            entry["config"] = _config(configs[info.name], driver.name)
            entry["addresses"] = [address_as_dict(address) for address in addresses.get(info.name, ())]
        facts.append(entry)
    return facts


def _config(instance: Instance, extras_option: str) -> dict[str, Any]:
    config = {**instance_as_dict(instance, extras_option), "pending": pending_as_dict(instance, extras_option)}
    if instance.resize is not None:
        config["resize"] = instance.resize.as_dict()
    return config


def _summary(info: InstanceInfo) -> dict[str, Any]:
    summary = {
        "name": info.name,
        "state": power_state.name(info.state),
        "memory_mb": info.mem_kib // 1024,
        "max_memory_mb": info.max_mem_kib // 1024,
        "vcpus": info.num_cpu,
        "autostart": info.autostart,
        "persistent": info.persistent,
    }
    if info.cpu_time_ns is not None:
        summary["cpu_time_ns"] = info.cpu_time_ns
    return summary
