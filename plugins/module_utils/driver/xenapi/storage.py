# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes: virtual disks made, filled, attached and deleted."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Callable, NamedTuple

from ...errors import InvalidInput, Problem, VolumeInUse
from ...model.instance import SEED, CloudInit, Disk, Instance
from ...model.units import format_size
from ...undo import UndoStack
from ..seed import build_seed
from ..uri import ConnectionOptions
from .check import CheckMixin
from .errors import code_of
from .images import LocalImage, chunks_of, is_file, look_at
from .metadata import CLONE_TAG, VolumeRecord, foreign_keys, new_id, read_record, read_volume_record, with_record
from .places import Found
from .records import NULL, Object
from .vmfields import new_vbd

GONE = "HANDLE_INVALID"
MARKED_ALREADY = "MAP_DUPLICATE_KEY"
_BUSY = frozenset({"OTHER_OPERATION_IN_PROGRESS", "VDI_IN_USE", "VM_BAD_POWER_STATE"})
"""What is said of objects with which something is still done, perhaps for a client that is gone."""
_SECTOR = 512
_PATIENCE_S = 20.0
_PAUSE_S = 0.2


class NewVolume(NamedTuple):
    """A volume to be made, with what it begins with.

    Attributes:
        repository: The reference of the storage repository.
        source: An image file to be uploaded, a virtual disk to be cloned, bytes to be written, or nothing.
        whole: It shares nothing with its source, though it could.
        sharable: Several machines may write to it at once.
    """

    name: str
    pool: str
    repository: str
    size_bytes: int
    record: VolumeRecord
    source: LocalImage | Found | bytes | None
    whole: bool = False
    sharable: bool = False

    @property
    def is_clone(self) -> bool:
        """Whether it shares what it begins with."""
        return isinstance(self.source, Found) and self.source.record["SR"] == self.repository and not self.whole


@dataclass
class Made:
    """What has come of making something so far.

    Attributes:
        marked: The source that bears our mark, of a clone.
        is_lost: Nobody has told us what came of it, so it may still be on its way.
    """

    ref: str | None = None
    marked: str | None = None
    is_lost: bool = False


