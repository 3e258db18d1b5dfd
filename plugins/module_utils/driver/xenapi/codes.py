# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The error codes of XenAPI: which of our errors each is, and how it is told.

The messages are read after "cannot start instance 'web1': ". ``{0:instance}`` is a parameter that refers to an
instance, see errors.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ...errors import (
    AlreadyExists,
    AnyvirtError,
    HypervisorError,
    HypervisorUnavailable,
    IncompatibleCpu,
    InsufficientCapacity,
    InvalidPowerState,
    MigrationFailed,
    NetworkNotFound,
    NotFound,
    PermissionDenied,
    PoolNotFound,
    TimeoutExpired,
    Unsupported,
    VolumeInUse,
    VolumeNotFound,
)


class Rule(NamedTuple):
    """How a code is told.

    Attributes:
        kind: The class of our error.
        last_seen: What a TimeoutExpired saw last.
    """

    kind: type[AnyvirtError]
    message: str
    last_seen: str = ""

    @property
    def parameters(self) -> int:
        """How many parameters the message may ask for."""
        return self.message.count("{")


def _rules(kind: type[AnyvirtError], **messages: str) -> dict[str, Rule]:
    return {code: Rule(kind, message) for code, message in messages.items()}


_ACCESS = _rules(
    PermissionDenied,
    SESSION_AUTHENTICATION_FAILED="the server does not accept this user name with this password",
    SESSION_AUTHORIZATION_FAILED="user {0} may not use the pool: {1}",
    SESSION_INVALID="the server ended the session, and the new one as well",
    RBAC_PERMISSION_DENIED="the user's role does not allow {0}; the role vm-power-admin, or pool-operator, does",
    PERMISSION_DENIED="the server does not permit it: {0}",
    USER_IS_NOT_LOCAL_SUPERUSER="only the local superuser may do that: {0}",
)

_UNREACHABLE = _rules(
    HypervisorUnavailable,
    HOST_IS_SLAVE="the host is not its pool's master and says that {0} is, which says no; is the master changing?",
    HOST_STILL_BOOTING="the host is still booting",
    HOST_IN_EMERGENCY_MODE="the host has lost its pool's master and waits for a new one",
    HOST_OFFLINE="{0:host} is offline",
    HOST_NOT_LIVE="the host is not running",
    CANNOT_CONTACT_HOST="the pool's master cannot reach {0:host}",
    TLS_CONNECTION_FAILED="the pool's master gets no TLS connection with {0}:{1}",
)

_HOSTS = {
    **_rules(
        InsufficientCapacity,
        NO_HOSTS_AVAILABLE="no host of the pool can take it: hosts are disabled, or have too little memory left, or do "
        "not have its storage and networks",
        HOST_NOT_ENOUGH_FREE_MEMORY="it takes {0:MiB} of memory, and the host has {1:MiB} left",
        HOST_NOT_ENOUGH_PCPUS="it has {0} vCPUs, and the host only {1} processors",
        VM_MEMORY_SIZE_TOO_LOW="{0:instance} has too little memory to start",
    ),
    **_rules(
        HypervisorError,
        HOST_DISABLED="{0:host} is disabled, as during maintenance",
        HOST_DISABLED_UNTIL_REBOOT="{0:host} is disabled until it is rebooted",
        HOST_DISABLED_INDEFINITELY="{0:host} is disabled until someone enables it",
        TOO_BUSY="the server has too much to do",
        TOO_MANY_PENDING_TASKS="the server has too many tasks under way",
    ),
    **_rules(
        IncompatibleCpu,
        VM_INCOMPATIBLE_WITH_THIS_HOST="{0:instance} cannot run on {1:host}: {2}",
        VM_HOST_INCOMPATIBLE_VERSION="{0:host} is too old for {1:instance}",
    ),
}

_POWER = {
    **_rules(
        InvalidPowerState,
        VM_BAD_POWER_STATE="{0:instance} is {2}, and it would have to be {1}",
        VM_HALTED="{0:instance} has powered off meanwhile",
        VM_REBOOTED="{0:instance} has rebooted meanwhile",
        VM_CRASHED="{0:instance} has crashed meanwhile",
        DOMAIN_EXISTS="{0:instance} runs already",
    ),
    **{
        code: Rule(TimeoutExpired, message, "running")
        for code, message in {
            "VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT": "{0:instance} does not heed the request to shut down",
            "VM_SHUTDOWN_TIMEOUT": "{0:instance} did not shut down within {1} s",
            "VM_FAILED_SUSPEND_ACKNOWLEDGMENT": "{0:instance} does not heed the request to suspend",
            "VM_SUSPEND_TIMEOUT": "{0:instance} did not suspend within {1} s",
        }.items()
    },
}

