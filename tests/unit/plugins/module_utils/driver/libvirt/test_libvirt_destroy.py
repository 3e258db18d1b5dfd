# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""destroy where a real hypervisor does not easily go: old daemons, domains that vanish, what others share."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ALL
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import HypervisorError, InvalidInput

BARE = "<domain type='qemu'><name>web1</name><os><type>hvm</type></os><devices>{devices}</devices></domain>"


def bare(stubs: Any, state: int = 5, devices: str = "", **answers: Any) -> Any:
    ordinary = {"XMLDesc": BARE.format(devices=devices), "undefineFlags": 0, "destroy": 0}
    return stubs.domain("web1", state, **{**ordinary, **answers})


def test_an_old_daemon_is_asked_for_less_and_less(stubs: Any):
    refused = stubs.Error(8, "unsupported flags (0x20)")
    domain = bare(stubs, undefineFlags=stubs.Queue([refused, refused, 0]))
    assert stubs.opened(domain).destroy("web1") == ["instance web1"]
    asked = [arguments[0] for name, *arguments in domain.calls if name == "undefineFlags"]
    library = stubs.library
    kept = (library.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE, library.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA)
    assert len(asked) == 3
    assert asked[0] > asked[1] > asked[2] == sum(kept) + library.VIR_DOMAIN_UNDEFINE_NVRAM


def test_containers_have_nothing_hanging_on_them(stubs: Any):
    domain = bare(stubs, undefine=0)
    stubs.opened(domain, uri="lxc:///system").destroy("web1")
    assert "undefine" in domain.called
    assert "undefineFlags" not in domain.called


@pytest.mark.parametrize("code", [42, 55])
def test_one_that_goes_off_by_itself(stubs: Any, code: int):
    """A transient domain has vanished when it was cut off."""
    domain = bare(stubs, 1, destroy=stubs.Error(code), undefineFlags=stubs.Error(42) if code == 42 else 0)
    assert stubs.opened(domain).destroy("web1") == ["instance web1"]


@pytest.mark.parametrize(("state", "flag"), [(1, 0), (3, "VIR_DOMAIN_START_PAUSED")])
def test_one_that_cannot_be_undefined_runs_again(stubs: Any, state: int, flag: str | int):
    domain = bare(stubs, state, undefineFlags=stubs.Error(), createWithFlags=0)
    with pytest.raises(HypervisorError) as caught:
        stubs.opened(domain).destroy("web1")
    assert caught.value.rolled_back
    assert domain.calls[-1] == ("createWithFlags", getattr(stubs.library, flag) if flag else 0)


def test_the_host_itself_is_no_instance(stubs: Any):
    dom0 = stubs.domain("Domain-0", ID=0, UUIDString="00000000-0000-0000-0000-000000000000")
    assert stubs.opened(dom0, uri="xen:///system", listAllStoragePools=[]).destroy("Domain-0") == []
    assert "destroy" not in dom0.called


def test_nonsense_is_refused_first(stubs: Any):
    with pytest.raises(InvalidInput, match="some"):
        stubs.opened().destroy("web1", "some")


def test_all_volumes_are_those_that_it_writes_alone(stubs: Any):
    devices = "".join(
        f"<disk device='{kind}'><source file='/p/{name}'/>{mark}</disk>"
        for kind, name, mark in [
            ("disk", "data", ""),
            ("disk", "manual", "<readonly/>"),
            ("disk", "cluster", "<shareable/>"),
            ("cdrom", "install.iso", ""),
            ("floppy", "drivers.img", ""),
            ("disk", "outside", ""),
        ]
    )
    deleted: list[str] = []

    def missing() -> None:
        raise stubs.Error(50)

    def volume(name: str) -> Any:
        return stubs.Recorder(
            name=name,
            path=f"/p/{name}",
            XMLDesc=f"<volume><target><path>/p/{name}</path></target></volume>",
            storagePoolLookupByVolume=stubs.Recorder(name="p"),
            delete=lambda flags: deleted.append(name),
            upload=0,
        )

    pool = stubs.Recorder(
        storageVolLookupByName=lambda name: volume(name) if "removing" not in name else missing(),
        refresh=0,
        createXML=lambda document, flags: volume("note"),
        listAllVolumes=[],
        XMLDesc="<pool type='dir'/>",
        listVolumes=[],
    )
    driver = stubs.opened(
        bare(stubs, devices=devices),
        storageVolLookupByPath=lambda path: missing() if path == "/p/outside" else volume(path[3:]),
        storagePoolLookupByName=pool,
        listAllStoragePools=[pool],
        newStream=stubs.Recorder(send=len, finish=0),
    )
    assert driver.destroy("web1", ALL) == ["instance web1", "volume p/data"]
    assert deleted == ["data", "note"]
