# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""As much of the qcow2 format as it takes for volumes of the fake to look like real ones."""

from __future__ import annotations

import struct

MAGIC = b"QFI\xfb"
_CLUSTER_BITS = 16
_CLUSTER = 1 << _CLUSTER_BITS
_TABLE_ENTRIES = _CLUSTER // 8
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_REFCOUNT_ORDER = 4


def blank_qcow2(size_bytes: int, backing: str | None = None) -> bytes:
    """A whole image in which nothing was ever written; ``backing`` is the name that it leans on."""
    l1_entries = -(-size_bytes // (_TABLE_ENTRIES * _CLUSTER))
    l1_clusters = max(1, -(-l1_entries // _TABLE_ENTRIES))
    name = (backing or "").encode()
    header = _HEADER.pack(
        MAGIC,
        3,
        _HEADER.size + 8 if name else 0,
        len(name),
        _CLUSTER_BITS,
        size_bytes,
        0,
        l1_entries,
        3 * _CLUSTER,
        _CLUSTER,
        1,
        0,
        0,
        0,
        0,
        0,
        _REFCOUNT_ORDER,
        _HEADER.size,
    )
    first = (header + bytes(8) + name).ljust(_CLUSTER, b"\0")
    references = struct.pack(">Q", 2 * _CLUSTER).ljust(_CLUSTER, b"\0")
    counts = struct.pack(">H", 1) * (3 + l1_clusters)
    return first + references + counts.ljust(_CLUSTER, b"\0") + bytes(l1_clusters * _CLUSTER)
