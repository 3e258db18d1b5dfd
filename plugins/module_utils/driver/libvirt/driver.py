# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU, KVM, LXC and Xen through libvirt."""

from __future__ import annotations

from ..capabilities import Capabilities
from .capabilities import CAPABILITIES
from .power import PowerMixin
from .revertible import RevertibleMixin


class LibvirtDriver(RevertibleMixin, PowerMixin):
    """``qemu:``, ``lxc:`` and ``xen:`` URIs, with all the transports that libvirt has."""

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES[self.kind]
