# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""First process of a lab host, inside its new namespaces: makes them private, then reaps until it is killed.

A script of its own (``python inside.py STATE_FOLDER HOSTNAME attached|detached``), run as process 1 of a process
namespace: when it ends, the kernel ends everything that the host ever started. Attached, its standard input is
its lifeline: whoever started the host holds the other end, and the host ends with them, however they end.
"""

from __future__ import annotations

import ctypes
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

# Where a libvirt installation keeps its files, and the part of the state folder that stands there inside.
PRIVATE_FOLDERS = {
    "/etc/libvirt": "etc",
    "/var/lib/libvirt": "lib",
    "/var/cache/libvirt": "cache",
    "/var/log/libvirt": "log",
    "/run/libvirt": "run",
}
# The group, in each hierarchy of control groups, below which every host has its own.
CONTROL_GROUP = "anyvirt-lab"
_CLONE_NEWCGROUP = 0x02000000
_NODES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
    "console": (5, 1),
    "net/tun": (10, 200),
    "fuse": (10, 229),
    "loop-control": (10, 237),
}


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def _private_dev(scratch: Path) -> None:
    """A /dev without kvm: a node that exists but does not work makes libvirt probe QEMU at every define."""
    scratch.mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", "mode=755", "dev", scratch)
    for name, (major, minor) in _NODES.items():
        node = scratch / name
        node.parent.mkdir(exist_ok=True)
        os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(major, minor))
        node.chmod(0o666)
    for name, target in {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}.items():
        (scratch / name).symlink_to(target)
    (scratch / "ptmx").symlink_to("pts/ptmx")
    for name in ("pts", "shm"):
        (scratch / name).mkdir()
    _mount("-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=0620,gid=5", "devpts", scratch / "pts")
    _mount("-t", "tmpfs", "-o", "mode=1777", "shm", scratch / "shm")
    _mount("--move", scratch, "/dev")


def _own_control_groups(name: str) -> list[Path]:
    """Enter a group of this host's own in every hierarchy; its roots, from here on, are those groups.

    Two hosts may well run containers of one name with one process id, which is what libvirt names a group by.
    With control groups of version 2 alone there is one hierarchy, which cannot be split for us.
    """
    groups = []
    for folder in Path("/sys/fs/cgroup").iterdir():
        if folder.is_symlink() or not (folder / "cgroup.clone_children").exists():
            continue
        own = folder / CONTROL_GROUP / name
        for group in (own.parent, own):
            group.mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):  # empty in a new group, and then nothing may enter
                if (group / setting).exists():
                    (group / setting).write_text((folder / setting).read_text())
        (own / "cgroup.procs").write_text("0")
        groups.append(own)
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWCGROUP) != 0:
        raise OSError(ctypes.get_errno(), "unshare of the control group namespace")
    return groups


def _private_sys(scratch: Path, name: str) -> None:
    """A /sys that shows this network namespace and this host's control groups."""
    for group in _own_control_groups(name):
        _mount("--bind", group, group.parents[1])
    scratch.mkdir(exist_ok=True)
    _mount("--rbind", "/sys/fs/cgroup", scratch)
    _mount("-t", "sysfs", "sysfs", "/sys")
    _mount("--move", scratch, "/sys/fs/cgroup")
    # Where both versions are mounted, libvirt_lxc stumbles over the second.
    if os.path.ismount("/sys/fs/cgroup/unified"):
        subprocess.run(["umount", "/sys/fs/cgroup/unified"], check=True)


def _private_run_and_libvirt(state: Path) -> None:
    # An empty /run also hides the outer system's D-Bus and systemd, which would learn of our guests otherwise.
    _mount("-t", "tmpfs", "-o", "mode=755", "run", "/run")
    for inside, part in PRIVATE_FOLDERS.items():
        Path(inside).mkdir(parents=True, exist_ok=True)
        _mount("--bind", state / part, inside)
    _mount("--bind", state / "hosts", "/etc/hosts")


def _network() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "link", "add", "labbr0", "type", "bridge"], check=True)
    subprocess.run(["ip", "link", "set", "labbr0", "up"], check=True)


def _end_with_starter() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def _reap_forever() -> None:
    """Collect the children that daemons leave to process 1."""
    while True:
        try:
            os.wait()
        except ChildProcessError:
            time.sleep(0.5)


def main(state: Path, hostname: str, attachment: str) -> None:
    # /proc still is the outer one here, so it tells the process id that the outer side knows us by.
    outer_pid = os.readlink("/proc/self")
    _mount("-t", "proc", "proc", "/proc")
    subprocess.run(["hostname", hostname], check=True)
    _private_dev(state / "dev")
    _private_sys(state / "cgroup", hostname)
    _private_run_and_libvirt(state)
    _network()
    if attachment == "attached":
        threading.Thread(target=_end_with_starter, daemon=True).start()
    unfinished = state / "init.pid.new"
    unfinished.write_text(outer_pid)
    unfinished.rename(state / "init.pid")
    _reap_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
