# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What evidence says of storage, for each kind of evidence that there can be."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.migrationshared import (
    APART,
    SHARED,
    UNCLEAR,
    SharedStorage,
    Sight,
    Stamps,
)

DISK = "/pool/disk"
OLD = Stamps("1000.5", "1000.5", "10")


class Volume:
    """A volume of a pool, as far as it is looked at."""

    def __init__(self, name: str, key: str, pool: Pool) -> None:
        self._name, self._key, self._pool = name, key, pool

    def name(self) -> str:
        return self._name

    def key(self) -> str:
        return self._key

    def storagePoolLookupByVolume(self) -> Pool:  # noqa: N802  (libvirt's name)
        return self._pool


class Pool:
    """A pool in a folder."""

    def __init__(self, folder: str, place: tuple[str, ...] | None, kind: str = "dir") -> None:
        self.folder, self.place, self.kind = folder, place, kind

    def name(self) -> str:
        return "pool"

    def XMLDesc(self, _flags: int) -> str:  # noqa: N802
        return f"<pool type='{self.kind}'><target><path>{self.folder}</path></target></pool>"


class Host:
    """One end. Its files are those of ``disks``, whichever hosts share this dictionary; ``stamps_in_turn`` are what is
    read of them one after the other."""

    def __init__(self, name: str, disks: dict[str, Stamps], place: tuple[str, ...] | None = None) -> None:
        self.name, self.disks, self.place = name, disks, place
        self.volumes: dict[str, Volume] = {}
        self.folder = "/pool"
        self.can_write = True
        self.test_files = 0
        self.stamps_in_turn: list[Stamps] = []

    def host_identity(self) -> str:
        return self.name

    def guard(self, _what: str) -> Any:
        return nullcontext()

    def volume_handle(self, path: str) -> Volume | None:
        return self.volumes.get(path)

    def place_of_pool(self, pool: Pool) -> tuple[str, ...] | None:
        return pool.place

    def pool_at(self, place: tuple[str, ...]) -> Pool | None:
        return Pool(self.folder, place) if place == self.place else None

    def path_by_key(self, key: str) -> str | None:
        return next((path for path, volume in self.volumes.items() if volume.key() == key), None)

    def stamps(self, path: str) -> Stamps | None:
        return self.stamps_in_turn.pop(0) if self.stamps_in_turn else self.disks.get(path)

    def sees(self, path: str) -> bool:
        return path in self.disks

    def finds(self, path: str) -> bool:
        return self.sees(path)

    @contextmanager
    def test_file(self, folder: str, way: str) -> Iterator[str | None]:
        self.test_files += 1
        if not self.can_write:
            yield None
            return
        name = f"test-{self.test_files}"
        self.disks[posixpath.join(folder, name)] = OLD
        try:
            yield name
        finally:
            self.disks.pop(posixpath.join(folder, name), None)


def sight(source: Host, destination: Host, probing: bool, path: str = DISK, elsewhere: str | None = None) -> Sight:
    return SharedStorage(source, destination, probing).sight(path, elsewhere)  # type: ignore[arg-type]


def test_a_test_file_that_is_seen_tells_that_storage_is_shared():
    disks = {DISK: OLD}
    source = Host("here", disks)
    assert sight(source, Host("there", disks), probing=True) == Sight(SHARED, DISK)
    assert disks == {DISK: OLD}


def test_a_test_file_that_is_not_seen_tells_the_contrary_whatever_else_is_seen():
    assert sight(Host("here", {DISK: OLD}), Host("there", {DISK: OLD}), probing=True).verdict == APART


def test_each_folder_is_looked_at_once():
    source, destination = Host("here", {}), Host("there", {})
    storage = SharedStorage(source, destination, probing=True)  # type: ignore[arg-type]
    for path in ("/pool/a", "/pool/b", "/other/c"):
        storage.sight(path)
    assert source.test_files == 2


def test_a_test_file_that_another_task_takes_away_tells_nothing():
    class Robbed(Host):
        def sees(self, path: str) -> bool:
            return False

    source = Robbed("here", {DISK: OLD})
    assert sight(source, Host("there", {DISK: Stamps("1", "1", "1")}), probing=True).verdict == APART
    assert source.test_files > 1, "it is tried again; then what was changed when tells it"


def test_a_list_of_files_that_is_a_little_old_does_not_tell_that_storage_is_not_shared():
    disks = {DISK: OLD}

    class Remembering(Host):
        def sees(self, path: str) -> bool:
            return path == DISK

        def finds(self, path: str) -> bool:
            return path in self.disks

    assert sight(Host("here", disks), Remembering("there", disks), probing=True).verdict == SHARED


def test_storage_may_have_another_folder_there():
    disks: dict[str, Stamps] = {DISK: OLD}

    class Elsewhere(Host):
        def sees(self, path: str) -> bool:
            folder, name = posixpath.split(path)
            return folder == "/mnt" and f"/pool/{name}" in self.disks

    found = sight(Host("here", disks), Elsewhere("there", disks), probing=True, elsewhere="/mnt")
    assert found == Sight(SHARED, "/mnt/disk")


NOW = time.time()
FRESH, FRESHER = (Stamps(f"{NOW + seconds:.9f}", f"{NOW + seconds:.9f}", "10") for seconds in (0, 1))


