# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An instance whose disks are about to change: its configuration and what runs."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

from ...errors import NotFound, Unsupported
from ...model import power_state
from ...undo import Undo, UndoStack
from ..storage import StorageDriver
from ..uri import ConnectionOptions
from .domain import Domain
from .domain_disks import device_names
from .hotplug import by_device
from .metadata import NAMESPACE, PREFIX, Record, record_text
from .states import to_power_state
from .update import UpdateMixin

if TYPE_CHECKING:
    import libvirt


@dataclass(frozen=True)
class View:
    """An instance as it was when it was looked at.

    Attributes:
        config_text: Its configuration, with its secrets; None for a transient instance, which has none.
        running: What runs; None when it is off.
    """

    name: str
    handle: libvirt.virDomain
    state: int
    config_text: str | None
    config: Domain | None
    running: Domain | None

    @property
    def documents(self) -> list[Domain]:
        """Configuration and what runs, as far as there are any."""
        return [document for document in (self.config, self.running) if document is not None]

    @property
    def record(self) -> Record:
        """What the collection keeps with it."""
        return self.documents[0].record

    def devices(self) -> set[str]:
        """Names that are taken, in the configuration or in what runs."""
        return {name for document in self.documents for name in device_names(document.root)}

    def configured(self, device: str) -> Element | None:
        """The disk in the configuration."""
        return None if self.config is None else by_device(device)(self.config.root)

    def plugged(self, device: str) -> Element | None:
        """The disk in what runs."""
        return None if self.running is None else by_device(device)(self.running.root)

    def require_device(self, device: str) -> None:
        """Raise NotFound unless there is such a disk."""
        if self.configured(device) is None and self.plugged(device) is None:
            names = ", ".join(sorted(self.devices())) or "none"
            raise NotFound(f"instance {self.name!r} has no disk {device!r}; there are: {names}")


class AttachViewMixin(UpdateMixin, StorageDriver):
    """Looking at instances whose disks change, and what all such changes do alike."""

    def __init__(self, options: ConnectionOptions) -> None:
        super().__init__(options)
        # The record is read and written as a whole: two disks that come at once must not forget each other.
        self._record_lock = threading.Lock()

    def view(self, name: str) -> View:
        """How an instance is now."""
        handle, lib = self.lookup(name), self.libvirt
        with self.guard(f"read the configuration of instance {name!r}", name):
            state = to_power_state(handle.state()[0])
            if state in power_state.OFF and self.supports("suspend") and handle.hasManagedSaveImage():
                state = power_state.SUSPENDED
            text = None
            if handle.isPersistent():
                text = str(handle.XMLDesc(lib.VIR_DOMAIN_XML_INACTIVE | lib.VIR_DOMAIN_XML_SECURE))
            running = handle.XMLDesc(lib.VIR_DOMAIN_XML_SECURE) if state in power_state.ACTIVE else None
        config = None if text is None else Domain.parse(text)
        return View(name, handle, state, text, config, None if running is None else Domain.parse(running))

    def view_to_change(self, name: str) -> View:
        """The same for an instance whose disks can change now.

        Raises:
            Unsupported: it is suspended; what it will go on with lies in its saved memory.
        """
        view = self.view(name)
        if view.state == power_state.SUSPENDED:
            raise Unsupported(
                f"the libvirt driver cannot change the disks of instance {name!r} while it is suspended: its saved "
                "memory holds on to those that it has; resume it or stop it first"
            )
        return view

    def affected(self, view: View, config: bool = True, running: bool = True) -> int:
        """libvirt's flags for a change of both, or of one of them."""
        flags = 0
        if config and view.config is not None:
            flags |= self.libvirt.VIR_DOMAIN_AFFECT_CONFIG
        if running and view.running is not None:
            flags |= self.libvirt.VIR_DOMAIN_AFFECT_LIVE
        return flags

    def write_instance_record(self, view: View, record: Record) -> None:
        """Replace what the collection keeps with an instance."""
        flags = self.affected(view, running=view.config is None)
        kind = self.libvirt.VIR_DOMAIN_METADATA_ELEMENT
        view.handle.setMetadata(kind, record_text(record), PREFIX, NAMESPACE, flags)

    def keep_config(self, view: View, done: UndoStack) -> None:
        """From here on, undoing puts back the configuration as it is in the view."""
        text = view.config_text
        if text is not None:
            done.push("put back the configuration", lambda: self._define_again(view.name, text))

    def attachment_undo(self, name: str, what: str, done: UndoStack) -> Undo:
        """How to take back what ``done`` holds."""

        def take_back() -> None:
            self.forget(name)
            done.take_back(what)

        return take_back
