# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host: its room counted once, its processor, whether it is of use."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.errors import NO_STORAGE_POOL, NO_SUPPORT
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.folders import PREFIX
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    HypervisorError,
    IncompatibleCpu,
    Unsupported,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.host import CpuInfo
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import GIB, MIB

CAPABILITIES = """<capabilities>
<host><uuid>11111111-2222-3333-4444-555555555555</uuid>
<cpu><arch>x86_64</arch><model>Skylake</model><vendor>Intel</vendor>
<topology sockets='1' dies='1' cores='4' threads='2'/>
<feature name='vmx'/><feature name='aes'/></cpu></host>
<guest><os_type>{os_type}</os_type><arch name='x86_64'/></guest></capabilities>"""


def pool(stubs: Any, name: str, kind: str = "dir", size: Any = (10, 4, 6), active: int = 1, **answers: Any) -> Any:
    room = [2, *(gib * GIB for gib in size)]
    known = {"name": name, "isActive": active, "refresh": 0, "info": room, "XMLDesc": f"<pool type='{kind}'/>"}
    return stubs.Recorder(**{**known, **answers})


def host(stubs: Any, *domains: Any, pools: Any = (), uri: str = "qemu:///system", os_type: str = "hvm", **answers: Any):
    return stubs.opened(
        *domains,
        uri=uri,
        **{
            "getCapabilities": CAPABILITIES.format(os_type=os_type),
            "getInfo": ["x86_64", 8192, 8, 2400, 1, 1, 4, 2],
            "getVersion": 7002022,
            "getType": "QEMU",
            "getHostname": "host1",
            "getMemoryStats": {"total": 8388608, "free": 1048576, "buffers": 1024, "cached": 1047552},
            "getFreeMemory": 512 * MIB,
            "listAllStoragePools": list(pools),
            "getAllDomainStats": [(domain, {"vcpu.current": 2}) for domain in domains if domain.isActive()],
            **answers,
        },
    )


def test_capacity(stubs):
    stats = host(stubs, stubs.domain("on"), stubs.domain("off", state=5), pools=[pool(stubs, "a")]).get_host_stats()
    assert (stats.hostname, stats.hypervisor_type, stats.hypervisor_version) == ("host1", "QEMU", "7.2.22")
    assert (stats.vcpus, stats.vcpus_used) == (8, 2)
    assert (stats.memory_mb, stats.memory_mb_used, stats.memory_mb_free) == (8192, 6144, 2048)
    assert (stats.local_gb, stats.local_gb_used, stats.local_gb_free) == (10, 4, 6)
    assert (stats.instances, stats.running_instances) == (2, 1)
    assert stats.cpu_info == CpuInfo("x86_64", "Skylake", "Intel", 1, 4, 2, ["aes", "vmx"])


def test_capacity_of_xen(stubs):
    domains = [stubs.domain("Domain-0", ID=0), stubs.domain("one", info=[1, 1024, 1024, 1, 0])]
    stats = host(stubs, *domains, uri="xen:///system", getAllDomainStats=stubs.Error(NO_SUPPORT)).get_host_stats()
    assert (stats.memory_mb_free, stats.memory_mb_used) == (512, 7680)
    assert (stats.instances, stats.running_instances, stats.vcpus_used) == (1, 1, 1)


def test_a_file_system_is_counted_once(stubs):
    pools = [
        pool(stubs, "a", "dir", (100, 40, 60)),
        pool(stubs, "b", "dir", (100, 40.5, 59.5)),  # written to between the two looks
        pool(stubs, "c", "netfs", (100, 10, 90)),  # of the same size by chance
        pool(stubs, "d", "logical", (100, 40, 60)),
        pool(stubs, "e", "fs", (50, 10, 40)),
        pool(stubs, "f", "dir", active=0, info=stubs.Error(55, "storage pool 'f' is not active", 18)),
    ]
    stats = host(stubs, pools=pools).get_host_stats()
    assert [found.name for found in stats.pools] == ["a", "b", "c", "d", "e", "f"]
    assert [found.active for found in stats.pools] == [True] * 5 + [False]
    assert (stats.local_gb, stats.local_gb_used, stats.local_gb_free) == (350, 100, 250)


