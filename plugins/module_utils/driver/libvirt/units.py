# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt's units of memory."""

from __future__ import annotations

KIB_OF = {
    **dict.fromkeys(("b", "bytes"), 1 / 1024),
    **dict.fromkeys(("k", "kib"), 1),
    **dict.fromkeys(("m", "mib"), 1024),
    **dict.fromkeys(("g", "gib"), 1024**2),
    **dict.fromkeys(("t", "tib"), 1024**3),
    "kb": 1000 / 1024,
    "mb": 1000**2 / 1024,
    "gb": 1000**3 / 1024,
    "tb": 1000**4 / 1024,
}
"""How many KiB a unit is, by its name in lower case; no unit at all is KiB."""
