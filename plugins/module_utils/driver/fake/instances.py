# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading instances: each method is one operation, however many there are."""

from __future__ import annotations

from collections.abc import Collection

from ...model import power_state
from ...model.instance import Instance, InstanceInfo
from ...model.units import KIB
from .core import FakeCore
from .guest import Look
from .records import to_instance
from .store import INSTANCES, VOLUMES, Record, View, is_file_name

CPU_LOAD = 0.05
"""Share of its processors' time that a guest uses."""


class InstancesMixin(FakeCore):
    """What instances there are and what they are."""

    def list_instances(self) -> list[str]:
        with self._read("list") as view:
            return list(view.all(INSTANCES))

    def list_instances_detail(self, names: Collection[str] | None = None) -> list[InstanceInfo]:
        with self._read("list") as view:
            return [_info(record, look) for record, look in self._chosen(view, names).values()]

    def get_info(self, name: str) -> InstanceInfo:
        with self._read("info", name) as view:
            return _info(*self._instance(view, name))

    def get_instances(self, names: Collection[str] | None = None) -> dict[str, Instance]:
        with self._read("read") as view:
            return {name: to_instance(record, look) for name, (record, look) in self._chosen(view, names).items()}

    def find_remains(self, names: Collection[str]) -> set[str]:
        wanted = set(names)
        with self._read("find_remains") as view:
            left = {volume["owner"] for volume in view.all(VOLUMES).values()} & wanted
            return {name for name in left if view.get(INSTANCES, name) is None}

    def _chosen(self, view: View, names: Collection[str] | None) -> dict[str, tuple[Record, Look]]:
        """All instances, or those of ``names`` that exist, by name and in its order."""
        if names is None:
            return self._instances(view)
        found = ((name, view.get(INSTANCES, name)) for name in sorted(set(names)) if is_file_name(name))
        return {name: self.look_at(record) for name, record in found if record is not None}


def cpu_time_ns(running: Record, look: Look) -> int:
    """Processor time that a guest has used since it was started."""
    return int(look.run_s * 1e9 * CPU_LOAD) * int(running["vcpus"])


def _info(record: Record, look: Look) -> InstanceInfo:
    config, running = record["config"], record["running"]
    active = look.state in power_state.ACTIVE
    has = running if active else config
    return InstanceInfo(
        name=record["name"],
        state=look.state,
        max_mem_kib=has["max_memory_mb"] * KIB,
        mem_kib=has["memory_mb"] * KIB if active else 0,
        num_cpu=has["vcpus"],
        cpu_time_ns=cpu_time_ns(running, look) if active else 0,
        autostart=config.get("autostart", False),
    )
