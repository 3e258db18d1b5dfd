# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers under a libvirtd in namespaces of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Boot, Console, Instance
from contract.platforms.libvirt_calls import LibvirtCalls
from contract.platforms.libvirt_qemu import HostedPlatform
from lab.lxc import READY_LINE, build_lxc_root


class LxcPlatform(HostedPlatform):
    name = "lxc"
    ready = READY_LINE.encode()
    runtime_folder = "lxc"
    undefine_flags = 0

    def __init__(self, number: int = 1, calls: LibvirtCalls | None = None) -> None:
        root = build_lxc_root()
        self._root_xml = f"<filesystem type='mount'><source dir='{root}'/><target dir='/'/></filesystem>"
        super().__init__(number, calls)

    def choose_uri(self) -> str:
        return self.lab.lxc_uri

    def small(self, name: str, **over: Any) -> Instance:
        fields: dict[str, Any] = {
            "memory_mb": 96,
            "vcpus": 1,
            "boot": Boot(init="/sbin/init"),
            "console": Console(serial=True),
            "hypervisor": {"xml": [f"<devices>{self._root_xml}</devices>"]},
        }
        return Instance(name=name, **{**fields, **over})

    def wait_ready(self, driver: ComputeDriver, name: str, times: int = 1) -> bytes:
        """A container runs as soon as it is started; what it says is heard by nobody."""
        return self.ready

    def console(self, driver: ComputeDriver, name: str) -> bytes:
        return self.ready

    @contextmanager
    def deaf_guest(self, driver: ComputeDriver, name: str) -> Iterator[None]:
        """A first program that handles no signal hears none."""
        self.spawned(driver, name, power_on=True, boot=Boot(init="/bin/cat"))
        yield

    def define_foreign(self, name: str) -> None:
        self.define_xml(
            f"<domain type='lxc'><name>{name}</name><uuid>{uuid.uuid4()}</uuid><memory unit='MiB'>96</memory>"
            f"<os><type>exe</type><init>/sbin/init</init></os>"
            f"<devices>{self._root_xml}"
            "<console type='pty'/></devices></domain>"
        )
