# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract of drivers that also manage storage: pools, volumes, images, and disks that come and go.

A driver class of its own, ``get_storage_driver(options)``, so that tasks that only need instances do not carry it all.

The rules of ``driver.base`` hold here too. What a driver cannot do it declares in its capabilities, and inherits the
refusal from here. Volumes that are half made (``Volume.unfinished``) are seen by no method but ``get_volumes``,
``create_volume`` and ``delete_volume``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from ..errors import Problem, Unsupported
from ..model.instance import Disk
from ..model.storage import Image, Pool, Volume, VolumeKey, VolumeUses
from ..transfer.content import Content, ImageFacts, Segment
from ..undo import Undo
from .base import ComputeDriver


class VolumeReader(Protocol):
    """A volume's data as it is stored, with the format that it is stored in.

    Attributes:
        length: Bytes that ``segments`` yields, holes included; None where that is known at the end only.
    """

    format: str
    length: int | None

    def segments(self) -> Iterator[Segment]:
        """All of it, once, in order."""


class StorageDriver(ComputeDriver):
    """A hypervisor host with its storage."""

    def _refusal(self, feature: str) -> Unsupported:
        try:
            self.require(feature)
        except Unsupported as error:
            return error
        return Unsupported(f"the {self.name} driver declares {feature} and does not have it")

    # -- pools ------------------------------------------------------------------------------------------------------

    def default_pool(self) -> str:
        """The pool of volumes that name none.

        Raises:
            PoolNotFound: there is none that could be it.
        """
        raise self._refusal("pools")

    def get_pools(self) -> dict[str, Pool]:
        """All pools by name, active or not. A constant number of calls where the hypervisor has bulk calls."""
        raise self._refusal("pools")

    def check_pool(self, pool: Pool) -> list[Problem]:
        """What this hypervisor can never do with a wanted pool: kinds, options that it lacks or that the kind does not
        have, options that are missing. Asks no hypervisor. Options are named relative to the pool."""
        raise self._refusal("pools")

    def create_pool(self, pool: Pool, overwrite: bool = False) -> Undo:
        """Define a pool and make what it is made of (the folder, the file system, the volume group), unless that is
        there already; leave it inactive where the hypervisor knows inactive pools.

        Args:
            overwrite: Devices that hold something else already may be overwritten.

        Raises:
            AlreadyExists: the name, the folder or the devices are taken, by a pool or by data.
        """
        raise self._refusal("pools")

    def start_pool(self, name: str) -> Undo:
        """Make it usable; nothing to do when it is."""
        raise self._refusal("pools")

    def stop_pool(self, name: str) -> Undo:
        """Make it unusable, and keep all that is in it; nothing to do when it is. Raises VolumeInUse when a disk of an
        active instance is in it."""
        raise self._refusal("pools")

    def delete_pool(self, name: str, delete_data: bool = False) -> None:
        """Forget the pool, active or not; succeeds when it is gone already. ``delete_data`` also removes what it
        is made of.

        Raises:
            VolumeInUse: an instance has a disk in it. PoolNotEmpty: with ``delete_data``, there are volumes in it.
        """
        raise self._refusal("pools")

    def set_pool_autostart(self, name: str, autostart: bool) -> Undo:
        """Whether it is started with the host."""
        raise self._refusal("pools")

    def refresh_pool(self, name: str) -> None:
        """Look again at what is in it."""
        raise self._refusal("pools")

    # -- volumes ----------------------------------------------------------------------------------------------------

    def get_volumes(self, keys: Collection[VolumeKey], snapshots: bool = False) -> dict[VolumeKey, Volume]:
        """Those of the volumes that exist, unfinished ones included; pools that do not exist have none.

        Args:
            snapshots: Tell their snapshots too, which may cost calls for each of them.
        """
        raise self._refusal("volumes")

    def list_volumes(self, pool: str) -> list[Volume]:
        """All volumes of a pool, images among them, sorted by name; what only the driver itself needs is left out.

        Raises:
            PoolNotFound: there is no such pool, or it is not active.
        """
        raise self._refusal("volumes")

    def volume_uses(self, keys: Collection[VolumeKey]) -> dict[VolumeKey, VolumeUses]:
        """Who needs these volumes; each key is in the answer. Costs at most as much as reading all instances and
        volumes once."""
        raise self._refusal("volumes")

    def check_volume(self, volume: Volume) -> list[Problem]:
        """What this hypervisor can never do with a wanted volume; asks no hypervisor. Options are named relative to the
        volume, e.g. ``source.copy_on_write``."""
        raise self._refusal("volumes")

    def complete_volume(self, volume: Volume, facts: ImageFacts | None = None) -> Volume:
        """A copy of a new volume in which what the driver decides by itself is filled in: format, size (from its
        source; rounded up to what its pool can make), copy_on_write. Looks up its source.

        Args:
            facts: Of the content that a ``path`` or ``url`` is opened as. Where its source is one of these and this is
                None, it is not opened yet, and a format or size that depends on it stays None.

        Raises:
            PoolNotFound, VolumeNotFound, ImageNotFound, NotFound: there is no such source.
            InvalidInput: the size is missing, or smaller than the source's.
        """
        raise self._refusal("volumes")

    def create_volume(self, volume: Volume, content: Content | None = None) -> Undo:
        """Make a completed volume; an unfinished one of its name is removed first.

        Args:
            content: What its ``source`` is opened as, where that is a ``path`` or a ``url``.

        Raises:
            AlreadyExists: there is a volume of the name.
            InsufficientCapacity: the pool is full; nothing is left behind.
        """
        raise self._refusal("volumes")

    def resize_volume(self, key: VolumeKey, size_bytes: int) -> Undo:
        """Give a volume another size, also while instances use it where they can be told.

        Raises:
            VolumeInUse: it would have to shrink and is attached, or this hypervisor cannot resize it as it is used now.
            Unsupported: it cannot shrink here at all.
        """
        raise self._refusal("volumes")

    def set_volume_metadata(self, key: VolumeKey, metadata: Mapping[str, str]) -> Undo:
        """Replace the user's keys and values."""
        raise self._refusal("volume_metadata")

    def delete_volume(self, key: VolumeKey) -> None:
        """Delete a volume with its snapshots, an unfinished one too; succeeds when it is gone already. Who may need it
        is not asked here, but by ``volume_uses``."""
        raise self._refusal("volumes")

    # -- a volume's data --------------------------------------------------------------------------------------------

    def open_volume(self, key: VolumeKey) -> AbstractContextManager[VolumeReader]:
        """Read a volume's data.

        Raises:
            VolumeInUse: an active instance may be writing to it.
        """
        raise self._refusal("volume_transfer")

    # -- snapshots of volumes ---------------------------------------------------------------------------------------

    def create_volume_snapshot(self, key: VolumeKey, snapshot: str) -> Undo:
        """Keep what is in a volume now. Raises VolumeInUse where that cannot be done while instances use it."""
        raise self._refusal("volume_snapshots")

    def delete_volume_snapshot(self, key: VolumeKey, snapshot: str) -> None:
        """Forget a snapshot; succeeds when it is gone already. Raises VolumeInUse as above."""
        raise self._refusal("volume_snapshots")

    def revert_volume(self, key: VolumeKey, snapshot: str) -> None:
        """Bring back what was in a volume; what is in it now is lost. The volume keeps its name, its place in
        instances, and all its snapshots.

        Raises:
            NotFound: no such snapshot.
            VolumeInUse: an active instance has it.
        """
        raise self._refusal("volume_snapshots")

    # -- disks that come and go -------------------------------------------------------------------------------------

    def complete_attachment(self, instance: str, disk: Disk, taken: Collection[str] = ()) -> Disk:
        """A copy of a disk to be attached, with its device and bus filled in. ``disk.volume`` and ``disk.pool`` name
        its volume, which may still be to be made; a CD-ROM without is an empty drive.

        Args:
            taken: Devices that the instance is about to get besides, so they are not free.

        Raises:
            InstanceNotFound.
            AlreadyExists: the device is taken; the message names what is there and the next free device.
        """
        raise self._refusal("attach")

    def check_attachment(self, disk: Disk) -> list[Problem]:
        """What this hypervisor can never do with a disk to be attached; asks no hypervisor."""
        raise self._refusal("attach")

    def verify_hotplug(self, instance: str, disk: Disk) -> None:
        """Return when this disk can be plugged into (or pulled out of) the instance while it runs (Ganeti's
        VerifyHotplugSupport). Its volume may still be to be made.

        Raises:
            Unsupported: it cannot; the message says why, and what to do instead.
        """
        raise self._refusal("attach_live")

    def attach_volume(self, instance: str, disk: Disk) -> Undo:
        """Give an instance a completed disk: for good, and at once while it is active (Nova's attach_volume).

        Raises:
            VolumeNotFound; AlreadyExists: the device is taken; VolumeInUse: another instance writes to it.
            Unsupported: not while the instance is as it is.
        """
        raise self._refusal("attach")

    def detach_volume(self, instance: str, device: str, timeout_s: float) -> Undo:
        """Take a disk away, for good, and at once while the instance is active (Nova's detach_volume). The volume
        stays.

        Raises:
            NotFound: there is no such device.
            TimeoutExpired: the guest does not let go of it within ``timeout_s`` seconds; it is attached as before.
        """
        raise self._refusal("attach")

    def update_attachment(self, instance: str, disk: Disk, options: Collection[str]) -> Undo:
        """Give ``options`` (fields of Disk) of the attached disk ``disk.device`` their values, for good and at once
        while the instance is active. Only ``limits`` can be changed so everywhere.

        Raises:
            Unsupported: one of them cannot be changed while the instance is as it is.
        """
        raise self._refusal("attach")

    def change_media(self, instance: str, device: str, key: VolumeKey | None) -> Undo:
        """Put a volume into a CD drive, in place of what is in it; None ejects.

        Raises:
            NotFound: there is no such drive. VolumeNotFound: no such volume.
            HypervisorError: the guest has locked the tray.
        """
        raise self._refusal("cdrom_media")

    # -- the image cache --------------------------------------------------------------------------------------------

    def get_images(self, pools: Sequence[str] | None = None) -> dict[VolumeKey, Image]:
        """The images in the caches of these pools, or of all active ones; also those still being fetched."""
        raise self._refusal("images")

    def check_image(self, pool: str, facts: ImageFacts) -> list[Problem]:
        """Why ``write_image`` would refuse such content in this pool, so that nothing has to be given up for it before
        that is known."""
        raise self._refusal("images")

    def reserve_image(self, image: Image) -> None:
        """Take the image's name, for the fetch that calls itself ``image.claim``: atomic, among all processes and
        hosts that share the pool.

        Raises:
            AlreadyExists: there is an image, a reservation or a volume of that name.
            PoolNotFound.
        """
        raise self._refusal("images")

    def beat_image(self, image: Image) -> None:
        """Let the world know that the fetch ``image.claim`` goes on, and is at ``image.beat``.

        Raises:
            ImageNotFound: the reservation is another's by now, or gone.
        """
        raise self._refusal("images")

    def write_image(self, image: Image, content: Content) -> int:
        """Fill a reserved image; returns how many bytes came, holes included."""
        raise self._refusal("images")

    def finish_image(self, image: Image) -> None:
        """Make a reserved, filled image usable, with all that ``image`` says; its claim ends.

        Raises:
            ImageNotFound: the reservation is another's by now, or gone.
        """
        raise self._refusal("images")

    def delete_image(self, key: VolumeKey, claim: str = "") -> None:
        """Delete an image, or with ``claim`` what that fetch has reserved and filled so far; succeeds when it is gone.

        Raises:
            VolumeInUse: it has children, or instances use it.
        """
        raise self._refusal("images")
