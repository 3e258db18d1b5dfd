# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running guest that tests talk to about its disks, and what happens to these behind the driver's back."""

from __future__ import annotations

import base64
import json
import re
import signal
import time
from typing import Any

import libvirt
import libvirt_qemu

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import Volume, VolumeKey
from contract import child
from contract.helpers import eventually
from contract.platforms.libvirt_qemu import QemuPlatform
from lab.errors import LabError

_AGENT_TIMEOUT_S = 10
_PIECE_BYTES = 65536
_LABEL_AT = 32808
"""Where a disc has its label."""


def of(volume: Volume, **over: Any) -> Disk:
    """The volume as a disk, as a user asks for it."""
    return Disk(**{"volume": volume.name, "pool": volume.pool, **over})


def disk_of(storage: StorageDriver, instance: str, device: str | None) -> Disk:
    disks = storage.get_instances([instance])[instance].disks or []
    return next(disk for disk in disks if disk.device == device)


def booted(storage: StorageDriver, platform: QemuPlatform, name: str, **over: Any) -> GuestDisks:
    """A guest that is up, with its agent."""
    platform.spawned(storage, name, power_on=True, **over)
    guest = GuestDisks(storage, platform, name)
    assert guest.says("AGENT started", timeout_s=platform.boot_timeout_s)
    return guest


class GuestDisks:
    """The test guest, by its console and its agent."""

    def __init__(self, storage: StorageDriver, platform: QemuPlatform, name: str) -> None:
        self.storage = storage
        self.name = name
        self._platform = platform

    def says(self, pattern: str, times: int = 1, timeout_s: float = 30.0) -> bool:
        """Whether the guest comes to say this, so many times since it was started."""
        return eventually(lambda: self.said(pattern) >= times, timeout_s)

    def said(self, pattern: str) -> int:
        """How often it has said this since it was started."""
        text = self._platform.console(self.storage, self.name)
        return len(re.findall(rf"^ANYVIRT {pattern}".encode(), text, re.MULTILINE))

    def write(self, device: str, text: str) -> None:
        """Have it write the text to a disk's beginning."""
        self.run("write", device, text)

    def read(self, device: str) -> str:
        """Have it read what was written so."""
        return self.run("read", device)

    def run(self, *arguments: str) -> str:
        """What ``/bin/disk`` prints; it has to go well."""
        return self._output("/bin/disk", *arguments)

    def boots(self) -> int:
        """How often it was started from its root disk."""
        return int(self._output("/bin/cat", "/disk/boots"))

    def fill_by_chance(self, device: str, size_bytes: int) -> None:
        """Have it write so much that no storage can leave out to a disk's beginning."""
        pieces = size_bytes // _PIECE_BYTES
        words = f"if=/dev/urandom of=/dev/{device} bs={_PIECE_BYTES} count={pieces} conv=notrunc,fsync"
        self._output("/bin/dd", *words.split())

    def _output(self, program: str, *arguments: str) -> str:
        started = self._start(program, *arguments)
        deadline = time.monotonic() + 30
        while not (status := self._ask("guest-exec-status", pid=started))["exited"]:
            assert time.monotonic() < deadline, f"{program} {' '.join(arguments)} goes on"
            time.sleep(0.05)
        assert status["exitcode"] == 0, (arguments, status)
        return base64.b64decode(status.get("out-data", "")).decode().strip()

    def seconds_to_fill(self, device: str) -> float:
        """How long it takes to write some hundred KiB to a disk."""
        started = time.monotonic()
        self.run("fill", device)
        return time.monotonic() - started

    def start(self, *arguments: str) -> int:
        """Start ``/bin/disk`` in the guest; its id there."""
        return self._start("/bin/disk", *arguments)

    def _start(self, program: str, *arguments: str) -> int:
        return int(self._ask("guest-exec", path=program, arg=list(arguments), **{"capture-output": True})["pid"])

    def _ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        order = json.dumps({"execute": command, "arguments": arguments})
        with self._platform.connection() as connection:
            domain = connection.lookupByName(self.name)
            answer = json.loads(libvirt_qemu.qemuAgentCommand(domain, order, _AGENT_TIMEOUT_S, 0))
        return dict(answer["return"])

    def killed_at(self, number: int, method: str, *arguments: Any) -> bool:
        """Have a process of its own change the guest's disks, and die at its ``number``-th call of libvirt. Whether it
        had no so many and lived."""
        clients = self._platform.clients()
        process = child.start(
            options=self._platform.options(),
            operation="storage",
            method=method,
            arguments=(self.name, *arguments),
            die_at_call=number,
        )
        output, errors = process.communicate(timeout=90)
        self._platform.settle(clients)
        assert process.returncode in (0, -signal.SIGKILL), errors.decode()
        return b"done" in output

    def tray_is_locked(self, drive: str) -> bool:
        """Whether QEMU comes to know that the guest holds the drive's tray."""

        def locked() -> bool:
            with self._platform.connection() as connection:
                domain = connection.lookupByName(self.name)
                answer = json.loads(libvirt_qemu.qemuMonitorCommand(domain, '{"execute": "query-block"}', 0))
            return any(device.get("locked") for device in answer["return"] if device.get("removable"))

        return eventually(locked)


def unplug_behind_its_back(platform: QemuPlatform, name: str, device: str) -> None:
    """Ask the guest for the disk, as somebody did who did not wait for it."""
    with platform.connection() as connection:
        domain = connection.lookupByName(name)
        xml = f"<disk type='file' device='disk'><target dev='{device}'/></disk>"
        domain.detachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)


def make_encrypted(platform: QemuPlatform, name: str, size_bytes: int, passphrase: str) -> Volume:
    """An encrypted volume of which libvirt has no secret."""
    path = f"{platform.pool_folder}/{name}"
    secret = f"secret,id=key,data={passphrase}"
    command = ("qemu-img", "create", "-q", "--object", secret, "-f", "luks", "-o", "key-secret=key", path)
    for attempts_left in reversed(range(5)):
        try:
            platform.run_on_host(*command, str(size_bytes))
            break
        except LabError as error:  # it measures how fast the machine is, and the clock for that may not have moved
            if not attempts_left or "accurate CPU usage" not in str(error):
                raise
    with platform.connection() as connection:
        connection.storagePoolLookupByName(platform.pool).refresh()
    return Volume(name, platform.pool, size_bytes, format="raw", path=path)


def label_disc(platform: QemuPlatform, key: VolumeKey, label: str) -> None:
    """Give a raw volume the label of a disc."""
    with platform.connection() as connection:
        path = connection.storagePoolLookupByName(key.pool).storageVolLookupByName(key.name).path()
    padded = label.ljust(32).encode()
    with platform.lab.outer_path(path).open("r+b") as file:
        file.seek(_LABEL_AT)
        file.write(padded)
