# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sentences that many tests of storage say."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import AnyvirtError
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import (
    Image,
    Pool,
    Volume,
    VolumeKey,
    VolumeSource,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.content import Content
from ansible_collections.anyvirt.compute.plugins.module_utils.undo import Undo
from contract import child
from contract.contents import ImageContent, TestContent, qcow2_image, sparse
from contract.platforms.base import Platform

SIZE = 8 * MIB
"""Of most volumes here; a multiple of what any hypervisor rounds sizes to."""
_LAST_WORDS_S = 0.2
"""How long what a process said just before it was killed may take to reach a server on this machine."""

SOMEWHERE = VolumeSource(path="/somewhere/on/the/controller")
"""What content comes from; drivers never look there."""


def wanted(platform: Platform, name: str, **over: Any) -> Volume:
    """A new volume, as a user asks for it."""
    return Volume(**{"name": name, "pool": platform.pool, "size_bytes": SIZE, **over})


def created(
    platform: Platform, storage: StorageDriver, name: str, content: Content | None = None, **over: Any
) -> Volume:
    """Make a volume and return what it reads back as."""
    if content is None:
        volume = storage.complete_volume(wanted(platform, name, **over))
    else:
        over = {"source": SOMEWHERE, "size_bytes": None, **over}
        volume = storage.complete_volume(wanted(platform, name, **over), content.facts)
    storage.create_volume(volume, content)
    return read(storage, volume.key)


def read(storage: StorageDriver, key: VolumeKey, snapshots: bool = False) -> Volume:
    return storage.get_volumes([key], snapshots=snapshots)[key]


def child_of(parent: Volume, name: str, **over: Any) -> Volume:
    """A copy-on-write child, as a user asks for it."""
    source = VolumeSource(volume=parent.name, copy_on_write=True)
    return Volume(**{"name": name, "pool": parent.pool, "source": source, **over})


def clone_of(parent: Volume, name: str, **over: Any) -> Volume:
    """A whole copy, as a user asks for it."""
    source = VolumeSource(volume=parent.name, copy_on_write=False)
    return Volume(**{"name": name, "pool": parent.pool, "source": source, **over})


def make(storage: StorageDriver, volume: Volume) -> Volume:
    """Complete and create it, and return what it reads back as."""
    completed = storage.complete_volume(volume)
    storage.create_volume(completed)
    return read(storage, completed.key)


def new_pool(platform: Platform, storage: StorageDriver, name: str = "other") -> Pool:
    """Make a pool that is active."""
    storage.create_pool(platform.storage.new_pool(name))
    storage.start_pool(name)
    return storage.get_pools()[name]


def unfinished(platform: Platform, storage: StorageDriver, name: str, **over: Any) -> VolumeKey:
    """Let a process die while it fills a volume."""
    content = sparse(SIZE, ends="killed")
    volume = storage.complete_volume(wanted(platform, name, **{"source": SOMEWHERE, **over}), content.facts)
    process = child.start(
        options=platform.options(), operation="storage", method="create_volume", arguments=(volume, content)
    )
    _output, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, errors.decode()
    time.sleep(_LAST_WORDS_S)
    platform.snapshot()  # waits for the end of what the server noticed
    return volume.key


def image_content(platform: Platform, size_bytes: int = SIZE) -> ImageContent | TestContent:
    """An image of the kind that instances can be made from here."""
    return qcow2_image(size_bytes) if platform.storage.image_format == "qcow2" else sparse(size_bytes)


def reserved(platform: Platform, storage: StorageDriver, name: str, claim: str = "me", **over: Any) -> Image:
    """Reserve the name of an image."""
    facts = image_content(platform).facts
    image = Image(
        **{"name": name, "pool": platform.pool, "format": facts.format, "size_bytes": facts.size_bytes, **over},
        claim=claim,
    )
    storage.reserve_image(image)
    return image


def cached(platform: Platform, storage: StorageDriver, name: str = "image") -> Image:
    """Put an image into the cache and return what it reads back as."""
    image = reserved(platform, storage, name)
    content = image_content(platform)
    image.file_bytes = storage.write_image(image, content)
    image.source = "https://images.example.org/image"
    image.checksum = "sha256:" + "0" * 64
    image.fetched_s = 1_700_000_000.0
    storage.finish_image(image)
    return storage.get_images()[image.key]


def discs(platform: Platform, storage: StorageDriver) -> list[VolumeKey]:
    """Two volumes for CD drives."""
    if platform.storage.disc_pool is not None:
        return platform.storage.make_discs()
    return [created(platform, storage, name, format="raw").key for name in ("disc1.iso", "disc2.iso")]


@contextmanager
def changes_nothing(platform: Platform) -> Iterator[None]:
    """The platform is after the body as it was before."""
    before = platform.snapshot()
    yield
    assert platform.snapshot() == before


def fail_each_call(
    platform: Platform, operation: Callable[[], Undo], times: int | None = None, about: str = ""
) -> None:
    """Make each call of an operation fail in turn: nothing has changed then, or it could do without that call and is
    undone by its own undo. Where each takes long, ``times``: only so many of them, the last ones; ``about``: only those
    in whose name this pattern is found."""
    before = platform.snapshot()
    with platform.calls.recording() as calls:
        undo = operation()
    undo()
    assert platform.snapshot() == before, "its undo takes back all of it"
    assert calls.writes
    first = 1 if times is None else max(1, len(calls) + 1 - times)
    for number in range(first, len(calls) + 1):
        if not re.search(about, calls[number - 1].name):
            continue
        told = f"call {number} of {len(calls)}: {calls[number - 1].name}"
        try:
            with platform.calls.recording(fail_at=number):
                undo = operation()
        except AnyvirtError as error:
            assert error.not_undone == [], told
            assert error.rolled_back is not False, told
        else:
            undo()
        assert platform.snapshot() == before, told
