# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Noticing what happens to instances, by libvirt's events."""

from __future__ import annotations

import threading
from collections.abc import Collection
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable

from ..base import Watch
from .connection import LibvirtBase
from .errors import NO_SUPPORT, OPERATION_UNSUPPORTED, code_of, translated

if TYPE_CHECKING:
    import libvirt

POLL_S = 0.5
"""Leases, console lines and some hypervisors' state changes come without an event, and so does the end of a daemon: a
wait is never longer than this."""


class DomainWatch(Watch):
    """Wakes up on life cycle, reboot and guest agent events of some instances, and at the latest after ``POLL_S``."""

    def __init__(self, library: Any, connection: libvirt.virConnect, names: Collection[str]) -> None:
        self._libvirt = library
        self._connection = connection
        self._names = frozenset(names)
        self._callbacks: list[int] = []
        self._changed = threading.Condition()
        self._news = False
        self._rebooted: set[str] = set()

    def __enter__(self) -> DomainWatch:
        try:
            for event, callback in (
                (self._libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._notice),
                (self._libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._notice_reboot),
                (self._libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, self._notice),
            ):
                self._register(event, callback)
        except BaseException:
            self._deregister()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deregister()

    def _register(self, event: int, callback: Callable[..., None]) -> None:
        with translated(self._libvirt, "watch the instances"):
            try:
                self._callbacks.append(self._connection.domainEventRegisterAny(None, event, callback, None))
            except self._libvirt.libvirtError as error:
                if code_of(error) not in (NO_SUPPORT, OPERATION_UNSUPPORTED):
                    raise
                # This hypervisor has no such event; looking from time to time finds it too.

    def _deregister(self) -> None:
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            # With the connection its callbacks are gone.
            with suppress(self._libvirt.libvirtError):
                self._connection.domainEventDeregisterAny(callback)

    def wait(self, timeout_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._news, max(0.0, min(timeout_s, POLL_S)))
            self._news = False

    def has_rebooted(self, name: str) -> bool:
        """Whether a reboot of it was noticed since the watch was entered."""
        with self._changed:
            return name in self._rebooted

    def _notice(self, _connection: object, domain: libvirt.virDomain, *_details: object) -> None:
        if domain.name() in self._names:
            with self._changed:
                self._news = True
                self._changed.notify_all()

    def _notice_reboot(self, connection: object, domain: libvirt.virDomain, *_details: object) -> None:
        if domain.name() in self._names:
            with self._changed:
                self._rebooted.add(domain.name())
        self._notice(connection, domain)


class WatchMixin(LibvirtBase):
    """Watches."""

    def watch(self, names: Collection[str]) -> DomainWatch:
        return DomainWatch(self.libvirt, self.conn, names)
