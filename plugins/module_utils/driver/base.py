# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract that every hypervisor's driver keeps.

The operations, their names and what they promise descend from Nova's ``ComputeDriver`` and Ganeti's ``BaseHypervisor``.
A driver is plain Python: scripts and tests use it like this::

    with get_connection(ConnectionOptions("qemu:///system")) as driver:
        for info in driver.list_instances_detail():
            print(info.name, power_state.name(info.state))

Rules for all methods:

* Instances are called by name. A method that is given the name of none raises ``InstanceNotFound`` unless it says
  otherwise.
* The hypervisor gone, or silent for longer than the connection's time limit, is ``HypervisorUnavailable``; never a
  hang.
* What this hypervisor cannot do is declared in ``capabilities`` and raises ``Unsupported``.
* A method that fails leaves things as they were before the call, and its error says so if it could not.
* Reading many objects costs a constant number of hypervisor calls wherever the hypervisor offers bulk calls.
* Methods may be called from several threads at once for different instances.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Callable, ClassVar

from ..errors import AnyvirtError, HypervisorError, InvalidPowerState, Problem, TimeoutExpired, Unsupported
from ..model import power_state
from ..model.host import CpuInfo, HostStats
from ..model.instance import Address, BlockStats, Instance, InstanceInfo, InterfaceStats, Nic, VncConsole
from ..model.resize import ResizeRecord
from ..transfer.progress import SILENT, Progress
from ..undo import Undo
from .capabilities import FEATURES, Capabilities, support
from .members import members_of, ports_of
from .needs import needed_features
from .uri import ConnectionOptions

OWN = "own"
ALL = "all"
NONE = "none"

ACPI = "acpi"
AGENT = "agent"
FORCED = "forced"

SOFT = "soft"
HARD = "hard"


class Watch(ABC):
    """Notices that something may have happened to some instances, from the moment it is entered.

    Enter it first, then look whether the wanted thing is true, then ``wait``: so nothing that happens between looking
    and waiting is missed.
    """

    @abstractmethod
    def __enter__(self) -> Watch: ...

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @abstractmethod
    def wait(self, timeout_s: float) -> None:
        """Return when something may have happened since the last return, at the latest after ``timeout_s`` seconds."""


