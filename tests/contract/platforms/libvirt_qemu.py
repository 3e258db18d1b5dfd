# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU guests under a libvirtd in namespaces of its own."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.iptables import IptablesEngine
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.nftables import NftEngine
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.tools import Runner
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Boot, Console, Instance
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import HostPolicy
from contract.platforms.libvirt_base import GROWING, LibvirtPlatform, our_filters
from contract.platforms.libvirt_calls import LibvirtCalls
from lab.guest import build_guest
from lab.hosts import BRIDGE, NETWORK, LibvirtHost
from lab.proc import run

# What libvirt and its daemons write for themselves: logs of their own and files of what runs just now.
_THEIR_OWN = ("log/libvirtd.log", "log/virtlogd.log", "log/qemu/", "log/lxc/", "lib/dnsmasq/", "lib/qemu/domain-")
_THEIR_OWN += ("lib/qemu/channel/", "lib/qemu/ram/", "lib/boot/")
_THEIR_OWN += ("etc/nwfilter/",)  # what is in there is told by its definitions
_VOLUMES = ("lib/images/", "lib/contract-pools/")
_CONSOLE_LOG = ".anyvirt-console.log"


def lab_name(part: str) -> str:
    """A name for a lab host that no other test run uses."""
    return f"contract-{part}-{os.getpid()}"


class HostedPlatform(LibvirtPlatform):
    """On a lab host on this machine, whose files we can see."""

    network = NETWORK
    bridge = BRIDGE

    def __init__(self, number: int = 1, calls: LibvirtCalls | None = None) -> None:
        super().__init__(calls)
        self._number = number
        self.lab = LibvirtHost(lab_name(self.name if number == 1 else f"{self.name}{number}"))
        self.lab.start()
        try:
            self.uri = self.choose_uri()
            self.define_pool()
        except BaseException:
            self.lab.stop()
            raise

        scheme = self.uri.split("+", maxsplit=1)[0]
        self.deaf_uris = (
            f"{scheme}+unix:///system?socket=/nowhere/libvirt-sock",
            f"{scheme}+tcp://127.0.0.1:1/system",
        )

    def make_partner(self) -> HostedPlatform:
        return self.__class__(self._number + 1, self.calls)

    def choose_uri(self) -> str:
        return self.lab.uri

    @contextmanager
    def in_place(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            network = f"/proc/{self.lab.machine.init_pid}/ns/net"
            patch.setattr(Runner, "prefix", ("nsenter", f"--net={network}"))
            yield

    def disturb_filters(self, name: str) -> None:
        for tool in ("ebtables", "iptables", "ip6tables"):
            self.run_on_host(tool, *(("-t", "nat") if tool == "ebtables" else ()), "-F")

    def files(self) -> dict[str, int]:
        state = self.lab.machine.state
        found = {}
        for part in ("etc", "lib", "log"):
            for path in sorted((state / part).rglob("*")):
                inner = str(path.relative_to(state))
                if path.is_file() and (not inner.startswith(_THEIR_OWN) or inner.endswith(_CONSOLE_LOG)):
                    grows = path.suffix in GROWING or inner.startswith(_VOLUMES)
                    found[inner] = 0 if grows else path.stat().st_size
        return found

    def run_on_host(self, *argv: str) -> None:
        self.lab.machine.run(argv)

    def read_on_host(self, path: str, image_format: str) -> bytes:
        copy = self.lab.shared / f"{self.lab.name}.raw"
        self.run_on_host("qemu-img", "convert", "-f", image_format, "-O", "raw", path, str(copy))
        try:
            return copy.read_bytes()
        finally:
            copy.unlink()

    def remove_everything(self, but: set[str]) -> None:
        with self.connection() as connection:
            had_filters = bool(our_filters(connection))
        super().remove_everything(but)
        if had_filters and not but:
            with self.in_place():
                for engine in (NftEngine(Runner()), IptablesEngine(Runner())):
                    engine.load(HostPolicy())
        if not but and self.storage.has_folders:
            self.storage.remove_folders()
        for log in self.lab.outer_path("/var/log/libvirt/qemu").glob(f"*{_CONSOLE_LOG}"):
            if log.name.removesuffix(_CONSOLE_LOG) not in but:
                log.unlink()

    def process_of(self, name: str) -> int:
        """The outer id of the process that is the running instance."""
        folder = Path(self.lab.machine.state, "run", self.runtime_folder)
        inner = int((folder / f"{name}.pid").read_text())
        outer = self.lab.machine.outer_pid(inner)
        assert outer is not None
        return outer

    def kill_service(self) -> None:
        self.lab.kill_daemon()

    def restart_service(self) -> None:
        self.lab.restart_daemon()

    def freeze_service(self) -> None:
        self.lab.pause_daemon()

    def thaw_service(self) -> None:
        self.lab.resume_daemon()

    runtime_folder = "qemu"

    def crash(self, name: str) -> None:
        os.kill(self.process_of(name), signal.SIGKILL)

    def stop(self) -> None:
        self.lab.stop()


class QemuPlatform(HostedPlatform):
    name = "libvirt"

    @property
    def uris(self) -> tuple[str, ...]:
        return self.lab.uri, self.lab.tcp_uri

    def __init__(self, number: int = 1, calls: LibvirtCalls | None = None) -> None:
        self.guest = build_guest()
        self.image = str(self.guest.root_image)
        super().__init__(number, calls)

    def small(self, name: str, **over: Any) -> Instance:
        guest = self.guest
        boot = Boot(kernel=str(guest.kernel), initrd=str(guest.initrd), cmdline=guest.cmdline)
        fields: dict[str, Any] = {
            "memory_mb": 96,
            "vcpus": 1,
            "boot": boot,
            "console": Console(serial=True),
            "pool": self.pool,
        }
        return Instance(name=name, **{**fields, **over})

    @contextmanager
    def deaf_guest(self, driver: ComputeDriver, name: str) -> Iterator[None]:
        """With an init that does nothing: nobody listens for the button."""
        boot = Boot(
            kernel=str(self.guest.kernel), initrd=str(self.guest.initrd), cmdline="console=ttyS0 rdinit=/bin/cat"
        )
        self.spawned(driver, name, power_on=True, boot=boot)
        yield

    def console(self, driver: ComputeDriver, name: str) -> bytes:
        log = self.lab.outer_path(f"/var/log/libvirt/qemu/{name}{_CONSOLE_LOG}")
        return log.read_bytes() if log.exists() else b""

    def give_bridged_address(self, name: str) -> None:
        import libvirt
        import libvirt_qemu

        arguments = {"path": "/bin/busybox", "arg": "ip address add 10.99.0.9/24 dev eth1".split()}
        order = json.dumps({"execute": "guest-exec", "arguments": arguments})
        deadline = time.monotonic() + self.boot_timeout_s
        with self.connection() as connection:
            while True:
                try:
                    libvirt_qemu.qemuAgentCommand(connection.lookupByName(name), order, 10, 0)
                    return
                except libvirt.libvirtError:  # its agent does not listen yet
                    assert time.monotonic() < deadline
                    time.sleep(0.2)

    def burden(self, name: str, what: str) -> None:
        """An instance on which hangs what libvirt refuses to undefine: ``nvram``, ``snapshots`` or ``checkpoints``."""
        nvram = f"/var/lib/libvirt/qemu/nvram/{name}_VARS.fd"
        loader = f"<loader readonly='yes' type='pflash'>{self.guest.kernel}</loader><nvram>{nvram}</nvram>"
        disk = self.lab.outer_path(f"{self.pool_folder}/{name}.qcow2")
        run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "1M"])
        self.define_xml(
            f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>96</memory><os><type arch='x86_64'>hvm</type>"
            f"{loader if what == 'nvram' else ''}</os><features><acpi/></features>"
            "<devices><disk type='file' device='disk'>"
            f"<driver name='qemu' type='qcow2'/><source file='{self.pool_folder}/{name}.qcow2'/><target dev='vda'/>"
            "</disk></devices></domain>"
        )
        with self.connection() as connection:
            domain = connection.lookupByName(name)
            if what == "nvram":
                file = self.lab.outer_path(nvram)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(b"")
            if what == "snapshots":
                domain.snapshotCreateXML("<domainsnapshot><name>first</name></domainsnapshot>")
            if what == "checkpoints":
                domain.create()
                domain.checkpointCreateXML("<domaincheckpoint><name>first</name></domaincheckpoint>")

    def define_foreign(self, name: str) -> None:
        self.define_xml(
            f"<domain type='qemu'><name>{name}</name><uuid>{uuid.uuid4()}</uuid><memory unit='MiB'>96</memory>"
            f"<os><type arch='x86_64'>hvm</type><kernel>{self.guest.kernel}</kernel></os></domain>"
        )
