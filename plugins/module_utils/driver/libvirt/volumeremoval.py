# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of volumes, with all that belongs to them."""

from __future__ import annotations

from ...errors import PoolNotFound
from ...model.storage import VolumeKey
from .secrets import SecretsMixin
from .volumelist import PoolView
from .volumerecord import IMAGE_SUFFIX, PART_SUFFIX, VOLUME_SUFFIX
from .volumesnapshots import VolumeSnapshotsMixin


class VolumeRemovalMixin(SecretsMixin, VolumeSnapshotsMixin):
    """Removing volumes, whole ones and others."""

    def delete_volume(self, key: VolumeKey) -> None:
        view = self.look(key.pool)
        if view is None:
            if self.find_pool(key.pool) is None:
                return
            raise PoolNotFound(f"there is no active storage pool {key.pool!r} on the hypervisor's host")
        self.drop_scratch(view.path_of(key.name))
        self.remove_all_of(view, key.name)

    def remove_all_of(self, view: PoolView, name: str) -> None:
        """Remove a volume with all that belongs to it, whatever of that is there; the records go last, so that what is
        left by a removal that was cut short is found again."""
        handle = view.volumes.get(name)
        record = view.volumes.get(name + VOLUME_SUFFIX)
        facts = None if handle is None else self.facts_of(handle)
        remembered = None if record is None else self.read_record(record)
        self.drop(handle)
        if name + PART_SUFFIX in view.volumes:
            self.drop_scratch(view.path_of(name + PART_SUFFIX))
            self.drop(view.volumes[name + PART_SUFFIX])
        if (facts is not None and facts.encrypted) or (remembered or {}).get("encrypted"):
            self.remove_secret(view.path_of(name))
        self.drop(record)
        self.drop(view.volumes.get(name + IMAGE_SUFFIX))
