# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image is, by what is in it; images that could harm the host are refused.

A hypervisor follows what an image's header says. One that names other files makes a guest's disk of them, whatever they
are; one that claims an absurd size or absurd tables makes the host work or allocate without end. So headers are read
here, by bounded code, before any hypervisor sees the image.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from ..errors import UnsafeImage
from ..model.units import format_size
from .content import ImageFacts

RAW = "raw"
QCOW2 = "qcow2"
VHD = "vhd"
ISO = "iso"
VDI = "vdi"
QED = "qed"

HEAD_BYTES = 1 << 20
"""How much of an image's beginning has all that is looked at."""

TAIL_BYTES = 512
"""How much of its end."""

_WHOLE = "make a whole image of it where it comes from: qemu-img convert -O qcow2 IT NEW"


def inspect(head: bytes, length: int | None = None, tail: bytes = b"", max_size_bytes: int | None = None) -> ImageFacts:
    """What an image is.

    Args:
        head: Its first ``HEAD_BYTES``, or all of it when it is shorter.
        length: Of all of it, where that is known.
        tail: Its last ``TAIL_BYTES``, where they are known: only they tell a fixed VHD from raw data.
        max_size_bytes: The largest disk that is accepted.

    Raises:
        UnsafeImage: it must not be used; the message says why, and how to make one of it that can.
    """
    facts = _facts(head, length, tail)
    if facts.size_bytes is not None:
        _require_size(facts, max_size_bytes)
    return facts


def _facts(head: bytes, length: int | None, tail: bytes) -> ImageFacts:
    for magic, read in _READERS.items():
        if head.startswith(magic):
            return read(head, length)
    for refused, name in _REFUSED.items():
        if head.startswith(refused):
            raise UnsafeImage(f"it is a {name} image, which can be made of several files or lean on others; {_WHOLE}")
    if head[64:68] == _VDI_SIGNATURE:
        return _vdi(head)
    if tail.startswith(_VHD_COOKIE) and len(tail) == TAIL_BYTES:
        return _vhd(tail, length)
    if head[32769:32774] == b"CD001":
        return ImageFacts(ISO, length)
    return ImageFacts(RAW, length)


def _require_size(facts: ImageFacts, max_size_bytes: int | None) -> None:
    limit = _LARGEST if max_size_bytes is None else min(max_size_bytes, _LARGEST)
    if facts.size_bytes is not None and facts.size_bytes > limit:
        raise UnsafeImage(f"it holds a disk of {_size(facts.size_bytes)}, and no more than {_size(limit)} are allowed")


_LARGEST = 1 << 56
"""No disk is larger, whatever a task allows: numbers beyond overflow elsewhere."""


def _size(size_bytes: int) -> str:
    text = format_size(size_bytes)
    return f"{text} bytes" if text.isdigit() else text


def _absurd(what: str) -> UnsafeImage:
    return UnsafeImage(
        f"its header is absurd: {what}; if it is a good image, convert it: qemu-img convert -O qcow2 IT NEW"
    )


def _leans_on(file_format: str, what: str) -> UnsafeImage:
    return UnsafeImage(f"this {file_format} image is not whole: {what}; {_WHOLE}")


def _name(head: bytes, at: int, length: int) -> str:
    return repr(head[at : at + min(length, 1023)].decode(errors="replace"))


# -- qcow2 ----------------------------------------------------------------------------------------------------------

_QCOW2_V2 = struct.Struct(">4sIQIIQIIQQIIQ")
_QCOW2_V3 = struct.Struct(">QQQII")
_QCOW2_DIRTY, _QCOW2_CORRUPT, _QCOW2_DATA_FILE, _QCOW2_COMPRESSION, _QCOW2_EXTENDED_L2 = (1 << bit for bit in range(5))
_QCOW2_UNDERSTOOD = _QCOW2_DIRTY | _QCOW2_COMPRESSION | _QCOW2_EXTENDED_L2
_QCOW2_DATA_FILE_NAME = 0x44415441
_L1_BYTES = 32 << 20
_REFCOUNT_TABLE_BYTES = 8 << 20
_QCOW2_SNAPSHOTS = 65536


