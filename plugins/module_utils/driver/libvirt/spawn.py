# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making instances."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from ...errors import AlreadyExists, AnyvirtError, HypervisorError, InsufficientCapacity, InvalidInput, Problem
from ...model.instance import CloudInit, Disk, Instance
from ...model.units import MIB, format_size
from ...undo import UndoStack
from ..imagepath import is_path
from ..seed import build_seed
from .check import CheckMixin, raise_first
from .destroy import DestroyMixin
from .domain import Domain
from .domain_disks import SEED
from .errors import OPERATION_FAILED, code_of
from .metadata import Record
from .recordkeeping import keep_record
from .storage import PoolFacts
from .volumexml import Backing

if TYPE_CHECKING:
    import libvirt


class _NewVolume(NamedTuple):
    """A volume to be made, with what it begins with."""

    pool: str
    volume: str
    size_bytes: int
    format: str
    backing: Backing | None
    content: bytes


class _Parts(NamedTuple):
    """What a new instance is made of: its disks as they are going to be, and what has to be made for them."""

    disks: list[Disk]
    pool: PoolFacts | None
    volumes: list[_NewVolume]


class SpawnMixin(DestroyMixin, CheckMixin):
    """The beginning of instances."""

    def spawn(self, instance: Instance, power_on: bool = True, paused: bool = False) -> None:
        self.require("spawn")
        if paused:
            self.require("start_paused")
        instance = self.complete(instance)
        parts = self._plan_parts(instance)
        instance = replace(instance, disks=parts.disks)
        domain = Domain.build(instance, self.host_facts(instance), self.console_log_path(instance.name))
        self.require_filterable(domain)
        is_filtered = domain.record.filtering.engine is not None
        domain.record.unfinished = bool(parts.volumes) or power_on or is_filtered
        try:
            self._make(instance, domain, parts, power_on, paused)
        except HypervisorError as error:
            self._explain(instance, error)
            raise
        finally:
            self.forget(instance.name)

    def _make(self, instance: Instance, domain: Domain, parts: _Parts, power_on: bool, paused: bool) -> None:
        name, record = instance.name, domain.record
        with UndoStack() as done:
            handle = self.define_new(domain, done)
            if parts.pool is not None:
                self.make_folder_pool(parts.pool.name, parts.pool.path, done)
            for volume in parts.volumes:
                self._make_volume(volume, done)
            if instance.autostart:
                with self.guard(f"let instance {name!r} start with the host"):
                    handle.setAutostart(1)
            self.put_filters(domain, done)
            if power_on:
                if self.has_console_log(domain):
                    done.push("remove the console log", lambda: self.remove_console_log(name))
                done.push("take it out of its groups", lambda: self.refresh_members_of(domain))
                with self.guard(f"start instance {name!r}"):
                    handle.createWithFlags(self.libvirt.VIR_DOMAIN_START_PAUSED if paused else 0)
                done.push("stop the instance", handle.destroy)
                self.refresh_members_of(domain)
            if record.unfinished:
                with self.guard(f"write the record of instance {name!r}", name):
                    self._finish(handle, record)

    def _explain(self, instance: Instance, error: HypervisorError) -> None:
        """Raise a better error than libvirt's when the host lacks something that the instance mentions."""
        try:
            self.require_host_has(instance)
            self._require_memory(instance)
        except AnyvirtError as reason:
            reason.undone, reason.not_undone = error.undone, error.not_undone
            reason.rolled_back = error.rolled_back
            raise reason from error

    def _require_memory(self, instance: Instance) -> None:
        """Raise when the host has less memory left than the instance needs, where that is why a start fails: the other
        hypervisors' hosts overcommit."""
        if self.kind != "xen" or instance.memory_mb is None:
            return
        with self.guard("read the host's free memory"):
            free_mb = self.conn.getFreeMemory() // MIB
        if instance.memory_mb > free_mb:
            raise InsufficientCapacity(
                f"instance {instance.name!r} needs {instance.memory_mb} MiB of memory; the host has {free_mb} MiB left"
            )

    # -- what it is made of -----------------------------------------------------------------------------------------

    def _plan_parts(self, instance: Instance) -> _Parts:
        """Look up what is there, and say where everything is going to be. Changes nothing."""
        new_pool = self._missing_pool(instance)
        pools: dict[str, PoolFacts] = {} if new_pool is None else {new_pool.name: new_pool}
        parts = _Parts([], new_pool, [])
        for number, disk in enumerate(instance.disks or []):
            if disk.owned and disk.pool is not None and disk.volume is not None:
                if disk.pool not in pools:
                    pools[disk.pool] = self.require_pool(disk.pool)
                path = self.volume_path(pools[disk.pool], disk.volume)
                volume = self._plan_new(instance, disk, disk.pool, disk.volume, f"disks[{number}].size")
                parts.volumes.append(volume)
                parts.disks.append(replace(disk, path=path, size_bytes=volume.size_bytes))
            elif disk.volume is not None and disk.pool is not None:
                path, facts = self.find_volume(disk.pool, disk.volume)
                raise_first(self.image_findings(f"disks[{number}]", disk, disk.pool, disk.volume))
                data_format, encrypted = disk.format or facts.format, facts.encrypted or None
                parts.disks.append(replace(disk, path=path, format=data_format, encrypted=encrypted))
            elif disk.path is not None and not disk.path.startswith("/dev/"):
                parts.disks.append(replace(disk, format=disk.format or self.image_facts(disk.path).format))
            else:
                parts.disks.append(disk)
        self._require_new(parts)
        return parts

    def _require_new(self, parts: _Parts) -> None:
        """Raise when a volume to be made is there: once it stands in the record of an unfinished instance it would be
        taken for what a killed spawn left."""
        made_later = None if parts.pool is None else parts.pool.name
        for taken in self.existing((new.pool, new.volume) for new in parts.volumes if new.pool != made_later):
            raise AlreadyExists(f"there is a volume {taken.name!r} in the storage pool {taken.pool!r} already")

    def _missing_pool(self, instance: Instance) -> PoolFacts | None:
        """The pool to be made for the instance, if any volume goes there and it is not there yet."""
        wanted = {disk.pool for disk in instance.disks or [] if disk.owned}
        if instance.pool is None or not instance.pool_path or instance.pool not in wanted:
            return None
        if self.find_pool(instance.pool) is not None:
            return None
        return PoolFacts(instance.pool, "dir", instance.pool_path)

    def _plan_new(self, instance: Instance, disk: Disk, pool: str, volume: str, option: str) -> _NewVolume:
        if disk.role == SEED:
            seed = build_seed(instance.cloud_init or CloudInit())
            return _NewVolume(pool, volume, len(seed), "raw", None, seed)
        size_bytes, backing = disk.size_bytes, None
        if disk.image is not None:
            backing, least = self._image_of(disk.image, pool)
            size_bytes = size_bytes or least
            if size_bytes < least:
                needed = format_size(least)
                raise InvalidInput([Problem(option, f"the image {disk.image!r} needs {needed}")])
        if size_bytes is None:
            raise InvalidInput([Problem(option, "a blank disk needs a size")])
        return _NewVolume(pool, volume, size_bytes, disk.format or "qcow2", backing, b"")

    def _image_of(self, image: str, pool: str) -> tuple[Backing, int]:
        """What a child of an image leans on, and the size of the disk in it."""
        if is_path(image):
            facts = self.usable_image(image)
            return Backing(image, facts.format), facts.size_bytes
        cached = self.require_image(image, pool)
        return Backing(cached.path or "", cached.format or "raw"), cached.size_bytes or 0

    # -- making it --------------------------------------------------------------------------------------------------

    def define_new(self, domain: Domain, done: UndoStack) -> libvirt.virDomain:
        """Define a domain that was not there."""
        name = domain.name
        try:
            handle = self.conn.defineXML(domain.text())
        except self.libvirt.libvirtError as error:
            if code_of(error) == OPERATION_FAILED and "already exists" in str(error):
                raise AlreadyExists(f"there is an instance named {name!r} already: {error}") from error
            with self.guard(f"define instance {name!r}"):
                raise
        done.push(f"undefine the instance {name}", lambda: self.undefine(name, handle))
        return handle

    def _make_volume(self, new: _NewVolume, done: UndoStack) -> None:
        volume = self.make_volume(new.pool, new.volume, new.size_bytes, new.format, done, new.backing)
        if new.content:
            self.upload(volume, new.content)

    def _finish(self, handle: libvirt.virDomain, record: Record) -> None:
        """Write the record without its mark, into the configuration and, where it runs, the running domain."""
        record.unfinished = False
        keep_record(self.libvirt, self.conn, handle, record)