@pytest.mark.parametrize(
    ("here", "there", "verdict"),
    [
        pytest.param([OLD, OLD], OLD, SHARED, id="the same moment to the nanosecond"),
        pytest.param([OLD, OLD], None, APART, id="not there"),
        pytest.param([OLD, OLD], OLD._replace(changed="1000.500000001"), APART, id="changed later there"),
        pytest.param([OLD, OLD], OLD._replace(changed="999.0"), APART, id="changed long ago here"),
        pytest.param([FRESH, FRESHER], FRESH, SHARED, id="changed between looking, seen before"),
        pytest.param([FRESH, FRESHER], FRESHER, SHARED, id="changed between looking, seen after"),
        pytest.param([FRESH, FRESHER], OLD, UNCLEAR, id="a guest writes to it"),
        pytest.param([FRESHER, FRESHER], FRESH, UNCLEAR, id="the destination may remember what it was like"),
    ],
)
def test_without_a_test_file_the_times_of_changes_tell_it(here: list[Stamps], there: Stamps | None, verdict: str):
    source = Host("here", {DISK: here[0]})
    source.stamps_in_turn = list(here)
    destination = Host("there", {} if there is None else {DISK: there})
    assert sight(source, destination, probing=False).verdict == verdict
    assert source.test_files == 0


def test_where_no_file_can_be_made_the_times_of_changes_tell_it():
    source = Host("here", {DISK: OLD})
    source.can_write = False
    assert sight(source, Host("there", {DISK: OLD}), probing=True).verdict == SHARED


NFS = ("netfs", "name=server", "path=/export")


@pytest.mark.parametrize("probing", [False, True])
def test_pools_of_the_same_place_in_the_network_are_shared_wherever_they_are_mounted(probing: bool):
    source, destination = Host("here", {}), Host("there", {}, place=NFS)
    source.volumes[DISK] = Volume("disk", DISK, Pool("/pool", NFS))
    destination.folder = "/mnt/nfs"
    assert sight(source, destination, probing) == Sight(SHARED, "/mnt/nfs/disk")
    assert source.test_files == 0


def test_a_lun_is_known_by_its_serial_number():
    source, destination = Host("here", {}), Host("there", {})
    local = Pool("/dev/disk/by-path", None, "scsi")
    source.volumes["/dev/sdb"] = Volume("unit:0:0:1", "3600a0b80", local)
    destination.volumes["/dev/sdx"] = Volume("unit:0:0:1", "3600a0b80", local)
    assert sight(source, destination, True, "/dev/sdb") == Sight(SHARED, "/dev/sdx")


def test_a_logical_volume_of_the_same_name_is_another_one():
    source, destination = Host("here", {}), Host("there", {})
    for host, key in ((source, "Qhc3LA-here"), (destination, "7pYw0n-there")):
        host.volumes["/dev/vg/web1"] = Volume("web1", key, Pool("/dev/vg", None, "logical"))
    assert sight(source, destination, True, "/dev/vg/web1").verdict == APART


def test_keys_that_are_only_names_tell_nothing():
    """ZFS has the same ``pool/volume`` on any two hosts."""
    source, destination = Host("here", {}), Host("there", {})
    for host in (source, destination):
        host.volumes["/dev/zvol/tank/web1"] = Volume("web1", "tank/web1", Pool("/dev/zvol/tank", None, "zfs"))
    assert sight(source, destination, True, "/dev/zvol/tank/web1").verdict == UNCLEAR


def test_the_path_of_a_lun_is_the_same_wherever_its_target_is_logged_in_to():
    portal = ("iscsi", "name=san", "", "", "path=iqn.2026-11.org.example:san")
    path = "/dev/disk/by-path/ip-10.0.0.9:3260-iscsi-iqn-lun-1"
    source, destination = Host("here", {}), Host("there", {}, place=portal)
    source.volumes[path] = Volume("unit:0:0:1", path, Pool("/dev/disk/by-path", portal, "iscsi"))
    destination.folder = "/dev/disk/by-path"
    assert sight(source, destination, True, path) == Sight(SHARED, path)


def test_of_other_devices_only_their_absence_tells_something():
    source, destination = Host("here", {}), Host("there", {})
    source.volumes["/dev/sdb"] = Volume("sdb", "/dev/sdb", Pool("/dev", None))
    assert sight(source, destination, True, "/dev/sdb").verdict == APART
    destination.volumes["/dev/sdb"] = Volume("sdb", "/dev/sdb", Pool("/dev", None))
    assert sight(source, destination, True, "/dev/sdb").verdict == UNCLEAR
    assert source.test_files == 0


def test_of_a_device_in_no_pool_nobody_can_tell():
    assert sight(Host("here", {}), Host("there", {}), True, "/dev/mapper/lun").verdict == UNCLEAR


@pytest.mark.parametrize(
    ("there", "verdict"),
    [
        pytest.param(OLD._replace(changed="1200.5"), APART, id="long after"),
        pytest.param(OLD._replace(changed="800.5"), APART, id="long before"),
        pytest.param(OLD._replace(changed="1030.0"), SHARED, id="as little as a host may remember it wrongly"),
        pytest.param(None, SHARED, id="not seen yet"),
    ],
)
def test_a_link_out_of_a_shared_folder_is_not_shared(there: Stamps | None, verdict: str):
    class Linked(Host):
        def sees(self, path: str) -> bool:
            return True

    destination = Linked("there", {} if there is None else {DISK: there})
    assert sight(Host("here", {DISK: OLD}), destination, probing=True).verdict == verdict
