# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The instances that every measurement works on."""

from __future__ import annotations

PREFIX = "bench"


def names(count: int) -> list[str]:
    """So many names."""
    return [f"{PREFIX}{number:03}" for number in range(count)]
