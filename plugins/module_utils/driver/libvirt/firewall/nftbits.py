# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bits of marks that are the nftables engine's own; all others are left as they are."""

from __future__ import annotations

ESTABLISHED = 0x10000000
"""Of the packet's mark: it belongs to a known connection, or is related to one."""
INVALID = 0x20000000
"""Connection tracking calls it invalid."""
FROM_BRIDGE = 0x40000000
"""It came by a bridge, which has not let go of it yet."""
ANSWER = 0x08000000
"""It answers to what was let through, or comes from a port that is not filtered."""

OURS = ESTABLISHED | INVALID | FROM_BRIDGE | ANSWER
OTHERS = 0xFFFFFFFF & ~OURS
KEPT = 0xFFFFFFFF & ~ANSWER

UNDECIDED = 0x04000000
"""Of the connection's mark: the host opened or routed it, and nobody has answered yet to what was let through. None of
the packet's bits, which others may save in the connection's mark."""
CLEAR_UNDECIDED = 0xFFFFFFFF & ~UNDECIDED