_GUESTS = {
    **_rules(
        Unsupported,
        VM_LACKS_FEATURE="{0:instance} has no guest agent running that could do it; wait until it is up, install "
        "XenServer's tools in it, or use a forced method",
        VM_MISSING_PV_DRIVERS="{0:instance} has no drivers for Xen that could do it",
        VM_OLD_PV_DRIVERS="{0:instance} has drivers for Xen that are too old ({1}.{2})",
        VM_NON_SUSPENDABLE="{0:instance} cannot be suspended: {1}",
        VM_NO_SUSPEND_SR="there is no storage pool for the memory of suspended instances; set the pool's "
        "suspend_image_SR",
        VM_HVM_REQUIRED="{0:instance} would have to be an HVM guest",
        FEATURE_REQUIRES_HVM="it takes an HVM guest: {0}",
    ),
    **_rules(
        HypervisorError,
        VM_IS_TEMPLATE="{0:instance} is a template",
        VM_IS_SNAPSHOT="{0:instance} is a snapshot",
        VM_CANNOT_DELETE_DEFAULT_TEMPLATE="{0:template} belongs to the server",
        VM_IS_PROTECTED="{0:instance} is protected by the pool's high availability",
        VM_HAS_CHECKPOINT="{0:instance} has a checkpoint",
        VM_REVERT_FAILED="{0:instance} cannot be put back",
        PROVISION_ONLY_ALLOWED_ON_TEMPLATE="only a template can be made an instance",
        VM_HAS_TOO_MANY_SNAPSHOTS="{0:instance} has too many snapshots",
        VM_HAS_PCI_ATTACHED="{0:instance} has a PCI device of the host",
        VM_NO_VCPUS="{0:instance} has no vCPUs",
        VM_TOO_MANY_VCPUS="{0:instance} has more vCPUs than the server allows",
        VCPU_MAX_NOT_CORES_PER_SOCKET_MULTIPLE="the maximum of {0} vCPUs is no multiple of {1} cores per socket",
        MEMORY_CONSTRAINT_VIOLATION="its memory limits do not fit together: {0}",
        MEMORY_CONSTRAINT_VIOLATION_ORDER="its memory limits are not in order: the maximum must not be less than what "
        "it is given",
        BOOTLOADER_FAILED="the bootloader found nothing to start {0:instance} with: {1}",
        UNKNOWN_BOOTLOADER="the hosts do not have the bootloader {1}",
        DOMAIN_BUILDER_ERROR="the host cannot build the guest ({0} {1}): {2}",
        FAILED_TO_START_EMULATOR="the host cannot start the emulator {1}: {2}",
        OPERATION_PARTIALLY_FAILED="only a part of {0} was done",
    ),
}

_MIGRATION = {
    **_rules(
        MigrationFailed,
        VM_MIGRATE_FAILED="{0:instance} could not be moved: {3}",
        VM_MIGRATE_CONTACT_REMOTE_SERVICE_FAILED="the source's host does not reach the destination's",
        MIRROR_FAILED="{0:volume} could not be copied while the guest wrote to it",
        BALLOONING_TIMEOUT_BEFORE_MIGRATION="{0:instance} did not give back memory in time",
    ),
    **_rules(
        HypervisorError,
        VDI_NOT_IN_MAP="nothing says where {0:volume} is to go",
        VIF_NOT_IN_MAP="nothing says on which network an interface of it is to be",
        TOO_MANY_STORAGE_MIGRATES="{0} instances are being moved with their disks, which is the most at a time",
        VDI_CBT_ENABLED="{0:volume} has changed block tracking on, for a backup; turn it off first",
        VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION="a volume is reset at each start of its machine",
        VM_ASSIGNED_TO_SNAPSHOT_SCHEDULE="{0:instance} has a schedule for snapshots; take it off first",
        INTERFACE_HAS_NO_IP="the host's management interface has no address",
    ),
    **_rules(
        Unsupported,
        VM_HAS_SRIOV_VIF="{0:instance} has a network interface that is a part of one of its host's (SR-IOV)",
        VM_HAS_VGPU="{0:instance} has a graphics processor of its host",
        VM_IS_IMMOBILE="{0:instance} has been configured so that it does not move while it runs",
        VM_IS_USING_NESTED_VIRT="{0:instance} runs virtual machines itself",
        VM_HOST_INCOMPATIBLE_VIRTUAL_HARDWARE_PLATFORM_VERSION="{0:host} does not have the virtual hardware of "
        "{2:instance}, version {3}",
        SR_DOES_NOT_SUPPORT_MIGRATION="{0:storage pool} is of a kind from or to which nothing can be moved",
    ),
    **_rules(
        AlreadyExists,
        DUPLICATE_MAC_SEED="the destination has a copy of it: an instance with the same seed for MAC addresses",
    ),
    **_rules(
        IncompatibleCpu, VM_HOST_INCOMPATIBLE_VERSION_MIGRATE="{0:host} has an older version than {1:instance} runs on"
    ),
}

