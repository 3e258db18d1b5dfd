# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locking the network interfaces of VMs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from ...undo import UndoStack
from .devicechanges import VIF, DeviceChangesMixin
from .errors import code_of
from .records import Object
from .storage import GONE
from .vifaddresses import Lock, lock_changes, lock_in


class VifLocksMixin(DeviceChangesMixin):
    """Changes of locks, in force at once where guests run."""

    def change_locks(self, vm: str, name: str, wanted: Mapping[str, Lock], done: UndoStack) -> None:
        """Give the VM's network interfaces these locks, by their MAC addresses; others stay as they are."""
        with self.guard(f"lock the network interfaces of instance {name!r}", name):
            vifs = self.devices_of(VIF, vm)
            changing = {
                ref: (lock_in(vif), wanted[vif["MAC"].lower()])
                for ref, vif in vifs.items()
                if vif["MAC"].lower() in wanted and lock_in(vif) != wanted[vif["MAC"].lower()]
            }
            if changing:
                before = {ref: lock for ref, (lock, _new) in changing.items()}
                done.push("put back the locks of the network interfaces", partial(self._put_back_locks, name, before))
            for ref, (old, new) in changing.items():
                self.set_lock(ref, old, new)

    def set_lock(self, ref: str, now: Lock, wanted: Lock) -> None:
        """Change a VIF's lock; to be used within ``guard``."""
        for method, value in lock_changes(now, wanted):
            self.call(method, ref, value)

    def _put_back_locks(self, name: str, before: Mapping[str, Lock]) -> None:
        with self.guard(f"put back the locks of the network interfaces of instance {name!r}", name):
            for ref, lock in before.items():
                vif = self._vif(ref)
                if vif is not None:
                    self.set_lock(ref, lock_in(vif), lock)

    def _vif(self, ref: str) -> Object | None:
        """A VIF as it is now; None where it is gone."""
        try:
            vif: Object = self.call("VIF.get_record", ref)
        except self.api.library.Failure as failure:
            if code_of(failure) != GONE:
                raise
            return None
        return vif
