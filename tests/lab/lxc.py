# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A root folder for LXC containers: busybox and an init that talks on the console."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from lab import debian
from lab.cache import build_once, key_of
from lab.guest import install_script
from lab.proc import require_root_and_programs, run

READY_LINE = "ANYVIRT CONTAINER READY"

_INIT = Path(__file__).parent / "scripts" / "container-init"
_PACKAGES = ("busybox-static",)
_FOLDERS = ("bin", "dev", "etc", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "var")


def build_lxc_root() -> Path:
    """The root folder, built on the first call; copy it with copy_lxc_root() for a container that may write."""
    require_root_and_programs("apt-get", "dpkg", "chroot")

    def build(folder: Path) -> None:
        for name in _FOLDERS:
            (folder / name).mkdir()
        with tempfile.TemporaryDirectory(prefix="anyvirt-lab-lxc-") as scratch:
            debian.unpack(_PACKAGES, Path(scratch))
            shutil.copy(Path(scratch) / "bin/busybox", folder / "bin/busybox")
        run(["chroot", folder, "/bin/busybox", "--install", "-s", "/bin"])
        install_script(_INIT, folder / "sbin/init")
        (folder / "etc/hostname").write_text("anyvirt-container\n")

    key = key_of(debian.identities(_PACKAGES), Path(__file__).read_bytes(), _INIT.read_bytes())
    return build_once("lxc", key, build)


def copy_lxc_root(target: Path) -> Path:
    """A root folder of the caller's own, two megabytes."""
    # A container that was started on the original has left its init's control pipe there.
    shutil.copytree(build_lxc_root(), target, symlinks=True, ignore=shutil.ignore_patterns("initctl"))
    return target
