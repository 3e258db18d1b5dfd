# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fake hypervisor in a folder of its own."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake import dial
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.core import DEFAULT_HOST
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Console, Instance
from contract.platforms.base import Platform, Snapshot
from contract.platforms.calls import Call, Calls, Record
from contract.platforms.fake_storage import FakeStorage

_NOT_STATE = {"calls.log", "faults.json", "faults.seen", "lock", "write.tmp"}


class FakeCalls(Calls):
    """Through the fake's own files: faults.json orders the failure, calls.log tells the calls."""

    def __init__(self, platform: FakePlatform) -> None:
        self._platform = platform

    @contextmanager
    def recording(self, fail_at: int = 0) -> Iterator[Record]:
        record = Record()
        log = self._platform.folder / "calls.log"
        log.unlink(missing_ok=True)
        fault = {"operation": "*", "error": "hypervisor_error", "message": "because the test says so", "times": 1}
        faults = [{**fault, "skip": fail_at - 1}] if fail_at else []
        with self._platform.ordering(faults=faults, log_calls=True):
            try:
                yield record
            finally:
                lines = log.read_text().splitlines() if log.exists() else []
                record.extend(Call(call["operation"], call["writes"]) for call in map(json.loads, lines))


class FakePlatform(Platform):
    name = "fake"
    network = "default"
    bridge = "br0"
    pool = "default"
    image = "/images/cirros.qcow2"
    boot_timeout_s = 5.0

    def __init__(self, neighbour: FakePlatform | None = None) -> None:
        super().__init__()
        self._neighbour = neighbour
        self.folder: Path = neighbour.folder if neighbour else Path(tempfile.mkdtemp(prefix="anyvirt-contract-"))
        self.host: str = f"{neighbour.host}-partner" if neighbour else DEFAULT_HOST
        self.uri = f"fake://{self.folder}?host={self.host}" if neighbour else f"fake://{self.folder}"
        self.calls = FakeCalls(self)
        self.storage = FakeStorage(self.folder, self.host)
        self._orders: dict[str, Any] = {}
        self._write_orders(self._orders)

    def make_partner(self) -> FakePlatform:
        """Another host below the same folder."""
        return FakePlatform(self)

    def small(self, name: str, **over: Any) -> Instance:
        fields: dict[str, Any] = {"memory_mb": 96, "vcpus": 1, "console": Console(serial=True)}
        return Instance(name=name, **{**fields, **over})

    @contextmanager
    def ordering(self, **orders: Any) -> Iterator[None]:
        """The orders of faults.json for the body, beside the usual ones."""
        self._write_orders({**self._orders, **orders})
        try:
            yield
        finally:
            self._write_orders(self._orders)

    def _write_orders(self, orders: dict[str, Any]) -> None:
        unfinished = self.folder / "faults.json.new"
        unfinished.write_text(json.dumps(orders))
        unfinished.rename(self.folder / "faults.json")

    def snapshot(self) -> Snapshot:
        return {
            str(path.relative_to(self.folder)): _content(path)
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and path.name not in _NOT_STATE
        }

    def volumes(self) -> set[str]:
        own = self.folder / "hosts" / self.host
        return {path.name.removesuffix(".json") for path in own.rglob("volumes/*/*.json")}

    def cleanup_pools(self) -> None:
        for path in self.folder.rglob("pools/on-demand.json"):
            path.unlink()
            with suppress(OSError):
                path.parent.rmdir()

    def disturb_filters(self, name: str) -> None:
        dial.flush_filters(str(self.folder), name, self.host)

    def give_bridged_address(self, name: str) -> None:
        """Its guests have one on each NIC."""

    def define_foreign(self, name: str) -> None:
        raise NotImplementedError("the fake is used by nobody but us")

    def crash(self, name: str) -> None:
        self._orders["guests"] = {name: {"crash": True}, **self._orders.get("guests", {})}
        self._write_orders(self._orders)

    @contextmanager
    def deaf_guest(self, driver: ComputeDriver, name: str) -> Iterator[None]:
        with self.ordering(guests={name: {"ignores_acpi": True}}), super().deaf_guest(driver, name):
            yield

    def cleanup(self) -> None:
        super().cleanup()
        self._orders = {}
        self._write_orders(self._orders)

    def remove_everything(self, but: set[str]) -> None:
        if self._neighbour is not None and not but:
            shutil.rmtree(self.folder / "hosts" / self.host, ignore_errors=True)
            return
        if not but:
            for path in self.folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != "faults.json":
                    path.unlink()
            return
        with self.closed_driver() as driver:
            for name in set(driver.list_instances()) - but:
                driver.destroy(name)

    def stop(self) -> None:
        if self._neighbour is None:
            shutil.rmtree(self.folder)


def _content(path: Path) -> str:
    """A record's text, or the hash of a volume's data."""
    content = path.read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError:
        return hashlib.sha256(content).hexdigest()