def test_passing_pools_do_not_count(stubs):
    gone = pool(stubs, "gone", info=stubs.Error(NO_STORAGE_POOL, "Storage pool not found", 18))
    stats = host(stubs, pools=[pool(stubs, f"{PREFIX}1"), gone]).get_host_stats()
    assert stats.pools == []
    assert stats.local_gb == 0


@pytest.mark.parametrize("refresh", [True, False])
def test_pools_are_refreshed_when_asked(stubs, refresh: bool):
    ours, off = pool(stubs, "a"), pool(stubs, "b", active=0)
    host(stubs, pools=[ours, off]).get_host_stats(refresh)
    assert ("refresh" in ours.called) is refresh
    assert "refresh" not in off.called


def test_a_pool_at_work_is_taken_as_it_was_seen(stubs):
    busy = pool(stubs, "a", refresh=stubs.Error(1, "internal error: pool 'a' has asynchronous jobs running.", 18))
    assert host(stubs, pools=[busy]).get_host_stats(refresh=True).local_gb == 10
    broken = pool(stubs, "a", refresh=stubs.Error(38, "cannot open directory", 18))
    with pytest.raises(HypervisorError):
        host(stubs, pools=[broken]).get_host_stats(refresh=True)


def test_identity(stubs):
    assert host(stubs).host_identity() == "11111111-2222-3333-4444-555555555555"
    assert host(stubs, getCapabilities="<capabilities/>").host_identity() == "host1"


def test_a_host_that_tells_nothing_of_its_processor(stubs):
    assert host(stubs, getCapabilities="<capabilities/>").get_cpu_info() == CpuInfo("")


@pytest.mark.parametrize(
    ("uri", "os_type", "fine"),
    [
        ("qemu:///system", "hvm", True),
        ("lxc:///", "exe", True),
        ("xen:///system", "xen", True),
        ("xen:///system", "xenpvh", True),
        ("qemu:///system", "exe", False),
        ("lxc:///", "hvm", False),
    ],
)
def test_verify(stubs, uri: str, os_type: str, fine: bool):
    driver = host(stubs, uri=uri, os_type=os_type)
    problems = driver.verify()
    assert (problems == []) is fine
    assert driver.conn, "it was open before, and still is"


def test_verify_opens_and_closes(stubs):
    connection = stubs.connection(getCapabilities=CAPABILITIES.format(os_type="hvm"))
    assert stubs.driver(connection).verify() == []
    assert connection.called[-1] == "close"
    assert "not running" in stubs.driver(stubs.Error(38, "it is not running", 7)).verify()[0]


def test_init_host_names_all(stubs):
    domains = [stubs.domain("web2"), stubs.domain("web1", state=5), stubs.domain("Domain-0", ID=0)]
    assert host(stubs, *domains, uri="xen:///system").init_host() == ["web1", "web2"]


def test_a_processor_that_fits(stubs):
    library = stubs.library
    for verdict in (library.VIR_CPU_COMPARE_IDENTICAL, library.VIR_CPU_COMPARE_SUPERSET):
        driver = host(stubs, compareCPU=verdict)
        driver.compare_cpu(driver.get_cpu_info())
    [document] = [call[1] for call in driver.conn.calls if call[0] == "compareCPU"]
    assert "<model>Skylake</model>" in document
    assert '<feature name="vmx"' in document


def test_a_processor_that_does_not_fit(stubs):
    driver = host(stubs, compareCPU=stubs.library.VIR_CPU_COMPARE_INCOMPATIBLE)
    with pytest.raises(IncompatibleCpu, match="amx"):
        driver.compare_cpu(CpuInfo("x86_64", "Sapphire", features=["aes", "amx"]))
    with pytest.raises(IncompatibleCpu, match="aarch64"):
        driver.compare_cpu(CpuInfo("aarch64"))
    with pytest.raises(Unsupported):
        host(stubs, uri="lxc:///").compare_cpu(CpuInfo("x86_64"))
