# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fake hypervisor: small, with files for memory, and with every rule of the contract enforced."""

from __future__ import annotations

from ..capabilities import Capabilities
from .capabilities import CAPABILITIES
from .console import ConsoleMixin
from .resizes import ResizesMixin
from .stats import StatsMixin
from .watch import WatchMixin


class FakeDriver(ResizesMixin, StatsMixin, ConsoleMixin, WatchMixin):
    """``fake:///FOLDER[?host=NAME]``: see docs/fake.md for the folder's files that people write."""

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES
