# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PV and PVH guests on a real Xen host, which itself is emulated."""

from __future__ import annotations

import base64
import gzip
import os
import shlex
import uuid
from typing import Any

import libvirt

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Boot, Instance, Nic
from contract.platforms.libvirt_base import GROWING, LibvirtPlatform
from lab.xen import XenHost

_DOM0 = "Domain-0"


class XenPlatform(LibvirtPlatform):
    name = "xen"
    ready = XenHost.guest_ready.encode()
    starts_quickly = False
    call_timeout_s = 120.0
    settle_s = 2.0
    bridge = XenHost.bridge
    pool_folder = XenHost.pool_folder
    undefine_flags = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE

    image = "/srv/contract.qcow2"

    def __init__(self, neighbour: XenPlatform | None = None) -> None:
        super().__init__(None if neighbour is None else neighbour.calls)
        self.lab = XenHost(
            f"contract-{os.getpid()}" + ("" if neighbour is None else "-2"),
            neighbour=None if neighbour is None else neighbour.lab,
        )
        try:
            self._start()
        except BaseException:
            self.lab.stop()
            raise

    def make_partner(self) -> XenPlatform:
        return XenPlatform(self)

    def _start(self) -> None:
        self.lab.start()
        self.uri = self.lab.uri
        self.lab.run(f"mkdir -p /srv && qemu-img create -q -f qcow2 {self.image} 8M")
        self.define_pool()

    @property
    def migrate_uri(self) -> str:
        """Where this host takes the memory of guests that come from its partner."""
        return f"tcp://{self.lab.link_address}"

    def small(self, name: str, **over: Any) -> Instance:
        boot = Boot(kernel=self.lab.guest_kernel, initrd=self.lab.guest_initrd, cmdline="console=hvc0 quiet")
        return Instance(name=name, **{"memory_mb": 96, "vcpus": 1, "boot": boot, "pool": self.pool, **over})

    def nic(self, **over: Any) -> Nic:
        return Nic(**{"bridge": self.bridge, **over})

    def hypervisor_of(self, machine: str) -> dict[str, str]:
        """The ``libvirt:`` option for a ``pv`` or a ``pvh`` guest."""
        return {"os_type": {"pv": "xen", "pvh": "xenpvh"}[machine]}

    def console(self, driver: ComputeDriver, name: str) -> bytes:
        return self.lab.guest_console(name).encode()

    def domains(self, connection: Any) -> list[Any]:
        return [domain for domain in connection.listAllDomains() if domain.name() != _DOM0]

    def run_on_host(self, *argv: str) -> None:
        self.lab.run(shlex.join(argv))

    def read_on_host(self, path: str, image_format: str) -> bytes:
        copy = "/var/tmp/read.raw"
        self.lab.run(f"qemu-img convert -f {image_format} -O raw {shlex.quote(path)} {copy}")
        packed = self.lab.run(f"/bin/busybox gzip -c {copy} | base64; rm {copy}")
        return gzip.decompress(base64.b64decode(packed))

    def files(self) -> dict[str, int]:
        folders = "/etc/libvirt/libxl /var/lib/libvirt/images /var/lib/libvirt/libxl"
        listing = self.lab.run(f"find {folders} -type f -exec stat -c '%n %s' {{}} + 2>/dev/null || true")
        lines = (line.rsplit(" ", 1) for line in listing.splitlines())
        return {path: 0 if path.endswith(GROWING) else int(size) for path, size in lines}

    def remove_everything(self, but: set[str]) -> None:
        try:
            super().remove_everything(but)
        except libvirt.libvirtError:
            # Its libvirtd is gone, which the test has to answer for; the next one gets a fresh host.
            self.lab.stop()
            if self._partner is not None:  # whose cable ends there
                self._partner.stop_all()
                self._partner = None
            self._start()
            raise
        for log in self.lab.run(f"ls {self.lab.console_logs}").splitlines():
            if log.removeprefix("guest-").removesuffix(".log") not in but and log.startswith("guest-"):
                self.lab.run(f"rm -f {shlex.quote(f'{self.lab.console_logs}/{log}')}")

    def define_foreign(self, name: str) -> None:
        self.define_xml(
            f"<domain type='xen'><name>{name}</name><uuid>{uuid.uuid4()}</uuid><memory unit='MiB'>96</memory>"
            f"<os><type arch='x86_64' machine='xenpv'>xen</type><kernel>{self.lab.guest_kernel}</kernel></os></domain>"
        )

    def crash(self, name: str) -> None:
        self.lab.run(f"xl destroy {name}")

    def stop(self) -> None:
        self.lab.stop()
