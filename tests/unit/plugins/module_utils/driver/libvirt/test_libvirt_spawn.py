# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""spawn where a real hypervisor does not easily go."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.metadata import read_record
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.xmltext import from_libvirt
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AlreadyExists,
    HypervisorError,
    InsufficientCapacity,
    InvalidInput,
    Unsupported,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Console, Disk, Instance

POOL_XML = "<pool type='{kind}'><name>p</name><target><path>/srv/p</path></target></pool>"


def capabilities(os_type: str, domain_type: str, machine: str) -> str:
    return (
        "<capabilities><host><uuid>1</uuid><cpu><arch>x86_64</arch></cpu></host>"
        f"<guest><os_type>{os_type}</os_type><arch name='x86_64'><machine>{machine}</machine>"
        f"<domain type='{domain_type}'/></arch></guest></capabilities>"
    )


def host(stubs: Any, made: Any, uri: str = "qemu+tcp://far/system", **answers: Any) -> Any:
    """A driver whose host makes a domain that is ``made``, or fails to."""
    kind = ("xen", "xen", "xenpv") if uri.startswith("xen") else ("hvm", "qemu", "pc")
    ordinary = {"getCapabilities": capabilities(*kind), "defineXML": made, "listAllStoragePools": []}
    return stubs.opened(uri=uri, **{**ordinary, **answers})


def plain(**over: Any) -> Instance:
    fields: dict[str, Any] = {"memory_mb": 96, "vcpus": 1, "console": Console(serial=False, vnc=False)}
    return Instance("web1", **{**fields, **over})


def test_defining_costs_one_call(stubs: Any):
    domain = stubs.domain(state=5)
    driver = host(stubs, domain)
    driver.complete(plain())
    driver.conn.calls.clear()
    driver.spawn(plain(), power_on=False)
    assert driver.conn.called == ["defineXML"]
    assert domain.called == []


def test_it_is_marked_until_it_runs(stubs: Any):
    defined: list[str] = []
    domain = stubs.domain(createWithFlags=0, destroy=0, setMetadata=0, XMLDesc=lambda flags: defined[0])

    def define(text: str) -> Any:
        defined.append(text)
        return domain

    driver = host(stubs, define)
    driver.spawn(plain())
    records = [read_record(from_libvirt(text)) for text in defined]
    assert [record.unfinished for record in records] == [True, False]
    assert from_libvirt(defined[1]).find("metadata") is None


def test_a_taken_name(stubs: Any):
    error = stubs.Error(9, "operation failed: domain 'web1' already exists with uuid 1")
    with pytest.raises(AlreadyExists, match="web1"):
        host(stubs, error).spawn(plain(), power_on=False)


def test_a_start_that_fails_is_undone(stubs: Any):
    domain = stubs.domain(createWithFlags=stubs.Error(1, "no"), undefineFlags=0)
    with pytest.raises(HypervisorError) as caught:
        host(stubs, domain).spawn(plain())
    assert caught.value.rolled_back
    assert domain.called == ["createWithFlags", "undefineFlags"]


@pytest.mark.parametrize(("free_mb", "kind"), [(64, InsufficientCapacity), (4096, HypervisorError)])
def test_xen_does_not_say_that_it_is_short_of_memory(stubs: Any, free_mb: int, kind: type[Exception]):
    domain = stubs.domain(createWithFlags=stubs.Error(1, "libxenlight failed"), undefineFlags=0)
    driver = host(stubs, domain, "xen+tcp://far/", getFreeMemory=free_mb << 20)
    with pytest.raises(kind) as caught:
        driver.spawn(plain(hypervisor={"os_type": "xen"}))
    assert caught.value.__class__ is kind


def test_disks_that_cannot_be_made(stubs: Any):
    pool = stubs.Recorder(isActive=1, XMLDesc=stubs.Queue([POOL_XML.format(kind=kind) for kind in ("dir", "logical")]))
    driver = host(stubs, None, storagePoolLookupByName=pool)
    with pytest.raises(InvalidInput, match=r"disks\[0\].size: a blank disk needs a size"):
        driver.spawn(plain(disks=[Disk(pool="p")]))
    with pytest.raises(Unsupported, match="logical"):
        driver.spawn(plain(disks=[Disk(pool="p", size_bytes=1024)]))
