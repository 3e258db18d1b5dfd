# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a test needs from a hypervisor beside its driver."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar, TypeVar

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewall import FirewallDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewalluri import get_firewall_driver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.migration import MigrationDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.migrationuri import get_migration_driver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storageuri import get_storage_driver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions, get_connection
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Instance, Nic
from contract.platforms.calls import Calls
from contract.platforms.storage_side import StorageSide

Snapshot = dict[str, Any]
AnyDriver = TypeVar("AnyDriver", bound=ComputeDriver)


class Platform(ABC):
    """A hypervisor host that runs for the whole session; ``cleanup`` makes it empty again after each test."""

    name: ClassVar[str]
    uri: str
    calls: Calls
    storage: StorageSide
    ready: bytes = b"ANYVIRT GUEST READY"
    """What the small guest says on its console when it is up."""
    boot_timeout_s: float = 60.0
    """How long the small guest may take until its console says that it is ready."""
    call_timeout_s: float = 60.0
    starts_quickly: ClassVar[bool] = True
    """False where starting an instance takes seconds: tests then repeat themselves less often."""
    pool: str = "contract"
    """A storage pool for volumes, empty but for what instances put there."""
    new_pool_path: str = "/pools/on-demand"
    """Where a test can let a pool be made."""
    network: str | None = None
    bridge: str | None = None
    image: str | None = None
    """An image on the host for root disks, where the driver can do that."""
    shrinks_disks: ClassVar[bool] = True
    """Whether a disk's growth can be taken back."""
    library: ClassVar[str] = ""
    """The Python module that the driver needs, and ``package``, where to get it from."""
    package: ClassVar[str] = ""
    deaf_uris: tuple[str, ...] = ()
    """Addresses of this kind of hypervisor at which nobody listens."""

    def __init__(self) -> None:
        self.kept: set[str] = set()
        self._drivers: list[ComputeDriver] = []
        self._partner: Platform | None = None

    def partner(self) -> Platform:
        """Another host of the same kind, with which instances can be exchanged: started when it is first asked for,
        cleaned and stopped along with this one. Calls to it are counted by this one's ``calls`` too. It has a partner
        of its own, for whoever needs a third."""
        if self._partner is None:
            self._partner = self.make_partner()
        return self._partner

    def make_partner(self) -> Platform:
        """Start it."""
        raise NotImplementedError(f"{self.name} has one host only")

    # -- drivers and instances --------------------------------------------------------------------------------------

    def options(self, **changed: Any) -> ConnectionOptions:
        return ConnectionOptions(**{"uri": self.uri, "call_timeout_s": self.call_timeout_s, **changed})

    def closed_driver(self, **changed: Any) -> ComputeDriver:
        """A driver that is not connected yet."""
        return get_connection(self.options(**changed))

    def driver(self, **changed: Any) -> ComputeDriver:
        """A driver of its own connection, closed when the test ends."""
        return self._opened(self.closed_driver(**changed))

    def closed_storage_driver(self, **changed: Any) -> StorageDriver:
        """A driver that also manages storage, not connected yet."""
        return get_storage_driver(self.options(**changed))

    def storage_driver(self, **changed: Any) -> StorageDriver:
        """The same, of its own connection, closed when the test ends."""
        return self._opened(self.closed_storage_driver(**changed))

    def closed_firewall_driver(self, **changed: Any) -> FirewallDriver:
        """A driver that also manages security groups, not connected yet."""
        return get_firewall_driver(self.options(**changed))

    def firewall_driver(self, **changed: Any) -> FirewallDriver:
        """The same, of its own connection, closed when the test ends."""
        return self._opened(self.closed_firewall_driver(**changed))

    def closed_migration_driver(self, **changed: Any) -> MigrationDriver:
        """A driver that also moves instances, not connected yet."""
        return get_migration_driver(self.options(**changed))

    def migration_driver(self, **changed: Any) -> MigrationDriver:
        """The same, of its own connection, closed when the test ends."""
        return self._opened(self.closed_migration_driver(**changed))

    def in_place(self) -> AbstractContextManager[None]:
        """What drivers run by themselves within the block runs on the hypervisor's host."""
        return nullcontext()

    def _opened(self, driver: AnyDriver) -> AnyDriver:
        driver.open()
        self._drivers.append(driver)
        return driver

    @property
    def uris(self) -> tuple[str, ...]:
        """All addresses of the hypervisor."""
        return (self.uri,)

    @abstractmethod
    def small(self, name: str, **over: Any) -> Instance:
        """The smallest instance that boots here, with the fields of ``over``."""

    def nic(self, **over: Any) -> Nic:
        """A NIC on the host's network."""
        place = {"network": self.network} if self.network else {"bridge": self.bridge}
        return Nic(**{**place, **over})

    def spawned(self, driver: ComputeDriver, name: str, *, power_on: bool = False, **over: Any) -> Instance:
        """Spawn a small instance and return what it reads back as."""
        driver.spawn(driver.complete(self.small(name, **over)), power_on=power_on)
        return driver.get_instances([name])[name]

    def console(self, driver: ComputeDriver, name: str) -> bytes:
        """What the guest has written, even where the driver cannot tell."""
        return driver.get_console_output(name, 1 << 20)

    def wait_ready(self, driver: ComputeDriver, name: str, times: int = 1) -> bytes:
        """Wait until the guest has said ``times`` times that it is up; its console."""
        deadline = time.monotonic() + self.boot_timeout_s
        while (text := self.console(driver, name)).count(self.ready) < times:
            assert time.monotonic() < deadline, f"{name} was not ready {times} times: {text[-2000:]!r}"
            time.sleep(0.1)
        return text

    def prepare_hotplug(self, driver: ComputeDriver, name: str) -> None:
        """Let a guest that was just started come so far that it can be given devices."""
        self.wait_ready(driver, name)

    def give_bridged_address(self, name: str) -> None:
        """Have the ready guest give itself an address on its second NIC, where it has none from anybody."""
        raise NotImplementedError(f"guests of {self.name} do as they like")

    # -- looking at the platform ------------------------------------------------------------------------------------

    @abstractmethod
    def snapshot(self) -> Snapshot:
        """Everything that instances, volumes and pools can leave behind; equal before and after an operation that was
        undone."""

    @abstractmethod
    def volumes(self) -> set[str]:
        """Names of all volumes in all pools."""

    @abstractmethod
    def define_foreign(self, name: str) -> None:
        """An instance made by another tool: nothing in it says that it is ours. It is off."""

    @abstractmethod
    def cleanup_pools(self) -> None:
        """Remove pools that were made on demand; they outlive their instances."""

    settle_s: float = 0.0
    """How long the host may go on with what a killed client asked for."""

    def clients(self) -> int:
        """How many connections the hypervisor has, where it tells."""
        return 0

    def settle(self, clients: int) -> None:
        """Wait until the hypervisor has done what a killed client asked for; ``clients`` are those before it came."""
        time.sleep(self.settle_s)

    # -- what moving instances is like ------------------------------------------------------------------------------

    accepts_beforehand: ClassVar[bool] = True
    """A destination shows what it has accepted, and not only what has arrived."""
    leaves_sources: ClassVar[bool] = True
    """A migration can leave the definition, or copied volumes, on the source."""
    receivers: ClassVar[int] = 1
    """How many hosts of one size a destination consists of."""
    moves_paused: ClassVar[bool] = True
    """Paused guests move live."""
    moves_suspended: ClassVar[bool] = False
    """Suspended guests move cold, as they are."""

    def slow_migration(self) -> AbstractContextManager[None]:
        """Migrations that are begun within the block take so long that there is time to do something about them."""
        return nullcontext()

    # -- mischief ---------------------------------------------------------------------------------------------------

    def kill_service(self) -> None:
        """End what drivers talk to, while its guests run on."""
        raise NotImplementedError(f"nothing of {self.name} can be killed")

    def restart_service(self) -> None:
        """Bring it back at the same address."""
        raise NotImplementedError(f"nothing of {self.name} can be started again")

    def freeze_service(self) -> None:
        """Let it take connections and answer nobody."""
        raise NotImplementedError(f"nothing of {self.name} can be frozen")

    def thaw_service(self) -> None:
        """Let it go on."""
        raise NotImplementedError(f"nothing of {self.name} can be thawed")

    def disturb_filters(self, name: str) -> None:
        """Have somebody else take away what filters the instance's traffic."""
        raise NotImplementedError(f"nobody takes away the filters of {self.name}")

    @abstractmethod
    def crash(self, name: str) -> None:
        """Make the running instance die a sudden death."""

    @contextmanager
    def deaf_guest(self, driver: ComputeDriver, name: str) -> Iterator[None]:
        """A running instance whose guest does not hear the power button: one that has not booted yet."""
        self.spawned(driver, name, power_on=True)
        yield

    # -- the end ----------------------------------------------------------------------------------------------------

    def cleanup(self) -> None:
        """Close the drivers and remove every instance and volume that is not kept."""
        for driver in self._drivers:
            driver.close()
        self._drivers.clear()
        self.remove_everything(self.kept)
        if self._partner is not None:
            self._partner.cleanup()

    @abstractmethod
    def remove_everything(self, but: set[str]) -> None:
        """Remove all instances except those named, and all volumes that none of these uses, except in pools named
        so; not through the driver."""

    def stop_all(self) -> None:
        """End the host and its partner."""
        if self._partner is not None:
            self._partner.stop_all()
        self.stop()

    @abstractmethod
    def stop(self) -> None:
        """End the host."""
