# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images by their headers: what is harmless is told apart, what is not is refused."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.errors import UnsafeImage
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.content import ImageFacts
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.headers import inspect

GIB = 1 << 30
CLUSTER = 1 << 16

needs_qemu_img = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img makes these images")


def qcow2(extensions: bytes = b"", tail: bytes = b"", **over: Any) -> bytes:
    """A header; ``over`` says what is odd about it."""
    fields: dict[str, Any] = {
        "magic": b"QFI\xfb",
        "version": 3,
        "backing_at": 0,
        "backing_length": 0,
        "cluster_bits": 16,
        "size": GIB,
        "encryption": 0,
        "l1_entries": 2,
        "l1_at": 3 * CLUSTER,
        "refcounts_at": CLUSTER,
        "refcount_clusters": 1,
        "snapshots": 0,
        "snapshots_at": 0,
        "incompatible": 0,
        "compatible": 0,
        "autoclear": 0,
        "refcount_order": 4,
        "header_length": 104,
    }
    assert over.keys() <= fields.keys()
    head = struct.pack(">4sIQIIQIIQQIIQQQQII", *{**fields, **over}.values()) + extensions
    return head.ljust(1024, b"\0") + tail.ljust(4 * CLUSTER, b"\0")


def extension(kind: int, data: bytes) -> bytes:
    return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)


def vhd(kind: int = 3, size: int = GIB, block: int = 1 << 21, entries: int = 512, parent: bytes = b"") -> bytes:
    footer = struct.pack(">8sIIQ16xQQ4xI", b"conectix", 2, 0x10000, 512, size, size, kind).ljust(512, b"\0")
    if kind == 2:
        return footer
    dynamic = struct.pack(">8sQQIII4x16s8x512s", b"cxsparse", 0, 1536, 0x10000, entries, block, parent, b"")
    return footer + dynamic.ljust(1024, b"\0")


def vdi(kind: int = 1, size: int = GIB, blocks: int = 1024, parent: bytes = b"") -> bytes:
    text = b"<<< Some tool's disk image >>>\n".ljust(64, b"\0")
    start = struct.pack("<4sHHII4x256xIII16x", b"\x7f\x10\xda\xbe", 1, 1, 400, kind, 512, 8192, 0)
    return (
        text + start + struct.pack("<QIIII16s16s16s16s", size, 1 << 20, 0, blocks, 0, b"u", b"", b"", parent)
    ).ljust(512, b"\0")


def qed(features: int = 0, backing_at: int = 0, cluster: int = 65536) -> bytes:
    return struct.pack("<4sIIIQQQQQII", b"QED\0", cluster, 4, 1, features, 0, 0, cluster, GIB, backing_at, 11)


def how_long(value: object) -> str | None:
    """Images have no names that could be read."""
    return f"{len(value)} bytes" if isinstance(value, bytes) else None


@pytest.mark.parametrize(
    ("image", "facts"),
    [
        (b"", ImageFacts("raw", 0)),
        (b"anything", ImageFacts("raw", 8)),
        (b"QFI", ImageFacts("raw", 3)),
        (qcow2(), ImageFacts("qcow2", GIB)),
        (qcow2(version=2, incompatible=4), ImageFacts("qcow2", GIB)),  # what follows is no header in version 2
        (qcow2(size=0, l1_entries=0, l1_at=0), ImageFacts("qcow2", 0)),
        (qcow2(extension(0x6803F857, b"features" * 30)), ImageFacts("qcow2", GIB)),
        (qcow2(incompatible=0b1001), ImageFacts("qcow2", GIB)),
        (qcow2(incompatible=0b10000, l1_entries=4), ImageFacts("qcow2", GIB)),
        (vhd(), ImageFacts("vhd", GIB)),
        (vdi(), ImageFacts("vdi", GIB)),
        (qed(), ImageFacts("qed", GIB)),
        (bytes(32768) + b"\1CD001" + bytes(2042), ImageFacts("iso", 34816)),
    ],
    ids=how_long,
)
def test_good_images(image: bytes, facts: ImageFacts) -> None:
    assert inspect(image, len(image)) == facts


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (qcow2(backing_at=1024, backing_length=11, tail=b"/etc/shadow"), "backing file '/etc/shadow'"),
        (qcow2(backing_at=1 << 63, backing_length=0xFFFFFFFF), "names the backing file"),
        (qcow2(version=2, backing_at=1024, backing_length=0), "names the backing file"),
        (qcow2(incompatible=4), "external data file"),
        (qcow2(extension(0x44415441, b"/dev/sda")), "external data file '/dev/sda'"),
        (qcow2(extension(0x6803F857, bytes(48)) + extension(0x44415441, b"/dev/sda")), "external data file"),
        (qcow2(version=2)[:72] + extension(0x44415441, b"/dev/sda") + bytes(CLUSTER), "external data file"),
        (qcow2(struct.pack(">II", 0x6803F857, 0xFFFFFFF0)), "longer than the header"),
        (qcow2(version=1), "version 1"),
        (qcow2(version=4), "version 4"),
        (qcow2(incompatible=1 << 40), "unknown features"),
        (qcow2(incompatible=2), "marked as corrupt"),
        (qcow2(encryption=2), "encrypted"),
        (qcow2(size=(1 << 64) - 1), "no more than"),
        (qcow2(size=1 << 57), "no more than"),
        (qcow2(cluster_bits=63), "clusters of"),
        (qcow2(cluster_bits=8), "clusters of"),
        (qcow2(l1_entries=1 << 30), "L1 table"),
        (qcow2(l1_entries=1), "L1 table of 1 entries for a disk of 1G"),
        (qcow2(l1_at=5), "middle of a cluster"),
        (qcow2(l1_at=1 << 40), "cut short"),
        (qcow2(refcount_clusters=0xFFFFFFFF), "reference count table"),
        (qcow2(snapshots=0xFFFFFFFF), "snapshots"),
        (qcow2(header_length=96), "header of 96 bytes"),
        (qcow2(header_length=1 << 20), "header of"),
        (qcow2(refcount_order=64), "reference counts"),
        (qcow2()[:80], "shorter than a qcow2 header"),
        (qcow2()[:20], "shorter than a qcow2 header"),
        (vhd(kind=4), "differencing"),
        (vhd(kind=7), "unknown type"),
        (vhd(parent=b"parent"), "names a parent"),
        (vhd(block=100), "blocks of 100 bytes"),
        (vhd(entries=1), "1 blocks"),
        (vhd(size=1 << 60, entries=1 << 31), "for a disk of"),
        (vhd()[:300], "shorter than a VHD"),
        (vhd()[:600], "second header"),
        (vdi(kind=4), "differencing"),
        (vdi(parent=b"p"), "differencing"),
        (vdi(blocks=1), "1 blocks"),
        (qed(features=1), "backing file"),
        (qed(backing_at=64), "backing file"),
        (qed(features=64), "unknown features"),
        (qed(cluster=3), "clusters of 3"),
        (b"KDMV" + bytes(600), "VMDK"),
        (b'# Disk DescriptorFile\nversion=1\nRW 1 FLAT "/etc/shadow" 0', "VMDK"),
        (b"COWD" + bytes(600), "VMDK"),
        (b"vhdxfile" + bytes(600), "VHDX"),
        (b"WithoutFreeSpace" + bytes(600), "Parallels"),
    ],
    ids=how_long,
)
def test_images_that_are_refused(image: bytes, complaint: str) -> None:
    with pytest.raises(UnsafeImage, match=complaint) as caught:
        inspect(image, len(image))
    if "no more than" not in complaint and "cut short" not in complaint:
        assert "qemu-img" in str(caught.value)