class ComputeDriver(ABC):
    """A hypervisor host."""

    name: ClassVar[str]
    """How messages call the driver."""

    progress: Progress = SILENT
    """Where long work reports to."""

    def __init__(self, options: ConnectionOptions) -> None:
        self.options = options

    # -- connection -------------------------------------------------------------------------------------------------

    @abstractmethod
    def open(self) -> None:
        """Connect.

        Raises:
            LibraryMissing: the hypervisor's Python library is not installed; the message names the package.
            HypervisorUnavailable: nobody answers at the address.
            PermissionDenied: somebody answers and says no.
        """

    @abstractmethod
    def close(self) -> None:
        """Disconnect; harmless when not connected, and never raises for a hypervisor that is gone."""

    def __enter__(self) -> ComputeDriver:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- what it can do ---------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What works through this connection."""

    def supports(self, feature: str) -> bool:
        """Whether ``feature`` (a key of ``capabilities.FEATURES``) works here."""
        return support(self.capabilities, feature).works

    def require(self, feature: str) -> None:
        """Raise ``Unsupported``, saying what is missing and what to use instead, unless ``feature`` works here."""
        found = support(self.capabilities, feature)
        if not found.works:
            hint = f": {found.note}" if found.note else ""
            raise Unsupported(f"the {self.name} driver does not support this: {FEATURES[feature]}{hint}")

    def unmet_needs(self, instance: Instance) -> list[Problem]:
        """Options of an instance that need a feature that does not work here."""
        problems = []
        for option, feature in needed_features(instance):
            try:
                self.require(feature)
            except Unsupported as error:
                problems.append(Problem(option, str(error)))
        return problems

    @property
    def max_workers(self) -> int | None:
        """How many instances the hypervisor bears to have changed at once; None when it sets no limit."""
        return None

    # -- the host ---------------------------------------------------------------------------------------------------

    def init_host(self) -> list[str]:
        """Make the host ready and adopt what runs there (Nova's init_host).

        Instances made by other tools are taken as they are. Returns the names of all instances found.
        """
        return self.list_instances()

    @abstractmethod
    def verify(self) -> list[str]:
        """Problems that keep this hypervisor from being used, in words; empty when it is fine (Ganeti's Verify).

        Unlike other methods it may be called on a driver that is not open, and reports a failed connection as a
        problem.
        """

    def _problems_while_open(self, was_open: bool, find_problems: Callable[[], list[str]]) -> list[str]:
        """What ``find_problems`` finds through a connection, for ``verify``; one that was not open is closed again."""
        try:
            self.open()
            return find_problems()
        except AnyvirtError as error:
            return [str(error)]
        finally:
            if not was_open:
                self.close()

    @abstractmethod
    def host_identity(self) -> str:
        """A string that is the same on each call and differs between hosts."""

    @abstractmethod
    def get_host_stats(self, refresh: bool = False) -> HostStats:
        """Capacity of the host and what is taken. ``refresh`` also makes the hypervisor look at its storage again."""

    def update_available_resource(self) -> HostStats:
        """Capacity measured anew, as Nova calls it; returned, since the hypervisor is the only store."""
        return self.get_host_stats(refresh=True)

    @abstractmethod
    def get_cpu_info(self) -> CpuInfo:
        """The host's processor."""

    @abstractmethod
    def compare_cpu(self, cpu_info: CpuInfo) -> None:
        """Return when a guest that saw ``cpu_info`` can run here.

        Raises:
            IncompatibleCpu: it cannot; the message says what is missing.
        """

    # -- reading ----------------------------------------------------------------------------------------------------

    @contextmanager
    def one_look(self) -> Iterator[None]:
        """Within the block the caller only reads, in one thread, and wants all of one moment: what was read once need
        not be read again."""
        yield

    @abstractmethod
    def list_instances(self) -> list[str]:
        """Names of all instances, running or not, sorted."""

    @abstractmethod
    def list_instances_detail(self, names: Collection[str] | None = None) -> list[InstanceInfo]:
        """State and size of all instances, or of those in ``names`` that exist, sorted by name; a constant number of
        calls."""

    @abstractmethod
    def get_info(self, name: str) -> InstanceInfo:
        """State and size of one instance."""

    @abstractmethod
    def get_instances(self, names: Collection[str] | None = None) -> dict[str, Instance]:
        """Full configuration of all instances, or of those in ``names`` that exist.

        Costs a constant number of calls and, where the hypervisor has no bulk call for configurations, one or two more
        for each instance returned.

        Raises:
            InstanceAmbiguous: a name in ``names`` fits several instances and none of them is marked as ours.
        """

    def instances_here(self) -> frozenset[str] | None:
        """Names of the instances that belong to the host that the URI names, of several whose instances the driver
        reaches; None where all instances are meant."""
        return None

    def get_group_members(self) -> dict[str, tuple[str, ...]]:
        """The addresses (CIDR notation, sorted) of each security group's active members on this host; the groups of
        projects are among them, see ``model.secgroup.project_group``. Costs at most as much as reading all instances
        and their addresses once."""
        active = [info.name for info in self.list_instances_detail() if info.state in power_state.ACTIVE]
        instances = self.get_instances(active)
        known = self.get_addresses(active) if self.supports("addresses") else {}
        ports = [
            port
            for name, instance in instances.items()
            if instance.security_groups is not None or instance.project is not None
            for port in ports_of(instance, known.get(name, ()))
        ]
        return {group: tuple(sorted(addresses)) for group, addresses in sorted(members_of(ports).items())}

    # -- checking ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def check_parameter_syntax(self, instance: Instance) -> list[Problem]:
        """What this hypervisor can never do with these values (Ganeti's CheckParameterSyntax); asks no hypervisor.

        Options are named relative to the instance, e.g. ``cpu.mode``.
        """

    @abstractmethod
    def validate_parameters(self, instances: Sequence[Instance]) -> dict[str, list[Problem]]:
        """What this host lacks for the mentioned values: networks, pools, images, volumes, MAC addresses that are taken
        (Ganeti's ValidateParameters). A constant number of calls for all of them. Keys are the names with problems."""

    def differing_extras(self, current: Instance, desired: Instance) -> set[str]:
        """Keys of ``desired.hypervisor`` whose value is not what ``current`` has. Asks no hypervisor. For drivers to
        override where one thing can be written in several ways."""
        return {key for key, value in desired.hypervisor.items() if current.hypervisor.get(key) != value}

    def complete(self, instance: Instance) -> Instance:
        """A copy of a new instance in which what the driver decides by itself is filled in: device names, formats,
        buses, NIC models and the like, as they will be read back. Asks no hypervisor beyond what is already known.

        Where ``disks`` is None the flavor says which blank disks there are; a list is the whole list."""
        return instance

    # -- life and death ---------------------------------------------------------------------------------------------

    @abstractmethod
    def spawn(self, instance: Instance, power_on: bool = True, paused: bool = False) -> None:
        """Create an instance; when it returns the instance is RUNNING, or PAUSED with ``paused``, or SHUTOFF without
        ``power_on``.

        On failure everything is as before. The instance is recorded as unfinished until the last part is done, so that
        a spawn killed half-way is recognized by the next run (``Instance.unfinished``) and removed whole by
        ``destroy``.

        Raises:
            AlreadyExists: the name is taken, or a volume that would be made exists already.
            InsufficientCapacity, ImageNotFound, PoolNotFound, VolumeNotFound, NetworkNotFound: as they say.
        """

    @abstractmethod
    def destroy(self, name: str, delete_volumes: str = OWN) -> list[str]:
        """Power off at once if needed, undefine, then delete volumes (Nova's destroy). Succeeds when it is already
        gone, and finishes what an earlier, killed destroy left.

        Works in any state and whatever hangs on the instance: saved memory, snapshots, checkpoints, NVRAM, TPM state.

        Args:
            delete_volumes: ``own`` deletes what the instance's own spawn made, ``all`` also other volumes in pools that
                no other instance uses, ``none`` nothing (but always the cloud-init seed). Never CD images, shared or
                base images.

        Returns:
            What was removed, in words.
        """

    @abstractmethod
    def find_remains(self, names: Collection[str]) -> set[str]:
        """Those of ``names`` that no longer exist as instances but of which a killed ``destroy`` left volumes;
        ``destroy`` removes them. A constant number of calls."""

    # -- changing ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def live_options(self, current: Instance, desired: Instance, options: Collection[str]) -> set[str]:
        """Which of the changed ``options`` (fields of Instance) can be given their ``desired`` value in ``current``'s
        present state without a restart. Asks no hypervisor. Options whose change is never felt by the guest (metadata,
        autostart) are among them."""

    @abstractmethod
    def update_instance(
        self, current: Instance, desired: Instance, options: Collection[str], live: Collection[str]
    ) -> Undo:
        """Give each of ``options`` its ``desired`` value in the instance's configuration and, for those also in
        ``live``, in the running guest. Everything else of the configuration stays untouched.

        Known options: memory_mb, max_memory_mb, vcpus, max_vcpus, flavor, disks (only the root disk's growth and
        appended disks), nics, boot, cpu, console, autostart, description, metadata, locked, protected, cloud_init,
        firewall, security_groups, project, allow_project_net_traffic, hypervisor.
        For ``nics`` and ``security_groups`` the desired list is the whole list wanted.

        Returns:
            How to take it back.
        """

    @abstractmethod
    def require_keepable(self, name: str, devices: Collection[str]) -> None:
        """Raise where ``resize_revertibly`` could not keep what is on these disks, as they are now: it is known before
        the instance is stopped for that.

        Raises:
            Unsupported: a disk is of a kind of which no old state can be kept.
            VolumeInUse: others need what is on it.
        """

    @abstractmethod
    def resize_revertibly(
        self, current: Instance, desired: Instance, options: Collection[str], before: ResizeRecord
    ) -> Undo:
        """Resize an instance that is off as ``update_instance`` does, and keep what it takes to go back: ``before`` and
        the old state of each disk that grows, until ``confirm_resize`` or ``revert_resize`` (Nova's resize).

        One that was cut short while changing is brought to its end, and keeps what it kept then.

        Args:
            options: Of memory_mb, max_memory_mb, vcpus, max_vcpus, flavor, disks (growth only); none to do no more than
                bring one to its end.
            before: The old sizes; what is kept of disks, and the phase, are the driver's to fill in.

        Raises:
            InvalidPowerState: it is not off.
            ResizePending: one is waiting already.

        Returns:
            How to take it back.
        """

    @abstractmethod
    def confirm_resize(self, name: str) -> None:
        """Forget a resize that is to stay, or is reverted, or was cut short before it changed anything: delete what was
        kept. In any power state; nothing to do when there is none.

        Raises:
            ResizePending: it is being reverted, and what is kept is needed for that.
        """

    @abstractmethod
    def note_runs_after_revert(self, name: str, runs: bool) -> None:
        """Write down whether an instance, of which a resize waits, is to run after it is reverted. In any power state:
        whoever stops it to revert the resize may be killed before it runs again."""

    @abstractmethod
    def revert_resize(self, name: str) -> None:
        """Go back, with an instance that is off: sizes, flavor and the kept disks are as they were before the resize,
        and what was written to those disks since is lost. What was kept stays until ``confirm_resize``, so that one
        that is cut short can be done again. Nothing to do when none waits.

        Raises:
            InvalidPowerState: it is not off.
        """

    @abstractmethod
    def balloon_memory(self, name: str, memory_mb: int) -> None:
        """Set the running guest's present memory in MiB, not its configuration (Ganeti's BalloonInstanceMemory).

        Raises:
            InvalidPowerState: it does not run.
            InvalidInput: more than its maximum.
        """

    @abstractmethod
    def plug_vifs(self, name: str, nics: Sequence[Nic]) -> None:
        """Add NICs to the configuration and, where it runs, to the guest."""

    @abstractmethod
    def unplug_vifs(self, name: str, macs: Collection[str]) -> None:
        """Remove the NICs with these addresses; those that are not there are ignored."""

    # -- power ------------------------------------------------------------------------------------------------------

    @abstractmethod
    def power_on(self, name: str, paused: bool = False) -> None:
        """Start it; RUNNING (PAUSED with ``paused``) when done. A suspended instance resumes where it was. Nothing to
        do when it is active already."""

    @abstractmethod
    def request_shutdown(self, name: str, method: str) -> None:
        """Ask the guest to power off, by ``acpi`` or ``agent``, without waiting."""

    @abstractmethod
    def force_off(self, name: str) -> None:
        """Take the power away; SHUTOFF when done. Nothing to do when it is off."""

    def power_off(
        self, name: str, method: str = ACPI, timeout_s: float = 120.0, retry_interval_s: float = 10.0
    ) -> None:
        """Stop it; SHUTOFF when done.

        A clean stop is asked for again each ``retry_interval_s`` seconds, since a guest that is still booting misses
        the first.

        Raises:
            TimeoutExpired: the guest did not stop within ``timeout_s`` seconds; it is as it was.
            Unsupported: not this ``method``.
            InvalidPowerState: a clean stop of a guest that is paused or suspended, which cannot hear it.
        """
        self.require(f"shutdown_{method}")
        if method == FORCED:
            self.force_off(name)
            return
        if self._has_guest_to_stop(name, self.get_info(name).state):
            self._await_state(
                name, power_state.OFF, timeout_s, lambda: self.request_shutdown(name, method), retry_interval_s
            )

    @staticmethod
    def _has_guest_to_stop(name: str, state: int) -> bool:
        """Whether there is a guest that can be asked to stop; False when the instance is off.

        Raises:
            InvalidPowerState: it is paused or suspended, and its guest cannot hear.
        """
        if state in power_state.OFF:
            return False
        if state not in power_state.EXECUTING | {power_state.SHUTDOWN}:
            raise InvalidPowerState(
                f"instance {name!r} is {power_state.name(state)}, so its guest cannot shut down by itself; "
                "let it run first or stop it with method forced"
            )
        return True

    @abstractmethod
    def reboot(self, name: str, method: str = SOFT, timeout_s: float = 120.0) -> None:
        """Reboot: ``soft`` asks the guest and returns when it has done so, ``hard`` resets at once. RUNNING when done.

        Raises:
            TimeoutExpired: the guest did not reboot in time.
            InvalidPowerState: it does not run.
        """

    @abstractmethod
    def pause(self, name: str) -> None:
        """Stop giving it processor time; PAUSED when done. Raises InvalidPowerState unless it runs or is paused."""

    @abstractmethod
    def unpause(self, name: str) -> None:
        """The reverse; RUNNING when done. Raises InvalidPowerState unless it is paused or runs."""

    @abstractmethod
    def suspend(self, name: str) -> None:
        """Save its memory to disk and stop it; SUSPENDED when done. Raises InvalidPowerState unless it is active or
        suspended."""

    @abstractmethod
    def resume(self, name: str) -> None:
        """The reverse; RUNNING when done. Raises InvalidPowerState unless it is suspended or runs."""

    # -- looking ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def watch(self, names: Collection[str]) -> Watch:
        """A watch over these instances."""

    def wait_for_state(self, name: str, wanted: Collection[int], timeout_s: float) -> int:
        """Wait until the instance's state is one of ``wanted``; the state.

        Raises:
            TimeoutExpired: not within ``timeout_s`` seconds.
        """
        return self._await_state(name, wanted, timeout_s)

    def _await_state(
        self,
        name: str,
        wanted: Collection[int],
        timeout_s: float,
        ask: Callable[[], None] | None = None,
        ask_again_s: float = 10.0,
    ) -> int:
        """Wait for a state and meanwhile ``ask`` for it, at once and each ``ask_again_s`` seconds."""
        now = time.monotonic()
        deadline, next_ask, asked = now + timeout_s, now, False
        with self.watch([name]) as watch:
            while True:
                state = self.get_info(name).state
                if state in wanted:
                    return state
                now = time.monotonic()
                if now >= deadline:
                    aims = " or ".join(power_state.name(code) for code in sorted(wanted))
                    raise TimeoutExpired(
                        f"instance {name!r} was not {aims} after {timeout_s:g} s", last_seen=power_state.name(state)
                    )
                if ask is not None and now >= next_ask:
                    try:
                        ask()
                    except HypervisorError:
                        if not asked:
                            raise
                        # One that is just on its way cannot be asked again; its state will tell.
                    next_ask, asked = now + ask_again_s, True
                watch.wait(min(deadline, next_ask if ask is not None else deadline) - now)

    @abstractmethod
    def get_addresses(self, names: Collection[str], ask_guest: bool = False) -> dict[str, list[Address]]:
        """Addresses of those instances, as far as known. A constant number of calls; with ``ask_guest`` one more for
        each running instance, to its guest agent, where silence of the agent just means that nothing is known."""

    @abstractmethod
    def list_disks(self, name: str) -> list[str]:
        """Ids of its disks, good for ``block_stats`` of the same instance."""

    @abstractmethod
    def list_interfaces(self, name: str) -> list[str]:
        """Ids of its NICs, good for ``interface_stats`` of the same instance."""

    @abstractmethod
    def block_stats(self, name: str, disk_id: str) -> BlockStats:
        """Counters of a disk. Raises InvalidPowerState when it does not run, NotFound for an unknown disk."""

    @abstractmethod
    def interface_stats(self, name: str, interface_id: str) -> InterfaceStats:
        """Counters of a NIC. Raises InvalidPowerState when it does not run, NotFound for an unknown NIC."""

    @abstractmethod
    def get_diagnostics(self, name: str) -> dict[str, int]:
        """Whatever counters the hypervisor keeps, flat: ``cpu0_time_ns``, ``memory_rss_kib``, ``vda_rd_bytes``,
        ``nic0_rx_bytes`` ...
        Raises InvalidPowerState when it does not run."""

    @abstractmethod
    def get_all_diagnostics(self, names: Collection[str] | None = None) -> Mapping[str, dict[str, int]]:
        """The same for all active instances, or the active ones of ``names``, in a constant number of calls."""

    @abstractmethod
    def get_console_output(self, name: str, max_bytes: int = 65536) -> bytes:
        """The end of what the guest wrote on its serial console since it was last started, at most ``max_bytes``.

        Raises:
            Unsupported: its console is not kept in a log.
        """

    @abstractmethod
    def get_vnc_console(self, name: str) -> VncConsole:
        """Where its VNC console listens. Raises InvalidPowerState when it does not run, NotFound when it has none."""
