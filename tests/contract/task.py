# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks as playbooks write them, through the reconciler and the driver, without Ansible around."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import AnyvirtError
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.converge import reconcile_instances
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.failures import error_as_dict
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.secgroups import reconcile_secgroups
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.task import Task
from contract.platforms.base import Platform
from contract.platforms.calls import Record

KINDS = ("instances", "volumes", "pools", "images", "groups")
Reconcile = Callable[[Task], "dict[str, Any]"]


class Outcome(NamedTuple):
    """What a task answered, and what it asked of the hypervisor."""

    result: dict[str, Any]
    calls: Record
    connections: int

    @property
    def changed(self) -> bool:
        return bool(self.result["changed"])

    @property
    def steps(self) -> list[str]:
        return [step for one in self.objects for step in one["steps"]]

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The results of the instances, volumes ... that the task is about."""
        found: list[dict[str, Any]] = next(self.result[kind] for kind in KINDS if kind in self.result)
        return found

    @property
    def kind(self) -> str | None:
        """The kind of error; None when the task went well."""
        return self.result["error"]["kind"] if self.result.get("failed") else None


def run(
    platform: Platform,
    *,
    check: bool = False,
    fail_at: int = 0,
    reconcile: Reconcile = reconcile_instances,
    **params: Any,
) -> Outcome:
    """A task with these options, of virt_instance or of the module that ``reconcile`` is for."""
    connections = 0

    def connect() -> ComputeDriver:
        nonlocal connections
        connections += 1
        if reconcile is reconcile_secgroups:
            return platform.closed_firewall_driver()
        return platform.closed_driver() if reconcile is reconcile_instances else platform.closed_storage_driver()

    params.setdefault("instances", None)
    with platform.calls.recording(fail_at) as calls:
        try:
            result = reconcile(Task(params, check, True, connect, lambda warning: None))
        except AnyvirtError as error:  # as module.py does
            result = {"failed": True, "changed": False, "instances": [], "msg": str(error)}
            result["error"] = error_as_dict(error)
    return Outcome(result, calls, connections)


def done(platform: Platform, **params: Any) -> Outcome:
    """A task that is expected to go well."""
    outcome = run(platform, **params)
    assert outcome.kind is None, outcome.result
    return outcome


def small(platform: Platform, name: str, **over: Any) -> dict[str, Any]:
    """The options of a task for the smallest instance that boots here."""
    instance = platform.small(name)
    params: dict[str, Any] = {"name": name, "memory_mb": instance.memory_mb, "vcpus": instance.vcpus}
    for option in ("boot", "console"):
        value = getattr(instance, option)
        if value is not None:
            params[option] = {key: part for key, part in vars(value).items() if part is not None}
    if instance.pool is not None:
        params["pool"] = instance.pool
    if instance.hypervisor:
        params[platform.closed_driver().name] = instance.hypervisor
    return {**params, **over}


def nic(platform: Platform, **over: Any) -> dict[str, Any]:
    """An entry of the option networks."""
    return {key: value for key, value in vars(platform.nic(**over)).items() if value is not None}
