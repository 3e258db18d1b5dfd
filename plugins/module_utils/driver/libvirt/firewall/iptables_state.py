# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel has of the iptables engine's, as the tools print it, and what makes one state into another."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ....errors import HypervisorError
from .iptables_base import Chains
from .iptables_names import BRIDGE, HOOKS, PASS, PREFIX, RAW, SECURITY, TABLES, TOOLS, Table, is_group_chain
from .iptables_sets import AddressSet, destroy_commands, fill_commands, parse_sets
from .iptables_text import canonical, targets_of
from .tools import Runner

_RULE = re.compile(r"(?P<counters>\[\d+:\d+\] )?-A (?P<chain>\S+) (?P<rule>.+)\Z")
_LISTED = re.compile(r"-A \S+(?P<match>.*) -c (?P<packets>\d+) (?P<bytes>\d+)(?P<target>.*)\Z")
_LISTED_ON_BRIDGE = re.compile(r"(?P<match>-.*)(?P<target> -j .+)\Z")
_SET = re.compile(r"--(?:match|add)-set (\S+)")
_IPSET_RESTORE = ("ipset", "restore")


@dataclass
class State:
    """Chains, sets and hooks of ours.

    Attributes:
        chains: Of each table, the rules of each of our chains in canonical form.
        hooked: Whether the host's own chains are to jump to ours.
        jumps: What the host's own chains have, of those that we need: the rules of each.
        counters: Of each table, chain and rule; for rules that stay.
    """

    chains: dict[Table, Chains] = field(default_factory=lambda: {table: {} for table in TABLES})
    sets: dict[str, AddressSet] = field(default_factory=dict)
    hooked: bool = False
    jumps: dict[Table, Chains] = field(default_factory=dict)
    counters: dict[tuple[Table, str, str], str] = field(default_factory=dict)

    def copy(self) -> State:
        """One that can be changed while this one stays; what is in a chain or a set is replaced, never changed."""
        chains = {table: dict(content) for table, content in self.chains.items()}
        return State(chains, dict(self.sets), self.hooked, self.jumps, self.counters)

    def put(self, chains: Mapping[Table, Mapping[str, Sequence[str]]]) -> None:
        """Replace these chains."""
        for table, content in chains.items():
            for name, rules in content.items():
                self.chains[table][name] = [canonical(rule) for rule in rules]

    def clear(self) -> None:
        """Forget all chains, and so the sets."""
        self.chains = {table: {} for table in TABLES}
        self.sets = {}

    def close_gaps(self) -> None:
        """Chains that are gone although rules lead to them drop everything until somebody declares them again."""
        for chains in self.chains.values():
            for target in {target for rules in chains.values() for target in targets_of(rules)}:
                if target.startswith(PREFIX) and target not in chains:
                    chains[target] = [] if is_group_chain(target) else ["-j DROP"]

    @property
    def is_loaded(self) -> bool:
        """Whether there is anything: without ports there is nothing."""
        return PASS in self.chains[SECURITY[4]]

    def drop_unused_chains(self) -> None:
        """Keep what packets can reach, and groups."""
        for table, chains in self.chains.items():
            todo = [*(HOOKS[table].values() if self.hooked else ()), *filter(is_group_chain, chains)]
            used: set[str] = set()
            while todo:
                name = todo.pop()
                if name in chains and name not in used:
                    used.add(name)
                    todo += targets_of(chains[name])
            self.chains[table] = {name: rules for name, rules in chains.items() if name in used}

    def drop_unused_sets(self) -> None:
        """Keep the sets that rules are about."""
        used = self.named_sets()
        self.sets = {name: content for name, content in self.sets.items() if name in used}

    def named_sets(self) -> set[str]:
        """The sets that rules are about."""
        return {
            name
            for family in (4, 6)
            for table in (RAW[family], SECURITY[family])
            for rules in self.chains[table].values()
            for rule in rules
            for name in _SET.findall(rule)
        }

    def unhooked(self, table: Table) -> list[tuple[str, str, int]]:
        """Where our jump is not as it should be (once, before anything that accepts): the host's chain, ours, and how
        often it is there."""
        wrong = []
        for chain, ours in HOOKS[table].items():
            rules = self.jumps.get(table, {}).get(chain, [])
            jump = f"-j {ours}"
            count = rules.count(jump)
            before = rules[: rules.index(jump)] if count else []
            if count != 1 or any(rule.endswith("-j ACCEPT") for rule in before):
                wrong.append((chain, ours, count))
        return wrong


