# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Has drivers of several lab hosts run tools for packet filters each on its own host, in one process."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.engines import EnginesMixin
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.tools import Runner
from contract.platforms.base import Platform
from contract.platforms.libvirt_qemu import HostedPlatform


class HostRunner(Runner):
    """Runs tools in the network namespace of a process."""

    def __init__(self, process: int) -> None:
        self.prefix = ("nsenter", f"--net=/proc/{process}/ns/net")  # type: ignore[misc]


def run_on_hosts(monkeypatch: pytest.MonkeyPatch, *platforms: Platform) -> None:
    """What is run on a driver's own host is run there."""
    monkeypatch.setattr(EnginesMixin, "runner", runner_by(processes_of(*platforms)))


def processes_of(*platforms: Platform) -> dict[str, int]:
    """A process of each host, by what comes behind the kind in its address."""
    hosts = [host for host in platforms if isinstance(host, HostedPlatform)]
    return {host.uri.partition("+")[2]: host.lab.machine.init_pid for host in hosts}


def runner_by(processes: Mapping[str, int]) -> Callable[[EnginesMixin], Runner]:
    """What chooses a driver's runner."""
    return lambda driver: HostRunner(processes[driver.options.uri.partition("+")[2]])