def _qcow2(head: bytes, length: int | None) -> ImageFacts:
    if len(head) < _QCOW2_V2.size:
        raise _absurd("it is shorter than a qcow2 header")
    (
        _magic,
        version,
        backing_at,
        backing_length,
        cluster_bits,
        size_bytes,
        encryption,
        l1_entries,
        l1_at,
        refcounts_at,
        refcount_clusters,
        snapshots,
        _snapshots_at,
    ) = _QCOW2_V2.unpack_from(head)
    if version not in (2, 3):
        raise UnsafeImage(f"it is a qcow image of version {version}, which nothing here reads safely; {_WHOLE}")
    if backing_at:
        raise _leans_on(QCOW2, f"it names the backing file {_name(head, backing_at, backing_length)}")
    if not 9 <= cluster_bits <= 21:
        raise _absurd(f"clusters of 2^{cluster_bits} bytes")
    header_bytes = _QCOW2_V2.size if version == 2 else _qcow2_v3_length(head)
    cluster = 1 << cluster_bits
    for problem in _qcow2_extension_problems(head, header_bytes, cluster):
        raise problem
    if encryption:
        raise UnsafeImage("its data is encrypted; decrypt it where it comes from: qemu-img convert -O qcow2 IT NEW")
    _require_size(ImageFacts(QCOW2, size_bytes), None)
    needed = -(-size_bytes // (cluster * (cluster // 16 if _has_extended_l2(head, version) else cluster // 8)))
    if l1_entries * 8 > _L1_BYTES or l1_entries < needed:
        raise _absurd(f"an L1 table of {l1_entries} entries for a disk of {_size(size_bytes)}")
    if refcount_clusters * cluster > _REFCOUNT_TABLE_BYTES:
        raise _absurd(f"a reference count table of {refcount_clusters} clusters")
    if snapshots > _QCOW2_SNAPSHOTS:
        raise _absurd(f"{snapshots} snapshots")
    for what, at in (("L1 table", l1_at if l1_entries else 0), ("reference count table", refcounts_at)):
        if at % cluster:
            raise _absurd(f"its {what} begins in the middle of a cluster")
        if length is not None and at >= length and at:
            raise UnsafeImage(f"it is cut short: its {what} lies behind its end; fetch or copy it again")
    return ImageFacts(QCOW2, size_bytes)


def _has_extended_l2(head: bytes, version: int) -> bool:
    return version == 3 and bool(_QCOW2_V3.unpack_from(head, _QCOW2_V2.size)[0] & _QCOW2_EXTENDED_L2)


def _qcow2_v3_length(head: bytes) -> int:
    if len(head) < _QCOW2_V2.size + _QCOW2_V3.size:
        raise _absurd("it is shorter than a qcow2 header")
    incompatible, _compatible, _autoclear, refcount_order, header_bytes = _QCOW2_V3.unpack_from(head, _QCOW2_V2.size)
    if incompatible & _QCOW2_DATA_FILE:
        raise _leans_on(QCOW2, "its data is in an external data file")
    if incompatible & _QCOW2_CORRUPT:
        raise UnsafeImage("it is marked as corrupt; repair it where it comes from: qemu-img check -r all IT")
    if incompatible & ~_QCOW2_UNDERSTOOD:
        raise _absurd(f"unknown features {incompatible:#x}")
    if refcount_order > 6 or not 104 <= header_bytes <= 4096 or header_bytes % 8:
        raise _absurd(f"a header of {header_bytes} bytes with reference counts of 2^{refcount_order} bits")
    return int(header_bytes)


def _qcow2_extension_problems(head: bytes, at: int, end: int) -> Iterator[UnsafeImage]:
    """What the header's extensions ask for that they must not; they end with the first cluster."""
    end = min(end, len(head))
    while at + 8 <= end:
        kind, length = struct.unpack_from(">II", head, at)
        if kind == 0:
            return
        if kind == _QCOW2_DATA_FILE_NAME:
            yield _leans_on(QCOW2, f"it names the external data file {_name(head, at + 8, length)}")
        at += 8 + -(-length // 8) * 8
        if at > end:
            yield _absurd("a header extension that is longer than the header")


# -- VHD, VDI, QED --------------------------------------------------------------------------------------------------

_VHD_COOKIE = b"conectix"
_VHD_FOOTER = struct.Struct(">8sIIQ16xQQ4xI")
_VHD_DYNAMIC = struct.Struct(">8sQQIII4x16s8x512s")
_VHD_FIXED, _VHD_SPARSE, _VHD_CHILD = 2, 3, 4


def _vhd(footer: bytes, length: int | None) -> ImageFacts:
    """Of a fixed VHD the footer at its end; of others the copy of it that they begin with, and what follows."""
    if len(footer) < TAIL_BYTES:
        raise _absurd("it is shorter than a VHD footer")
    _cookie, _features, _version, header_at, _original, size_bytes, kind = _VHD_FOOTER.unpack_from(footer)
    if kind == _VHD_CHILD:
        raise _leans_on("VHD", "it is a differencing disk, which names its parent")
    if kind == _VHD_FIXED:
        if length is not None and size_bytes > length - TAIL_BYTES:
            raise _absurd(f"a fixed disk of {_size(size_bytes)} in {length} bytes")
        return ImageFacts(VHD, size_bytes)
    if kind != _VHD_SPARSE:
        raise _absurd(f"a VHD of the unknown type {kind}")
    if not TAIL_BYTES <= header_at <= len(footer) - 1024:
        raise _absurd("a VHD whose second header is not behind its first")
    cookie, _next, _table_at, _version, entries, block, parent, parent_name = _VHD_DYNAMIC.unpack_from(
        footer, header_at
    )
    if cookie != b"cxsparse":
        raise _absurd("a VHD without its second header")
    if any(parent) or any(parent_name):
        raise _leans_on("VHD", "it names a parent")
    if block < 512 or block & (block - 1) or block > 1 << 28 or entries * block < size_bytes or entries > 1 << 26:
        raise _absurd(f"a VHD of {entries} blocks of {block} bytes for a disk of {_size(size_bytes)}")
    return ImageFacts(VHD, size_bytes)


_VDI_SIGNATURE = b"\x7f\x10\xda\xbe"
_VDI_HEADER = struct.Struct("<4sHHII4x256xIII16xQIIII16s16s16s16s")
_VDI_WHOLE = (1, 2)


def _vdi(head: bytes) -> ImageFacts:
    if len(head) < 512:
        raise _absurd("it is shorter than a VDI header")
    fields = _VDI_HEADER.unpack_from(head, 64)
    _signature, _minor, major, _header_bytes, kind, _map_at, _data_at, _geometry = fields[:8]
    size_bytes, block, _extra, blocks, _allocated = fields[8:13]
    parents = fields[15:]
    if major != 1:
        raise _absurd(f"a VDI of version {major}")
    if kind not in _VDI_WHOLE or any(any(parent) for parent in parents):
        raise _leans_on("VDI", "it is a differencing disk, which names its parent")
    if block < 4096 or block & (block - 1) or block * blocks < size_bytes:
        raise _absurd(f"a VDI of {blocks} blocks of {block} bytes for a disk of {_size(size_bytes)}")
    return ImageFacts(VDI, size_bytes)


_QED_HEADER = struct.Struct("<4sIIIQQQQQII")
_QED_BACKING_FILE = 1
_QED_UNDERSTOOD = 0b111


def _qed(head: bytes, _length: int | None) -> ImageFacts:
    if len(head) < _QED_HEADER.size:
        raise _absurd("it is shorter than a QED header")
    _magic, cluster, table, header, features, _compat, _clear, _l1_at, size_bytes, at, length = _QED_HEADER.unpack_from(
        head
    )
    if features & _QED_BACKING_FILE or at:
        raise _leans_on("QED", f"it names the backing file {_name(head, at, length)}")
    if features & ~_QED_UNDERSTOOD:
        raise _absurd(f"unknown features {features:#x}")
    if not 4096 <= cluster <= 1 << 26 or cluster & (cluster - 1) or not 1 <= table <= 16 or not 1 <= header <= 16:
        raise _absurd(f"clusters of {cluster} bytes and tables of {table} clusters")
    return ImageFacts(QED, size_bytes)


_READERS: dict[bytes, Callable[[bytes, int | None], ImageFacts]] = {
    b"QFI\xfb": _qcow2,
    _VHD_COOKIE: _vhd,
    b"QED\0": _qed,
}

_REFUSED = {
    b"KDMV": "VMDK",
    b"COWD": "VMDK",
    b"# Disk DescriptorFile": "VMDK",
    b"vhdxfile": "VHDX",
    b"WithoutFreeSpace": "Parallels",
    b"WithouFreSpacExt": "Parallels",
}
