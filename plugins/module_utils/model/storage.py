# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage: pools, the volumes in them, and the images that volumes are made from, in terms that no hypervisor owns.

As with instances, one class serves for what *is* and for what is *wanted*: a field that is None is unknown in the
former and not mentioned in the latter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

OFF = "off"
METADATA = "metadata"
FALLOC = "falloc"
FULL = "full"

DIR = "dir"
FS = "fs"
LVM = "lvm"
NFS = "nfs"
ISCSI = "iscsi"
EXT = "ext"
ISO = "iso"


class VolumeKey(NamedTuple):
    """What tells a volume from all others of a hypervisor."""

    pool: str
    name: str

    def __str__(self) -> str:
        return f"{self.pool}/{self.name}"


class VolumeUse(NamedTuple):
    """An instance that has the volume among its disks.

    Attributes:
        device: Its name in that instance, e.g. ``vdb``.
        active: The instance is not off, so it may be writing.
    """

    instance: str
    device: str
    active: bool
    read_only: bool


class VolumeSnapshot(NamedTuple):
    """A state of a volume that can be gone back to. ``created_s`` is in seconds since 1970, None where unknown."""

    name: str
    created_s: float | None = None


@dataclass
class VolumeUses:
    """Who needs a volume.

    Attributes:
        instances: Whose disk it is.
        children: Names of the copy-on-write volumes that lean on it, as ``pool/name`` or a path outside of all pools.
    """

    instances: list[VolumeUse] = field(default_factory=list)
    children: list[str] = field(default_factory=list)


@dataclass
class VolumeSource:
    """What a new volume begins with: exactly one of ``volume`` (with ``snapshot``: as it was then), ``image`` (one of
    the image cache), ``path`` (a file where the module runs) or ``url``.

    Attributes:
        pool: Where ``volume`` or ``image`` is, when not in the new volume's own pool.
        copy_on_write: The new volume is a child that keeps only what differs; otherwise it is whole. None: a child of
            an image, a whole copy of a volume.
        checksum: Of the file or of what the URL leads to, ``ALGORITHM:HEX``.
    """

    volume: str | None = None
    snapshot: str | None = None
    image: str | None = None
    path: str | None = None
    url: str | None = None
    pool: str | None = None
    copy_on_write: bool | None = None
    checksum: str | None = None


@dataclass
class Encryption:
    """LUKS encryption. ``passphrase`` is only ever wanted, never read back, and never shown."""

    passphrase: str | None = field(default=None, repr=False)
    cipher: str | None = None


@dataclass
class Volume:
    """A virtual disk in a storage pool.

    Attributes:
        size_bytes: What a guest sees of it.
        format: ``qcow2``, ``raw``, ``vhd`` ...
        preallocation: ``off``, ``metadata``, ``falloc`` or ``full``; only matters when it is made.
        shareable: May be attached to several instances for writing at once.
        encrypted: Read only. ``encryption`` is what a new one is made with.
        metadata: The user's own keys and values.
        allocation_bytes: Room that it takes in the pool. Read only.
        backing: The volume that it keeps only the differences to, as ``pool/name``, or a path. Read only.
        path: Where the host has its data, where that has a name. Read only.
        unfinished: What made it was cut short; it is to be removed and made again. Read only.
        is_image: It belongs to the image cache. Read only.
        snapshots: Oldest first; None where they were not asked for. Read only.
    """

    name: str
    pool: str
    size_bytes: int | None = None
    format: str | None = None
    source: VolumeSource | None = None
    preallocation: str | None = None
    shareable: bool | None = None
    encryption: Encryption | None = None
    metadata: dict[str, str] | None = None
    encrypted: bool | None = None
    allocation_bytes: int | None = None
    backing: str | None = None
    path: str | None = None
    unfinished: bool = False
    is_image: bool = False
    snapshots: list[VolumeSnapshot] | None = None

    @property
    def key(self) -> VolumeKey:
        """What tells it from all others."""
        return VolumeKey(self.pool, self.name)


@dataclass
class Pool:
    """A storage pool (XenAPI: a storage repository).

    Attributes:
        kind: ``dir``, ``fs``, ``lvm``, ``nfs``, ``iscsi``, ``ext``, ``iso``; other kinds are read and never made.
        path: The folder or mount point on the host.
        devices: Block devices that it is made of, or that hold its file system.
        fs_type: Of ``fs``: ``ext4``, ``xfs`` ...; ``auto`` is what is there.
        server, export: Of ``nfs``: the server and its exported folder.
        target: Of ``iscsi``: the IQN on ``server``. ``port`` when it is not the usual one.
        volume_group: Of ``lvm``: when its name is not the pool's.
        autostart: It is started with the host.
        shared: All hosts of a XenAPI pool see it.
        active: Read only, as are the sizes.
    """

    name: str
    kind: str | None = None
    path: str | None = None
    devices: list[str] | None = None
    fs_type: str | None = None
    server: str | None = None
    export: str | None = None
    target: str | None = None
    port: int | None = None
    volume_group: str | None = None
    autostart: bool | None = None
    shared: bool | None = None
    active: bool = False
    capacity_bytes: int | None = None
    used_bytes: int | None = None
    available_bytes: int | None = None


@dataclass
class Image:
    """An image of a pool's image cache: a volume that is read only by agreement, and that children lean on.

    Attributes:
        format: ``qcow2``, ``raw``, ``iso``, ``vhd``: by what is in it, not by its name.
        size_bytes: Of the disk in it.
        file_bytes: Of the image itself.
        source: The URL or path that it was fetched from, without any password in it.
        checksum: ``sha256:HEX`` of its content as stored.
        source_checksum: ``ALGORITHM:HEX`` that its source was verified against.
        fetched_s: When, in seconds since 1970.
        claim: Who is fetching it; empty when it is complete.
        beat: Counts up while a fetch goes on; one that stands still is dead.
    """

    name: str
    pool: str
    format: str | None = None
    size_bytes: int | None = None
    file_bytes: int | None = None
    source: str | None = None
    checksum: str | None = None
    source_checksum: str | None = None
    fetched_s: float | None = None
    claim: str = ""
    beat: int = 0
    path: str | None = None

    @property
    def key(self) -> VolumeKey:
        """The volume that it is in."""
        return VolumeKey(self.pool, self.name)

    @property
    def complete(self) -> bool:
        """Whether it can be used."""
        return not self.claim
