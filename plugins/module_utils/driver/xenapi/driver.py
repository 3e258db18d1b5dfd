# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""XenServer and XCP-ng through XenAPI."""

from __future__ import annotations

from ..capabilities import Capabilities
from .addresses import AddressesMixin
from .capabilities import CAPABILITIES
from .console import ConsoleMixin
from .homes import HomesMixin
from .members import MembersMixin
from .power import PowerMixin
from .revertible import RevertibleMixin
from .spawn import SpawnMixin
from .stats import StatsMixin
from .xenstore import XenStoreMixin


class XenApiDriver(
    RevertibleMixin,
    PowerMixin,
    SpawnMixin,
    XenStoreMixin,
    StatsMixin,
    AddressesMixin,
    ConsoleMixin,
    HomesMixin,
    MembersMixin,
):
    """``xenapi://HOST[:PORT]`` (HTTPS) and ``xenapi+http://HOST[:PORT]`` URIs: a pool, through its master; with
    ``?host=NAME`` one host of it."""

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES
