# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contents of VDIs: blocks in one sparse temporary file, shared between clones until one of them is written."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import weakref
from collections.abc import Iterator
from typing import Any

BLOCK = 2 * 1024 * 1024  # a VHD allocates in blocks of this size, and rounds virtual sizes up to it

_ZERO_BLOCK = bytes(BLOCK)
_PIECE = 1024 * 1024


class VdiStore:
    """Volumes by name. Blocks that hold only zeros are not kept, so equal contents have equal digests."""

    def __init__(self) -> None:
        # Closed when the store is: what it holds must live as long as the server.
        self._file = tempfile.TemporaryFile(prefix="xenapi-vdis-")  # noqa: SIM115
        self._lock = threading.RLock()
        self._volumes: dict[str, dict[int, int]] = {}  # name -> number of the block in it -> slot in the file
        self._groups: dict[str, str] = {}
        self._sizes: dict[str, int] = {}
        self._taken: dict[str, int] = {}
        self._users: dict[int, int] = {}
        self._digests: dict[int, bytes] = {}
        self._free: list[int] = []
        self._slots = 0

    def close(self) -> None:
        self._file.close()

    def create(self, name: str, group: str, size: int) -> None:
        """A new volume of `size` bytes, all zero. Volumes of one group can share blocks."""
        with self._lock:
            if name in self._volumes:
                raise ValueError(f"there is a volume {name} already")
            self._volumes[name] = {}
            self._groups[name] = group
            self._sizes[name] = size

    def size(self, name: str) -> int:
        with self._lock:
            return self._sizes[name]

    def resize(self, name: str, size: int) -> None:
        """Make a volume larger."""
        with self._lock:
            self._sizes[name] = size

    def names(self, group: str) -> list[str]:
        """The volumes of a group."""
        with self._lock:
            return [name for name, its_group in self._groups.items() if its_group == group]

    def exists(self, name: str) -> bool:
        with self._lock:
            return name in self._volumes

    def destroy(self, name: str) -> None:
        """Forget a volume; unknown names are fine."""
        with self._lock:
            group = self._groups.pop(name, "")
            self._sizes.pop(name, None)
            for slot in self._volumes.pop(name, {}).values():
                self._release(slot, group)

    def clone(self, source: str, name: str) -> None:
        """Make `name` a copy of `source` in its group, sharing its blocks until either is written."""
        with self._lock:
            self.create(name, self._groups[source], self._sizes[source])
            self._volumes[name] = dict(self._volumes[source])
            for slot in self._volumes[name].values():
                self._users[slot] += 1

    def copy(self, source: str, name: str) -> None:
        """Write what `source` holds into the existing volume `name`, over all that it held."""
        with self._lock:
            group, size = self._groups[name], self._sizes[name]
            self.destroy(name)
            self.create(name, group, size)
            for index, slot in self._volumes[source].items():
                self._write_block(name, index, 0, os.pread(self._file.fileno(), BLOCK, slot * BLOCK))

    def write(self, name: str, offset: int, data: bytes) -> None:
        with self._lock:
            position = 0
            while position < len(data):
                index, start = divmod(offset + position, BLOCK)
                piece = data[position : position + BLOCK - start]
                self._write_block(name, index, start, piece)
                position += len(piece)

    def read(self, name: str, offset: int, length: int) -> bytes:
        parts: list[bytes] = []
        with self._lock:
            blocks = self._volumes[name]
            end = offset + length
            while offset < end:
                index, start = divmod(offset, BLOCK)
                size = min(BLOCK - start, end - offset)
                slot = blocks.get(index)
                parts.append(bytes(size) if slot is None else os.pread(self._file.fileno(), size, slot * BLOCK + start))
                offset += size
        return b"".join(parts)

    def pieces(self, name: str, size: int) -> Iterator[bytes]:
        """The first `size` bytes, in pieces that fit into memory."""
        for offset in range(0, size, _PIECE):
            yield self.read(name, offset, min(_PIECE, size - offset))

    def written(self, name: str) -> list[int]:
        """The numbers of the blocks of ``BLOCK`` bytes that are not all zero."""
        with self._lock:
            return sorted(self._volumes[name])

    def allocated(self, name: str) -> int:
        """Bytes that the volume's own and shared blocks take."""
        with self._lock:
            return len(self._volumes[name]) * BLOCK

    def owned(self, name: str) -> int:
        """Bytes in blocks that no other volume shares."""
        with self._lock:
            return sum(BLOCK for slot in self._volumes[name].values() if self._users[slot] == 1)

    def occupied(self, group: str) -> int:
        """Bytes that the group's volumes take together, shared blocks counted once."""
        with self._lock:
            return self._taken.get(group, 0) * BLOCK

    def new_bytes(self, name: str, offset: int, length: int) -> int:
        """How many bytes a write there would newly allocate."""
        if length <= 0:
            return 0
        with self._lock:
            blocks = self._volumes[name]
            indexes = range(offset // BLOCK, (offset + length - 1) // BLOCK + 1)
            return sum(BLOCK for index in indexes if index not in blocks or self._users[blocks[index]] > 1)

    def digest(self, name: str) -> str:
        """A hash of the content, of the blocks that are not all zero."""
        whole = hashlib.sha256()
        with self._lock:
            for index, slot in sorted(self._volumes[name].items()):
                whole.update(index.to_bytes(8, "big") + self._digest_of(slot))
        return whole.hexdigest()

    def _digest_of(self, slot: int) -> bytes:
        known = self._digests.get(slot)
        if known is None:
            content = os.pread(self._file.fileno(), BLOCK, slot * BLOCK).ljust(BLOCK, b"\0")
            known = self._digests[slot] = hashlib.sha256(content).digest()
        return known

    def _write_block(self, name: str, index: int, start: int, piece: bytes) -> None:
        blocks = self._volumes[name]
        slot = blocks.get(index)
        if len(piece) == BLOCK:
            content = piece
        else:
            old = _ZERO_BLOCK if slot is None else os.pread(self._file.fileno(), BLOCK, slot * BLOCK)
            content = old[:start] + piece + old[start + len(piece) :]
        if slot is not None:
            del blocks[index]
            self._release(slot, self._groups[name])
        if content != _ZERO_BLOCK:
            new = self._take_slot(self._groups[name])
            os.pwrite(self._file.fileno(), content, new * BLOCK)
            blocks[index] = new

    def _take_slot(self, group: str) -> int:
        if self._free:
            slot = self._free.pop()
        else:
            slot = self._slots
            self._slots += 1
        self._users[slot] = 1
        self._taken[group] = self._taken.get(group, 0) + 1
        return slot

    def _release(self, slot: int, group: str) -> None:
        self._users[slot] -= 1
        if not self._users[slot]:
            del self._users[slot]
            self._taken[group] -= 1
            self._digests.pop(slot, None)
            self._free.append(slot)


_STORES: weakref.WeakKeyDictionary[Any, VdiStore] = weakref.WeakKeyDictionary()
_STORES_LOCK = threading.Lock()


def store_of(database: object) -> VdiStore:
    """The contents that belong to this pool's database; they go when it goes."""
    with _STORES_LOCK:
        store = _STORES.get(database)
        if store is None:
            store = _STORES[database] = VdiStore()
            weakref.finalize(database, store.close)
        return store
