# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every error that the collection raises, by name.

Each class has a stable ``kind``: it is what a playbook's ``rescue:`` finds in ``ansible_failed_result.error.kind``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, NamedTuple


class Problem(NamedTuple):
    """One thing that is wrong with one option, e.g. ``Problem("instances[2].memory_mb", "must be at least 1")``.

    Without an option it is about all of them together.
    """

    option: str
    message: str

    def __str__(self) -> str:
        return f"{self.option}: {self.message}" if self.option else self.message


class AnyvirtError(Exception):
    """The root of all errors here.

    Attributes:
        step: The plan's step in which it happened, in words; None outside a plan.
        rolled_back: True when everything that was done before the failure is undone again; None when nothing had been
            done.
        undone: What was undone, in words, in the order in which it was undone.
        not_undone: What could not be undone, in words with the reason; empty is the good case.
    """

    kind: ClassVar[str] = "error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.step: str | None = None
        self.rolled_back: bool | None = None
        self.undone: list[str] = []
        self.not_undone: list[str] = []


class InvalidInput(AnyvirtError):
    """The task asks for something that makes no sense; nothing was sent to the hypervisor."""

    kind = "invalid_input"

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems))


class InvalidUri(AnyvirtError):
    """The ``uri`` cannot be understood or is missing."""

    kind = "invalid_uri"


class Unsupported(AnyvirtError):
    """This hypervisor cannot do it; the message names the driver and what to use instead."""

    kind = "unsupported"


class LibraryMissing(AnyvirtError):
    """The Python library of the hypervisor is not installed where the module runs."""

    kind = "library_missing"


class HypervisorUnavailable(AnyvirtError):
    """The hypervisor cannot be reached, or went away in the middle."""

    kind = "hypervisor_unavailable"


class PermissionDenied(AnyvirtError):
    """The hypervisor was reached and said no to this user."""

    kind = "permission_denied"


class HypervisorError(AnyvirtError):
    """The hypervisor refused or failed, and no more specific class here says why."""

    kind = "hypervisor_error"


class NotFound(AnyvirtError):
    """Something that the task names does not exist."""

    kind = "not_found"


class InstanceNotFound(NotFound):
    """There is no instance of that name."""

    kind = "instance_not_found"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"there is no instance named {name!r}")


class PoolNotFound(NotFound):
    """There is no storage pool of that name, or it is not active."""

    kind = "pool_not_found"


class VolumeNotFound(NotFound):
    """There is no such volume in the pool."""

    kind = "volume_not_found"


class ImageNotFound(NotFound):
    """There is no such image file on the hypervisor's host."""

    kind = "image_not_found"


class NetworkNotFound(NotFound):
    """There is no such network or bridge on the hypervisor's host."""

    kind = "network_not_found"


class SnapshotNotFound(NotFound):
    """The volume or instance has no snapshot of that name."""

    kind = "snapshot_not_found"


class SecurityGroupNotFound(NotFound):
    """There is no security group of that name."""

    kind = "security_group_not_found"


class SecurityGroupInUse(AnyvirtError):
    """Instances are in the security group, or rules of other groups are about its members; the message names them."""

    kind = "security_group_in_use"


class FilterDrift(AnyvirtError):
    """Filters are not as declared; the message says which."""

    kind = "filter_drift"


class VolumeInUse(AnyvirtError):
    """Somebody needs the volume or the pool: instances, or volumes that lean on it; the message names them."""

    kind = "volume_in_use"


class PoolNotEmpty(AnyvirtError):
    """There are volumes in the pool."""

    kind = "pool_not_empty"


class TransferError(AnyvirtError):
    """Data could not be fetched, sent or read, or is not what it should be."""

    kind = "transfer_error"


class ChecksumMismatch(TransferError):
    """What was transferred has another checksum than the one asked for."""

    kind = "checksum_mismatch"


class UnsafeImage(TransferError):
    """The image's header asks for what a guest must not have: other files of the host, or an absurd size."""

    kind = "unsafe_image"


class AlreadyExists(AnyvirtError):
    """The name is taken, by an instance, a volume or a MAC address."""

    kind = "already_exists"


class InstanceAmbiguous(AnyvirtError):
    """Several instances have that name, and nothing tells which one is meant."""

    kind = "instance_ambiguous"


class InvalidPowerState(AnyvirtError):
    """The operation is not possible in the instance's present power state."""

    kind = "invalid_power_state"


class InstanceLocked(AnyvirtError):
    """The instance is locked against changes."""

    kind = "instance_locked"


class InstanceProtected(AnyvirtError):
    """The instance is protected against removal."""

    kind = "instance_protected"


class InstanceMigrating(AnyvirtError):
    """The instance is being moved to or from another host, or lives elsewhere; the message says what to do."""

    kind = "instance_migrating"


class MigrationImpossible(AnyvirtError):
    """The instance cannot be moved to that host; nothing was tried.

    Attributes:
        problems: All reasons, in words.
    """

    kind = "migration_impossible"

    def __init__(self, name: str, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__(f"instance {name!r} cannot be moved: {'; '.join(self.problems)}")


class MigrationFailed(AnyvirtError):
    """The hypervisor gave up moving the instance."""

    kind = "migration_failed"


class MigrationAborted(AnyvirtError):
    """Somebody stopped the migration; the instance is where it was."""

    kind = "migration_aborted"


class InstanceDuplicated(AnyvirtError):
    """Two hosts run the instance, or each has a part of it, and nothing tells which is right; neither is touched."""

    kind = "instance_duplicated"


class ResizePending(AnyvirtError):
    """A resize of the instance is still to be confirmed or reverted."""

    kind = "resize_pending"


class InsufficientCapacity(AnyvirtError):
    """The host has not enough memory, processors or disk space left."""

    kind = "insufficient_capacity"


class IncompatibleCpu(AnyvirtError):
    """The processor described is not what this host can offer to a guest."""

    kind = "incompatible_cpu"


class TimeoutExpired(AnyvirtError):
    """What was waited for did not happen in time; ``last_seen`` says what was there instead."""

    kind = "timeout"

    def __init__(self, message: str, last_seen: str) -> None:
        self.last_seen = last_seen
        super().__init__(f"{message}; last seen: {last_seen}")


class UnexpectedError(AnyvirtError):
    """A mistake in the collection itself, met while a plan was carried out; please report it."""

    kind = "unexpected_error"