class StorageMixin(CheckMixin):
    """Virtual disks."""

    def __init__(self, options: ConnectionOptions) -> None:
        super().__init__(options)
        self._clone_locks: dict[str, threading.Lock] = {}
        self._clone_locks_guard = threading.Lock()

    # -- planning ---------------------------------------------------------------------------------------------------

    def plan_volume(self, instance: Instance, disk: Disk, owner: str, option: str) -> NewVolume:
        """Look up what a completed disk's volume is made of, and where.

        Args:
            owner: The id of the instance's record.
            option: How messages call the disk's size.

        Raises:
            PoolNotFound, ImageNotFound, InvalidInput: as they say.
        """
        pool, name = disk.pool, disk.volume
        if pool is None or name is None:
            raise InvalidInput([Problem("pool", "the pool of hosts has no default storage repository; name one")])
        repository = self.find_pool(pool, instance.hypervisor.get("affinity") or None).ref
        source: LocalImage | Found | bytes | None = None
        size_bytes, least = disk.size_bytes, 0
        if disk.role == SEED:
            source = build_seed(instance.cloud_init or CloudInit())
            size_bytes = least = -(-len(source) // _SECTOR) * _SECTOR
        elif disk.image is not None and is_file(disk.image):
            source = self._usable_file(disk.image, option)
            least = source.size_bytes
        elif disk.image is not None:
            source = self.find_image(disk.image, pool)
            least = int(source.record["virtual_size"])
        size_bytes = size_bytes or least
        if not size_bytes:
            raise InvalidInput([Problem(option, "a blank disk needs a size")])
        if size_bytes < least:
            raise InvalidInput([Problem(option, f"the image {disk.image!r} needs {format_size(least)}")])
        record = VolumeRecord(owner, instance.name, disk.role, disk.image, size_bytes, making=new_id())
        return NewVolume(name, pool, repository, size_bytes, record, source)

    def _usable_file(self, path: str, option: str) -> LocalImage:
        file = look_at(path)
        if file is None or file.obstacle is not None:
            raise InvalidInput([Problem(option, f"there is no file {path!r}" if file is None else str(file.obstacle))])
        return file

    # -- making -----------------------------------------------------------------------------------------------------

    def make_volume(self, new: NewVolume, done: UndoStack) -> str:
        """Make a volume; its reference. Whatever becomes of it, ``done`` knows how to remove it."""
        made = Made()
        done.push(f"delete the volume {new.pool}/{new.name}", lambda: self.unmake(new, made))
        self.begin_volume(new, made)
        self.fill_volume(new, str(made.ref))
        return str(made.ref)

    def begin_volume(self, new: NewVolume, made: Made) -> None:
        """Make a virtual disk of the volume's name with its record: a clone, or empty."""
        with self.guard(f"make the volume {new.name!r} in the storage pool {new.pool!r}"), self.noticing(made):
            source = new.source
            if isinstance(source, Found) and new.is_clone:
                self._clone_vdi(new, source, made)
            elif isinstance(source, Found):
                made.ref = self._create_vdi(new, int(source.record["virtual_size"]))
            else:
                made.ref = self._create_vdi(new, new.size_bytes)

    def fill_volume(self, new: NewVolume, ref: str) -> None:
        """Bring into it what it begins with, and make it as large as it is to be."""
        source = new.source
        if isinstance(source, Found):
            with self.guard(f"make the volume {new.name!r} in the storage pool {new.pool!r}"):
                if not new.is_clone:
                    self.run_task("VDI.copy", source.ref, NULL, NULL, ref)
                if new.size_bytes > int(source.record["virtual_size"]):
                    self.run_task("VDI.resize", ref, str(new.size_bytes))
        elif source is not None:
            self._write_content(new, ref, source)

    def attach(self, vm: str, disk: Disk, vdi: str | None, bootable: bool = False) -> str:
        """Give a VM that is off a disk or CD drive; the VBD's reference."""
        with self.guard(f"attach the disk {disk.device}"):
            return str(self.call("VBD.create", new_vbd(vm, disk, vdi, bootable)))

    def write_volume_record(self, ref: str, vdi: Object, record: VolumeRecord | None) -> None:
        """Replace our record of a volume; what other tools keep with it stays. To be used within ``guard``."""
        self.call("VDI.set_other_config", ref, with_record(vdi["other_config"], record))

    def keep_volume(self, ref: str, record: VolumeRecord) -> None:
        """Write the record of a volume that was doomed; what other tools keep with it stays. To be used within
        ``guard``."""
        now = self.call("VDI.get_other_config", ref)
        self.call("VDI.set_other_config", ref, with_record(now, replace(record, doomed=False)))

    def delete_vdi(self, ref: str, name: str) -> bool:
        """Delete a virtual disk; False when it is gone already."""
        with self.guard(f"delete the volume {name!r}"):
            try:
                self.run_task("VDI.destroy", ref)
            except self.api.library.Failure as failure:
                if code_of(failure) == GONE:
                    return False
                raise
        return True

    @contextmanager
    def noticing(self, made: Made) -> Iterator[None]:
        """Note whether we know what came of the calls within."""
        try:
            yield
        except BaseException as error:
            made.is_lost = not self.is_answer(error)
            raise

    def is_answer(self, error: BaseException) -> bool:
        """Whether the server itself says that something failed."""
        return isinstance(error, self.api.library.Failure) or bool(code_of(error))

    def settle(self, *methods: str) -> None:
        """Wait for the end of what the server does of this kind now: it may have been asked for by a client that is
        gone, or whose connection broke."""
        names = {f"Async.{method}" for method in methods}
        deadline = time.monotonic() + _PATIENCE_S
        with self.guard("see what the server is doing"):
            going_on = self._pending(names)
            while going_on and time.monotonic() < deadline:
                time.sleep(_PAUSE_S)
                going_on &= self._pending(names)

    def _pending(self, names: Collection[str]) -> set[str]:
        tasks = self.fetch("task").items()
        return {ref for ref, task in tasks if task["status"] == "pending" and task["name_label"] in names}

    def when_free(self, action: Callable[[], object]) -> None:
        """Do something that the server refuses while it still works on what a client that is gone asked for."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                action()
                return
            except Exception as error:
                if code_of(error) not in _BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(_PAUSE_S)

    def require_idle(self, ref: str, name: str) -> None:
        """Raises VolumeInUse for a virtual disk with which the server has something to do for longer than it takes to
        notice that a client is gone: whoever asked for that is alive."""
        deadline = time.monotonic() + _PATIENCE_S
        with self.guard(f"see what is done with the volume {name!r}"):
            while any(vdi["VBDs"] or vdi["current_operations"] for vdi in self.fetch_refs("VDI", [ref]).values()):
                if time.monotonic() > deadline:
                    raise VolumeInUse(f"the volume {name!r} is being filled by somebody else")
                time.sleep(_PAUSE_S)

    def _create_vdi(self, new: NewVolume, size_bytes: int) -> str:
        record = {
            "name_label": new.name,
            "name_description": "",
            "SR": new.repository,
            "virtual_size": str(size_bytes),
            "type": "user",
            "sharable": new.sharable,
            "read_only": False,
            "other_config": with_record({}, new.record),
        }
        ref = str(self.run_task("VDI.create", record))
        self.labels[ref] = new.name
        return ref

    def _write_content(self, new: NewVolume, ref: str, source: LocalImage | bytes) -> None:
        """Upload a file, or some bytes, as they are."""
        if isinstance(source, bytes):
            content, length = partial(iter, (source,)), len(source)
        else:
            content, length = partial(chunks_of, source.path), source.file_bytes
        with self.guard(f"write the volume {new.name!r} in the storage pool {new.pool!r}"):
            self.upload(ref, content, length)

    # -- clones -----------------------------------------------------------------------------------------------------

    def _clone_vdi(self, new: NewVolume, source: Found, made: Made) -> None:
        """Clone a virtual disk. A clone has all that its source has, so the source is marked meanwhile: a clone that
        was not brought to its end bears the mark too, and is named after its instance as soon as it can be."""
        mark = f"{CLONE_TAG}{new.record.owner}"
        made.marked = source.ref
        with self.alone_with(source.ref):
            try:
                self._mark_source(source, mark, new.record.owner)
                made.ref = self.run_task("VDI.clone", source.ref, {})
                self.call("VDI.set_name_label", made.ref, new.name)
                kept = foreign_keys(source.record["other_config"])
                record = replace(new.record, parent=source.record["uuid"])
                self.call("VDI.set_other_config", made.ref, with_record(kept, record))
            except BaseException as error:
                made.is_lost = not self.is_answer(error)
                with suppress(Exception):  # what is left then is found by unmake
                    self._unmark(new, made)
                raise
            self._unmark(new, made)

    def _mark_source(self, source: Found, mark: str, owner: str) -> None:
        try:
            self.call("VDI.add_to_other_config", source.ref, mark, source.record["uuid"])
        except self.api.library.Failure as failure:
            if code_of(failure) != MARKED_ALREADY:
                raise
            # An earlier run has been killed while it made a clone for the same instance.
            self.settle("VDI.clone")
            for ref, vdi in self.find_made(owner):
                if mark in vdi["other_config"] and not vdi["VBDs"]:
                    self.delete_vdi(ref, vdi["name_label"])
            self.call("VDI.add_to_other_config", source.ref, mark, source.record["uuid"])

    def _unmark(self, new: NewVolume, made: Made) -> None:
        if made.marked is None:
            return
        if made.ref is None and made.is_lost:
            self.settle("VDI.clone")  # or the clone would not have the mark, and nothing would tell what it is
        self.call("VDI.remove_from_other_config", made.marked, f"{CLONE_TAG}{new.record.owner}")
        made.marked = None

    @contextmanager
    def alone_with(self, source: str) -> Iterator[None]:
        """One clone of a source at a time, so that it bears one mark; its repository makes them one by one anyway."""
        with self._clone_locks_guard:
            lock = self._clone_locks.setdefault(source, threading.Lock())
        with lock:
            yield

    def unmake(self, new: NewVolume, made: Made) -> None:
        """Delete a volume of which perhaps nobody has told us that it was made."""
        with self.guard("take a mark off the source of a clone"):
            self._unmark(new, made)
        if made.ref is not None:
            ref = made.ref
            self.when_free(lambda: self.delete_vdi(ref, new.name))
            return
        if made.is_lost:
            self.settle("VDI.create")
        for ref, vdi in self.find_made(new.record.owner, new.record.making):
            if not vdi["VBDs"]:  # an instance's present seed disk has the name of the new one
                self.delete_vdi(ref, new.name)

    def find_made(self, owner: str, making: str | None = None) -> list[tuple[str, Object]]:
        """The virtual disks made for a record, or the one of this ``making``, with clones of which this was not written
        yet; the marks on the clones' sources are taken away."""
        mark = f"{CLONE_TAG}{owner}"
        found = []
        with self.guard("look for what was made"):
            for ref, vdi in self.fetch("VDI").items():
                if vdi["is_a_snapshot"]:
                    continue  # it has the marks and the record of what it is a snapshot of
                kept, marked = read_volume_record(vdi), vdi["other_config"].get(mark)
                if marked == vdi["uuid"]:
                    self.call("VDI.remove_from_other_config", ref, mark)
                if marked not in (None, vdi["uuid"]):
                    is_ours = not self._is_anothers(vdi, mark)
                else:
                    is_ours = kept is not None and (kept.owner, kept.making) == (owner, making or kept.making)
                if is_ours:
                    found.append((ref, vdi))
        return found

    def _is_anothers(self, clone: Object, mark: str) -> bool:
        """Whether an unfinished clone bears the mark of another spawn that has not ended too, in another process: it
        cannot be told whose it is then, and that one looks for it itself."""
        others = {key[len(CLONE_TAG) :] for key in clone["other_config"] if key.startswith(CLONE_TAG) and key != mark}
        if not others:
            return False
        records = (read_record(vm) for vm in self.fetch("VM").values())
        return any(record is not None and record.id in others for record in records)
