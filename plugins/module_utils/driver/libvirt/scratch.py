# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Domains that are no instances: those that are lent a volume while one of its snapshots is worked on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import libvirt

SCRATCH_PREFIX = "anyvirt-scratch-"


def is_scratch(domain: libvirt.virDomain) -> bool:
    """Whether a domain is a passing one."""
    return bool(domain.name().startswith(SCRATCH_PREFIX))
