# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of disks that are attached already."""

from __future__ import annotations

from collections.abc import Collection
from xml.etree.ElementTree import Element, SubElement

from ...errors import InvalidInput, Unsupported
from ...model.instance import Disk
from ...undo import Undo, UndoStack
from .attach import AttachMixin
from .attachview import View
from .attachxml import set_boot_order
from .domain import Domain
from .element import find_or_make, set_attribute, set_text
from .hotplug import by_device
from .iotune import read_limits, tune_parameters

_AT_START = ("boot_order",)
"""Felt at the next start by their nature."""
_WHEN_OFF = ("cache", "discard", "serial", "read_only", "shareable")


class DiskLimitsMixin(AttachMixin):
    """Changing attachments."""

    def update_attachment(self, instance: str, disk: Disk, options: Collection[str]) -> Undo:
        self.require("attach")
        view, device = self.view_to_change(instance), disk.device or ""
        view.require_device(device)
        self._require_changeable(view, disk, options)
        done = UndoStack()
        with done, self.guard(f"change disk {device} of instance {instance!r}", instance):
            rest = [option for option in options if option != "limits"]
            if rest:
                self._write_options(view, disk, rest, done)
            if "limits" in options:
                self._limit(view, disk, done)
        self.forget(instance)
        return self.attachment_undo(instance, f"the changes of {device} of {instance!r}", done)

    def _require_changeable(self, view: View, disk: Disk, options: Collection[str]) -> None:
        problems = [found for found in self.check_attachment(disk) if found.option.partition(".")[0] in options]
        if problems:
            raise InvalidInput(problems)
        known = ("limits", *_AT_START, *_WHEN_OFF)
        never = [option for option in options if option not in known]
        if never:
            raise Unsupported(
                f"the libvirt driver cannot change {', '.join(never)} of {disk.device} while it is attached: detach it "
                "and attach it anew"
            )
        waiting = [option for option in options if option in _WHEN_OFF]
        if waiting and view.running is not None:
            raise Unsupported(
                f"the libvirt driver cannot change {', '.join(waiting)} of {disk.device} while instance {view.name!r} "
                "runs: stop it first, or detach the volume and attach it anew"
            )
        if view.config is None and any(option in _AT_START for option in options):
            raise Unsupported(f"the libvirt driver: instance {view.name!r} is transient, and never starts again")

    def _write_options(self, view: View, disk: Disk, options: Collection[str], done: UndoStack) -> None:
        with self._record_lock:
            text = self._config_text(view.name, view.handle)
            config = Domain.parse(text)
            element = by_device(disk.device or "")(config.root)
            if element is not None:
                for option in options:
                    _write_option(config.root, element, disk, option)
                self.conn.defineXML(config.text())
                done.push("put back the configuration", lambda: self._define_again(view.name, text))

    def _limit(self, view: View, disk: Disk, done: UndoStack) -> None:
        device, lib = disk.device or "", self.libvirt
        for flag, element in (
            (lib.VIR_DOMAIN_AFFECT_CONFIG, view.configured(device)),
            (lib.VIR_DOMAIN_AFFECT_LIVE, view.plugged(device)),
        ):
            if element is not None:
                before = tune_parameters(read_limits(element))
                done.push(f"put back the limits of {device}", self._limiting(view, device, before, flag))
        flags = self.affected(view, view.configured(device) is not None, view.plugged(device) is not None)
        view.handle.setBlockIoTune(device, tune_parameters(disk.limits), flags)

    def _limiting(self, view: View, device: str, limits: dict[str, int], flag: int) -> Undo:
        def limit() -> None:
            view.handle.setBlockIoTune(device, limits, flag)

        return limit


def _write_option(domain: Element, element: Element, disk: Disk, option: str) -> None:
    if option in ("cache", "discard"):
        set_attribute(find_or_make(element, "driver"), option, getattr(disk, option))
    elif option == "serial":
        set_text(element, "serial", disk.serial)
    elif option == "boot_order":
        set_boot_order(domain, disk.device or "", disk.boot_order)
    else:
        tag = {"read_only": "readonly", "shareable": "shareable"}[option]
        for old in element.findall(tag):
            element.remove(old)
        if getattr(disk, option):
            SubElement(element, tag)
