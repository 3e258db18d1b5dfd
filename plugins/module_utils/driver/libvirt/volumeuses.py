# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who uses volumes, in the words of the contract."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple, TypeVar
from xml.etree.ElementTree import Element

from ...errors import VolumeInUse
from ...model.storage import VolumeKey, VolumeUse, VolumeUses
from .errors import NO_DOMAIN, NO_STORAGE_POOL, NO_STORAGE_VOL, code_of
from .scratch import is_scratch
from .volumerecord import RecordsMixin
from .volumexml import read_volume
from .xmltext import from_libvirt

_VANISHED = (NO_DOMAIN, NO_STORAGE_POOL, NO_STORAGE_VOL)
_MANY = 5
_Item = TypeVar("_Item")


class DiskUse(NamedTuple):
    """A disk of an instance.

    Attributes:
        pool, volume: Where the domain names them instead of a path.
        format: As the hypervisor is told, in its words.
        chain: The path of its data, then those of the files that this leans on, as far as the domain tells; without
            symbolic links.
    """

    instance: str
    device: str
    active: bool
    read_only: bool
    pool: str | None
    volume: str | None
    format: str | None
    chain: tuple[str, ...]


class VolumeUsesMixin(RecordsMixin):
    """Looking for users."""

    def volume_uses(self, keys: Collection[VolumeKey]) -> dict[VolumeKey, VolumeUses]:
        uses = {key: VolumeUses() for key in keys}
        if not uses:
            return uses
        with self.guard("find out who uses a volume"):
            places, backing = self._all_places()
        names = {path: str(key) for key, path in places.items()}
        keys_at: dict[str, list[VolumeKey]] = {}
        for key in uses:
            if key in places:
                keys_at.setdefault(places[key], []).append(key)
        for disk in self.all_disks():
            use = VolumeUse(disk.instance, disk.device, disk.active, disk.read_only)
            chain = list(disk.chain)
            if disk.pool is not None and disk.volume is not None:
                named = VolumeKey(disk.pool, disk.volume)
                if named not in places and named in uses:
                    _add(uses[named].instances, use)
                chain[:0] = [places[named]] if named in places and places[named] not in chain else []
            for number, path in enumerate(chain):
                for key in keys_at.get(path, ()):
                    if number == 0:
                        _add(uses[key].instances, use)
                    elif chain[number - 1] not in backing:  # a file in no pool leans on it
                        _add(uses[key].children, chain[number - 1])
        for child, base in sorted(backing.items()):
            for key in keys_at.get(base, ()):
                _add(uses[key].children, names[child])
        return uses

    def all_disks(self) -> list[DiskUse]:
        """The disks of all instances, as they are configured and, where that differs, as they are in running ones."""
        lib = self.libvirt
        found: list[DiskUse] = []
        with self.guard("read the instances' disks"):
            running = self.conn.listAllDomains(lib.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
            active = {domain.UUIDString() for domain in running}
            # Those that run first: one that stops meanwhile is then listed twice and not missed.
            for domain in [*running, *self.conn.listAllDomains(lib.VIR_CONNECT_LIST_DOMAINS_INACTIVE)]:
                if is_scratch(domain):
                    continue
                is_active = domain.UUIDString() in active
                try:
                    texts = [domain.XMLDesc(0)] if is_active else []
                    if not is_active or domain.isPersistent():
                        texts.append(domain.XMLDesc(lib.VIR_DOMAIN_XML_INACTIVE))
                except lib.libvirtError as error:
                    if code_of(error) not in _VANISHED:
                        raise
                    continue
                for text in texts:
                    for disk in _disks_of(from_libvirt(text), domain.name(), is_active):
                        _add(found, disk._replace(chain=self._whole_chain(disk)))
        return found

    def _whole_chain(self, disk: DiskUse) -> tuple[str, ...]:
        """The chain without symbolic links. libvirt looks into disks of running domains only; of the others, the files
        that can be seen from here are asked what they lean on, since they may be in no pool."""
        chain = [self.real_path(path) for path in disk.chain]
        if len(chain) == 1 and disk.format != "raw" and not disk.active:
            chain += self.files_below(chain[0])
        return tuple(chain)

    def require_no_writer(self, key: VolumeKey, what: str) -> None:
        """Raise VolumeInUse when an active instance may be writing to a volume."""
        self.require_quiet([use for use in self.volume_uses([key])[key].instances if not use.read_only], key, what)

    def require_unwritten(self, key: VolumeKey) -> None:
        """Raise VolumeInUse when an instance, though it be off, will write to a volume that another is to lean on."""
        writers = sorted({use.instance for use in self.volume_uses([key])[key].instances if not use.read_only})
        if writers:
            raise VolumeInUse(
                f"nothing can lean on the volume {str(key)!r}, which {some(writers)} writes to when it runs; have a "
                "whole copy, or detach it there first"
            )

    def require_quiet(self, uses: Iterable[VolumeUse], key: VolumeKey, what: str) -> None:
        """Raise VolumeInUse when an active instance is among the uses."""
        users = sorted({use.instance for use in uses if use.active})
        if users:
            raise VolumeInUse(f"the volume {str(key)!r} cannot be {what} while {some(users)} uses it; stop that first")

    def _all_places(self) -> tuple[dict[VolumeKey, str], dict[str, str]]:
        """The path of each volume of all active pools, and what each leans on, by its own path; both without symbolic
        links."""
        places: dict[VolumeKey, str] = {}
        backing: dict[str, str] = {}
        for pool, text in self.volume_texts():
            facts = read_volume(text)
            path = places[VolumeKey(pool.name(), facts.name)] = self.real_path(facts.path)
            if facts.backing is not None:
                backing[path] = self.real_path(facts.backing)
        return places, backing


def some(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    found = [repr(name) for name in names]
    more = f" and {len(found) - _MANY} more" if len(found) > _MANY else ""
    return ", ".join(found[:_MANY]) + more


def _disks_of(domain: Element, instance: str, active: bool) -> Iterator[DiskUse]:
    for disk in domain.iterfind("devices/disk"):
        source, target, driver = disk.find("source"), disk.find("target"), disk.find("driver")
        paths = [found.get("file") or found.get("dev") for found in disk.iter("source")]
        yield DiskUse(
            instance,
            "" if target is None else target.get("dev", ""),
            active,
            disk.find("readonly") is not None,
            None if source is None else source.get("pool"),
            None if source is None else source.get("volume"),
            None if driver is None else driver.get("type"),
            tuple(path for path in paths if path),
        )


def _add(found: list[_Item], item: _Item) -> None:
    if item not in found:
        found.append(item)