def read_state(runner: Runner) -> State:
    """What there is."""
    state = State()
    for table in (*RAW.values(), *SECURITY.values()):
        _parse(runner.run((f"{table.tool}-save", "-c", "-t", table.name)), table, state)
    # ebtables-save knows no options everywhere.
    _parse(runner.run(("ebtables-save",)), BRIDGE, state)
    state.sets = read_sets(runner)
    state.hooked = any(len(state.unhooked(table)) < len(hooks) for table, hooks in HOOKS.items())
    return state


def read_chains(runner: Runner, names: Collection[str], with_sets: bool) -> State:
    """What there is of a few chains of rules only, however many others there are."""
    state = State()
    for table in (*SECURITY.values(), BRIDGE):
        for name in names:
            try:
                text = runner.run((table.tool, "-t", table.name, *(("-L",) if table is BRIDGE else ("-v", "-S")), name))
            except HypervisorError:  # all tools fail for a chain that does not exist
                continue
            rules = state.chains[table][name] = []
            for line in text.splitlines():
                found = (_LISTED_ON_BRIDGE if table is BRIDGE else _LISTED).match(line)
                if found is None:
                    continue
                rule = canonical(found["match"] + found["target"])
                rules.append(rule)
                if table is not BRIDGE:
                    state.counters[table, name, rule] = f"[{found['packets']}:{found['bytes']}] "
    if with_sets:
        state.sets = read_sets(runner)
    return state


def read_sets(runner: Runner) -> dict[str, AddressSet]:
    """Our sets."""
    return parse_sets(runner.run(("ipset", "save")))


def commands(current: State, wanted: State) -> list[tuple[tuple[str, ...], str]]:
    """The calls, each atomic in itself, with what they read.

    Sets come before the rules that need them, and go after these. iptables comes before the bridge, which lets no IP
    packet to a port that iptables has not let through: a new port is closed until all is there, and never open.
    """
    calls: list[tuple[tuple[str, ...], list[str]]] = [(_IPSET_RESTORE, fill_commands(current.sets, wanted.sets))]
    for tool in TOOLS:
        lines = [line for table in TABLES if table.tool == tool for line in _restore(table, current, wanted)]
        calls.append(((f"{tool}-restore", "--noflush", *_options(tool)), lines))
    calls.append((_IPSET_RESTORE, destroy_commands(current.sets, wanted.sets)))
    return [(argv, "".join(f"{line}\n" for line in lines)) for argv, lines in calls if lines]


def _options(tool: str) -> tuple[str, ...]:
    return () if tool == "ebtables" else ("--counters", "--wait", "30")


def _restore(table: Table, current: State, wanted: State) -> list[str]:
    old, new = current.chains[table], wanted.chains[table]
    changed = {name: rules for name, rules in new.items() if old.get(name) != rules}
    gone = [name for name in old if name not in new]
    jumps = _jump_lines(table, current, wanted)
    if not (changed or gone or jumps):
        return []
    bridge = table is BRIDGE
    lines = [f"*{table.name}", *(f":{name} RETURN" if bridge else f":{name} - [0:0]" for name in changed)]
    for name, rules in changed.items():
        for rule in rules:
            counters = "" if bridge else current.counters.get((table, name, rule), "")
            lines.append(f"{counters}-A {name} {rule}")
    lines += jumps
    lines += [f"-F {name}" for name in gone]
    lines += [f"-X {name}" for name in gone]
    return [*lines, "COMMIT"]


def _jump_lines(table: Table, current: State, wanted: State) -> list[str]:
    if wanted.hooked:
        lines = []
        for chain, ours, count in current.unhooked(table):
            lines += [f"-D {chain} -j {ours}"] * count
            lines.append(f"-I {chain} 1 -j {ours}")
        return lines
    return [
        f"-D {chain} -j {ours}"
        for chain, ours in HOOKS[table].items()
        for rule in current.jumps.get(table, {}).get(chain, ())
        if rule == f"-j {ours}"
    ]


def _parse(text: str, table: Table, state: State) -> None:
    here = ""
    jumps: Chains = defaultdict(list)
    chains = state.chains[table]
    for line in text.splitlines():
        if line.startswith("*"):
            here = line[1:]
        if here != table.name:
            continue
        if line.startswith(f":{PREFIX}"):
            chains[line[1:].split()[0]] = []
        found = _RULE.match(line)
        if found is None:
            continue
        name = found["chain"]
        if name in HOOKS[table]:
            jumps[name].append(canonical(found["rule"]))
        elif name.startswith(PREFIX):
            rule = canonical(found["rule"])
            chains[name].append(rule)
            if found["counters"]:
                state.counters[table, name, rule] = found["counters"]
    state.jumps[table] = dict(jumps)
