# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes as people write them."""

from __future__ import annotations

import re

KIB = 1024
MIB = 1024**2
GIB = 1024**3
TIB = 1024**4

_FACTORS = {"": 1, "B": 1, "K": KIB, "M": MIB, "G": GIB, "T": TIB}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([BKMGT]?)(?:I?B)?", re.IGNORECASE | re.ASCII)


def parse_size(text: str | int) -> int:
    """Bytes meant by ``10G``, ``512M``, ``1.5 GiB`` or a plain number of bytes; units are powers of 1024.

    Raises:
        ValueError: it is not a size, or not more than zero.
    """
    match = _SIZE.fullmatch(str(text).strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size; write it like 10G or 512M")
    size = int(float(match.group(1)) * _FACTORS[match.group(2).upper()])
    if size <= 0:
        raise ValueError("a size must be more than zero")
    return size


def format_size(size_bytes: int) -> str:
    """The shortest exact way to write a size: ``10G``, ``1536M``, ``1000`` (bytes)."""
    for unit, factor in (("T", TIB), ("G", GIB), ("M", MIB), ("K", KIB)):
        if size_bytes and size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    return str(size_bytes)


def format_shortage(needed_bytes: int, free_bytes: int) -> str:
    """``12M, and 7M are free``: in whole MiB, rounded so that it still is a shortage."""
    return f"{format_size(-(-needed_bytes // MIB) * MIB)}, and {format_size(free_bytes // MIB * MIB)} are free"
