# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan as plain data, with names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .facts import DISK
from .model import Resource
from .moving import Stay
from .plan import Plan
from .reasons import Explainer
from .state import State
from .waves import Move

_MIB_PER_GIB = 1024


def report(plan: Plan, explain: int, warnings: list[str]) -> dict[str, Any]:
    """What the filter returns."""
    reporter = _Reporter(plan, explain)
    moves = [reporter.move(move) for move in plan.moves if move.source is not None]
    new = [reporter.move(move) for move in plan.moves if move.source is None]
    stays = [entry for stay in plan.stays for entry in reporter.stay(stay)]
    return {
        "moves": moves,
        "new": new,
        "routes": _routes(moves),
        "stays": stays,
        "waves": max((move.wave for move in plan.moves), default=0),
        "complete": not stays,
        "hosts": reporter.hosts(),
        "summary": _summary(moves, new, stays),
        "warnings": warnings,
    }


class _Reporter:
    def __init__(self, plan: Plan, explain: int) -> None:
        self._plan = plan
        self._cluster = plan.after.cluster
        self._explainer = Explainer(plan.after, explain)

    def move(self, move: Move) -> dict[str, Any]:
        instance = self._cluster.instances[move.member]
        return {
            "instance": instance.name,
            "source": self._host_name(move.source),
            "destination": self._host_name(move.destination),
            "wave": move.wave,
            "active": instance.active,
            **self._amounts(instance.demand),
        }

    def stay(self, stay: Stay) -> list[dict[str, Any]]:
        """One entry for each instance."""
        why, hosts = self._explainer.why(stay), self._explainer.by_host(stay)
        company = len(stay.members) > 1
        names = ", ".join(self._cluster.instances[member].name for member in stay.members)
        return [
            {
                "instance": self._cluster.instances[member].name,
                "source": self._host_name(self._cluster.instances[member].home),
                "by_wish": not stay.parties,
                "why": f"together with the others of {names}: {why}" if company else why,
                "hosts": hosts,
            }
            for member in stay.members
        ]

    def hosts(self) -> dict[str, Any]:
        return {
            host.name: {
                "open": not host.closed,
                "capacity": self._amounts(host.capacity),
                "before": self._of_host(self._plan.before, number),
                "after": self._of_host(self._plan.after, number),
            }
            for number, host in enumerate(self._cluster.hosts)
        }

    def _of_host(self, state: State, number: int) -> dict[str, Any]:
        capacity = self._cluster.hosts[number].capacity
        used = tuple(most - left for most, left in zip(capacity, state.free[number]))
        load = state.load[number]
        return {
            "instances": len(state.residents[number]),
            # Infinity is no JSON: a host that may have nothing, and has something.
            "load": round(load, 4) if load != float("inf") else None,
            **self._amounts(used),
        }

    def _amounts(self, numbers: tuple[int, ...]) -> dict[str, Any]:
        return dict(map(_amount, self._cluster.resources, numbers))

    def _host_name(self, number: int | None) -> str | None:
        return None if number is None else self._cluster.hosts[number].name


def _amount(resource: Resource, number: int) -> tuple[str, Any]:
    """A resource and how much of it, in the words of the options."""
    name = resource.name.replace(" ", "_")
    if resource.name.startswith(DISK):
        return f"{name}_gb", round(number / _MIB_PER_GIB, 2)
    return (f"{name}_mb", number) if resource.unit else (name, number)


def _routes(moves: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The moves with those together that go from one host to the same other one in a wave."""
    found: dict[tuple[int, str, str], list[str]] = {}
    for move in moves:
        found.setdefault((move["wave"], move["source"], move["destination"]), []).append(move["instance"])
    return [
        {"wave": wave, "source": source, "destination": destination, "instances": names}
        for (wave, source, destination), names in found.items()
    ]


def _summary(moves: list[Any], new: list[Any], stays: list[Any]) -> list[str]:
    """For people: who goes where, and who stays and why."""
    lines = [f"{move['instance']}: {move['source']} -> {move['destination']}" for move in moves]
    lines += [f"{move['instance']}: new on {move['destination']}" for move in new]
    return lines + [f"{stay['instance']}: {_place(stay)}: {stay['why']}" for stay in stays]


def _place(stay: Mapping[str, Any]) -> str:
    return "no place" if stay["source"] is None else f"stays on {stay['source']}"
