# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moving what runs."""

from __future__ import annotations

import threading
import time
from concurrent import futures
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import (
    AnyvirtError,
    HypervisorError,
    HypervisorUnavailable,
    InstanceDuplicated,
    InstanceMigrating,
    InstanceNotFound,
    MigrationAborted,
    MigrationFailed,
)
from ...model import migration as words
from ...model import power_state
from ...model.migration import MigrationPlan, MigrationProgress, MigrationResult
from ..migration import MigrationDriver
from ..oversight import Oversight
from .domain import Domain
from .errors import NO_DOMAIN, OPERATION_ABORTED, OPERATION_INVALID, code_of, translate
from .migrationdisks import DiskPlan
from .migrationend import MigrationEndMixin
from .migrationjobs import BY_FAILED_POST_COPY, PAUSED, SHUTOFF, read_result
from .migrationparameters import is_peer_to_peer, live_flags, live_parameters
from .migrationplan import LibvirtPlan, MigrationPlansMixin
from .migrationpostcopy import GLANCE_S, NOTICE_S, READY, STUCK, WHOLE, half_on, hangs, words_of
from .states import to_power_state

if TYPE_CHECKING:
    import libvirt

_POLL_S = 0.25
"""How often it is looked how far a migration is; its end is noticed at once."""

_END_S = 20.0
"""How long a migration that was aborted, or broke off, may take to end or go on."""


class LiveMigrationMixin(MigrationEndMixin, MigrationPlansMixin):
    """On the source: live migration."""

    def migrate_instance(
        self, destination: MigrationDriver, plan: MigrationPlan, oversight: Oversight
    ) -> MigrationResult:
        if not isinstance(destination, LiveMigrationMixin):
            raise TypeError("the destination is no libvirt host")
        if plan.mode != words.LIVE:
            self.require_own(destination, plan)
            result = self.copy_volumes(destination, plan, plan.private.disks, oversight)
            self.note_moved(plan.name)  # before the destination may be used
            destination.note_moved(plan.name)
            return result
        handle = self.lookup(plan.name)
        with self.guard(f"look at the migration of instance {plan.name!r}", plan.name):
            has_broken = is_broken_post_copy(handle)
            goes_on = bool(handle.isActive()) and self.progress_of(handle) is not None
        run = _Run(self, destination, plan, oversight, handle)
        if has_broken:
            if run.has_all_there():
                return run.end_here()
            run.resume()
        elif not goes_on and plan.private is not None:
            self.require_own(destination, plan)
            run.begin()
        return run.follow()

    def require_own(self, destination: LiveMigrationMixin, plan: MigrationPlan) -> None:
        """Raise InstanceMigrating where another task has begun to move the instance at the same moment: of two, the one
        goes on whose record both ends have."""
        for driver, end in ((self, "source"), (destination, "destination")):
            if not driver.takes_part_in(plan):
                raise InstanceMigrating(
                    f"another task moves instance {plan.name!r} too, or has given this migration up: its record on the "
                    f"{end} is not that of this task; run the task again"
                )