_STORAGE = {
    **_rules(
        InsufficientCapacity,
        SR_FULL="the storage pool is full: {0:MiB} are asked for, and {1:MiB} are left",
        SR_BACKEND_FAILURE_44="the storage pool is full: {1}{2}",
        SR_SOURCE_SPACE_INSUFFICIENT="{0:storage pool} has too little space left",
        SR_SUSPEND_SPACE_INSUFFICIENT="{0:storage pool} has too little space left for the memory",
        VDI_TOO_LARGE="the volume is larger than {1:MiB}, which is the most that the storage pool takes",
        OUT_OF_SPACE="the host has no space left at {0}",
        PROVISION_FAILED_OUT_OF_SPACE="the storage pool has too little space left for the template's disks",
    ),
    **_rules(
        PoolNotFound,
        DEFAULT_SR_NOT_FOUND="the pool has no default storage repository; name one with the option pool",
        SR_HAS_NO_PBDS="no host is connected with {0:storage pool}",
        SR_NOT_ATTACHED="{0:storage pool} is not connected",
        SR_ATTACH_FAILED="{0:storage pool} cannot be connected",
        VM_REQUIRES_SR="no host that could run {0:instance} is connected with {1:storage pool}",
    ),
    **_rules(
        VolumeNotFound,
        VDI_MISSING="{0:storage pool} has lost {1:volume}",
        VDI_LOCATION_MISSING="{0:storage pool} has nothing at {1}",
        VDI_NOT_AVAILABLE="{0:volume} cannot be reached",
        VM_REQUIRES_VDI="{0:instance} needs {1:volume}, which cannot be reached",
        SUSPEND_IMAGE_NOT_ACCESSIBLE="the memory that was saved cannot be reached",
        VM_HAS_NO_SUSPEND_VDI="{0:instance} has no saved memory",
    ),
    **_rules(
        Unsupported,
        SR_OPERATION_NOT_SUPPORTED="{0:storage pool} is of a kind that cannot do it",
        UNIMPLEMENTED_IN_SM_BACKEND="the storage pool is of a kind that cannot do it: {0}",
        VDI_INCOMPATIBLE_TYPE="{0:volume} is of the type {1}, with which it does not work",
        SR_UNKNOWN_DRIVER="the hosts have no storage driver {0}",
    ),
    **_rules(VolumeInUse, VDI_IN_USE="{0:volume} is in use ({1})"),
    **_rules(
        HypervisorError,
        VDI_READONLY="{0:volume} is read-only",
        VDI_TOO_SMALL="{0:volume} has to be at least {1:MiB}",
        VDI_NOT_MANAGED="{0:volume} is not managed by the server",
        VDI_IS_A_PHYSICAL_DEVICE="{0:volume} is a device of the host",
        VDI_IS_NOT_ISO="{0:volume} is no CD image but of the type {1}",
        VDI_IS_SHARABLE="{0:volume} is shareable",
        VDI_NEEDS_VM_FOR_MIGRATE="{0:volume} can only be moved while a running instance has it",
        VDI_COPY_FAILED="the volume could not be copied",
        SR_BACKEND_FAILURE="the storage pool failed: {1}{2}",
        SR_VDI_LOCKING_FAILED="the storage pool failed to lock the volume",
        SR_HAS_PBD="a host is still connected with {0:storage pool}",
        SR_NOT_SHARABLE="{0:storage pool} is local to a host",
        SR_NOT_EMPTY="the storage pool is not empty",
        VBD_CDS_MUST_BE_READONLY="CD drives must be read-only",
        VBD_IS_EMPTY="the drive is empty",
        VBD_NOT_EMPTY="there is something in the drive",
        VBD_NOT_REMOVABLE_MEDIA="it is a disk, not a drive",
        VBD_NOT_UNPLUGGABLE="the disk cannot be unplugged while the guest runs",
        VBD_TRAY_LOCKED="the guest has locked the drive",
        DISK_VBD_MUST_BE_READWRITE_FOR_HVM="an HVM guest takes no read-only disks of this kind",
        ILLEGAL_VBD_DEVICE="there is no device {1} for a disk",
        INVALID_DEVICE="there is no device {0}",
    ),
}

