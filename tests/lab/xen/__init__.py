# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Xen host (Debian's Xen, dom0 and libvirt) inside QEMU, without hardware virtualization.

With ``tests/`` on ``sys.path``::

    from lab.xen import XenHost

    with XenHost("first") as host:
        connection = libvirt.open(host.uri)
"""

from __future__ import annotations

from lab.xen.host import XenHost
from lab.xen.image import XenImage, built_image

__all__ = ["XenHost", "XenImage", "built_image"]