class _Run:
    """One live migration, from the source's side."""

    def __init__(
        self,
        source: LiveMigrationMixin,
        destination: LiveMigrationMixin,
        plan: MigrationPlan,
        oversight: Oversight,
        handle: libvirt.virDomain,
    ) -> None:
        self._source = source
        self._destination = destination
        self._plan = plan
        self._oversight = oversight
        self._handle = handle
        self._library = source.libvirt
        self._outcome: futures.Future[None] | None = None
        self._wanted: str | None = None
        self._done: set[str] = set()
        self._is_cut_off = False
        self._aborted_at: float | None = None
        self._broken_at: float | None = None
        self._paused_at: float | None = None
        self._resumes = False

    def begin(self) -> None:
        """Have libvirt begin."""
        plan, wishes, library = self._plan, self._plan.wishes, self._library
        private: LibvirtPlan = plan.private
        flags = live_flags(library, wishes, private.disks, self._source.kind)
        with self._source.guard(f"prepare the migration of instance {plan.name!r}", plan.name):
            if wishes.max_downtime_ms is not None:
                self._handle.migrateSetMaxDowntime(wishes.max_downtime_ms, 0)
            document = self._document(private)
            if private.snapshots:
                self._source.drop_snapshots(self._handle)
        self._start(flags, live_parameters(library, wishes, private.disks, document, self._destination.options))

    def has_all_there(self) -> bool:
        """Of a post-copy migration that broke off: whether that was after the last page had arrived.

        Raises:
            HypervisorError: libvirt cannot go on with it.
        """
        self._done.add(words.POST_COPY)
        what = half_on(self._destination, self._plan.name, NOTICE_S)
        if what not in (READY, WHOLE):
            raise HypervisorError(words_of(self._plan.name, what, None))
        return what == WHOLE

    def end_here(self) -> MigrationResult:
        """End what is left here of a guest all of which is on the destination."""
        with self._source.guard(f"end what is left of instance {self._plan.name!r}", self._plan.name):
            self._handle.destroy()
        return self._moved()

    def resume(self) -> None:
        """Have libvirt go on with a post-copy migration that broke off, as after a failure of the network."""
        self._resumes = True
        wishes, library, no_disks = self._plan.wishes, self._library, DiskPlan()
        flags = live_flags(library, replace(wishes, post_copy=True), no_disks, self._source.kind)
        parameters = live_parameters(library, wishes, no_disks, None, self._destination.options)
        self._start(flags | library.VIR_MIGRATE_POSTCOPY_RESUME, parameters)

    def _start(self, flags: int, parameters: dict[str, Any]) -> None:
        """Make libvirt's call, in a thread and on connections of its own: it lasts until the end."""
        name, wishes, outcome = self._plan.name, self._plan.wishes, futures.Future[None]()
        here = self._source.open_another()
        try:
            with self._source.guard(f"look up instance {name!r}", name):
                handle = here.lookupByName(name)
            there = None if is_peer_to_peer(wishes) else self._destination.open_another()
        except BaseException:
            self._source.close_another(here)
            raise

        def migrate() -> None:
            try:
                if there is None:
                    handle.migrateToURI3(wishes.peer_uri or self._destination.options.uri, parameters, flags)
                else:
                    handle.migrate3(there, parameters, flags)
            except BaseException as error:
                outcome.set_exception(error)
            else:
                outcome.set_result(None)
            finally:
                self._source.close_another(here)
                if there is not None:
                    self._destination.close_another(there)

        threading.Thread(target=migrate, name=f"anyvirt-migrate-{name}", daemon=True).start()
        self._outcome = outcome

    def _document(self, private: LibvirtPlan) -> str:
        """The running domain as the destination is to have it."""
        accepted = self._destination.lookup(self._plan.name)
        inactive = self._library.VIR_DOMAIN_XML_INACTIVE
        there = Domain.parse(accepted.XMLDesc(inactive))
        running = Domain.parse(self._handle.XMLDesc(self._source.migratable))
        private.redirect(running, self._plan.wishes.networks)
        running.record = there.record
        return running.text()

    # -- while it goes on -------------------------------------------------------------------------------------------

    def follow(self) -> MigrationResult:
        """Wait for the end, doing what the oversight says meanwhile."""
        try:
            while not self._has_ended():
                self._look()
                self._require_patience()
        except HypervisorUnavailable:
            raise
        except BaseException:
            # An interrupt, say: it must not go on with nobody looking after it.
            with suppress(self._library.libvirtError):
                self._handle.abortJob()
            if self._outcome is not None:
                futures.wait([self._outcome], _END_S)
            raise
        return self._judge()

    def _require_patience(self) -> None:
        """Raise where an aborted migration does not end: while disks are copied, QEMU waits for a host that it does not
        reach any more until TCP gives up, which takes a quarter of an hour."""
        if self._aborted_at is not None and time.monotonic() > self._aborted_at + _END_S:
            raise HypervisorUnavailable(
                f"the migration of instance {self._plan.name!r} was aborted, and its hypervisor has not ended it after "
                f"{_END_S:g} s, as where the network between the hosts is cut; the guest runs on where it was. Run the "
                "task again when that is mended"
            )

    def _has_ended(self) -> bool:
        if self._broken_at is not None and time.monotonic() > self._broken_at + _END_S:
            return True  # while the destination's QEMU waits for memory, its daemon does not answer libvirt's call
        if self._outcome is not None:
            return bool(futures.wait([self._outcome], _POLL_S).done)
        time.sleep(_POLL_S)
        with self._source.guard(f"look at the migration of instance {self._plan.name!r}"):
            try:
                has_ended = not self._handle.isActive() or self._source.progress_of(self._handle) is None
                return has_ended or is_broken_post_copy(self._handle)
            except self._library.libvirtError as error:
                if code_of(error) != NO_DOMAIN:
                    raise
                return True

    def _look(self) -> None:
        try:
            progress = self._source.progress_of(self._handle) or MigrationProgress("setup")
            if progress.phase == words.POST_COPY or self._resumes:
                self._done.add(words.POST_COPY)
                is_broken = is_broken_post_copy(self._handle)
                self._broken_at = (self._broken_at or time.monotonic()) if is_broken else None
            self._wanted = self._oversight.heed(progress) or self._wanted
            if self._wanted is None and not self._is_cut_off and self._lost_destination():
                self._is_cut_off, self._wanted = True, words.ABORT
            if self._wanted is not None and self._do(self._wanted):
                self._wanted = None
        except self._library.libvirtError as error:
            if self._outcome is None:
                raise translate(error, f"follow the migration of instance {self._plan.name!r}") from error
            # What libvirt's own call says about it tells more.

    def _lost_destination(self) -> bool:
        """Whether the destination's daemon is gone. libvirt does not look before it is time to end; where the source's
        daemon talks to it by itself, it does."""
        if self._outcome is None or is_peer_to_peer(self._plan.wishes):
            return False
        return not self._destination.conn.isAlive()

    def _do(self, what: str) -> bool:
        """Whether it could be done; otherwise it is too early, or too late."""
        try:
            if what == words.ABORT:
                self._handle.abortJob()
                self._aborted_at = self._aborted_at or time.monotonic()
            elif what == words.PAUSE:
                began = time.monotonic()
                self._handle.suspend()
                self._paused_at = began
            else:
                self._handle.migrateStartPostCopy(0)
        except self._library.libvirtError as error:
            if code_of(error) != OPERATION_INVALID:
                raise
            return False
        self._done.add(what)
        return True

    # -- afterwards -------------------------------------------------------------------------------------------------

    def _judge(self) -> MigrationResult:
        """Find out what came of it. Where the guest is counts, and not only what the call said, whose last answer may
        have been lost.

        It is not let run on here while it may run there.
        """
        error, here = self._error(), self._look_at(self._source)
        if here is not None and here == (PAUSED, BY_FAILED_POST_COPY):
            what = half_on(self._destination, self._plan.name, GLANCE_S)
            is_unanswered = self._resumes and self._outcome is not None and not self._outcome.done()
            if what == READY and is_unanswered and hangs(self._destination, self._plan.name, GLANCE_S):
                what = STUCK
            if what == WHOLE:
                return self.end_here()
            raise HypervisorError(words_of(self._plan.name, what, error)) from error
        if error is None and self._outcome is not None and self._outcome.done():
            return self._moved()
        there = self._look_at(self._destination)
        if here is None:
            raise HypervisorUnavailable(
                f"the host that instance {self._plan.name!r} is moved from does not answer any more: {error}"
            ) from error
        if here.is_executing:
            if there is not None and there.is_executing:
                raise InstanceDuplicated(f"instance {self._plan.name!r} runs on both hosts: {error}") from error
            raise self._failure(error) from error
        if there is None:
            raise HypervisorUnavailable(
                f"the host that instance {self._plan.name!r} is moved to does not answer any more, and the guest may "
                f"run there: {error}"
            ) from error
        if there.is_executing or (there.is_active and not here.is_active):
            return self._moved()
        if here.is_active:
            self._let_run_on()
        raise self._failure(error) from error

    def _error(self) -> libvirt.libvirtError | None:
        error = None if self._outcome is None or not self._outcome.done() else self._outcome.exception()
        if error is not None and not isinstance(error, self._library.libvirtError):
            raise error
        return error

    def _look_at(self, driver: LiveMigrationMixin) -> _Guest | None:
        """The guest on one end; None where nobody answers."""
        try:
            with driver.guard("look at the migrated instance", self._plan.name):
                state, reason = driver.lookup(self._plan.name).state()
        except InstanceNotFound:
            return _Guest(SHUTOFF, 0)
        except HypervisorUnavailable:
            return None
        return _Guest(state, reason)

    def _let_run_on(self) -> None:
        """Let the guest, which has not left, run on here."""
        if not self._plan.record.paused:
            self._source.let_run(self._plan.name, self._handle)

    def _failure(self, error: libvirt.libvirtError | None) -> AnyvirtError:
        name = self._plan.name
        if words.ABORT in self._done and not self._is_cut_off:
            return self._oversight.aborted()
        if self._is_cut_off:
            return MigrationFailed(f"the host that instance {name!r} was being moved to does not answer any more")
        if error is not None and code_of(error) == OPERATION_ABORTED:
            return MigrationAborted(f"somebody aborted the migration of instance {name!r}: {error}")
        return MigrationFailed(f"instance {name!r} could not be moved: {error or 'the hypervisor gave up'}")

    def _moved(self) -> MigrationResult:
        record = self._plan.record
        if record.start and not record.paused:
            self._destination.let_run(self._plan.name, self._destination.lookup(self._plan.name))
        result = self._figures()
        if self._paused_at is None or result.downtime_ms is None:
            return result
        # libvirt does not count the time until one that it found paused was let run.
        stood_still_ms = int((time.monotonic() - self._paused_at) * 1000)
        return result._replace(downtime_ms=max(result.downtime_ms, stood_still_ms))

    def _figures(self) -> MigrationResult:
        """What libvirt says that it took."""
        completed = self._library.VIR_DOMAIN_JOB_STATS_COMPLETED
        for driver in (self._source, self._destination):
            with suppress(self._library.libvirtError):
                stats = driver.conn.lookupByName(self._plan.name).jobStats(completed)
                return read_result(stats, words.POST_COPY in self._done)
        return MigrationResult(post_copy=words.POST_COPY in self._done)


def is_broken_post_copy(handle: libvirt.virDomain) -> bool:
    """Whether a post-copy migration from here broke off.

    Raises:
        libvirtError: as libvirt says it.
    """
    state, reason = handle.state()
    return bool(state == PAUSED and reason == BY_FAILED_POST_COPY)


class _Guest(NamedTuple):
    state: int
    reason: int

    @property
    def is_executing(self) -> bool:
        return to_power_state(self.state) in power_state.EXECUTING

    @property
    def is_active(self) -> bool:
        return to_power_state(self.state) in power_state.ACTIVE