def test_only_its_end_tells_a_fixed_vhd() -> None:
    data = b"disk".ljust(1 << 20, b"\1")
    footer = vhd(kind=2, size=1 << 20)
    assert inspect(data, len(data) + 512, footer) == ImageFacts("vhd", 1 << 20)
    assert inspect(data, len(data) + 512).format == "raw"
    with pytest.raises(UnsafeImage, match="fixed disk of"):
        inspect(data, len(data), footer)


def test_the_limit_on_size() -> None:
    assert inspect(qcow2(), max_size_bytes=GIB).size_bytes == GIB
    with pytest.raises(UnsafeImage, match="a disk of 1G, and no more than 512M"):
        inspect(qcow2(), max_size_bytes=GIB // 2)
    with pytest.raises(UnsafeImage, match="no more than 1K"):
        inspect(b"raw", 1025, max_size_bytes=1024)


def test_random_headers_are_refused_or_read_and_nothing_else() -> None:
    chance = random.Random(4)
    for good in (qcow2(extension(0x6803F857, bytes(48))), vhd(), vdi(), qed()):
        for _attempt in range(400):
            image = bytearray(good[:1600])
            for _change in range(chance.randint(1, 8)):
                image[chance.randrange(min(len(image), 640))] = chance.choice((0, 1, 0x7F, 0xFF, chance.randrange(256)))
            with suppress(UnsafeImage):
                inspect(bytes(image[: chance.choice((len(image), chance.randrange(len(image))))]))


@needs_qemu_img
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["-f", "raw"], "raw"),
        (["-f", "qcow2"], "qcow2"),
        (["-f", "qcow2", "-o", "compat=0.10"], "qcow2"),
        (["-f", "qcow2", "-o", "cluster_size=2M,preallocation=metadata"], "qcow2"),
        (["-f", "qcow2", "-o", "extended_l2=on,cluster_size=128k"], "qcow2"),
        (["-f", "qcow2", "-o", "compression_type=zstd"], "qcow2"),
        (["-f", "vpc", "-o", "subformat=dynamic,force_size=on"], "vhd"),
        (["-f", "vpc", "-o", "subformat=fixed,force_size=on"], "vhd"),
        (["-f", "vdi"], "vdi"),
        (["-f", "qed"], "qed"),
        (["-f", "qcow2", "-o", "data_file={folder}/data,data_file_raw=on"], None),
        (["-f", "qcow2", "-F", "raw", "-b", "{folder}/base"], None),
        (["-f", "qcow"], None),
        (["-f", "vmdk"], None),
        (["-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"], None),
        (["-f", "vhdx"], None),
        (["-f", "parallels"], None),
    ],
)
def test_what_qemu_makes(tmp_path: Path, options: list[str], expected: str | None) -> None:
    tmp_path.joinpath("base").write_bytes(bytes(1 << 20))
    path = tmp_path / "image"
    command = ["qemu-img", "create", "-q", *(word.format(folder=tmp_path) for word in options), str(path), "64M"]
    subprocess.run(command, check=True)
    image = path.read_bytes()
    if expected is None:
        with pytest.raises(UnsafeImage):
            inspect(image[: 1 << 20], len(image), image[-512:])
    else:
        assert inspect(image[: 1 << 20], len(image), image[-512:]) == ImageFacts(expected, 64 << 20)
