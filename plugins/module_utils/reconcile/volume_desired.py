# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task wants of a volume."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..model.instance import CDROM, Disk
from ..model.storage import Volume, VolumeKey
from ..transfer.options import FetchOptions

PRESENT = "present"
ABSENT = "absent"
ATTACHED = "attached"
DETACHED = "detached"

DETACH_TIMEOUT_S = 60.0


@dataclass
class DesiredVolume:
    """What a task wants of one volume.

    Attributes:
        where: What stands in front of its options' names in messages.
        volume: What the task mentions of the volume itself; its pool is empty until the default one is known.
        metadata: Keys to set, or to remove where the value is None.
        snapshots: Name -> whether there is to be one.
        revert_to: The snapshot to go back to.
        instance: Whose disk it is to be, or to be no more; None with ``detached`` is everybody's.
        disk: How the instance is to have it.
        eject: Of a CD-ROM, only the medium goes.
        detach_first: Remove it although instances have it, after taking it away from them.
        delete_children: Remove it although volumes lean on it, and these too.
        fetch: How to open its source, where that is a path or URL.
    """

    where: str
    volume: Volume
    state: str = PRESENT
    metadata: dict[str, str | None] | None = None
    snapshots: dict[str, bool] | None = None
    revert_to: str | None = None
    allow_shrink: bool = False
    instance: str | None = None
    disk: Disk = field(default_factory=Disk)
    eject: bool = False
    detach_timeout_s: float = DETACH_TIMEOUT_S
    detach_first: bool = False
    delete_children: bool = False
    override_lock: bool = False
    fetch: FetchOptions | None = None

    @property
    def name(self) -> str:
        """The volume's name in its pool."""
        return self.volume.name

    @property
    def key(self) -> VolumeKey:
        """What tells it from all others."""
        return self.volume.key

    @property
    def makes(self) -> bool:
        """Whether the task says enough to make the volume when it is not there."""
        return self.volume.size_bytes is not None or self.volume.source is not None

    @property
    def is_medium(self) -> bool:
        """Whether it goes into a CD drive."""
        return self.disk.kind == CDROM
