# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is in a pool for instances to use: storage repositories, networks, hosts, templates and images by name.

It is remembered for some seconds, so that many spawns ask for it once.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from ...errors import AnyvirtError, ImageNotFound, NetworkNotFound, NotFound, PoolNotFound, VolumeNotFound
from ...model.instance import Instance, Nic
from ..uri import ConnectionOptions
from .instances import InstancesMixin
from .metadata import CLONE_TAG, is_finished, read_volume_record
from .provision import planned_disks
from .query import any_of
from .records import NULL, Object, Objects, to_instance

IS_NO_DISK = frozenset(
    {"suspend", "crashdump", "ha_statefile", "metadata", "redo_log", "rrd", "pvs_cache", "cbt_metadata"}
)
"""Types of VDIs that hold something else than a disk."""

_HOLDS_S = 10.0
"""How long what is known is good for the next spawn."""


class Found(NamedTuple):
    """Something with a name, and where it is."""

    ref: str
    record: Object


@dataclass
class Template:
    """A VM template.

    Attributes:
        like: What it is, in the terms of an instance, with the disks that it has and those that it plans.
    """

    ref: str
    record: Object
    like: Instance


_Thing = TypeVar("_Thing", Found, Template)


class Places:
    """What is in the pool, as of when it was first asked for."""

    def __init__(self, driver: InstancesMixin) -> None:
        self._driver = driver
        self.ends = time.monotonic() + _HOLDS_S
        self._vdis: dict[str, list[Found]] = {}
        self._templates: dict[str, list[Template]] = {}

    @functools.cached_property
    def pool(self) -> Found:
        """The pool itself."""
        with self._driver.guard("read the pool"):
            return Found(*self._driver.pool())

    @functools.cached_property
    def srs(self) -> Objects:
        """The storage repositories that at least one host has at hand."""
        with self._driver.guard("list the storage repositories"):
            found = self._driver.fetch("SR")
        return {ref: record for ref, record in found.items() if self.hosts_of(ref)}

    @functools.cached_property
    def networks(self) -> Objects:
        """The networks."""
        with self._driver.guard("list the networks"):
            return self._driver.fetch("network")

    @functools.cached_property
    def hosts(self) -> Objects:
        """The hosts."""
        with self._driver.guard("list the hosts"):
            return self._driver.fetch("host")

    def hosts_of(self, repository: str) -> set[str]:
        """The hosts that have a repository at hand."""
        return self._plugged.get(repository, set())

    @functools.cached_property
    def _plugged(self) -> dict[str, set[str]]:
        plugged: dict[str, set[str]] = {}
        with self._driver.guard("list the storage repositories"):
            for record in self._driver.fetch("PBD").values():
                if record["currently_attached"]:
                    plugged.setdefault(record["SR"], set()).add(record["host"])
        return plugged

    def vdis(self, names: Iterable[str], fresh: bool = False) -> dict[str, list[Found]]:
        """The virtual disks of these names, snapshots and clones in the making left out. One call for all that are
        not known yet, or, when they have to be ``fresh``, for all."""
        wanted = set(names)
        known = {} if fresh else self._vdis.copy()  # other threads forget them meanwhile
        unknown = wanted - known.keys()
        if unknown:
            with self._driver.guard("find the virtual disks"):
                found = self._driver.fetch("VDI", any_of("name__label", unknown))
            new: dict[str, list[Found]] = {name: [] for name in unknown}
            for ref, record in found.items():
                if record["name_label"] in new and is_disk(record):
                    new[record["name_label"]].append(Found(ref, record))
            self._vdis.update(new)
            known.update(new)
        return {name: known[name] for name in wanted}

    def forget_vdis(self) -> None:
        """Some of them are not there any more."""
        self._vdis.clear()

    def templates(self, name: str) -> list[Template]:
        """The templates of this name."""
        if name not in self._templates:
            driver = self._driver
            with driver.guard(f"read the template {name!r}"):
                vms = driver.fetch("VM", any_of("name__label", [name]))
                those = {
                    ref: vm
                    for ref, vm in vms.items()
                    if vm["is_a_template"] and not vm["is_a_snapshot"] and vm["name_label"] == name
                }
                survey = driver.survey(those) if those else None
            self._templates[name] = [
                Template(ref, vm, _with_planned_disks(to_instance(ref, vm, survey), vm))
                for ref, vm in those.items()
                if survey is not None
            ]
        return self._templates[name]


def _with_planned_disks(like: Instance, template: Object) -> Instance:
    disks = like.disks or []
    there = {disk.device for disk in disks}
    planned = [disk for disk in planned_disks(template["other_config"]) if disk.device not in there]
    return replace(like, disks=disks + planned)


def is_disk(vdi: Object) -> bool:
    """Whether a VDI is a disk to be used: no snapshot, nothing of the pool's own, no clone that is not finished."""
    if vdi["is_a_snapshot"] or not is_data(vdi):
        return False
    kept = read_volume_record(vdi)
    if kept is not None and (kept.unfinished or (kept.replaces is not None and not is_finished(vdi))):
        return False
    return not is_unclaimed(vdi)


