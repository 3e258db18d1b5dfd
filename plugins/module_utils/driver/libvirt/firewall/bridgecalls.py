# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the kernel gives bridged packets to connection tracking, without which no engine of packet filters works, and
which devices there are for them."""

from __future__ import annotations

from ....errors import HypervisorError
from .tools import Runner

SWITCHES = ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables")
_FOLDER = "/proc/sys/net/bridge"


def devices_in_sight(runner: Runner) -> set[str]:
    """The network devices of the namespace in which tools run."""
    return {line.partition(":")[0].strip() for line in runner.run(("cat", "/proc/net/dev")).splitlines()}


def bridge_call_problems(runner: Runner) -> list[str]:
    """What is missing, in words with what to do about it; empty where all is well."""
    try:
        values = runner.run(("cat", *(f"{_FOLDER}/{switch}" for switch in SWITCHES))).split()
    except HypervisorError:
        return ["the kernel module br_netfilter is not loaded: modprobe br_netfilter, or use the role hypervisor"]
    return [
        f"{switch} is off: sysctl net.bridge.{switch}=1, or use the role hypervisor"
        for switch, value in zip(SWITCHES, values)
        if value != "1"
    ]
