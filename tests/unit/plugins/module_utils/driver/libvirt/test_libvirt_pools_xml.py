# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pools in libvirt's words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.poolxml import (
    pool_problems,
    pool_xml,
    read_pool,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import Pool

_NFS = Pool("n", kind="nfs", server="filer", export="/export & more", path="/mnt/n")
_ISCSI = Pool("i", kind="iscsi", server="target.example.org", target="iqn.2026-01.org.example:one", port=3261)
_LVM = Pool("l", kind="lvm", volume_group="vg", devices=["/dev/sdb", "/dev/sdc"])
_FS = Pool("f", kind="fs", devices=["/dev/sdb1"], fs_type="xfs")
_DIR = Pool("d", kind="dir", path="/srv/d")


@pytest.mark.parametrize(
    ("pool", "path"),
    [
        (_NFS, "/mnt/n"),
        (_ISCSI, "/dev/disk/by-path"),
        (_LVM, "/dev/vg"),
        (_FS, "/var/lib/libvirt/f"),
        (_DIR, "/srv/d"),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_what_is_written_is_read_back(pool: Pool, path: str):
    assert list(pool_problems(pool)) == []
    assert read_pool(pool_xml(pool, pool.name), active=False, autostart=True) == replace(
        pool, path=path, autostart=True
    )


def test_a_volume_group_is_called_as_its_pool():
    found = read_pool(pool_xml(Pool("vg1", kind="lvm"), "vg1"), active=False, autostart=False)
    assert (found.volume_group, found.path, found.devices) == ("vg1", "/dev/vg1", [])


def test_sizes_are_those_of_active_pools():
    text = (
        "<pool type='rbd'><name>r</name><capacity>9</capacity><allocation>4</allocation><available>5</available></pool>"
    )
    found = read_pool(text, active=True, autostart=False)
    assert (found.kind, found.capacity_bytes, found.used_bytes, found.available_bytes) == ("rbd", 9, 4, 5)
    assert read_pool(text, active=False, autostart=False).capacity_bytes is None


@pytest.mark.parametrize(
    ("pool", "options"),
    [
        (Pool("p", kind="ext"), ["kind"]),
        (Pool("p", kind="dir"), ["path"]),
        (Pool("p", kind="dir", path="srv"), ["path"]),
        (Pool("p", kind="dir", path="/srv", devices=["/dev/sdb"]), ["devices"]),
        (Pool("p", kind="fs", devices=["/dev/a", "/dev/b"]), ["devices"]),
        (Pool("p", kind="fs", devices=["sdb"]), ["devices[0]"]),
        (Pool("p", kind="nfs", server="filer"), ["export"]),
        (Pool("p", kind="nfs", server="filer", export="data"), ["export"]),
        (Pool("p", kind="lvm", port=1, shared=True), ["port", "shared"]),
        (Pool("p", kind="iscsi"), ["server", "target"]),
        (Pool("p"), []),
    ],
)
def test_what_cannot_be(pool: Pool, options: list[str]):
    assert [problem.option for problem in pool_problems(pool)] == options
