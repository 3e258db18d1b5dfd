# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers under a libvirtd in namespaces of its own."""

from __future__ import annotations

import uuid
from typing import Any

from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Boot, Console, Instance
from contract.platforms.libvirt_qemu import HostedPlatform
from lab.lxc import READY_LINE, build_lxc_root


class LxcPlatform(HostedPlatform):
    name = "lxc"
    ready = READY_LINE.encode()
    runtime_folder = "lxc"
    undefine_flags = 0

    def __init__(self) -> None:
        self.root = str(build_lxc_root())
        super().__init__()

    def choose_uri(self) -> str:
        return self.lab.lxc_uri

    def small(self, name: str, **over: Any) -> Instance:
        fields: dict[str, Any] = {
            "memory_mb": 96,
            "vcpus": 1,
            "boot": Boot(init="/sbin/init"),
            "console": Console(serial=True),
            "hypervisor": {"filesystems": [{"source": self.root, "target": "/"}]},
        }
        return Instance(name=name, **{**fields, **over})

    def define_foreign(self, name: str) -> None:
        self.define_xml(
            f"<domain type='lxc'><name>{name}</name><uuid>{uuid.uuid4()}</uuid><memory unit='MiB'>96</memory>"
            f"<os><type>exe</type><init>/sbin/init</init></os>"
            f"<devices><filesystem><source dir='{self.root}'/><target dir='/'/></filesystem>"
            "<console type='pty'/></devices></domain>"
        )
