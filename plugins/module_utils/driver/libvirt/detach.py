# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that go: from the guest while it runs, then from the configuration.

In this order, so that a guest that does not let go keeps its disk, and a run that was cut short in between is finished
by the next one: the configuration still has the disk then.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from ...undo import Undo, UndoStack
from .attachview import AttachViewMixin, View
from .attachxml import plugged_again
from .domain import Domain
from .element import find_or_make
from .hotplug import by_device
from .update import UpdateMixin


class DetachMixin(AttachViewMixin, UpdateMixin):
    """Detaching."""

    def detach_volume(self, instance: str, device: str, timeout_s: float) -> Undo:
        self.require("attach")
        view = self.view_to_change(instance)
        view.require_device(device)
        done = UndoStack()
        with done:
            plugged = view.plugged(device)
            with self.guard(f"detach {device} from instance {instance!r}", instance):
                if plugged is not None:
                    self._pull(view, device, plugged, timeout_s, done)
                self._strike_out(view, device, done)
        self.forget(instance)
        return self.attachment_undo(instance, f"detaching {device} from {instance!r}", done)

    def _pull(self, view: View, device: str, plugged: Element, timeout_s: float, done: UndoStack) -> None:
        self.require("attach_live")
        self.unplug(view.handle, f"disk {device}", by_device(device), timeout_s)
        element = plugged_again(plugged)

        def plug_again() -> None:
            running = self.view(view.name).running
            if running is not None and by_device(device)(running.root) is None:
                self.plug(view.handle, running.root, element)

        done.push(f"plug disk {device} in again", plug_again)

    def _strike_out(self, view: View, device: str, done: UndoStack) -> None:
        """Take the disk, and what the collection knows of it, out of the configuration as that is now."""
        with self._record_lock:
            if view.config is None:
                record = self.view(view.name).record
                record.drop(device)
                self.write_instance_record(view, record)
                return
            text = self._config_text(view.name, view.handle)
            config = Domain.parse(text)
            element = by_device(device)(config.root)
            if element is not None:
                find_or_make(config.root, "devices").remove(element)
            config.record.drop(device)
            self.conn.defineXML(config.text())
            done.push("put back the configuration", lambda: self._define_again(view.name, text))
