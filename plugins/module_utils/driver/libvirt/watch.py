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
from ..uri import ConnectionOptions
from .connection import LibvirtBase
from .errors import NO_SUPPORT, OPERATION_UNSUPPORTED, code_of, translated

if TYPE_CHECKING:
    import libvirt

POLL_S = 0.5
"""Leases, console lines and some hypervisors' state changes come without an event, and so does the end of a daemon: a
wait is never longer than this."""


_REBOOT = "REBOOT"
_INSTANCE_EVENTS = ("LIFECYCLE", _REBOOT, "AGENT_LIFECYCLE")
_DEVICE_EVENTS = ("LIFECYCLE", "DEVICE_REMOVED", "DEVICE_REMOVAL_FAILED")


class DomainWatch(Watch):
    """Wakes up on events of some instances, and at the latest after ``POLL_S``."""

    def __init__(self, events: Events, names: Collection[str]) -> None:
        self._events = events
        self._names = frozenset(names)
        self._changed = threading.Condition()
        self._news = False
        self._rebooted: set[str] = set()

    def __enter__(self) -> DomainWatch:
        self._events.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._events.remove(self)

    def wait(self, timeout_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._news, max(0.0, min(timeout_s, POLL_S)))
            self._news = False

    def has_rebooted(self, name: str) -> bool:
        """Whether a reboot of it was noticed since the watch was entered."""
        with self._changed:
            return name in self._rebooted

    def notice(self, name: str, rebooted: bool) -> None:
        """Something happened to an instance."""
        if name in self._names:
            with self._changed:
                self._news = True
                if rebooted:
                    self._rebooted.add(name)
                self._changed.notify_all()


class Events:
    """Gives a connection's events to all watches over it: libvirt takes one callback for each kind of event.

    Args:
        kinds: Which events, by their names in the library.
    """

    def __init__(self, library: Any, connection: libvirt.virConnect, kinds: tuple[str, ...]) -> None:
        self.connection = connection
        self._kinds = kinds
        self._libvirt = library
        self._lock = threading.Lock()
        self._callbacks: list[int] = []
        self._watches: tuple[DomainWatch, ...] = ()
        """Replaced and never changed, so that the thread that brings the events needs no lock."""

    def add(self, watch: DomainWatch) -> None:
        """Tell ``watch`` of what happens from now on."""
        with self._lock:
            if not self._watches:
                self._register_all()
            self._watches = (*self._watches, watch)

    def remove(self, watch: DomainWatch) -> None:
        """Tell it nothing any more."""
        with self._lock:
            self._watches = tuple(other for other in self._watches if other is not watch)
            if not self._watches:
                self._deregister_all()

    def _register_all(self) -> None:
        try:
            for kind in self._kinds:
                callback = self._notice_reboot if kind == _REBOOT else self._notice
                self._register(getattr(self._libvirt, f"VIR_DOMAIN_EVENT_ID_{kind}"), callback)
        except BaseException:
            self._deregister_all()
            raise

    def _register(self, event: int, callback: Callable[..., None]) -> None:
        with translated(self._libvirt, "watch the instances"):
            try:
                self._callbacks.append(self.connection.domainEventRegisterAny(None, event, callback, None))
            except self._libvirt.libvirtError as error:
                if code_of(error) not in (NO_SUPPORT, OPERATION_UNSUPPORTED):
                    raise
                # This hypervisor has no such event; looking from time to time finds it too.

    def _deregister_all(self) -> None:
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            # With the connection its callbacks are gone.
            with suppress(self._libvirt.libvirtError):
                self.connection.domainEventDeregisterAny(callback)

    def _notice(
        self, _connection: object, domain: libvirt.virDomain, *_details: object, rebooted: bool = False
    ) -> None:
        name = domain.name()
        for watch in self._watches:
            watch.notice(name, rebooted)

    def _notice_reboot(self, connection: object, domain: libvirt.virDomain, *_details: object) -> None:
        self._notice(connection, domain, rebooted=True)


class WatchMixin(LibvirtBase):
    """Watches."""

    def __init__(self, options: ConnectionOptions) -> None:
        super().__init__(options)
        self._events: dict[tuple[str, ...], Events] = {}
        self._events_lock = threading.Lock()

    def watch(self, names: Collection[str]) -> DomainWatch:
        return self._watch(names, _INSTANCE_EVENTS)

    def watch_devices(self, names: Collection[str]) -> DomainWatch:
        """A watch over what becomes of the instances' devices."""
        return self._watch(names, _DEVICE_EVENTS)

    def _watch(self, names: Collection[str], kinds: tuple[str, ...]) -> DomainWatch:
        with self._events_lock:
            events = self._events.get(kinds)
            if events is None or events.connection is not self.conn:
                events = self._events[kinds] = Events(self.libvirt, self.conn, kinds)
            return DomainWatch(events, names)
