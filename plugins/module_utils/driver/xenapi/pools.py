# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage pools: storage repositories with their connections to hosts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import NamedTuple

from ...errors import PoolNotEmpty, PoolNotFound, Problem, Unsupported, VolumeInUse
from ...model.storage import Pool
from ...undo import Undo, UndoStack
from ..storage import StorageDriver
from .devicechanges import DeviceChangesMixin
from .errors import code_of
from .places import is_data
from .poolkinds import NO_AUTOSTART, pool_problems, read_place
from .records import Object, Objects, device_uses

MARK = "anyvirt.compute"
"""Begins the description of storage repositories that the collection has made."""

_HOST_GONE = frozenset({"HOST_OFFLINE", "HOST_NOT_LIVE", "HOST_STILL_BOOTING", "CANNOT_CONTACT_HOST"})
_GONE = "HANDLE_INVALID"


class Repository(NamedTuple):
    """A storage repository.

    Attributes:
        links: Its connections to hosts (PBDs), those that count: of the host that the URI names, or all.
    """

    ref: str
    record: Object
    links: Objects

    @property
    def name(self) -> str:
        """What it is called."""
        return str(self.record["name_label"])

    @property
    def is_active(self) -> bool:
        """Whether a host has it at hand."""
        return any(link["currently_attached"] for link in self.links.values())


