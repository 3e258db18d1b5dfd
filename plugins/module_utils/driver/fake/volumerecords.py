# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a volume's record looks like.

Beside ``pool``, ``name``, ``size_bytes``, ``format``, ``owner`` (the instance whose spawn made it) and ``backing`` (as
``pool/name``, or a path), which all have, there may be:

* ``uuid``: tells it from an earlier one of its name;
* ``making``: it is unfinished, and this file among the data is locked by the process that makes it;
* ``reserved_bytes``: room that is kept for it while it is being made;
* ``data``, ``data_bytes``, ``allocated_bytes``: the file with its bytes, how many of them are its, and how many of
  those are no holes;
* ``data_format``, ``data_size_bytes``: the format that they make up, and the size of the disk in it;
* ``preallocation``, ``shareable``, ``metadata``, ``lock`` (what a passphrase is checked against);
* ``snapshots``: ``name``, ``created_s`` and what the volume was then;
* ``image``: it is one of the image cache.
"""

from __future__ import annotations

import hashlib
import hmac
import os

from ...model.storage import FALLOC, FULL, Image, Volume, VolumeSnapshot
from .store import VOLUMES, Record, View

_SALT_BYTES = 16
_ROUNDS = 50000

DATA = ("data", "data_bytes", "allocated_bytes", "data_format", "data_size_bytes")
"""Fields of a record that tell of a file with data."""

STATE = ("size_bytes", *DATA)
"""Fields that tell what is in a volume; a snapshot keeps them."""


def is_complete(volume: Record | None) -> bool:
    """Whether there is a volume, and it can be used."""
    return volume is not None and not volume.get("making") and not volume.get("image", {}).get("claim")


def data_of(view: View, state: Record, backing: str | None) -> Record:
    """What is in a volume, as the part of a record: its own data, or that of the volumes that it leans on."""
    seen: set[str] = set()
    while "data" not in state and backing is not None and backing not in seen:
        seen.add(backing)
        below = view.get(VOLUMES, backing)
        if below is None:
            break
        state, backing = below, below["backing"]
    return {field: state[field] for field in DATA if field in state}


def allocation_of(volume: Record) -> int:
    """Bytes that are really taken."""
    if volume.get("preallocation") in (FALLOC, FULL):
        return int(volume["size_bytes"])
    return int(volume.get("allocated_bytes", 0))


def room_of(volume: Record) -> int:
    """Bytes that a pool has to have for it: all that it may grow to."""
    if "reserved_bytes" in volume:
        return int(volume["reserved_bytes"])
    kept: int = sum(snapshot.get("allocated_bytes", 0) for snapshot in volume.get("snapshots", ()))
    if "image" in volume:
        return kept + int(volume["image"].get("file_bytes") or volume["size_bytes"])
    return kept + int(volume["size_bytes"])


def to_volume(record: Record, folder: str | None, snapshots: bool) -> Volume:
    """The volume that a record tells of; ``folder`` is its pool's, ``snapshots``: tell these too."""
    complete = is_complete(record)
    return Volume(
        name=record["name"],
        pool=record["pool"],
        size_bytes=record["size_bytes"],
        format=record["format"],
        shareable=record.get("shareable", False),
        metadata=dict(record.get("metadata", {})),
        encrypted="lock" in record,
        allocation_bytes=allocation_of(record),
        backing=record["backing"],
        path=f"{folder}/{record['name']}" if folder else None,
        unfinished=not complete,
        is_image="image" in record,
        snapshots=[VolumeSnapshot(item["name"], item["created_s"]) for item in record.get("snapshots", ())]
        if snapshots
        else None,
    )


def to_image(record: Record, folder: str | None) -> Image:
    """The image that a record tells of."""
    return Image(
        **record["image"],
        name=record["name"],
        pool=record["pool"],
        format=record["format"],
        size_bytes=record["size_bytes"],
        path=f"{folder}/{record['name']}" if folder else None,
    )


def new_lock(passphrase: str) -> str:
    """What a passphrase can be checked against, and not be found out from."""
    salt = os.urandom(_SALT_BYTES)
    return f"{salt.hex()}:{_derived(passphrase, salt)}"


def passphrase_problem(key: str, volume: Record, passphrase: str | None) -> str | None:
    """Why a volume is not to be had with this passphrase."""
    if "lock" not in volume:
        return f"the volume {key} is not encrypted; leave it out" if passphrase else None
    if not passphrase:
        return f"is needed for the encrypted volume {key}"
    salt, _colon, wanted = volume["lock"].partition(":")
    if not hmac.compare_digest(_derived(passphrase, bytes.fromhex(salt)), wanted):
        return f"is not the one of the encrypted volume {key}"
    return None


def _derived(passphrase: str, salt: bytes) -> str:
    return hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, _ROUNDS).hex()