def is_data(vdi: Object) -> bool:
    """Whether a VDI holds what somebody keeps in it, and not something of the pool's own."""
    return bool(vdi["managed"]) and not vdi["missing"] and vdi["type"] not in IS_NO_DISK


def is_unclaimed(vdi: Object) -> bool:
    """Whether a VDI is a clone that was made and of which nothing has been written yet."""
    return any(key.startswith(CLONE_TAG) and source != vdi["uuid"] for key, source in vdi["other_config"].items())


class PlacesMixin(InstancesMixin):
    """Finding things of the pool by their names."""

    def __init__(self, options: ConnectionOptions) -> None:
        super().__init__(options)
        self._places: Places | None = None
        self._places_lock = threading.Lock()

    def places(self) -> Places:
        """What is known of the pool."""
        with self._places_lock:
            if self._places is None or self._places.ends < time.monotonic():
                self._places = Places(self)
            return self._places

    def forget_places(self) -> None:
        """What was known may not be so any more: ask anew the next time."""
        with self._places_lock:
            self._places = None

    def default_repository(self) -> str | None:
        """The name of the storage repository that the pool uses where none is named."""
        repository = self.places().srs.get(self.places().pool.record["default_SR"])
        return None if repository is None else str(repository["name_label"])

    def find_pool(self, name: str, near: str | None = None) -> Found:
        """The storage repository of this name that hosts have at hand.

        Args:
            near: Name of the host that it has to be at hand on; of several of one name, that one is meant.

        Raises:
            PoolNotFound: there is none, or nothing tells which of several is meant.
        """
        places = self.places()
        near = near or self.options.query().get("host")
        found = [Found(ref, record) for ref, record in places.srs.items() if record["name_label"] == name]
        if len(found) > 1 and near is not None:
            found = [one for one in found if any(_named(places.hosts, host, near) for host in places.hosts_of(one.ref))]
        several = f"storage repositories are named {name!r}; name a host, with xenapi.affinity or ?host= in the uri"
        return _only(found, f"there is no active pool {name!r}", several, PoolNotFound)

    def find_network(self, nic: Nic) -> Found:
        """The network that a NIC is to be on.

        Raises:
            NetworkNotFound: there is none, or nothing tells which of several is meant.
        """
        field_name, name = ("network", nic.network) if nic.network is not None else ("bridge", nic.bridge)
        key = "name_label" if nic.network is not None else "bridge"
        found = [Found(ref, record) for ref, record in self.places().networks.items() if record[key] == name]
        none = f"there is no {'active network' if nic.network is not None else 'bridge'} {name!r}"
        several = f"networks have the {field_name} {name!r}; name one by its bridge"
        return _only(found, none, several, NetworkNotFound)

    def find_host(self, name: str) -> Found:
        """The host of this name.

        Raises:
            NotFound: there is none.
        """
        found = [Found(ref, record) for ref, record in self.places().hosts.items() if record["name_label"] == name]
        return _only(
            found, f"there is no host {name!r} in the pool", f"hosts are named {name!r}; rename all but one", NotFound
        )

    def find_template(self, name: str) -> Template:
        """The template of this name.

        Raises:
            NotFound: there is none, or nothing tells which of several is meant.
        """
        several = f"templates are named {name!r}; rename all but one"
        return _only(self.places().templates(name), f"there is no template {name!r} in the pool", several, NotFound)

    def find_image(self, name: str, pool: str | None) -> Found:
        """The virtual disk of this name that disks are made from; of several that in ``pool`` is meant.

        Raises:
            ImageNotFound: there is none, or nothing tells which of several is meant.
        """
        found = self._with_repository(self.places().vdis([name])[name])
        if len(found) > 1 and pool is not None:
            found = [one for one in found if self.pool_of(one.record) == pool] or found
        none = f"there is no virtual disk {name!r} in the pool's storage"
        return _only(
            found,
            none,
            f"virtual disks are named {name!r}; rename all but one, or give the pool of the one that is meant",
            ImageNotFound,
        )

    def find_volume(self, name: str, pool: str) -> Found:
        """The virtual disk of this name in a storage repository.

        Raises:
            VolumeNotFound: there is none, or nothing tells which of several is meant.
        """
        found = [one for one in self.places().vdis([name])[name] if self.pool_of(one.record) == pool]
        several = f"virtual disks in the pool {pool!r} are named {name!r}; rename all but one"
        return _only(found, f"there is no volume {name!r} in the pool {pool!r}", several, VolumeNotFound)

    def pool_of(self, vdi: Object) -> str | None:
        """The name of the storage repository that a virtual disk is in; None where no host has it at hand."""
        repository = self.places().srs.get(vdi["SR"])
        return None if repository is None else str(repository["name_label"])

    def _with_repository(self, found: Collection[Found]) -> list[Found]:
        return [one for one in found if one.record["SR"] in self.places().srs]


def _named(objects: Objects, ref: str, name: str) -> bool:
    return ref != NULL and ref in objects and objects[ref]["name_label"] == name


def _only(found: list[_Thing], none: str, several: str, error: type[AnyvirtError]) -> _Thing:
    if not found:
        raise error(none)
    if len(found) > 1:
        uuids = ", ".join(sorted(one.record["uuid"] for one in found))
        raise error(f"{len(found)} {several} (their UUIDs: {uuids})")
    return found[0]
