# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Xen host's image: hypervisor, dom0 kernel, initial RAM disk and root disk, built from Debian packages."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from lab import cpio, kmods
from lab.cache import build_once, cache_root, key_of
from lab.errors import LabError
from lab.proc import require_root_and_programs, run
from lab.xen.packages import Apt, Package, unpack

_PROGRAMS = ("apt-get", "dpkg-deb", "tar", "mkfs.ext4")
# Depended upon, but useless or harmful here: libvirt's qemu driver keeps libvirtd from starting on this CPU model.
_UNWANTED = frozenset({"libvirt-daemon-driver-qemu", "iso-codes", "ipxe-qemu"})
_DOM0_PACKAGES = (
    "xen-hypervisor-4.17-amd64",
    "xen-utils-4.17",
    "qemu-system-xen",
    "libvirt-daemon",
    "libvirt-daemon-driver-xen",
    "libvirt-clients",
    "qemu-utils",
    "busybox-static",
    "bash",
    "coreutils",
    "dash",
    "grep",
    "iproute2",
    "kmod",
    "lvm2",
    "mount",
    "sed",
    "udev",
    "util-linux",
)
# The cloud kernel has no dom0 support, but boots faster as a guest.
_DOM0_KERNEL = "linux-image-amd64"
_GUEST_KERNEL = "linux-image-cloud-amd64"
_BULK = tuple(f"./usr/share/{folder}/*" for folder in ("doc", "info", "lintian", "locale", "man", "zoneinfo"))

_EARLY_MODULES = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")
_DOM0_MODULES = (
    "virtio_net",
    "virtio_console",
    "xenfs",
    "xen_evtchn",
    "xen_gntdev",
    "xen_gntalloc",
    "xen_privcmd",
    "xen_blkback",
    "xen_netback",
    "tun",
    "loop",
    "dm_mod",
    "bridge",
)
_GUEST_MODULES = ("xen_blkfront", "xen_netfront")

_DOM0_FOLDERS = "dev etc/libvirt lab proc root sys tmp var/lib/libvirt/images var/lib/xen var/log/xen/console"
_LIBVIRTD_CONF = """\
listen_tls = 0
listen_tcp = 1
auth_tcp = "none"
auth_unix_rw = "none"
auth_unix_ro = "none"
max_clients = 500
log_outputs = "2:file:/var/log/libvirtd.log"
"""
_INITTAB = "::respawn:/lab/agent\n::respawn:-/bin/sh </dev/hvc0 >/dev/hvc0 2>&1\n"
_NOT_IN_THE_IMAGE = frozenset({"__init__.py", "__main__.py", "agent.py", "host.py"})
_SCRIPTS = Path(__file__).with_name("scripts")
_ROOT_DISK_BYTES = 6 * 2**30  # sparse; what the packages leave free is for guests' volumes


@dataclass(frozen=True)
class Recipe:
    """The exact packages of an image."""

    dom0: tuple[Package, ...]
    dom0_kernel: Package
    guest_kernel: Package

    @classmethod
    def from_apt(cls, apt: Apt) -> Recipe:
        """What the machine's apt sources offer now."""
        dom0 = [package for package in apt.resolve(_DOM0_PACKAGES) if package.name not in _UNWANTED]
        kernels = apt.resolve([_DOM0_KERNEL, _GUEST_KERNEL])
        return cls(
            tuple(dom0),
            _versioned_kernel(kernels, "-amd64", "-cloud-amd64"),
            _versioned_kernel(kernels, "-cloud-amd64"),
        )

    @property
    def key(self) -> str:
        """Changes when a package's version or anything in this folder does."""
        files = sorted([*Path(__file__).parent.glob("*.py"), *_SCRIPTS.iterdir()])
        contents = [path.read_bytes() for path in files if path.name not in _NOT_IN_THE_IMAGE]
        return key_of(*map(str, (*self.dom0, self.dom0_kernel, self.guest_kernel)), *contents)


def _versioned_kernel(packages: list[Package], ending: str, but_not: str = "\0") -> Package:
    for package in packages:
        name = package.name
        if name.startswith("linux-image-") and name[12].isdigit() and name.endswith(ending) and but_not not in name:
            return package
    raise LabError(f"apt offers no kernel package linux-image-VERSION{ending}")


@dataclass(frozen=True)
class XenImage:
    """A built image: the four files that QEMU boots."""

    folder: Path

    @property
    def hypervisor(self) -> Path:
        return self.folder / "xen"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd.gz"

    @property
    def root_disk(self) -> Path:
        return self.folder / "root.img"


def built_image() -> XenImage:
    """The image for what apt offers today: from the cache, or built now (less than a minute)."""
    require_root_and_programs(*_PROGRAMS)
    apt = Apt(cache_root() / "xen-apt-lists")
    recipe = Recipe.from_apt(apt)

    def build(target: Path) -> None:
        _build(recipe, apt, cache_root() / "xen-packages", target)

    return XenImage(build_once("xen-host", recipe.key, build))


