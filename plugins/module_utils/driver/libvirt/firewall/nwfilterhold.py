# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps all interfaces filtered while libvirt makes rules anew.

Each time that it makes some, libvirt deletes the rules in FORWARD and INPUT that lead to its chains, and puts them in
again one by one. In between, for some milliseconds, no guest of the host is filtered. Rules of ours that lead to the
same chains close that gap: libvirt does not know them, hence leaves them alone.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import NamedTuple

from ....errors import HypervisorError
from .tools import Runner

_TOOLS = ("iptables", "ip6tables")
_COMMENT = "anyvirt"


class _Jump(NamedTuple):
    chain: str
    target: str

    @property
    def rule(self) -> tuple[str, ...]:
        return ("-m", "comment", "--comment", _COMMENT, "-j", self.target)

    @property
    def listed(self) -> str:
        return " ".join(("-A", self.chain, *self.rule))


# What comes last here comes first in its chain. In libvirt-in-post libvirt accepts what guests send: that alone is in
# force while the first two of its rules are gone, and the third is not.
_JUMPS = (
    _Jump("FORWARD", "libvirt-out"),
    _Jump("FORWARD", "libvirt-in"),
    _Jump("libvirt-in-post", "libvirt-out"),
    _Jump("libvirt-in-post", "libvirt-in"),
    _Jump("INPUT", "libvirt-host-in"),
)
_CHAINS = ("libvirt-in", "libvirt-out", "libvirt-in-post", "libvirt-host-in")


class Hold:
    """The rules of ours, in the kernel of the host on which the module runs."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def take(self) -> None:
        """Have them all; libvirt's chains are made where it has not yet made them."""
        for tool in _TOOLS:
            lines = self._lines(tool)
            for chain in _CHAINS:
                if f"-N {chain}" not in lines:
                    with suppress(HypervisorError):  # somebody else has made it since
                        self._runner.run((tool, "-w", "-N", chain))
            for jump in _JUMPS:
                if jump.listed not in lines:
                    self._runner.run((tool, "-w", "-I", jump.chain, "1", *jump.rule))

    def release(self) -> None:
        """Have none of them; libvirt's chains stay, as it leaves them itself."""
        for tool in _TOOLS:
            lines = self._lines(tool)
            for jump in _JUMPS:
                if jump.listed in lines:
                    self._runner.run((tool, "-w", "-D", jump.chain, *jump.rule))

    def is_taken(self) -> bool:
        """Whether they are all there."""
        return all(jump.listed in lines for lines in map(self._lines, _TOOLS) for jump in _JUMPS)

    def _lines(self, tool: str) -> Collection[str]:
        return frozenset(line.strip() for line in self._runner.run((tool, "-w", "-S")).splitlines())
