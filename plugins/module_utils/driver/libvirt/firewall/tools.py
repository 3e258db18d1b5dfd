# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running the host's own tools for packet filters: no shell, nothing from the environment, data on standard input."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from typing import ClassVar
from urllib.parse import urlsplit

from ....errors import HypervisorError, PermissionDenied, TimeoutExpired, Unsupported

TIME_LIMIT_S = 60.0

PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
"""Ansible may run modules with a PATH that has no sbin."""

PACKAGES = {
    "nft": "nftables",
    "iptables": "iptables",
    "iptables-save": "iptables",
    "iptables-restore": "iptables",
    "ip6tables": "iptables",
    "ip6tables-save": "iptables",
    "ip6tables-restore": "iptables",
    "ebtables": "ebtables",
    "ebtables-save": "ebtables",
    "ebtables-restore": "ebtables",
    "ipset": "ipset",
    "conntrack": "conntrack",
    "sysctl": "procps",
}
"""The Debian package that has a tool, where it is known."""


def is_local(uri: str) -> bool:
    """Whether a libvirt URI stands for the host on which this code runs: it names no other."""
    return not urlsplit(uri).hostname


class Runner:
    """Runs tools in the host's own namespaces.

    Attributes:
        prefix: What comes before each command; tests enter the namespaces of their hosts with it.
    """

    prefix: ClassVar[tuple[str, ...]] = ()

    def run(self, argv: Sequence[str], stdin: str = "") -> str:
        """Run a tool to its end and give what it printed.

        Raises:
            Unsupported: the tool is not installed; the message names Debian's package.
            PermissionDenied: the kernel does not let this user do it.
            TimeoutExpired: it did not end in time, and was killed.
            HypervisorError: it failed; the message has its own words.
        """
        tool = argv[0]
        try:
            done = subprocess.run(
                [*self.prefix, self.path_of(tool), *argv[1:]],
                input=stdin,
                capture_output=True,
                check=False,
                encoding="utf-8",
                errors="replace",
                timeout=TIME_LIMIT_S,
                env={"LC_ALL": "C", "PATH": PATH},
            )
        except subprocess.TimeoutExpired as error:
            raise TimeoutExpired(f"{tool} did not end within {TIME_LIMIT_S:.0f} seconds", "still running") from error
        except OSError as error:
            raise HypervisorError(f"{tool} cannot be run: {error.strerror}") from error
        if done.returncode != 0:
            raise _failure(argv, done)
        return done.stdout

    def path_of(self, tool: str) -> str:
        """Where the tool is.

        Raises:
            Unsupported: nowhere.
        """
        path = shutil.which(tool, path=PATH)
        if path is None:
            package = PACKAGES.get(tool)
            advice = f"install {package} (Debian's name of the package)" if package else "install it"
            raise Unsupported(f"the tool {tool} is not on this host; {advice}, or choose another firewall")
        return path

    def is_installed(self, tool: str) -> bool:
        """Whether the tool is there."""
        return shutil.which(tool, path=PATH) is not None


def _failure(argv: Sequence[str], done: subprocess.CompletedProcess[str]) -> HypervisorError | PermissionDenied:
    words = " ".join(done.stderr.split()) or f"exit code {done.returncode}, without a word"
    message = f"{' '.join(argv)} failed: {words[:2000]}"
    if "Operation not permitted" in words or "Permission denied" in words:
        return PermissionDenied(f"{message} (packet filters need root)")
    return HypervisorError(message)
