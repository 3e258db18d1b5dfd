# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Xen and LXC cannot do with instances that are moved."""

from __future__ import annotations

from .domain import Domain

_PV = "xen"


def live_problems(kind: str, domain: Domain) -> list[str]:
    """Why an instance of a ``kind`` of libvirt's drivers cannot be moved while it runs; empty for QEMU's.

    The distributions build Xen without shadow paging, which PV guests need for it, and libvirt does not tell.
    """
    if kind == "lxc":
        return ["libvirt does not move containers that run; move it cold"]
    if kind == "xen" and domain.extras().get("os_type") == _PV:
        reason = (
            "it is a PV guest, and Xen as it is built for distributions (without shadow paging) cannot move such while "
            "they run; move it cold, or make it a PVH guest (libvirt.os_type: xenpvh)"
        )
        return [reason]
    return []
