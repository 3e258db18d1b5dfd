# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pool of two XenServer hosts: the XenAPI server of tests/lab, in this process."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import XenAPI

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Boot, Instance
from contract.platforms.base import Platform, Snapshot
from contract.platforms.calls import Call, Calls, Record
from contract.platforms.xenapi_snapshot import comparable
from contract.platforms.xenapi_storage import XenApiStorage
from lab.xenapi.server import XenApiServer

_KERNEL = "/boot/guest/vmlinuz"
_RAMDISK = "/boot/guest/initrd.img"
HOUSEKEEPING = ("session.*", "event.*")
"""Calls that are not part of an operation: how many there are depends on time."""


class XenApiCalls(Calls):
    """The server counts its calls by itself, and fails one when told to."""

    def __init__(self, server: XenApiServer) -> None:
        self._server = server

    @contextmanager
    def recording(self, fail_at: int = 0) -> Iterator[Record]:
        record = Record()
        if fail_at:
            self._server.faults.fail(
                "*", "INTERNAL_ERROR", "because the test says so", skip=fail_at - 1, but=HOUSEKEEPING
            )
        with self._server.calls.recording() as made:
            try:
                yield record
            finally:
                self._server.faults.clear()
                record.extend(
                    Call(call.name, call.writes) for call in made if not call.name.startswith(("session.", "event."))
                )


class XenApiPlatform(Platform):
    name = "xenapi"
    network = "lab"
    pool = "shared"
    image = "golden-image"
    boot_timeout_s = 10.0
    call_timeout_s = 20.0
    shrinks_disks = False
    accepts_beforehand = False
    leaves_sources = False
    receivers = 2
    moves_paused = False
    moves_suspended = True
    library = "XenAPI"
    package = "XenAPI"
    deaf_uris = ("xenapi+http://127.0.0.1:1", "xenapi://127.0.0.1:1")

    def __init__(self, beside: XenApiServer | None = None) -> None:
        super().__init__()
        self.server = XenApiServer(beside=beside)
        self.server.start()
        self.uri = self.server.uri
        self.calls = XenApiCalls(self.server)
        self.storage = XenApiStorage(self)
        self._let_vms_start_with_hosts()
        self._given = self._volume_names()

    def clients(self) -> int:
        return self.server.connections()

    def settle(self, clients: int) -> None:
        deadline = time.monotonic() + 30
        time.sleep(0.05)  # one that is still knocking is none yet
        while self.clients() > clients:
            assert time.monotonic() < deadline, "the server is still at work for a client that was killed"
            time.sleep(0.01)

    def partner(self) -> XenApiPlatform:
        """Another pool. For hosts of this one see ``two_hosts``."""
        if not isinstance(self._partner, XenApiPlatform):
            self._partner = XenApiPlatform(self.server)
        return self._partner

    @contextmanager
    def two_hosts(self) -> Iterator[tuple[XenApiHost, XenApiHost]]:
        """Both hosts of this pool, as ends of migrations."""
        both = XenApiHost(self, "xen1"), XenApiHost(self, "xen2")
        yield both
        for host in both:
            host.close_drivers()

    def options(self, **changed: Any) -> ConnectionOptions:
        return super().options(**{"username": self.server.username, "password": self.server.password, **changed})

    def small(self, name: str, **over: Any) -> Instance:
        boot = Boot(kernel=_KERNEL, initrd=_RAMDISK, cmdline="console=hvc0 quiet")
        return Instance(name=name, **{"memory_mb": 96, "vcpus": 1, "boot": boot, "pool": self.pool, **over})

    @contextmanager
    def session(self) -> Iterator[Any]:
        """Another client of the pool."""
        session = XenAPI.Session(self.server.url)
        session.xenapi.login_with_password(self.server.username, self.server.password, "1.0", "contract")
        try:
            yield session.xenapi
        finally:
            session.xenapi.session.logout()

    @contextmanager
    def slow_migration(self) -> Iterator[None]:
        self.server.let_migrations_take(30.0)
        yield
        self.server.let_migrations_take(self.server.settings.migrate_s)

    def console(self, driver: ComputeDriver, name: str) -> bytes:
        return self.server.console_text(name).encode()

    @contextmanager
    def deaf_guest(self, driver: ComputeDriver, name: str) -> Iterator[None]:
        boot = Boot(kernel=_KERNEL, initrd=_RAMDISK, cmdline="console=hvc0 lab.deaf")
        self.spawned(driver, name, power_on=True, boot=boot)
        yield

    def snapshot(self) -> Snapshot:
        self._await_transfers()
        return comparable(self.server.snapshot())

    def _await_transfers(self) -> None:
        """The server takes a moment to notice that a client which was sending it a disk is dead."""
        db, end = self.server.db, time.monotonic() + 5
        while any(db.get("VM", db.get("VBD", vbd, "VM"), "is_control_domain") for vbd in db.refs("VBD")):
            assert time.monotonic() < end
            time.sleep(0.01)

    def volumes(self) -> set[str]:
        """Those that were not there from the start; further ones of one name get a number."""
        return {
            name if number == 0 else f"{name}#{number + 1}"
            for name, count in (self._volume_names() - self._given).items()
            for number in range(count)
        }

    def _let_vms_start_with_hosts(self) -> None:
        """The pool's own switch, which the first instance with autostart turns on for good."""
        [pool] = self.server.db.refs("pool")
        other = self.server.db.get("pool", pool, "other_config")
        self.server.db.set("pool", pool, other_config={**other, "auto_poweron": "true"})

    def _volume_names(self) -> Counter[str]:
        db = self.server.db
        return Counter(str(db.get("VDI", ref, "name_label")) for ref in db.refs("VDI"))

    def cleanup_pools(self) -> None:
        """None can be made on demand."""

    def define_foreign(self, name: str) -> None:
        with self.session() as api:
            [template] = api.VM.get_by_name_label("Other install media")
            clone = api.VM.clone(template, name)
            api.VM.remove_from_other_config(clone, "disks")
            api.VM.provision(clone)
            mib = str(96 * 1024 * 1024)
            api.VM.set_memory_limits(clone, mib, mib, mib, mib)

    def kill_service(self) -> None:
        self.server.stop_listening()

    def restart_service(self) -> None:
        self.server.listen_again()

    def freeze_service(self) -> None:
        self.server.freeze()

    def thaw_service(self) -> None:
        self.server.thaw()

    def disturb_filters(self, name: str) -> None:
        with self.session() as api:
            [vm] = api.VM.get_by_name_label(name)
            for vif in api.VM.get_VIFs(vm):
                api.VIF.set_locking_mode(vif, "unlocked")

    def crash(self, name: str) -> None:
        self.server.crash(name)

    def remove_everything(self, but: set[str]) -> None:
        if not but:
            self.server.reset()
            self._let_vms_start_with_hosts()
            return
        with self.session() as api:
            for ref, record in api.VM.get_all_records().items():
                kept = record["is_control_domain"] or record["is_a_template"] or record["name_label"] in but
                if not kept:
                    self._remove(api, ref, record)

    @staticmethod
    def _remove(api: Any, ref: str, record: dict[str, Any]) -> None:
        if record["power_state"] != "Halted":
            api.VM.hard_shutdown(ref)
        volumes = [api.VBD.get_VDI(vbd) for vbd in record["VBDs"]]
        api.VM.destroy(ref)
        for volume in volumes:
            if volume != "OpaqueRef:NULL" and not api.VDI.get_VBDs(volume):
                api.VDI.destroy(volume)

    def stop(self) -> None:
        self.server.stop()


class XenApiHost(XenApiPlatform):
    """One host of a platform's pool: what is on others is not shown to those who move instances."""

    receivers = 1

    def __init__(self, pool: XenApiPlatform, name: str) -> None:
        # pylint: disable-next=non-parent-init-called  # no server of its own is started
        Platform.__init__(self)
        self.server = pool.server
        self.uri = f"{pool.uri}?host={name}"
        self.calls = pool.calls
        self.storage = pool.storage
        self._given = pool._given

    def close_drivers(self) -> None:
        """The pool is emptied and stopped by whoever has started it."""
        for driver in self._drivers:
            driver.close()
