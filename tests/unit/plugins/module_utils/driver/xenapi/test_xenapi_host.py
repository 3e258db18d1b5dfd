# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool and its hosts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.errors import IncompatibleCpu, InvalidUri
from ansible_collections.anyvirt.compute.plugins.module_utils.model.host import CpuInfo, PoolStats

GIB = 1024**3


def second_host(pool: Any, **fields: Any) -> str:
    first = pool.get("host", pool.host)
    metrics = pool.add("host_metrics", memory_total=str(8 * GIB), memory_free=str(8 * GIB), live=True)
    cpu = {**first["cpu_info"], "flags": "fpu sse"}
    host: str = pool.add(
        "host", **{**first, "name_label": "xen2", "hostname": "b", "metrics": metrics, "cpu_info": cpu, **fields}
    )
    return host


def test_a_pool(pool: Any):
    other = second_host(pool)
    pool.vm("on", active=True, vcpus_now="2")
    pool.vm("also", active=True, resident_on=other)
    pool.vm("off")
    pool.vm("dom0", active=True, is_control_domain=True)
    stats = pool.driver().get_host_stats()
    assert (stats.hostname, stats.hypervisor_type, stats.hypervisor_version) == ("lab-pool", "XCP-ng", "8.2.1")
    assert (stats.vcpus, stats.vcpus_used, stats.instances, stats.running_instances) == (16, 3, 3, 2)
    assert (stats.memory_mb, stats.memory_mb_used, stats.memory_mb_free) == (24 * 1024, 6 * 1024, 18 * 1024)
    assert (stats.local_gb, stats.local_gb_used, stats.local_gb_free) == (100.0, 30.0, 70.0)
    assert stats.cpu_info == CpuInfo("x86_64", "Some Xeon", "GenuineIntel", 2, 2, 2, ["fpu", "sse"])
    assert pool.driver().host_identity() == pool.get("pool", pool.pool)["uuid"]


def test_a_host_that_is_not_there_has_nothing_to_give(pool: Any):
    other = second_host(pool)
    pool.get("host_metrics", pool.get("host", other)["metrics"])["live"] = False
    stats = pool.driver().get_host_stats()
    assert (stats.vcpus, stats.memory_mb) == (8, 16 * 1024)


def test_one_host_of_it(pool: Any):
    other = second_host(pool)
    pool.vm("on", active=True)
    pool.vm("its own", affinity=other)
    local = pool.add("SR", name_label="Local storage", type="ext", content_type="user")
    pool.get("SR", local).update(physical_size=str(GIB), physical_utilisation="0")
    pool.add("PBD", host=other, SR=local, currently_attached=True)
    driver = pool.driver("xenapi://pool?host=xen2")
    stats = driver.get_host_stats()
    assert (stats.hostname, stats.vcpus, stats.memory_mb, stats.instances) == ("b", 8, 8 * 1024, 1)
    assert [one.name for one in stats.pools] == ["Local storage"]
    assert stats.cpu_info.features == ["fpu", "sse"]
    assert driver.host_identity() == pool.get("host", other)["uuid"]
    with pytest.raises(InvalidUri, match="xen1, xen2"):
        pool.driver("xenapi://pool?host=xen3").get_host_stats()


def test_storage(pool: Any):
    pool.repository("ISO library", type="iso", content_type="iso")
    unplugged = pool.repository("gone")
    pool.objects["PBD"][list(pool.objects["PBD"])[-1]]["currently_attached"] = False
    assert pool.get("SR", unplugged)
    driver = pool.driver()
    assert driver.get_host_stats().pools == [
        PoolStats("gone", "nfs", False, 0, 0, 0),
        PoolStats("shared", "nfs", True, 100 * GIB, 30 * GIB, 70 * GIB),
    ]
    assert "SR.scan" not in pool.made
    driver.update_available_resource()
    assert pool.made.count("SR.scan") == 1


def test_a_host_that_is_not_there(pool: Any):
    pool.get("host_metrics", pool.get("host", pool.host)["metrics"])["live"] = False
    driver = pool.driver()
    assert driver.get_host_stats().memory_mb == 0
    assert driver.verify() == ["the host xen1 is not there: the pool does not hear from it"]
    second_host(pool)
    assert driver.verify() == []


def test_a_disabled_host(pool: Any):
    assert pool.driver().verify() == []
    pool.get("host", pool.host)["enabled"] = False
    assert pool.driver().verify() == ["the host xen1 is disabled: it starts no instances"]
    stats = pool.driver().get_host_stats()
    assert (stats.enabled, stats.memory_mb, stats.memory_mb_used, stats.memory_mb_free) == (
        False, 16 * 1024, 16 * 1024, 0,
    )  # fmt: skip
    second_host(pool, enabled=True)
    stats = pool.driver().get_host_stats()
    assert stats.enabled
    assert stats.memory_mb_free > 0


def test_processors(pool: Any):
    driver = pool.driver()
    own = driver.get_cpu_info()
    driver.compare_cpu(own)
    driver.compare_cpu(replace(own, features=["fpu"], vendor=""))
    for other, words in (
        (replace(own, arch="aarch64"), "aarch64"),
        (replace(own, vendor="AuthenticAMD"), "AuthenticAMD"),
        (replace(own, features=[*own.features, "flying"]), "flying"),
    ):
        with pytest.raises(IncompatibleCpu, match=words):
            driver.compare_cpu(other)
