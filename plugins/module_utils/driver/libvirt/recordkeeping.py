# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing our record of a domain that is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .domain import Domain
from .metadata import NAMESPACE, PREFIX, Record, record_text

if TYPE_CHECKING:
    import libvirt


def parse_configuration(handle: libvirt.virDomain, text: str) -> Domain:
    """A domain's configuration.

    Of a domain whose definition went when its move was over, libvirt goes on to show that, with our record of the move.
    The running domain tells that there is none.

    Args:
        text: What libvirt shows of it with VIR_DOMAIN_XML_INACTIVE.

    Raises:
        libvirtError: as libvirt says it.
    """
    config = Domain.parse(text)
    moving = config.record.moving
    if moving is not None and moving.passing and not handle.isPersistent():
        config.record.moving = Domain.parse(handle.XMLDesc(0)).record.moving
    return config


def keep_record(library: Any, conn: libvirt.virConnect, handle: libvirt.virDomain, record: Record) -> None:
    """Write the record into a domain's configuration, where it has one, and into the running domain.

    Raises:
        libvirtError: as libvirt says it.
    """
    text, flags = record_text(record), 0
    if handle.isPersistent():
        if text is None:
            # libvirt would take our element away and leave an empty <metadata> behind.
            config = Domain.parse(handle.XMLDesc(library.VIR_DOMAIN_XML_INACTIVE | library.VIR_DOMAIN_XML_SECURE))
            config.record = record
            conn.defineXML(config.text())
        else:
            flags |= library.VIR_DOMAIN_AFFECT_CONFIG
    if handle.isActive():
        flags |= library.VIR_DOMAIN_AFFECT_LIVE
    if flags:
        handle.setMetadata(library.VIR_DOMAIN_METADATA_ELEMENT, text, PREFIX, NAMESPACE, flags)


def keep_running_record(library: Any, handle: libvirt.virDomain, record: Record) -> None:
    """Write the record into a running domain only, whose definition is to go.

    Raises:
        libvirtError: as libvirt says it.
    """
    live = library.VIR_DOMAIN_AFFECT_LIVE
    handle.setMetadata(library.VIR_DOMAIN_METADATA_ELEMENT, record_text(record), PREFIX, NAMESPACE, live)
