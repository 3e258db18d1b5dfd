# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The snapshots in a qcow2 file, read from its own tables."""

from __future__ import annotations

import struct
from typing import Callable

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.qcow2table import read_snapshots

_TABLE_AT = 512


def entry(number: str, name: str, seconds: int, extra: int = 16) -> bytes:
    text = number.encode() + name.encode()
    head = struct.pack(">QIHHIIQII", 65536, 1, len(number), len(name.encode()), seconds, 500_000_000, 0, 0, extra)
    data = head + bytes(extra) + text
    return data + bytes(-len(data) % 8)


def image(entries: bytes, count: int, magic: bytes = b"QFI\xfb") -> Callable[[int, int], bytes]:
    head = magic.ljust(60, b"\0") + struct.pack(">IQ", count, _TABLE_AT)
    content = head.ljust(_TABLE_AT, b"\0") + entries
    return lambda offset, length: content[offset : offset + length]


def test_names_and_times_oldest_first():
    table = entry("2", "später", 200) + entry("10", "früher", 100, extra=24)
    found = read_snapshots(image(table, 2))
    assert [(snapshot.name, snapshot.created_s) for snapshot in found] == [("früher", 100.5), ("später", 200.5)]


@pytest.mark.parametrize(
    "read",
    [
        image(b"", 0),
        image(entry("1", "one", 1), 1, magic=b"none"),
        image(b"", 3),
        image(entry("1", "one", 1), 1 << 31),
        lambda _offset, _length: b"QFI\xfb",
    ],
)
def test_no_snapshots_and_nonsense(read: Callable[[int, int], bytes]):
    assert read_snapshots(read) == []


def test_a_table_that_is_cut_short():
    whole = entry("1", "one", 1) + entry("2", "two", 2)
    assert [snapshot.name for snapshot in read_snapshots(image(whole[:80], 2))] == ["one"]