class PoolsMixin(DeviceChangesMixin, StorageDriver):
    """Pools that are there."""

    def default_pool(self) -> str:
        name = self.default_repository()
        if name is None:
            raise PoolNotFound("the pool of hosts has no default storage repository at hand; name a pool")
        return name

    def get_pools(self) -> dict[str, Pool]:
        with self.guard("list the storage pools"):
            named = self.repositories()
        chosen = {name: self.meant(found) for name, found in named.items()}
        return {name: _to_pool(one) for name, one in sorted(chosen.items()) if one is not None}

    def check_pool(self, pool: Pool) -> list[Problem]:
        return pool_problems(pool)

    def start_pool(self, name: str) -> Undo:
        pool = self.find_repository(name)
        with UndoStack() as done:
            self.plug_links(pool, done)
        return partial(done.take_back, f"the start of the storage pool {name!r}")

    def stop_pool(self, name: str) -> Undo:
        pool = self.find_repository(name)
        if pool.is_active:
            self._require_unused(pool, only_active=True)
        with UndoStack() as done:
            self.unplug_links(pool, done)
        return partial(done.take_back, f"the stop of the storage pool {name!r}")

    def delete_pool(self, name: str, delete_data: bool = False) -> None:
        with self.guard("look up the storage pools"):
            found = self.repositories().get(name)
        if not found:
            return
        pool = self._only_one(name, found)
        self._require_unused(pool, only_active=False)
        if delete_data:
            self._require_empty(pool)
        with UndoStack() as done:
            self.unplug_links(pool, done)
            with self.guard(f"remove the storage pool {name!r}"):
                try:
                    self.run_task("SR.destroy" if delete_data else "SR.forget", pool.ref)
                except self.api.library.Failure as failure:
                    if code_of(failure) != _GONE:
                        raise
        self.forget_places()

    def set_pool_autostart(self, name: str, autostart: bool) -> Undo:
        self.find_repository(name)
        if not autostart:
            raise Unsupported(f"the {self.name} driver cannot do this: {NO_AUTOSTART}")
        return nothing

    def refresh_pool(self, name: str) -> None:
        pool = self.find_active(name)
        with self.guard(f"look through the storage pool {name!r}"):
            self.run_task("SR.scan", pool.ref)
        self.forget_places()

    # -- what the other parts build on ------------------------------------------------------------------------------

    def repositories(self) -> dict[str, list[Repository]]:
        """All storage repositories by name, without those of other hosts than the one that the URI names; to be used
        within ``guard``."""
        chosen = self.chosen_host()
        srs, links = self.fetch("SR"), self.fetch("PBD")
        own: dict[str, dict[str, Object]] = {ref: {} for ref in srs}
        connected = set()
        for ref, link in links.items():
            connected.add(link["SR"])
            if link["SR"] in own and chosen is not None and link["host"] != chosen[0]:
                continue
            own.setdefault(link["SR"], {})[ref] = link
        named: dict[str, list[Repository]] = {}
        for ref, record in srs.items():
            if own[ref] or ref not in connected:
                one = Repository(ref, record, own[ref])
                named.setdefault(one.name, []).append(one)
        return named

    def find_repository(self, name: str) -> Repository:
        """The storage repository of this name.

        Raises:
            PoolNotFound: there is none, or nothing tells which of several is meant.
        """
        with self.guard("look up the storage pools"):
            found = self.repositories().get(name, [])
        if not found:
            raise PoolNotFound(f"there is no storage pool {name!r}")
        return self._only_one(name, found)

    def find_active(self, name: str) -> Repository:
        """The same of one that has to be active.

        Raises:
            PoolNotFound: it is not.
        """
        return require_active(self.find_repository(name))

    def _only_one(self, name: str, found: list[Repository]) -> Repository:
        meant = self.meant(found)
        if meant is None:
            uuids = ", ".join(sorted(one.record["uuid"] for one in found))
            raise PoolNotFound(
                f"{len(found)} storage repositories are named {name!r}, and nothing tells which is meant; name its "
                f"host with ?host= in the uri, or rename all but one (their UUIDs: {uuids})"
            )
        return meant

    @staticmethod
    def meant(found: list[Repository]) -> Repository | None:
        """The one of several that is meant: the one that the collection has made."""
        if len(found) == 1:
            return found[0]
        ours = [one for one in found if one.record["name_description"].startswith(MARK)]
        return ours[0] if len(ours) == 1 else None

    def plug_links(self, pool: Repository, done: UndoStack) -> None:
        """Let hosts connect with a repository; those that are off do so when they start."""
        reached = pool.is_active
        last: Exception | None = None
        for ref, link in pool.links.items():
            if link["currently_attached"]:
                continue
            done.push(f"disconnect a host from {pool.name}", partial(self._set_link, pool.name, ref, False))
            with self.guard(f"start the storage pool {pool.name!r}"):
                try:
                    self.run_task("PBD.plug", ref)
                    reached = True
                except self.api.library.Failure as failure:
                    if code_of(failure) not in _HOST_GONE:
                        raise
                    last = failure
        self.forget_places()
        if not reached:
            with self.guard(f"start the storage pool {pool.name!r}"):
                raise last if last is not None else PoolNotFound(f"no host is to connect with the pool {pool.name!r}")

    def unplug_links(self, pool: Repository, done: UndoStack) -> None:
        """Let hosts disconnect from a repository."""
        for ref, link in pool.links.items():
            if link["currently_attached"]:
                done.push(f"connect a host with {pool.name}", partial(self._set_link, pool.name, ref, True))
                with self.guard(f"stop the storage pool {pool.name!r}"):
                    self.run_task("PBD.unplug", ref)
        self.forget_places()

    def _set_link(self, name: str, ref: str, is_to_be: bool) -> None:
        with self.guard(f"{'start' if is_to_be else 'stop'} the storage pool {name!r}"):
            self.settle("PBD.plug", "PBD.unplug")
            if self.call("PBD.get_currently_attached", ref) != is_to_be:
                self.run_task("PBD.plug" if is_to_be else "PBD.unplug", ref)
        self.forget_places()

    def _require_unused(self, pool: Repository, only_active: bool) -> None:
        """Refuse to take a pool away whose volumes instances have."""
        with self.guard(f"see who uses the storage pool {pool.name!r}"):
            vdis, vbds, vms = self.fetch("VDI"), self.fetch("VBD"), self.fetch("VM")
        its = {ref: vdi for ref, vdi in vdis.items() if vdi["SR"] == pool.ref}
        uses = [use for those in device_uses(its, vbds, vms).values() for use in those]
        names = {use.instance for use in uses if use.active or not only_active}
        # What a suspended machine had in its memory is lost with the virtual disk that keeps it.
        names |= {vm["name_label"] for vm in vms.values() if vm["suspend_VDI"] in its and not vm["is_a_snapshot"]}
        if names:
            raise VolumeInUse(f"the storage pool {pool.name!r} has disks of {', '.join(sorted(names))}")

    def _require_empty(self, pool: Repository) -> None:
        with self.guard(f"see what is in the storage pool {pool.name!r}"):
            vdis = self.fetch("VDI").values()
        names = sorted({vdi["name_label"] for vdi in vdis if vdi["SR"] == pool.ref and is_data(vdi)})
        if names:
            raise PoolNotEmpty(f"there are volumes in the storage pool {pool.name!r}: {', '.join(names)}")


def require_active(pool: Repository) -> Repository:
    """Raises PoolNotFound for a pool that no host has at hand."""
    if not pool.is_active:
        raise PoolNotFound(f"the storage pool {pool.name!r} is not active: no host is connected with it")
    return pool


def _to_pool(one: Repository) -> Pool:
    record = one.record
    pool = Pool(one.name, autostart=True, shared=bool(record["shared"]), active=one.is_active)
    configs: Iterable[Mapping[str, str]] = (link["device_config"] for link in one.links.values())
    read_place(pool, record["type"], next(iter(configs), {}))
    if pool.active:
        total, used = (max(0, int(record[field])) for field in ("physical_size", "physical_utilisation"))
        pool.capacity_bytes, pool.used_bytes, pool.available_bytes = total, used, max(0, total - used)
    return pool


def nothing() -> None:
    """Nothing was done."""
