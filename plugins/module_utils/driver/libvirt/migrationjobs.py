# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs that move instances: what goes on, how far it is, and ending it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from ...errors import HypervisorError, InstanceNotFound
from ...model.migration import Migration, MigrationPlan, MigrationProgress, MigrationResult
from .domain import Domain
from .errors import NO_DOMAIN, NO_SUPPORT, OPERATION_INVALID, OPERATION_UNSUPPORTED, code_of
from .instances import InstancesMixin
from .recordkeeping import parse_configuration

if TYPE_CHECKING:
    import libvirt

_READERS = 4
_MOVING = ("migration_in", "migration_out")

# virDomainState and its reasons; the numbers are part of libvirt's ABI.
PAUSED = 3
SHUTOFF = 5
BY_USER = 1
BY_POST_COPY = 12
BY_FAILED_POST_COPY = 13
HALVED = ((1, 10), (1, 11), (PAUSED, BY_POST_COPY), (PAUSED, BY_FAILED_POST_COPY))
"""States and reasons of a domain of whose memory each host has a part."""


class MigrationJobsMixin(InstancesMixin):
    """Looking at jobs."""

    def get_migrations(self, names: Collection[str] | None = None) -> dict[str, Migration]:
        with self.guard("list the instances"):
            handles = [handle for handle in self.conn.listAllDomains(0) if not self.is_host_itself(handle)]
        wanted = [handle for handle in handles if names is None or handle.name() in names]
        from concurrent.futures import ThreadPoolExecutor  # takes long to import, and most runs do without

        with ThreadPoolExecutor(_READERS) as readers:
            found = readers.map(self._read_migration, wanted)
            return {handle.name(): one for handle, one in zip(wanted, found) if one is not None}

    def _read_migration(self, handle: libvirt.virDomain) -> Migration | None:
        try:
            config = parse_configuration(handle, handle.XMLDesc(self.libvirt.VIR_DOMAIN_XML_INACTIVE))
            progress = self.progress_of(handle) if handle.isActive() else None
        except self.libvirt.libvirtError as error:
            if code_of(error) == NO_DOMAIN:
                return None  # it went meanwhile
            with self.guard("read the state of an instance"):
                raise
        moving = config.record.moving
        if moving is None and progress is None:
            return None
        return Migration(None if moving is None else moving.migration, progress)

    def progress_of(self, handle: libvirt.virDomain) -> MigrationProgress | None:
        """How far the migration of a domain is that goes on; None where none does.

        Raises:
            libvirtError: as libvirt says it.
        """
        try:
            stats = handle.jobStats(0)
        except self.libvirt.libvirtError as error:
            code = code_of(error)
            if code == OPERATION_UNSUPPORTED and self.kind == "qemu":
                return MigrationProgress("memory")  # it arrives: only the source has numbers
            if code in (NO_DOMAIN, OPERATION_INVALID, NO_SUPPORT, OPERATION_UNSUPPORTED):
                return None
            raise
        if stats.get("type", 0) == self.libvirt.VIR_DOMAIN_JOB_NONE:
            return None
        moves = {getattr(self.libvirt, f"VIR_DOMAIN_JOB_OPERATION_{name.upper()}") for name in _MOVING}
        if "operation" in stats and stats["operation"] not in moves:
            return None
        state, reason = handle.state()
        return read_progress(stats, reason if state == PAUSED else None)

    def abort_migration(self, name: str) -> bool:
        handle = self.lookup(name)
        with self.guard(f"abort the migration of instance {name!r}", name):
            progress = self.progress_of(handle)
            if progress is None:
                return False
            self.require("migration_abort")
            if progress.phase == "post_copy":
                raise HypervisorError(
                    f"the migration of instance {name!r} is in post-copy: each host has a part of its memory, and "
                    "there is no way back; wait for its end or, where it broke off, run the task that moves it again"
                )
            try:
                handle.abortJob()
            except self.libvirt.libvirtError as error:
                if code_of(error) != OPERATION_INVALID:
                    raise
                return False  # it has ended by itself
        return True

    def takes_part_in(self, plan: MigrationPlan) -> bool:
        """Whether the instance is here and is being moved by this plan, and not by another one since."""
        try:
            moving = self.fresh_document(plan.name).record.moving
        except InstanceNotFound:
            return False
        return moving is not None and moving.migration.id == plan.record.id

    def fresh_document(self, name: str, handle: libvirt.virDomain | None = None) -> Domain:
        """An instance's configuration of now, whole."""
        handle = self.lookup(name) if handle is None else handle
        flags = self.libvirt.VIR_DOMAIN_XML_INACTIVE | self.libvirt.VIR_DOMAIN_XML_SECURE
        with self.guard(f"read the configuration of instance {name!r}", name):
            return parse_configuration(handle, handle.XMLDesc(flags))


def read_progress(stats: Mapping[str, Any], paused_by: int | None = None) -> MigrationProgress:
    """libvirt's job statistics in our words.

    Args:
        paused_by: The reason for which the guest stands still, where it does.
    """
    total, left = stats.get("data_total"), stats.get("data_remaining")
    disk_left, begun = stats.get("disk_remaining", 0), bool(stats.get("memory_processed"))
    page_size, dirty_pages = stats.get("memory_page_size"), stats.get("memory_dirty_rate")
    if not begun and not stats.get("disk_total"):
        phase, left = "setup", None
    elif paused_by in (BY_POST_COPY, BY_FAILED_POST_COPY):
        phase = "post_copy"
    elif paused_by == BY_USER and left:
        phase = "paused"
    elif disk_left and not begun:
        phase = "disks"
    elif left == 0:
        phase = "finishing"
    else:
        phase = "memory"
    rate = stats.get("memory_bps") if begun else stats.get("disk_bps")
    elapsed_ms = stats.get("time_elapsed")
    return MigrationProgress(
        phase=phase,
        percent=100.0 * (total - left) / total if total and left is not None else None,
        total_bytes=total or None,
        done_bytes=max(0, total - left) if total and left is not None else None,
        left_bytes=left,
        rate=rate,
        dirty_rate=page_size * dirty_pages if page_size and dirty_pages is not None else None,
        iteration=stats.get("memory_iteration"),
        expected_downtime_ms=stats.get("downtime"),
        elapsed_s=None if elapsed_ms is None else elapsed_ms / 1000,
    )


def read_result(stats: Mapping[str, Any], is_post_copy: bool) -> MigrationResult:
    """libvirt's statistics of a completed job in our words."""
    return MigrationResult(
        total_ms=stats.get("time_elapsed"),
        downtime_ms=stats.get("downtime"),
        memory_bytes=stats.get("memory_processed"),
        disk_bytes=stats.get("disk_processed"),
        iterations=stats.get("memory_iteration"),
        post_copy=is_post_copy,
    )