_DEVICES = {
    **_rules(
        AlreadyExists,
        DEVICE_ALREADY_EXISTS="its device {0} is taken",
        VM_DUPLICATE_VBD_DEVICE="{0:instance} has the device {2} already",
        MAP_DUPLICATE_KEY="there is a key {3} in {1} already",
        DUPLICATE_VM="{0:instance} is there already",
        LOCATION_NOT_UNIQUE="{0:storage pool} has something at {1} already",
        DB_UNIQUENESS_CONSTRAINT_VIOLATION="there is a {0} with {1} {2} already",
        SR_UUID_EXISTS="there is a storage repository with the uuid {0} already",
        PBD_EXISTS="{1:host} is connected with {0:storage pool} already",
    ),
    **_rules(
        HypervisorError,
        DEVICE_ALREADY_ATTACHED="the device is plugged in already",
        DEVICE_ALREADY_DETACHED="the device is not plugged in",
        DEVICE_NOT_ATTACHED="the device is not plugged in",
        DEVICE_ATTACH_TIMEOUT="the guest did not take the device in time",
        DEVICE_DETACH_TIMEOUT="the guest did not let go of the device in time",
        DEVICE_DETACH_REJECTED="the guest does not let go of the device: {2}",
        MAC_INVALID="{0} is no MAC address",
        NETWORK_CONTAINS_VIF="running instances are on the network",
        NETWORK_CONTAINS_PIF="a network card of a host is on the network",
        CANNOT_DESTROY_SYSTEM_NETWORK="{0:network} belongs to the server",
        VIF_IN_USE="a NIC is in use on {0:network}",
        CANNOT_PLUG_VIF="the NIC cannot be plugged in",
    ),
    **_rules(
        NetworkNotFound,
        VM_REQUIRES_NETWORK="no host that could run {0:instance} has {1:network}",
        HOST_CANNOT_ATTACH_NETWORK="{0:host} does not have {1:network}",
        BRIDGE_NOT_AVAILABLE="the host has no bridge {0}",
    ),
}

_CALLS = {
    **_rules(
        Unsupported,
        MESSAGE_METHOD_UNKNOWN="this version of the server has no call {0}",
        MESSAGE_REMOVED="this version of the server no longer has that call",
        MESSAGE_DEPRECATED="this version of the server no longer has that call",
        NOT_IMPLEMENTED="the server cannot do {0}",
        VALUE_NOT_SUPPORTED="the server does not take {1} as {0}: {2}",
        LICENCE_RESTRICTION="the pool's license does not include {0}",
        FEATURE_RESTRICTED="the pool's license does not include it",
        NOT_SUPPORTED_DURING_UPGRADE="the pool is being upgraded",
        HA_OPERATION_WOULD_BREAK_FAILOVER_PLAN="the pool's high availability would no longer have enough room",
    ),
    **_rules(
        HypervisorError,
        INTERNAL_ERROR="the server failed: {0}",
        INVALID_VALUE="the server does not take {1} as {0}",
        FIELD_TYPE_ERROR="the server does not take the type of {0}",
        MESSAGE_PARAMETER_COUNT_MISMATCH="the call {0} of this version of the server takes {1} parameters, not {2}",
        XMLRPC_UNMARSHAL_FAILURE="the server understood something else: {0} expected, {1} received",
        OPERATION_NOT_ALLOWED="the server does not allow it now: {0}",
        OPERATION_BLOCKED="an administrator has blocked this operation on {0:instance} (blocked_operations: {1})",
        OTHER_OPERATION_IN_PROGRESS="something else is being done there at the moment ({2})",
        TASK_CANCELLED="someone has cancelled it",
        XENAPI_MISSING_PLUGIN="the host has no plugin {0}",
        XENAPI_PLUGIN_FAILURE="a plugin of the host failed: {0} {2}",
        XAPI_HOOK_FAILED="the host's hook {0} failed: {1}",
        IMPORT_ERROR="the server cannot import it: {0}",
    ),
    **_rules(NotFound, OBJECT_NOLONGER_EXISTS="what it is about exists no more"),
}

BY_CODE: Mapping[str, Rule] = {
    **_ACCESS,
    **_UNREACHABLE,
    **_HOSTS,
    **_POWER,
    **_GUESTS,
    **_MIGRATION,
    **_STORAGE,
    **_DEVICES,
    **_CALLS,
}

MISSING: Mapping[str, tuple[type[AnyvirtError], str]] = {
    "VM": (NotFound, "instance"),
    "SR": (PoolNotFound, "storage pool"),
    "VDI": (VolumeNotFound, "volume"),
    "network": (NetworkNotFound, "network"),
    "task": (HypervisorError, "task"),
    "": (NotFound, ""),
}
"""Class of an object that is gone -> our error, and what we call it."""
