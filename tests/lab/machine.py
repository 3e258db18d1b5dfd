# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine made of namespaces: its own processes, mounts, network and host name, on the same kernel."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lab import inside, link, settings
from lab.cache import file_lock
from lab.errors import LabError
from lab.locks import is_held, try_lock
from lab.proc import run

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# nsenter shows a process the host's control groups but leaves it outside them.
_JOIN_GROUPS = (
    "for mark in /sys/fs/cgroup/*/cgroup.clone_children; do "
    '[ ! -e "$mark" ] || echo 0 >"${mark%/*}/cgroup.procs"; done; exec "$@"'
)
_START_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 20.0


def state_root() -> Path:
    """ANYVIRT_LAB_STATE, else /var/lib/anyvirt-lab; kept short because socket paths are limited to 107 bytes."""
    return Path(os.environ.get("ANYVIRT_LAB_STATE") or "/var/lib/anyvirt-lab").resolve()


def shared_folder() -> Path:
    """A folder that every host and the outer machine see at one path: shared storage."""
    folder = state_root() / "shared"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Machine:
    """One set of namespaces; whatever runs in it ends with it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = state_root() / "hosts" / name
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return is_held(self.state / "lock")

    @property
    def is_detached(self) -> bool:
        """Whether the machine outlives the process that started it."""
        return (self.state / "detached").exists()

    @property
    def init_pid(self) -> int:
        """The outer process id of the machine's first process."""
        try:
            return int((self.state / "init.pid").read_text())
        except FileNotFoundError as error:
            raise LabError(f"lab host {self.name} is not running") from error

    @property
    def slot(self) -> int:
        """The machine's number, from which its address follows."""
        try:
            return int((self.state / "slot").read_text())
        except FileNotFoundError as error:
            raise LabError(f"lab host {self.name} is not running") from error

    @property
    def address(self) -> str:
        return link.address(self.slot)

    def outer_path(self, path: str | Path) -> Path:
        """Where a file that is private to the machine lies for those outside."""
        for folder, part in inside.PRIVATE_FOLDERS.items():
            if Path(path).is_relative_to(folder):
                return self.state / part / Path(path).relative_to(folder)
        return Path(path)

    def start(self, slot: int | None, detached: bool) -> None:
        lock, slot, slot_lock = self._claim(slot)
        try:
            (self.state / "slot").write_text(str(slot))
            if detached:
                (self.state / "detached").touch()
            settings.write_settings(self.state / "etc", self.name, link.address(slot))
            (self.state / "hosts").write_text(f"127.0.0.1 localhost\n{link.address(slot)} {self.name}\n")
            self._unshare(detached, (lock, slot_lock))
            link.plug(slot, self.init_pid)
        except BaseException:
            os.close(lock)
            os.close(slot_lock)
            self.stop()
            raise
        # From now on the machine's first process alone holds the locks.
        os.close(lock)
        os.close(slot_lock)

    def _claim(self, slot: int | None) -> tuple[int, int, int]:
        with file_lock(state_root() / "hosts.lock"):
            remove_leftovers()
            self.state.mkdir(parents=True, exist_ok=True)
            lock = try_lock(self.state / "lock")
            if lock is None:
                raise LabError(f"lab host {self.name} is running already (python -m lab down {self.name})")
            try:
                slot, slot_lock = link.claim_slot(slot)
            except LabError:
                os.close(lock)
                raise
        for part in inside.PRIVATE_FOLDERS.values():
            (self.state / part).mkdir(mode=0o755)
        return lock, slot, slot_lock

    def _unshare(self, detached: bool, kept_open: tuple[int, ...]) -> None:
        namespaces = ("--mount", "--uts", "--net", "--pid", "--ipc", "--fork", "--kill-child")
        attachment = "detached" if detached else "attached"
        with (self.state / "init.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["unshare", *namespaces, "--propagation", "private"]
                + [sys.executable, "-S", "-E", inside.__file__, str(self.state), self.name, attachment],
                stdin=subprocess.DEVNULL if detached else subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=kept_open,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not (self.state / "init.pid").exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log_text = (self.state / "init.log").read_text(errors="replace").strip()
                raise LabError(f"lab host {self.name} did not start: {log_text}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End every process of the machine and forget what it wrote; nothing happens when there is none."""
        if self.is_running:
            try:
                os.kill(self.init_pid, signal.SIGKILL)
            except LabError:
                if self._process is not None:
                    self._process.kill()
        if self._process is not None:
            self._process.wait()
            if self._process.stdin is not None:
                self._process.stdin.close()
            self._process = None
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        while self.is_running:
            if time.monotonic() > deadline:
                raise LabError(f"lab host {self.name} does not stop")
            time.sleep(0.02)
        if (self.state / "slot").exists():
            link.unplug(self.slot)
        _forget(self.state)

    def run(self, argv: Sequence[str | Path], *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program inside."""
        return run(self.enter_command(argv), check=check)

    def enter_command(self, argv: Sequence[str | Path]) -> list[str]:
        target = str(self.init_pid)
        namespaces = ("--mount", "--uts", "--net", "--pid", "--ipc", "--cgroup")
        # A login's environment, so that nothing of the caller's leaks into daemons and guests.
        clean = ("env", "-i", f"PATH={_PATH}", "HOME=/root", "LC_ALL=C", f"TERM={os.environ.get('TERM', 'dumb')}")
        enter = ("nsenter", "--target", target, *namespaces, "--")
        return [*enter, *clean, "sh", "-c", _JOIN_GROUPS, "sh", *map(str, argv)]

    def outer_pid(self, inner_pid: int) -> int | None:
        """The outer id of a process that the machine knows as inner_pid."""
        namespace = os.readlink(f"/proc/{self.init_pid}/ns/pid")
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                if os.readlink(folder / "ns/pid") == namespace and _innermost_pid(folder) == inner_pid:
                    return int(folder.name)
            except OSError:  # gone meanwhile, or none of ours
                continue
        return None


def _innermost_pid(folder: Path) -> int | None:
    for line in (folder / "status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    return None


def remove_leftovers() -> None:
    """Forget hosts that ended without being stopped; call it with the lock on all hosts held."""
    for state in (state_root() / "hosts").glob("*/"):
        if not is_held(state / "lock"):
            _forget(state)


def _forget(state: Path) -> None:
    """Remove what a dead host left: its control groups, innermost first, and its folder."""
    for group in Path("/sys/fs/cgroup").glob(f"*/{inside.CONTROL_GROUP}/{state.name}"):
        for folder, _children, _files in os.walk(group, topdown=False):
            with suppress(OSError):
                os.rmdir(folder)
        with suppress(OSError):
            group.parent.rmdir()
    shutil.rmtree(state, ignore_errors=True)


def running_machines() -> list[str]:
    """Names of the hosts that run, whoever started them."""
    return sorted(state.name for state in (state_root() / "hosts").glob("*/") if is_held(state / "lock"))
