# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pool made of records, for the parts of the XenAPI driver that read."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.driver import XenApiDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.records import NULL
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.transport import HttpRefused

MIB = 1024**2
GIB = 1024**3


class Reader(XenApiDriver):
    """A driver whose pool is made of records."""

    def __init__(self, pool: PoolStub, uri: str) -> None:
        super().__init__(ConnectionOptions(uri))
        self.stub = pool

    def open(self) -> None:
        """It is made of records."""

    def call(self, method: str, *params: Any) -> Any:
        return self.stub.call(method, *params)

    def run_task(self, method: str, *params: Any, timeout_s: float | None = None) -> str | None:
        self.stub.made.append(method)
        return None

    def http_request(
        self, method: str, path: str, query: dict[str, str], body: Any = None, length: Any = None, address: Any = None
    ) -> bytes:
        assert (method, path) == ("GET", "/rrd_updates")
        return self.stub.rates(query, address)


class PoolStub:
    """Records by class and reference, and the calls that were made."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, dict[str, Any]]] = {}
        self.made: list[str] = []
        self.asked: list[tuple[dict[str, str], str | None]] = []
        self.archives: dict[int, bytes] = {}
        self.refusal = 404
        self.host = self.add(
            "host",
            name_label="xen1",
            hostname="xen1.example",
            address="10.0.0.1",
            enabled=True,
            metrics=self.add("host_metrics", memory_total=str(16 * GIB), memory_free=str(10 * GIB), live=True),
            software_version={"product_brand": "XCP-ng", "product_version": "8.2.1"},
            cpu_info={
                "cpu_count": "8",
                "socket_count": "2",
                "threads_per_core": "2",
                "vendor": "GenuineIntel",
                "modelname": "Some Xeon",
                "flags": "fpu sse avx",
            },
            host_CPUs=[],
            capabilities=["xen-3.0-x86_64", "hvm-3.0-x86_32", "hvm-3.0-x86_64"],
        )
        self.pool = self.add("pool", name_label="lab-pool", master=self.host, other_config={})
        self.sr = self.repository("shared")
        self.network = self.add("network", name_label="lab", bridge="xapi0")

    # -- what is in it ----------------------------------------------------------------------------------------------

    def add(self, kind: str, **fields: Any) -> str:
        """One more object; its reference."""
        mine = self.objects.setdefault(kind, {})
        ref = f"OpaqueRef:{kind}-{len(mine)}"
        mine[ref] = {"uuid": f"uuid-of-{kind}-{len(mine)}", "other_config": {}, **fields}
        return ref

    def get(self, kind: str, ref: str) -> dict[str, Any]:
        return self.objects[kind][ref]

    def repository(self, name: str, **fields: Any) -> str:
        over = {"type": "nfs", "content_type": "user", "physical_size": str(100 * GIB), **fields}
        sr = self.add("SR", name_label=name, **{"physical_utilisation": str(30 * GIB), **over})
        self.add("PBD", host=self.host, SR=sr, currently_attached=True)
        return sr

    def vm(self, name: str, **fields: Any) -> str:
        """A VM, halted unless told otherwise; ``active`` makes it run since 2026-01-01."""
        memory = str(96 * MIB)
        if fields.pop("active", False):
            fields.setdefault("power_state", "Running")
            fields.setdefault("resident_on", self.host)
        metrics = self.add(
            "VM_metrics",
            memory_actual=memory,
            VCPUs_number=fields.pop("vcpus_now", "1"),
            start_time="20260101T00:00:00Z",
        )
        whole = {
            "name_label": name,
            "name_description": "",
            "power_state": "Halted",
            "is_a_template": False,
            "is_a_snapshot": False,
            "is_control_domain": False,
            "memory_dynamic_max": memory,
            "memory_static_min": memory,
            "memory_static_max": memory,
            "memory_target": "0",
            "VCPUs_at_startup": "1",
            "VCPUs_max": "1",
            "VCPUs_params": {},
            "PV_kernel": "",
            "PV_ramdisk": "",
            "PV_args": "",
            "PV_bootloader": "",
            "HVM_boot_policy": "BIOS order",
            "HVM_boot_params": {},
            "domain_type": "unspecified",
            "platform": {},
            "xenstore_data": {},
            "affinity": NULL,
            "resident_on": NULL,
            "metrics": metrics,
            "guest_metrics": NULL,
        }
        return self.add("VM", **{**whole, **fields})

    def disk(self, vm: str, position: str = "0", **fields: Any) -> str:
        """A disk of a VM; ``vdi`` gives fields of its VDI, None makes an empty drive."""
        vdi = fields.pop("vdi", {})
        ref = NULL if vdi is None else self.add("VDI", **{"name_label": f"disk-{position}", "SR": self.sr, **vdi})
        if vdi is not None:
            self.objects["VDI"][ref].setdefault("virtual_size", str(GIB))
            self.objects["VDI"][ref].setdefault("sharable", False)
        place = {"VM": vm, "VDI": ref, "userdevice": position, "device": "", "currently_attached": True}
        return self.add("VBD", **{**place, "type": "Disk", "mode": "RW", "bootable": False, **fields})

    def nic(self, vm: str, device: str = "0", **fields: Any) -> str:
        mac = f"52:54:00:00:00:0{device}"
        return self.add("VIF", **{"VM": vm, "device": device, "MAC": mac, "network": self.network, **fields})

    # -- what it answers --------------------------------------------------------------------------------------------

    def call(self, method: str, *params: Any) -> Any:
        self.made.append(method)
        kind, _dot, message = method.partition(".")
        if message == "get_all_records":
            return dict(self.objects.get(kind, {}))
        assert message == "get_all_records_where", method
        return self._where(kind, *params)

    def _where(self, kind: str, condition: str) -> dict[str, dict[str, Any]]:
        terms = [re.fullmatch(r'field "(\w+)" = "([^"]*)"', term) for term in condition.split(" or ")]
        assert all(terms), condition
        wanted = [(term.group(1).replace("__", "_"), term.group(2)) for term in terms if term]
        return {
            ref: record
            for ref, record in self.objects.get(kind, {}).items()
            if any((ref if field == "_ref" else record[field]) == value for field, value in wanted)
        }

    def rates(self, query: dict[str, str], address: str | None) -> bytes:
        self.asked.append((query, address))
        if int(query["interval"]) not in self.archives:
            raise HttpRefused(self.refusal, "for the test's sake")
        return self.archives[int(query["interval"])]

    def driver(self, uri: str = "xenapi://pool") -> Reader:
        # pylint: disable-next=abstract-class-instantiated  # it gives up on so many bases
        return Reader(self, uri)


@pytest.fixture
def pool() -> PoolStub:
    """A pool of one host with a repository and a network."""
    return PoolStub()
