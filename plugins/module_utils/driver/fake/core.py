# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all parts of the fake driver stand on: where it is, and the one gate that every operation passes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qsl, unquote

from ...errors import HypervisorUnavailable, InstanceMigrating, InstanceNotFound, InvalidUri, PermissionDenied
from ...model import power_state
from ...model.migration import DEPARTED, LIVE, OUTGOING
from ..base import ComputeDriver
from ..uri import ConnectionOptions
from . import filters
from . import guest as guests
from .faults import AFTER, BEFORE, Faults
from .guest import Look
from .hostfile import HOST_FILE, HostSettings, parse_host
from .migrationjobs import with_job
from .operations import OPERATIONS
from .settings import SettingsFile
from .sharing import HostStore
from .store import INSTANCES, Changes, Record, View, is_file_name

DEFAULT_HOST = "fake1"
HOSTS = "hosts"

_CHANGES = frozenset(
    ("redefine", "change_running", "balloon", "attach", "detach", "attachment_update", "media_change")
    + ("reboot", "reset", "suspend", "resume")
)
"""Operations that are refused while an instance is being moved to another host."""

_TAKEN_THERE = frozenset(("start", "force_off"))
"""Operations that are refused while an instance has not wholly come from another host."""

_POWER = frozenset(("start", "shutdown", "pause", "unpause"))
"""The same, but one that is moved cold is stopped after its migration has begun, and started should it fail. A paused
one runs first, so that it can shut down."""

_EXAMPLE = "write it like fake:///var/tmp/lab or fake:///var/tmp/lab?host=node1"


class FakeCore(ComputeDriver):
    """A host of the fake hypervisor.

    Attributes:
        root: The folder of the URI, which several hosts may share.
        host: This host's name.
        calls: The operations so far, by their names in ``operations.OPERATIONS``; for tests that count them.
    """

    name = "fake"

    def __init__(self, options: ConnectionOptions) -> None:
        super().__init__(options)
        self.root, self.host = _parse_uri(options)
        self.folder = host_folder(self.root, self.host)
        self.calls: list[str] = []
        self._is_open = False
        self._store = HostStore(self.folder, options.call_timeout_s)
        self._faults = Faults(self.root, self.host, options.call_timeout_s, self._flush_filters)
        self._settings_file = SettingsFile(os.path.join(self.folder, HOST_FILE), parse_host)

    def open(self) -> None:
        nearest = self._nearest_folder()
        if not os.path.isdir(nearest):
            raise HypervisorUnavailable(f"the fake hypervisor cannot be in {self.root}: {nearest} is not a folder")
        if not os.access(nearest, os.R_OK | os.X_OK):
            raise PermissionDenied(f"the fake hypervisor's folder {nearest} is closed to this user")
        self._settings_file.read()
        self._faults.check()
        self._is_open = True

    def close(self) -> None:
        self._is_open = False

    def writing_calls(self) -> list[str]:
        """Those of ``calls`` that write."""
        return [call for call in self.calls if OPERATIONS[call].writes]

    def host_identity(self) -> str:
        return f"fake:{os.path.realpath(self.root)}?host={self.host}"

    def _nearest_folder(self) -> str:
        """The host's folder or, while it is not there yet, the nearest existing path above it."""
        nearest = self.folder
        while not os.path.lexists(nearest):
            nearest = os.path.dirname(nearest)
        return nearest

    @property
    def _settings(self) -> HostSettings:
        return self._settings_file.read()

    # -- the gate ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _read(self, operation: str, instance: str | None = None) -> Iterator[View]:
        """Carry out an operation that only looks."""
        self._enter(operation, instance)
        with self._store.reading() as view:  # pylint: disable=contextmanager-generator-missing-cleanup
            yield view
        self._faults.befall(operation, instance, AFTER)

    @contextmanager
    def _write(self, operation: str, instance: str | None = None) -> Iterator[Changes]:
        """Carry out an operation that changes something; whole when the block ends, not at all when it raises."""
        self._enter(operation, instance)
        with self._store.writing() as changes:  # pylint: disable=contextmanager-generator-missing-cleanup
            if instance is not None and operation in _CHANGES | _POWER | _TAKEN_THERE:
                self._require_at_home(changes, operation, instance)
            yield changes
            filters.follow(changes, self.look_at)
        self._faults.befall(operation, instance, AFTER)

    def _require_at_home(self, view: View, operation: str, instance: str) -> None:
        """Raise InstanceMigrating when the instance is on its way to another host, lives there, or has not yet come
        from there."""
        record = view.get(INSTANCES, instance) if is_file_name(instance) else None
        if record is None or "migration" not in record:
            return
        migration = record["migration"]
        peer = migration["peer"]
        if migration["phase"] == DEPARTED and operation != "force_off":
            raise InstanceMigrating(f"instance {instance!r} lives on {peer}; what is here is only its definition")
        goes = migration["direction"] == OUTGOING
        if goes and (operation in _CHANGES or (operation in _POWER and migration["mode"] == LIVE)):
            raise InstanceMigrating(f"instance {instance!r} is being moved to {peer}; run virt_migrate again")
        if operation in _TAKEN_THERE and "arrival" in self.look_at(record)[0]:
            raise InstanceMigrating(f"instance {instance!r} is still on {peer}; run virt_migrate again")

    def _step(self, operation: str) -> None:
        """Carry out an operation that touches no records."""
        self._enter(operation, None)
        self._faults.befall(operation, None, AFTER)

    def _enter(self, operation: str, instance: str | None) -> None:
        if not self._is_open:
            raise HypervisorUnavailable("the fake driver is not open")
        self.calls.append(operation)
        self._faults.befall(operation, instance, BEFORE)

    def _flush_filters(self) -> None:
        """What faults.json orders by that name."""
        with self._store.writing() as changes:
            filters.flush(changes)

    # -- instances as they are now ----------------------------------------------------------------------------------

    def look_at(self, record: Record) -> tuple[Record, Look]:
        """A record with what has become of its guest by now; ``running`` is None for one that turns out to be off."""
        guest = self._faults.guest(record["name"])
        seen = guests.look(record["power"], guest, self._faults.written_at)
        if "migration" in record:
            record, seen = with_job(record, seen, self.folder, guest)
        if seen.state in power_state.OFF and record["running"] is not None:
            record = {**record, "running": None}
        return record, seen

    def _instance(self, view: View, name: str) -> tuple[Record, Look]:
        """The instance's record and what has become of it.

        Raises:
            InstanceNotFound: there is none.
        """
        record = view.get(INSTANCES, name) if is_file_name(name) else None
        if record is None:
            raise InstanceNotFound(name)
        return self.look_at(record)

    def _instances(self, view: View) -> dict[str, tuple[Record, Look]]:
        """All instances by name."""
        return {name: self.look_at(record) for name, record in view.all(INSTANCES).items()}