def _build(recipe: Recipe, apt: Apt, downloads: Path, target: Path) -> None:
    """Make the image's files in the folder `target`, which also serves as scratch space."""
    root, dom0_kernel, guest_kernel = target / "root", target / "dom0-kernel", target / "guest-kernel"
    _lay_directory_links(root)
    for package_file in apt.download(recipe.dom0, downloads):
        unpack(package_file, root, without=_BULK)
    for package, folder in ((recipe.dom0_kernel, dom0_kernel), (recipe.guest_kernel, guest_kernel)):
        unpack(apt.download([package], downloads)[0], folder, only=("./boot", "./lib/modules"))

    image = XenImage(target)
    busybox = root / "bin" / "busybox"
    image.hypervisor.write_bytes(gzip.decompress(_only(root / "boot", "xen-4*.gz").read_bytes()))
    shutil.copy(_only(dom0_kernel / "boot", "vmlinuz-*"), image.kernel)
    _ram_disk(target / "initrd", image.initrd, busybox, "dom0-initrd-init", dom0_kernel, _EARLY_MODULES)

    _configure_dom0(root)
    already_loaded = kmods.load_order(dom0_kernel / "lib" / "modules", _EARLY_MODULES)
    _copy_modules(dom0_kernel, _DOM0_MODULES, root / "lab" / "modules", already_loaded)
    guest = root / "lab" / "guest"
    guest.mkdir()
    shutil.copy(_only(guest_kernel / "boot", "vmlinuz-*"), guest / "vmlinuz")
    scratch = target / "guest-initrd"
    for command in ("poweroff", "reboot"):
        _install_script("guest-poweroff", scratch / "sbin" / command)
    _ram_disk(scratch, guest / "initrd.gz", busybox, "guest-init", guest_kernel, _GUEST_MODULES)

    _make_root_disk(root, image.root_disk)
    for folder in (root, dom0_kernel, guest_kernel, target / "initrd", scratch):
        shutil.rmtree(folder)


def _lay_directory_links(root: Path) -> None:
    """The links a Debian system has from its installation; relative, for unpacking must not leave `root`."""
    folders = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
    links = {folder: f"usr/{folder}" for folder in folders} | {"var/run": "../run", "var/lock": "../run/lock"}
    for link, destination in links.items():
        (root / link).parent.mkdir(parents=True, exist_ok=True)
        (root / link).symlink_to(destination)
        (root / link).parent.joinpath(destination).mkdir(parents=True, exist_ok=True)


def _configure_dom0(root: Path) -> None:
    for folder in _DOM0_FOLDERS.split():
        (root / folder).mkdir(parents=True, exist_ok=True)
    texts = {
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
        "etc/group": "root:x:0:\ntty:x:5:\ndisk:x:6:\nkmem:x:15:\nnogroup:x:65534:\n",
        "etc/hostname": "xen-lab\n",
        "etc/hosts": "127.0.0.1 localhost xen-lab\n",
        "etc/inittab": _INITTAB,
        "etc/libvirt/libvirtd.conf": _LIBVIRTD_CONF,
    }
    for name, text in texts.items():
        (root / name).write_text(text, encoding="utf-8")
    _install_script("dom0-init", root / "lab" / "init")
    _install_script("dom0-agent", root / "lab" / "agent")
    _fill_in_with_busybox(root)
    _let_libvirt_name_the_cpu(root / "usr/share/libvirt/cpu_map/x86_qemu64.xml")


def _fill_in_with_busybox(root: Path) -> None:
    """Commands that Xen's hotplug scripts want and no package's files bring, such as awk."""
    for applet in run([root / "bin" / "busybox", "--list"]).stdout.split():
        if not any(os.path.lexists(root / "usr" / folder / applet) for folder in ("bin", "sbin")):
            (root / "usr" / "bin" / applet).symlink_to("busybox")


def _let_libvirt_name_the_cpu(model: Path) -> None:
    """A PV dom0 is not shown the `sep` feature; libvirtd does not start when no CPU model fits."""
    lines = model.read_text(encoding="utf-8").splitlines(keepends=True)
    model.write_text("".join(line for line in lines if "'sep'" not in line), encoding="utf-8")


def _ram_disk(scratch: Path, target: Path, busybox: Path, init: str, kernel: Path, modules: Sequence[str]) -> None:
    for folder in ("bin", "dev", "proc", "sys", "root"):
        (scratch / folder).mkdir(parents=True, exist_ok=True)
    shutil.copy(busybox, scratch / "bin" / "busybox")
    (scratch / "bin" / "sh").symlink_to("busybox")
    _install_script(init, scratch / "init")
    _copy_modules(kernel, modules, scratch / "modules")
    with gzip.open(target, "wb", compresslevel=1) as out:
        cpio.write_tree(scratch, cast(BinaryIO, out))


def _copy_modules(kernel: Path, wanted: Sequence[str], target: Path, without: Sequence[Path] = ()) -> None:
    """Copy them as 00-first.ko, 01-second.ko, ..., so that their names tell the order to load them in."""
    target.mkdir()
    for number, path in enumerate(kmods.load_order(kernel / "lib" / "modules", wanted)):
        if path not in without:
            shutil.copy(path, target / f"{number:02d}-{path.name}")


def _install_script(name: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_SCRIPTS / name, target)
    target.chmod(0o755)


def _make_root_disk(root: Path, disk: Path) -> None:
    with disk.open("wb") as file:
        file.truncate(_ROOT_DISK_BYTES)
    options = ["-O", "^has_journal", "-E", "root_owner=0:0,lazy_itable_init=1"]
    run(["mkfs.ext4", "-q", *options, "-d", root, disk], timeout_s=300)


def _only(folder: Path, pattern: str) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise LabError(f"expected one {pattern} in {folder}, found {len(found)}")
    return found[0]
