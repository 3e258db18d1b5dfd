# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The volumes of instances that are moved: made where they go to, and left where they come from.

A volume that is made for an arriving instance has a record beside it that says until the end that it is unfinished, and
for which migration it is. So nothing but what a migration made is removed when that is given up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Callable

from ...errors import AlreadyExists, ChecksumMismatch
from ...model.storage import VolumeKey
from ...transfer.content import Hole, Segment
from ...transfer.sparsedigest import SparseDigest
from ...undo import UndoStack
from ..base import ALL, NONE
from .domain import Domain
from .domain_disks import SEED
from .migrationdisks import DiskCopy, DiskPlan
from .migrationshared import SharedStorageMixin
from .uses import Volume
from .volumecreation import over_fresh
from .volumelist import Found, PoolView
from .volumeplans import QCOW2
from .volumerecord import VOLUME_SUFFIX
from .volumexml import volume_document

if TYPE_CHECKING:
    import libvirt


Passing = Callable[[Iterable[Segment]], Iterator[Segment]]
"""What lets data pass, and looks at them."""


class MigrationVolumesMixin(SharedStorageMixin):
    """Volumes of both ends."""

    # -- on the destination -----------------------------------------------------------------------------------------

    def make_arriving_volumes(
        self, source: MigrationVolumesMixin, plan: DiskPlan, migration: str, done: UndoStack
    ) -> None:
        """On the destination: make the volumes of ``plan.copies``. What nobody writes to (seeds) is filled; the others
        are blank, as large as they have to be, and lean on what they are to lean on.

        Args:
            migration: The id in the record, which the incoming instance has already with ``made_volumes``.

        Raises:
            AlreadyExists, InsufficientCapacity: ``done`` has what takes back all that was made.
        """
        for here, there in plan.secrets:
            self.keep_secret(f"the volume at {there!r}", there, source.readable_passphrase(here), done)
        for copy in plan.copies:
            made = self._make_arriving(copy, migration, done)
            if copy.at_once:
                with source.guard(f"look up the volume at {copy.source_path!r}"):
                    original = source.conn.storageVolLookupByPath(copy.source_path)
                self.fill_from(source.receive(original), made, copy)

    def settle_arrived_volumes(self, keys: Iterable[str], migration: str) -> None:
        """On the destination, when the instance lives there: these (``pool/name``, of the record) are ordinary volumes
        from now on. Fine when they are already."""
        for view, _name, record in self._claimed(keys, migration):
            payload = dict(self.read_record(record) or {})
            payload.pop("unfinished", None)
            if payload:
                self.save_record(record, payload)
            else:
                self.drop(record)
            self.look_again(view.handle)  # others than libvirt may have written what is in it

    def discard_arriving_volumes(self, keys: Iterable[str], migration: str) -> list[str]:
        """On the destination: remove those of these volumes that this migration made and did not settle; what was
        removed, in words. Only when the definition that names them is off or gone."""
        removed = []
        for view, name, _record in self._claimed(keys, migration):
            self.remove_all_of(view, name)
            removed.append(f"volume {view.name}/{name}")
        return removed

    def fill_from(
        self, segments: Iterable[Segment], made: libvirt.virStorageVol, copy: DiskCopy, beside: Passing = iter
    ) -> None:
        """Fill a volume that was made here with what comes from elsewhere, and compare what has arrived.

        Args:
            beside: What has arrived passes through it.

        Raises:
            ChecksumMismatch: something else is there now than came.
        """
        has_files = self.require_pool_view(copy.destination.pool).has_files
        with SparseDigest() as sent, SparseDigest() as arrived:
            coming: Iterable[Segment] = sent.watch(segments)
            if copy.format == QCOW2 and has_files:
                coming = over_fresh(iter(coming))
            length = self.send(made, coming, sparse=has_files)
            with closing(self.receive(made, sparse=has_files)) as there:
                for segment in beside(_first(there, length)):
                    arrived.add(segment)
            if sent.end() != arrived.end():
                raise ChecksumMismatch(f"what arrived in the volume {str(copy.destination)!r} is not what was sent")

    def _make_arriving(self, copy: DiskCopy, migration: str, done: UndoStack) -> libvirt.virStorageVol:
        pool, name = copy.destination
        view = self.require_pool_view(pool, [name])
        if name in view.volumes or name + VOLUME_SUFFIX in view.volumes:
            raise AlreadyExists(f"there is a volume {name!r} in the storage pool {pool!r} of the destination already")
        claimed = {**copy.remembered, "unfinished": migration}
        record = self.make_record(view.handle, name + VOLUME_SUFFIX, claimed)
        done.push(f"remove the record of the volume {copy.destination}", lambda: self.drop(record))
        document = volume_document(
            name,
            copy.size_bytes,
            copy.format,
            copy.backing,
            allocation_bytes=0 if view.has_files else copy.size_bytes,
        )
        return self.make_described(view, name, document, 0, done)

    def _claimed(self, keys: Iterable[str], migration: str) -> Iterator[tuple[PoolView, str, libvirt.virStorageVol]]:
        """Those of the volumes that a migration made and that are still its own, each with its record."""
        for key in keys:
            pool, _slash, name = key.partition("/")
            view = self.look(pool, [name])
            record = None if view is None else view.volumes.get(name + VOLUME_SUFFIX)
            if view is None or record is None:
                continue
            payload = self.read_record(record)
            # Whoever was killed before it was written had not made the volume yet.
            if (payload or {}).get("unfinished") == migration or (payload is None and name not in view.volumes):
                yield view, name, record

    # -- on the source ----------------------------------------------------------------------------------------------

    def bytes_to_copy(self, found: Found, copy: DiskCopy, there: PoolView) -> int:
        """What of a volume has to be sent at most, to a pool of the destination."""
        if not there.has_files:
            return copy.size_bytes
        size_bytes = found.facts.allocation_bytes
        if copy.is_flattened and found.facts.backing is not None:
            base = self.volume_handle(found.facts.backing)
            below = None if base is None else self.facts_of(base)
            size_bytes += copy.size_bytes if below is None else below.allocation_bytes
        return min(size_bytes, copy.size_bytes + found.facts.allocation_bytes)

    def volumes_left_behind(self, domain: Domain, keys: Iterable[str], delete_volumes: str) -> list[Volume]:
        """On the source, of an instance that lives elsewhere: those of its copied volumes (``keys`` of the outgoing
        record) that ``delete_volumes`` (``own``, ``all``, ``none``) dooms and nobody else needs: for ``note_removal``
        and ``delete_all``, as ``destroy`` does it. Seeds go always, as they do there."""
        roles = {VolumeKey(owned.pool, owned.volume): owned.role for owned in domain.record.owned}
        doomed = []
        for key in keys:
            pool, _slash, name = key.partition("/")
            role = roles.get(VolumeKey(pool, name))
            is_own = role is not None and (role == SEED or delete_volumes != NONE)
            if is_own or delete_volumes == ALL:
                doomed.append((pool, name))
        return self.unneeded(self.existing(doomed), but=domain.name)


def _first(segments: Iterable[Segment], length: int) -> Iterator[Segment]:
    """The first so many bytes: devices are longer than what was written to them."""
    for segment in segments if length else ():
        has = segment.length if isinstance(segment, Hole) else len(segment)
        if has >= length:
            yield Hole(length) if isinstance(segment, Hole) else segment[:length]
            return
        yield segment
        length -= has