def host_folder(root: str, host: str) -> str:
    """Where a host's records and its ``host.json`` lie."""
    return os.path.join(root, HOSTS, host)


def default_root() -> str:
    """The user's own folder, for ``fake:///``."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(state, "anyvirt", "fake")


def _parse_uri(options: ConnectionOptions) -> tuple[str, str]:
    parts = options.split()
    if parts.scheme != "fake":
        raise InvalidUri(f"uri: the fake driver has no transport {parts.scheme.partition('+')[2]!r}; {_EXAMPLE}")
    if parts.netloc:
        raise InvalidUri(
            f"uri: {options.uri!r} has {parts.netloc!r} where the path begins with a third slash; {_EXAMPLE}"
        )
    if parts.fragment:
        raise InvalidUri(f"uri: {options.uri!r} has a fragment; {_EXAMPLE}")
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    unknown = sorted({key for key, _value in pairs} - {"host"})
    if unknown or len(pairs) > 1:
        raise InvalidUri(f"uri: the fake driver takes one parameter, host, not {parts.query!r}; {_EXAMPLE}")
    host = pairs[0][1] if pairs else DEFAULT_HOST
    if not is_file_name(host):
        raise InvalidUri(f"uri: {host!r} cannot be a host's name; {_EXAMPLE}")
    path = unquote(parts.path)
    if path and not path.startswith("/"):
        raise InvalidUri(f"uri: the path in {options.uri!r} is not absolute; {_EXAMPLE}")
    if "\0" in path:
        raise InvalidUri(f"uri: the path has a null character in it; {_EXAMPLE}")
    return (os.path.normpath(path) if path.strip("/") else default_root()), host
