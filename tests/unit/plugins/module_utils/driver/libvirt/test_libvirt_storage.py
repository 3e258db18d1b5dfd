# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pools and volumes, and who needs them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt import folders
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.storage import (
    Backing,
    PoolFacts,
    volume_document,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.uses import Volume
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.xmltext import from_libvirt
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AlreadyExists,
    HypervisorError,
    PoolNotFound,
    Unsupported,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.undo import UndoStack

POOL_XML = "<pool type='dir'><name>p</name><target><path>/srv/p</path></target></pool>"


def test_a_volume_takes_no_room_before_it_is_written():
    root = from_libvirt(volume_document("a & b.qcow2", 1000, "qcow2", Backing("/srv/<base>", "raw")))
    assert root.findtext("name") == "a & b.qcow2"
    assert (root.findtext("capacity"), root.findtext("allocation")) == ("1000", "0")
    assert root.findtext("target/compat") == "1.1"
    backing_format = root.find("backingStore/format")
    assert root.findtext("backingStore/path") == "/srv/<base>"
    assert backing_format is not None
    assert backing_format.get("type") == "raw"


def test_pools(stubs: Any):
    pool = stubs.Recorder(isActive=stubs.Queue([1, 0]), XMLDesc=POOL_XML)
    driver = stubs.opened(storagePoolLookupByName=stubs.Queue([pool, pool, stubs.Error(49), stubs.Error(49)]))
    assert driver.find_pool("p") == PoolFacts("p", "dir", "/srv/p")
    with pytest.raises(PoolNotFound, match="not active"):
        driver.find_pool("p")
    assert driver.find_pool("p") is None
    with pytest.raises(PoolNotFound, match="no storage pool 'p'"):
        driver.require_pool("p")


def test_volumes_are_made_in_pools_of_files(stubs: Any):
    driver = stubs.opened()
    assert driver.volume_path(PoolFacts("p", "dir", "/srv/p"), "a") == "/srv/p/a"
    with pytest.raises(Unsupported, match="logical"):
        driver.volume_path(PoolFacts("vg", "logical", "/dev/vg"), "a")


@pytest.mark.parametrize("folder_is_there", [True, False])
def test_a_pool_on_demand_is_undone_whole(stubs: Any, folder_is_there: bool):
    created = 0 if folder_is_there else stubs.Queue([stubs.Error(38), 0])
    pool = stubs.Recorder(create=created, build=0, setAutostart=0, destroy=0, delete=0, undefine=0)
    driver = stubs.opened(storagePoolDefineXML=pool)
    done = UndoStack()
    driver.make_folder_pool("p", "/srv/p", done)
    done.unwind()
    made = ["create"] if folder_is_there else ["create", "build", "create"]
    undone = ["destroy", "undefine"] if folder_is_there else ["destroy", "delete", "undefine"]
    assert pool.called == [*made, "setAutostart", *undone]


def test_a_volume_in_the_way_is_left_alone(stubs: Any):
    texts = "volume 'a' exists already", "volume target path '/srv/p/a' already exists"
    errors = [stubs.Error(90, "storage " + texts[0]), stubs.Error(55, texts[1], 18)]
    pool = stubs.Recorder(createXML=stubs.Queue(errors))
    driver = stubs.opened(storagePoolLookupByName=pool)
    for _unused in texts:
        with UndoStack() as done:
            with pytest.raises(AlreadyExists, match="'a'"):
                driver.make_volume("p", "a", 1000, "raw", done)
            done.unwind()
            assert done.undone == []


def test_a_pool_at_work_is_waited_for(stubs: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(folders.time, "sleep", lambda seconds: None)
    busy = stubs.Error(1, "internal error: pool 'p' has asynchronous jobs running.")
    volume = stubs.Recorder(delete=stubs.Queue([busy, busy, 0]))
    driver = stubs.opened(storagePoolLookupByName=stubs.Recorder(storageVolLookupByName=volume))
    assert driver.remove_volume("p", "a")
    assert volume.called == ["delete"] * 3


def test_deleting_what_is_gone(stubs: Any):
    pool = stubs.Recorder(storageVolLookupByName=stubs.Error(50), refresh=0)
    driver = stubs.opened(storagePoolLookupByName=stubs.Queue([pool, stubs.Error(49)]))
    assert not driver.remove_volume("p", "a")
    assert not driver.remove_volume("p", "a")


def test_an_upload_that_fails_leaves_no_stream_behind(stubs: Any):
    stream = stubs.Recorder(send=stubs.Error(), abort=0)
    driver = stubs.opened(newStream=stream)
    with pytest.raises(HypervisorError):
        driver.upload(stubs.Recorder(upload=0), b"data")
    assert stream.called == ["send", "abort"]


def volume(path: str) -> Volume:
    return Volume("p", path.rpartition("/")[2], path, None)


def host_with(stubs: Any, disks: dict[str, str], backing: dict[str, str]) -> Any:
    """A driver for a host whose domains have these sources, and whose volumes lean on these files."""
    domains = [
        stubs.domain(name, 5, XMLDesc=f"<domain><devices><disk>{source}</disk></devices></domain>")
        for name, source in disks.items()
    ]
    volumes = [
        stubs.Recorder(
            XMLDesc=f"<volume><target><path>{path}</path></target><backingStore><path>{base}</path></backingStore></volume>"
        )
        for path, base in backing.items()
    ]
    pool = stubs.Recorder(listAllVolumes=volumes, XMLDesc="<pool type='dir'/>", refresh=0)
    return stubs.opened(*domains, listAllStoragePools=[pool])


def test_nothing_is_deleted_that_is_needed(stubs: Any):
    driver = host_with(
        stubs,
        {"own": "<source file='/p/a'/>", "other": "<source file='/p/used'/>", "live": "<source dev='/dev/vg/used'/>"},
        {"/p/child": "/p/base", "/p/grandchild": "/p/child", "/p/top": "/p/a"},
    )
    asked = [volume(path) for path in ("/p/a", "/p/used", "/dev/vg/used", "/p/base", "/p/free")]
    assert [found.path for found in driver.unneeded(asked, but="own")] == ["/p/free"]
    whole_chain = [volume(path) for path in ("/p/base", "/p/child", "/p/grandchild")]
    assert driver.unneeded(whole_chain, but="own") == whole_chain
    assert driver.unneeded(whole_chain[:2], but="own") == []
    assert driver.unneeded([], but="own") == []


def test_notes_about_removals(stubs: Any):
    notes = [stubs.Recorder(name=name) for name in ("gone.anyvirt-removing", "here.anyvirt-removing", "a.qcow2")]
    pool = stubs.Recorder(listAllVolumes=notes)
    driver = stubs.opened(stubs.domain("here"), listAllStoragePools=[pool])
    assert driver.find_remains(["gone", "here", "a"]) == {"gone"}
    assert driver.find_remains([]) == set()


@pytest.mark.parametrize(("content", "pairs"), [(json.dumps([["p", "a"]]), [("p", "a")]), ("\0" * 9, []), ("", [])])
def test_a_note_that_was_never_written_means_nothing_was_removed(stubs: Any, content: str, pairs: list[Any]):
    data = content.encode()
    stream = stubs.Recorder(recv=stubs.Queue([data, b""]), finish=0)
    note = stubs.Recorder(info=[0, len(data), 0], download=0)
    assert stubs.opened(newStream=stream)._read_note(note) == pairs
