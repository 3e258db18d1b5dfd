# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to a hypervisor from outside: for tests and scripts that play trouble, guests or a whole host.

All functions take the folder of the URI and the host's name, and work while drivers are at work there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ...errors import InstanceNotFound
from ...model import power_state
from ...model.storage import VolumeKey
from ...model.units import parse_size
from ...transfer.content import Hole
from ..uri import ConnectionOptions
from . import filters
from . import guest as guests
from .core import DEFAULT_HOST, host_folder
from .datafiles import sweep
from .driver import FakeDriver
from .faults import FILE
from .guestdata import read_as_guest, write_as_guest
from .hostfile import HOST_FILE
from .sharing import HostStore
from .store import FOLDER_MODE, INSTANCES, POOLS, VOLUMES


def uri(root: str, host: str = DEFAULT_HOST) -> str:
    """The host's URI."""
    return f"fake://{quote(root)}?host={quote(host)}"


def write_host(root: str, host: str = DEFAULT_HOST, **entries: Any) -> None:
    """Write a host's ``host.json``; without entries it is an ordinary host again."""
    _write_json(os.path.join(host_folder(root, host), HOST_FILE), entries)


def write_faults(root: str, **entries: Any) -> None:
    """Write ``faults.json``, for all hosts under ``root``; without entries nothing is amiss any more."""
    _write_json(os.path.join(root, FILE), entries)


def crash_instance(root: str, name: str, host: str = DEFAULT_HOST) -> None:
    """Have an active instance crash."""
    driver = FakeDriver(ConnectionOptions(uri(root, host)))
    store = HostStore(driver.folder)
    with store.writing() as changes:
        record = changes.get(INSTANCES, name)
        if record is None:
            raise InstanceNotFound(name)
        record, seen = driver.look_at(record)
        if seen.state in power_state.ACTIVE:
            power = guests.settled(record["power"], seen, power_state.CRASHED)
            changes.put(INSTANCES, name, {**record, "running": None, "power": power})


def restart_host(root: str, host: str = DEFAULT_HOST) -> None:
    """Cut the host's power and start it again: everything is off, but what has autostart runs anew."""
    with FakeDriver(ConnectionOptions(uri(root, host))) as driver:
        for info in driver.list_instances_detail():
            if info.state in power_state.ACTIVE:
                driver.force_off(info.name)
        _restart_pools(host_folder(root, host))
        moving = {name for name, instance in driver.get_instances().items() if instance.migration is not None}
        for info in driver.list_instances_detail():
            if info.autostart and info.name not in moving:
                driver.power_on(info.name)


def _restart_pools(folder: str) -> None:
    """Those with autostart are active after it, the others are not."""
    store = HostStore(folder)
    with store.writing() as changes:
        for name, record in changes.all(POOLS).items():
            if "autostart" in record:
                changes.put(POOLS, name, {**record, "active": record["autostart"]})


def flush_filters(root: str, instance: str | None = None, host: str = DEFAULT_HOST) -> None:
    """Have somebody else empty the host's packet filter tables, or just what is there for one instance."""
    with HostStore(host_folder(root, host)).writing() as changes:
        filters.flush(changes, instance)


def add_volume(root: str, pool: str, name: str, size: str | int, host: str = DEFAULT_HOST) -> None:
    """Put a volume into a pool, as if another tool had made it."""
    store = HostStore(host_folder(root, host))
    record: Mapping[str, Any] = {
        "pool": pool,
        "name": name,
        "size_bytes": parse_size(size),
        "format": "qcow2",
        "owner": None,
        "backing": None,
    }
    with store.writing() as changes:
        changes.put(VOLUMES, f"{pool}/{name}", dict(record))


def read_volume(root: str, key: VolumeKey, host: str = DEFAULT_HOST) -> bytes:
    """All of a volume, as a guest sees it whose disk it is."""
    store = HostStore(host_folder(root, host))
    with store.reading() as view:
        segments = read_as_guest(store.folder, view, key)
        return b"".join(bytes(segment.length) if isinstance(segment, Hole) else segment for segment in segments)


def write_volume(root: str, key: VolumeKey, offset: int, data: bytes, host: str = DEFAULT_HOST) -> None:
    """Write to a volume as a guest does whose disk it is."""
    store = HostStore(host_folder(root, host))
    with store.writing() as changes:
        write_as_guest(store.folder, changes, key, offset, data)
    sweep(store)


def _write_json(path: str, content: Mapping[str, Any]) -> None:
    """Replace the file whole, so that nobody reads half of it."""
    os.makedirs(os.path.dirname(path), FOLDER_MODE, exist_ok=True)
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
    os.replace(temporary, path)
