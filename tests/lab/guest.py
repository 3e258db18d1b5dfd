# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The test guest: a Debian kernel and an initramfs that boots in seconds, with a disk image to go with it."""

from __future__ import annotations

import gzip
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab import bootdisk, cpio, debian, kmods
from lab.cache import build_once, key_of
from lab.errors import LabError
from lab.proc import require_root_and_programs, run

CMDLINE = "console=ttyS0 quiet mitigations=off no_timer_check random.trust_cpu=on panic=5"
READY_LINE = "ANYVIRT GUEST READY"

_SCRIPTS = Path(__file__).parent / "scripts"
_FOLDERS = ("bin", "dev", "etc/acpi/PWRF", "lib", "lib64", "modules", "proc", "run", "sbin", "sys", "tmp", "var/run")
_PROGRAMS = {
    "init": "guest-init",
    "lib/report.sh": "guest-report",
    "lib/watch.sh": "guest-watch",
    "lib/work.sh": "guest-work",
    "lib/dhcp.sh": "guest-dhcp",
    "bin/disk": "guest-disk",
    "sbin/shutdown": "guest-poweroff",
}
_MODULES = (
    "virtio_pci virtio_mmio virtio_blk virtio_scsi sd_mod sr_mod ata_piix ahci virtio_net net_failover virtio_console "
    "virtio_balloon virtio_rng e1000 isofs vfat nls_cp437 nls_ascii nls_iso8859_1 nls_utf8 button evdev "
    "xen_blkfront xen_netfront bridge"
).split()
_OS_RELEASE = 'ID=anyvirt-guest\nNAME="anyvirt test guest"\nPRETTY_NAME="anyvirt test guest"\nVERSION_ID="1"\n'


@dataclass(frozen=True)
class Guest:
    """Files of the test guest; all are read-only for tests (use them as a base, never as a disk itself)."""

    folder: Path
    cmdline: str = CMDLINE

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd.gz"

    @property
    def root_image(self) -> Path:
        """A bootable qcow2 of 64 MiB: the same kernel and initramfs, and an ext4 file system that counts boots."""
        return self.folder / "root.qcow2"


def build_guest() -> Guest:
    """The test guest for this machine's Debian release, built on the first call."""
    require_root_and_programs("apt-get", "apt-cache", "dpkg", "ldd", "mkfs.ext4", "qemu-img")
    packages = [debian.newest_kernel_package(), "busybox-static", "qemu-guest-agent", *bootdisk.PACKAGES]
    sources = [path.read_bytes() for path in (Path(__file__), Path(bootdisk.__file__), *sorted(_SCRIPTS.iterdir()))]

    def build(folder: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="anyvirt-lab-guest-") as scratch:
            unpacked = Path(scratch) / "packages"
            debian.unpack(packages, unpacked)
            shutil.copyfile(next(unpacked.glob("boot/vmlinuz-*")), folder / "vmlinuz")
            tree = Path(scratch) / "initramfs"
            _fill_initramfs(tree, unpacked)
            with gzip.open(folder / "initrd.gz", "wb", compresslevel=6) as archive:
                cpio.write_tree(tree, archive)
            bootdisk.build(folder / "root.qcow2", folder / "vmlinuz", folder / "initrd.gz", CMDLINE, unpacked)

    return Guest(build_once("guest", key_of(debian.identities(packages), *sources), build))


def _fill_initramfs(tree: Path, unpacked: Path) -> None:
    for name in _FOLDERS:
        (tree / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(unpacked / "bin/busybox", tree / "bin/busybox")
    for target, script in _PROGRAMS.items():
        install_script(_SCRIPTS / script, tree / target)
    for alias in ("sbin/poweroff", "sbin/reboot", "etc/acpi/PWRF/00000080"):
        (tree / alias).symlink_to("/sbin/shutdown")
    (tree / "etc/os-release").write_text(_OS_RELEASE)
    _install_modules(tree, unpacked)
    _install_agent(tree, unpacked / "usr/sbin/qemu-ga")


def install_script(source: Path, target: Path) -> None:
    """Copy a script and let busybox interpret it."""
    target.write_text("#!/bin/busybox sh\n" + source.read_text())
    target.chmod(0o755)


def _install_modules(tree: Path, unpacked: Path) -> None:
    names = []
    for path in kmods.load_order(unpacked / "lib/modules", _MODULES):
        shutil.copy(path, tree / "modules" / path.name)
        names.append(f"/modules/{path.name}")
    (tree / "modules/order").write_text("\n".join(names) + "\n")


def _install_agent(tree: Path, agent: Path) -> None:
    """Put the guest agent where libvirt's tools look for it, with the libraries it needs from this machine."""
    shutil.copy(agent, tree / "sbin/qemu-ga")
    listing = run(["ldd", agent]).stdout
    missing = re.findall(r"^\s*(\S+) => not found", listing, re.MULTILINE)
    if missing:
        raise LabError(f"libraries of qemu-ga not installed here: {', '.join(missing)} (QEMU's packages bring them)")
    for library in re.findall(r"(/\S+) \(0x", listing):
        target = tree / ("lib64" if "/ld-linux" in library else "lib") / Path(library).name
        shutil.copy(Path(library).resolve(), target)
