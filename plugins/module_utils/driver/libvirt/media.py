# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in CD drives."""

from __future__ import annotations

import copy
import re
import time
from dataclasses import replace
from xml.etree.ElementTree import Element

from ...errors import HypervisorError, NotFound
from ...model.instance import CDROM, Disk
from ...model.storage import VolumeKey
from ...undo import Undo, UndoStack
from .attach import AttachMixin
from .attachview import View
from .domain_disks import set_source, source_of
from .hotplug import text_of_device
from .volumexml import to_libvirt_format

_TRAY = "tray"
"""In what libvirt says of one that does not open."""
_HELD = "timed out waiting to open tray"
"""A guest holds the tray during each look into the drive, and libvirt asks it only once to let go."""
_JUST_CLOSED = re.compile(r"Tray of (the )?device\b.* is not open")
"""A guest that starts shuts the tray just when libvirt puts something in, or takes it out."""
_PATIENCE_S = 5.0
_ASK_AGAIN_S = 0.2


class MediaMixin(AttachMixin):
    """Changing media."""

    def change_media(self, instance: str, device: str, key: VolumeKey | None) -> Undo:
        self.require("cdrom_media")
        view = self.view_to_change(instance)
        view.require_device(device)
        drives = [element for element in (view.configured(device), view.plugged(device)) if element is not None]
        if any(drive.get("device") != CDROM for drive in drives):
            raise NotFound(f"{device} of instance {instance!r} is no CD drive")
        disk = Disk(device, CDROM, read_only=True)
        if key is not None:
            disk = replace(disk, volume=key.name, pool=key.pool)
            volume = self._require_volume(disk)
            if volume is not None:
                disk = replace(disk, path=volume.path, format=to_libvirt_format(volume.format or "raw"))
                self._require_attachable(view, disk, volume)
        done = UndoStack()
        with done, self.guard(f"change what is in the CD drive {device} of instance {instance!r}", instance):
            if any(source_of(drive) != disk.path for drive in drives):
                self._change(view, drives, disk, done)
        self.forget(instance)
        return self.attachment_undo(instance, f"changing what is in {device} of {instance!r}", done)

    def _change(self, view: View, drives: list[Element], disk: Disk, done: UndoStack) -> None:
        self.keep_config(view, done)
        if disk.path is not None:
            self._note(view, disk, done)
        plugged = view.plugged(disk.device or "")
        flags = self.affected(view)
        self._load(view, _with_medium(drives[0], disk), flags)
        if plugged is not None:
            before, running = copy.deepcopy(plugged), self.affected(view, config=False)
            done.push(f"put back what was in {disk.device}", lambda: self._load(view, before, running))

    def _load(self, view: View, drive: Element, flags: int) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        was_held = False
        while True:
            try:
                view.handle.updateDeviceFlags(text_of_device(drive), flags)
                return
            except self.libvirt.libvirtError as error:
                text = str(error)
                if _HELD in text and not was_held:
                    was_held = True
                    deadline = time.monotonic() + _PATIENCE_S
                elif _JUST_CLOSED.search(text) is None:
                    if view.running is None or _TRAY not in text.lower():
                        raise
                    raise HypervisorError(
                        f"the guest of instance {view.name!r} has locked the tray of its CD drive: unmount the medium "
                        f"there first ({text})"
                    ) from error
                elif time.monotonic() > deadline:  # a reset of the drive shuts it, and nobody tells libvirt
                    raise HypervisorError(
                        f"the guest of instance {view.name!r} shut the tray of its CD drive as it started, and "
                        f"libvirt takes it for open ever since: stop and start the instance ({text})"
                    ) from error
            time.sleep(_ASK_AGAIN_S)


def _with_medium(drive: Element, disk: Disk) -> Element:
    changed = copy.deepcopy(drive)
    set_source(changed, disk.path, disk.format or "raw")
    return changed
