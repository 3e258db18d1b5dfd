# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A libvirt host for tests: a libvirtd of its own in its own namespaces, reached through a socket file or TCP."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from types import TracebackType

from lab import settings
from lab.errors import LabError
from lab.machine import Machine, shared_folder
from lab.proc import require_root_and_programs, run

BRIDGE = "labbr0"
NETWORK = settings.NETWORK

_PROGRAMS = ("ip", "unshare", "nsenter", "mount", "libvirtd", "virtlogd", "virsh", "qemu-system-x86_64", "dnsmasq")
# Folders that come with libvirt's packages and that it does not make itself.
_PACKAGED_FOLDERS = ("/var/lib/libvirt/images", "/var/log/libvirt/qemu", "/var/log/libvirt/lxc")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_DAEMON_TIMEOUT_S = 30.0


class LibvirtHost:
    """A host by name; start() makes it, and an object of the same name elsewhere finds it running.

    An attached host ends with the process that started it, a detached one when somebody stops it.
    """

    def __init__(self, name: str, index: int | None = None, *, detached: bool = False) -> None:
        if not _NAME.fullmatch(name):
            raise LabError(f"not a lab host name: {name!r} (small letters, digits and dashes, at most 31)")
        self.name = name
        self.machine = Machine(name)
        self._index = index
        self._detached = detached

    @property
    def socket(self) -> Path:
        return self.machine.state / "run" / "libvirt-sock"

    @property
    def uri(self) -> str:
        """QEMU guests, through the daemon's socket file: the fast way."""
        return f"qemu+unix:///system?socket={self.socket}"

    @property
    def lxc_uri(self) -> str:
        return f"lxc+unix:///system?socket={self.socket}"

    @property
    def tcp_uri(self) -> str:
        """QEMU guests, over the network as to a remote host."""
        return f"qemu+tcp://{self.machine.address}/system"

    @property
    def lxc_tcp_uri(self) -> str:
        return f"lxc+tcp://{self.machine.address}/"

    @property
    def address(self) -> str:
        return self.machine.address

    @property
    def shared(self) -> Path:
        """A folder at the same path for all hosts and for the tests."""
        return shared_folder()

    @property
    def images(self) -> Path:
        """The folder /var/lib/libvirt/images of the host, as seen from outside."""
        return self.machine.outer_path("/var/lib/libvirt/images")

    def outer_path(self, path: str | Path) -> Path:
        """Where a path that the host's libvirt speaks of lies for the tests."""
        return self.machine.outer_path(path)

    def start(self) -> LibvirtHost:
        require_root_and_programs(*_PROGRAMS)
        self.machine.start(self._index, self._detached)
        try:
            for folder in _PACKAGED_FOLDERS:
                self.outer_path(folder).mkdir(parents=True)
            self.machine.run(["virtlogd", "-d", "-p", "/run/libvirt/virtlogd.pid"])
            self._start_daemon()
            # The first question makes libvirt probe QEMU, once and for all; no test should pay for it.
            run(["virsh", "-q", "-c", self.uri, "capabilities"])
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        self.machine.stop()

    def __enter__(self) -> LibvirtHost:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def daemon_pid(self) -> int | None:
        """The outer process id of the running libvirtd."""
        try:
            inner = int((self.machine.state / "run" / "libvirtd.pid").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return self.machine.outer_pid(inner)

    def kill_daemon(self) -> None:
        """End libvirtd the hard way; its guests run on."""
        self._signal(signal.SIGKILL)
        self._wait_gone()

    def pause_daemon(self) -> None:
        """Make libvirtd hang: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume_daemon(self) -> None:
        self._signal(signal.SIGCONT)

    def cut_cable(self) -> None:
        """Lose the network to the other hosts and to those who come by TCP; the daemon's socket file still works."""
        self.machine.run(["ip", "link", "set", "eth0", "down"])

    def mend_cable(self) -> None:
        """Have it back."""
        self.machine.run(["ip", "link", "set", "eth0", "up"])

    def restart_daemon(self) -> None:
        """Start libvirtd again, after ending it if it runs (or hangs)."""
        if self.daemon_pid is not None:
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)
            self._wait_gone()
        self._start_daemon()

    def _start_daemon(self) -> None:
        self.machine.run(["libvirtd", "-d", "--listen", "-p", "/run/libvirt/libvirtd.pid"])
        deadline = time.monotonic() + _DAEMON_TIMEOUT_S
        while run(["virsh", "-q", "-c", self.uri, "uri"], check=False).returncode != 0:
            if time.monotonic() > deadline:
                raise LabError(f"libvirtd of lab host {self.name} does not answer: {self.log()}")
            time.sleep(0.1)

    def _signal(self, number: signal.Signals) -> None:
        pid = self.daemon_pid
        if pid is None:
            raise LabError(f"libvirtd of lab host {self.name} is not running")
        os.kill(pid, number)

    def _wait_gone(self) -> None:
        deadline = time.monotonic() + _DAEMON_TIMEOUT_S
        while self.daemon_pid is not None:
            if time.monotonic() > deadline:
                raise LabError(f"libvirtd of lab host {self.name} does not end")
            time.sleep(0.02)

    def log(self) -> str:
        """The last lines of libvirtd's log."""
        path = self.outer_path("/var/log/libvirt/libvirtd.log")
        return "\n".join(path.read_text(errors="replace").splitlines()[-20:]) if path.exists() else ""
