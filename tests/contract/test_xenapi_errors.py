# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users read for XenAPI's error codes: each provoked on the server, by its own rules, through the driver."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils import errors
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.driver import XenApiDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.errors import code_of
from lab.xenapi.server import XenApiServer
from lab.xenapi_objects import MIB, NULL, vbd_record, vdi_record, vif_record

if TYPE_CHECKING:
    from contract.platforms.xenapi import XenApiPlatform

pytestmark = pytest.mark.on("xenapi")


NO_SUCH = "OpaqueRef:00000000-0000-0000-0000-000000000000"


class Lab:
    """A driver on a pool, and short words for what the provocations need there. What is made gets its name known."""

    def __init__(self, server: XenApiServer) -> None:
        self.server = server
        self.driver = XenApiDriver(ConnectionOptions(server.uri, server.username, server.password))
        self.driver.open()
        self.call = self.driver.call
        self.run = self.driver.run_task

    def find(self, kind: str, name: str) -> str:
        return self.named(self.call(f"{kind}.get_by_name_label", name)[0], name)

    def named(self, ref: str, name: str) -> str:
        self.driver.labels[ref] = name
        return ref

    def vm(self, name: str = "web", memory_mb: int = 128) -> str:
        """A VM that is off."""
        ref = self.call("VM.clone", self.find("VM", "Other install media"), name)
        self.call("VM.remove_from_other_config", ref, "disks")
        self.call("VM.provision", ref)
        memory = str(memory_mb * MIB)
        self.call("VM.set_memory_limits", ref, memory, memory, memory, memory)
        return self.named(ref, name)

    def running(self, name: str = "web") -> str:
        """A VM whose guest has told that it is up."""
        ref = self.vm(name)
        self.boot(ref, "/boot/guest/vmlinuz")
        with self.driver.watch([name]) as watch:
            self.call("VM.start", ref, False, False)
            deadline = time.monotonic() + 10
            while self.call("VM.get_guest_metrics", ref) == NULL:
                assert time.monotonic() < deadline
                watch.wait(1.0)
        return ref

    def boot(self, vm: str, kernel: str, bootloader: str = "") -> None:
        self.call("VM.set_domain_type", vm, "pv")
        self.call("VM.set_PV_kernel", vm, kernel)
        self.call("VM.set_PV_bootloader", vm, bootloader)

    def vdi(self, name: str = "data", size: int = 8 * MIB, sr: str | None = None, **fields: Any) -> str:
        record = vdi_record(sr or self.find("SR", "shared"), size, name_label=name, **fields)
        return self.named(self.call("VDI.create", record), name)

    def vbd(self, vm: str, vdi: str = NULL, **fields: Any) -> str:
        record = vbd_record(vm, vdi, **{"userdevice": "0", "empty": vdi == NULL, **fields})
        return str(self.call("VBD.create", record))

    def vif(self, vm: str, network: str, **fields: Any) -> str:
        return str(self.call("VIF.create", vif_record(vm, network, **fields)))

    def local_sr(self, host: str) -> str:
        """The storage repository that only that host has."""
        host_ref = self.find("host", host)
        for sr in self.call("SR.get_by_name_label", "Local storage"):
            if any(self.call("PBD.get_host", pbd) == host_ref for pbd in self.call("SR.get_PBDs", sr)):
                return self.named(sr, f"local of {host}")
        raise AssertionError(host)


class Row(NamedTuple):
    code: str
    kind: type[errors.AnyvirtError]
    what: str
    message: str
    provoke: Callable[[Lab], Any]


TABLE: list[Row] = []


def row(code: str, kind: type[errors.AnyvirtError], what: str, message: str) -> Callable[..., Any]:
    def add(provoke: Callable[[Lab], Any]) -> Callable[[Lab], Any]:
        TABLE.append(Row(code, kind, what, message, provoke))
        return provoke

    return add


# -- the server and its calls ---------------------------------------------------------------------------------------


@row("SESSION_INVALID", errors.PermissionDenied, "list", "the server ended the session, and the new one as well")
def session_invalid(lab: Lab) -> None:
    lab.server.faults.fail("VM.get_all", "SESSION_INVALID", NO_SUCH, times=2)
    lab.call("VM.get_all")


@row("MESSAGE_METHOD_UNKNOWN", errors.Unsupported, "fly", "this version of the server has no call VM.fly")
def message_method_unknown(lab: Lab) -> None:
    lab.call("VM.fly", NO_SUCH)


@row(
    "MESSAGE_PARAMETER_COUNT_MISMATCH",
    errors.HypervisorError,
    "start web",
    "the call VM.start of this version of the server takes 3 parameters, not 1",
)
def message_parameter_count_mismatch(lab: Lab) -> None:
    lab.call("VM.start", NO_SUCH)


@row("MESSAGE_REMOVED", errors.Unsupported, "grow data", "this version of the server no longer has that call")
def message_removed(lab: Lab) -> None:
    lab.call("VDI.resize_online", lab.vdi(), str(16 * MIB))


@row("TASK_CANCELLED", errors.HypervisorError, "clone web", "someone has cancelled it")
def task_cancelled(lab: Lab) -> None:
    lab.server.faults.hang_task("VM.clone")
    task = lab.driver.start_task("VM.clone", lab.vm(), "copy")
    lab.call("task.cancel", task.ref)
    lab.driver.wait_task(task)


@row("INTERNAL_ERROR", errors.HypervisorError, "start web", "the server failed: a fault that the test asked for")
def internal_error(lab: Lab) -> None:
    lab.server.faults.fail("VM.start")
    lab.run("VM.start", lab.vm(), False, False)


@row("NO_SUCH_CODE", errors.HypervisorError, "list", "the server says WLB_URL_INVALID (http://x)")
def no_such_code(lab: Lab) -> None:
    lab.server.faults.fail("VM.get_all", "WLB_URL_INVALID", "http://x")
    lab.call("VM.get_all")


# -- what is not there, and what is there already -------------------------------------------------------------------


@row("HANDLE_INVALID", errors.InstanceNotFound, "start web", "there is no instance named 'web'")
def handle_invalid(lab: Lab) -> None:
    lab.run("VM.start", NO_SUCH, False, False)


@row("HANDLE_INVALID", errors.VolumeNotFound, "delete data", "the volume that it is about exists no more")
def handle_invalid_2(lab: Lab) -> None:
    lab.run("VDI.destroy", NO_SUCH)


@row("HANDLE_INVALID", errors.PoolNotFound, "scan", "the storage pool that it is about exists no more")
def handle_invalid_3(lab: Lab) -> None:
    lab.run("SR.scan", NO_SUCH)


@row("HANDLE_INVALID", errors.NetworkNotFound, "look", "the network that it is about exists no more")
def handle_invalid_4(lab: Lab) -> None:
    lab.call("network.get_record", NO_SUCH)


@row("UUID_INVALID", errors.InstanceNotFound, "look", "there is no instance named 'web'")
def uuid_invalid(lab: Lab) -> None:
    lab.call("VM.get_by_uuid", "00000000-0000-0000-0000-000000000000")


@row("MAP_DUPLICATE_KEY", errors.AlreadyExists, "tag web", "there is a key color in other_config already")
def map_duplicate_key(lab: Lab) -> None:
    vm = lab.vm()
    for color in ("red", "blue"):
        lab.call("VM.add_to_other_config", vm, "color", color)


@row("DEVICE_ALREADY_EXISTS", errors.AlreadyExists, "attach data", "its device 0 is taken")
def device_already_exists(lab: Lab) -> None:
    vm = lab.vm()
    for name in ("data", "more"):
        lab.vbd(vm, lab.vdi(name))


# -- power ----------------------------------------------------------------------------------------------------------


@row(
    "VM_BAD_POWER_STATE",
    errors.InvalidPowerState,
    "pause web",
    "instance 'web' is halted, and it would have to be running",
)
def vm_bad_power_state(lab: Lab) -> None:
    lab.run("VM.pause", lab.vm())


@row("VM_IS_TEMPLATE", errors.HypervisorError, "start golden", "instance 'golden' is a template")
def vm_is_template(lab: Lab) -> None:
    lab.run("VM.start", lab.find("VM", "golden"), False, False)


@row("VM_IS_SNAPSHOT", errors.HypervisorError, "start snap", "instance 'snap' is a snapshot")
def vm_is_snapshot(lab: Lab) -> None:
    snapshot = lab.named(lab.call("VM.snapshot", lab.vm(), "snap"), "snap")
    lab.run("VM.start", snapshot, False, False)


@row(
    "OPERATION_BLOCKED",
    errors.HypervisorError,
    "start web",
    "an administrator has blocked this operation on instance 'web' (blocked_operations: MAINTENANCE)",
)
def operation_blocked(lab: Lab) -> None:
    vm = lab.vm()
    lab.call("VM.add_to_blocked_operations", vm, "start", "MAINTENANCE")
    lab.run("VM.start", vm, False, False)


@row(
    "VM_LACKS_FEATURE",
    errors.Unsupported,
    "shut down web",
    "instance 'web' has no guest agent running that could do it; wait until it is up, install XenServer's tools in it, "
    "or use a forced method",
)
def vm_lacks_feature(lab: Lab) -> None:
    vm = lab.vm()
    lab.call("VM.add_to_xenstore_data", vm, "vm-data/lab", "lab.notools")
    lab.call("VM.start", vm, False, False)
    lab.run("VM.clean_shutdown", vm)


@row(
    "VM_NO_SUSPEND_SR",
    errors.Unsupported,
    "suspend web",
    "there is no storage pool for the memory of suspended instances; set the pool's suspend_image_SR",
)
def vm_no_suspend_sr(lab: Lab) -> None:
    vm = lab.running()
    lab.call("VM.set_suspend_SR", vm, NULL)
    for pool in lab.call("pool.get_all"):
        lab.call("pool.set_suspend_image_SR", pool, NULL)
    for host in lab.call("host.get_all"):
        lab.call("host.set_suspend_image_sr", host, NULL)
    lab.run("VM.suspend", vm)


@row(
    "DOMAIN_BUILDER_ERROR",
    errors.HypervisorError,
    "start web",
    "the host cannot build the guest (xc_dom_linux_build",
)
def domain_builder_error(lab: Lab) -> None:
    vm = lab.vm()
    lab.boot(vm, "/boot/guest/no-such-kernel")
    lab.run("VM.start", vm, False, False)


@row("UNKNOWN_BOOTLOADER", errors.HypervisorError, "start web", "the hosts do not have the bootloader lilo")
def unknown_bootloader(lab: Lab) -> None:
    vm = lab.vm()
    lab.boot(vm, "", bootloader="lilo")
    lab.run("VM.start", vm, False, False)


# -- capacity -------------------------------------------------------------------------------------------------------


@row(
    "NO_HOSTS_AVAILABLE",
    errors.InsufficientCapacity,
    "start web",
    "no host of the pool can take it: hosts are disabled, or have too little memory left, or do not have its storage "
    "and networks",
)
def no_hosts_available(lab: Lab) -> None:
    lab.run("VM.start", lab.vm(memory_mb=1 << 20), False, False)


@row(
    "HOST_NOT_ENOUGH_FREE_MEMORY",
    errors.InsufficientCapacity,
    "start web",
    "it takes 1056769 MiB of memory, and the host has ",
)
def host_not_enough_free_memory(lab: Lab) -> None:
    vm = lab.vm(memory_mb=(1 << 20) - 1)
    lab.run("VM.start_on", vm, lab.find("host", "xen2"), False, False)


@row("HOST_DISABLED", errors.HypervisorError, "start web", "host 'xen2' is disabled, as during maintenance")
def host_disabled(lab: Lab) -> None:
    host = lab.find("host", "xen2")
    lab.call("host.disable", host)
    lab.run("VM.start_on", lab.vm(), host, False, False)


@row(
    "VM_REQUIRES_SR",
    errors.PoolNotFound,
    "start web",
    "no host that could run instance 'web' is connected with storage pool 'local of xen1'",
)
def vm_requires_sr(lab: Lab) -> None:
    vm = lab.vm()
    lab.vbd(vm, lab.vdi(sr=lab.local_sr("xen1")))
    lab.run("VM.start_on", vm, lab.find("host", "xen2"), False, False)


@row("SR_FULL", errors.InsufficientCapacity, "create data", "the storage pool is full: 307200 MiB are asked for, and ")
def sr_full(lab: Lab) -> None:
    host = lab.find("host", "xen1")
    disk = {"device": "/dev/sdb"}
    sr = lab.run("SR.create", host, disk, str(1 << 30), "thick", "", "lvm", "user", False, {})
    lab.vdi(size=300 << 30, sr=sr)


@row(
    "MEMORY_CONSTRAINT_VIOLATION_ORDER",
    errors.HypervisorError,
    "resize web",
    "its memory limits are not in order: the maximum must not be less than what it is given",
)
def memory_constraint_violation_order(lab: Lab) -> None:
    lab.call("VM.set_memory_dynamic_max", lab.vm(), str(1024 * MIB))


@row("INVALID_VALUE", errors.HypervisorError, "resize web", "the server does not take 0 as VCPUs")
def invalid_value(lab: Lab) -> None:
    lab.call("VM.set_VCPUs_max", lab.vm(), "0")


# -- storage --------------------------------------------------------------------------------------------------------


@row("VDI_IN_USE", errors.VolumeInUse, "delete data", "volume 'data' is in use (destroy)")
def vdi_in_use(lab: Lab) -> None:
    vm, vdi = lab.vm(), lab.vdi()
    lab.vbd(vm, vdi)
    lab.call("VM.start", vm, False, False)
    lab.run("VDI.destroy", vdi)


@row("VDI_READONLY", errors.HypervisorError, "attach data", "volume 'data' is read-only")
def vdi_readonly(lab: Lab) -> None:
    lab.vbd(lab.vm(), lab.vdi(read_only=True))


@row("VBD_CDS_MUST_BE_READONLY", errors.HypervisorError, "attach a drive", "CD drives must be read-only")
def vbd_cds_must_be_readonly(lab: Lab) -> None:
    lab.vbd(lab.vm(), type="CD")


@row("VBD_IS_EMPTY", errors.HypervisorError, "eject", "the drive is empty")
def vbd_is_empty(lab: Lab) -> None:
    lab.run("VBD.eject", lab.vbd(lab.running(), type="CD", mode="RO"))


@row("VBD_NOT_EMPTY", errors.HypervisorError, "insert tools.iso", "there is something in the drive")
def vbd_not_empty(lab: Lab) -> None:
    iso = lab.find("VDI", "tools.iso")
    lab.run("VBD.insert", lab.vbd(lab.running(), iso, type="CD", mode="RO"), iso)


@row("VBD_NOT_REMOVABLE_MEDIA", errors.HypervisorError, "eject", "it is a disk, not a drive")
def vbd_not_removable_media(lab: Lab) -> None:
    lab.run("VBD.eject", lab.vbd(lab.running(), lab.vdi()))


@row("INVALID_DEVICE", errors.HypervisorError, "attach data", "there is no device 9999")
def invalid_device(lab: Lab) -> None:
    lab.vbd(lab.vm(), lab.vdi(), userdevice="9999")


@row("SR_UNKNOWN_DRIVER", errors.Unsupported, "create a pool", "the hosts have no storage driver floppies")
def sr_unknown_driver(lab: Lab) -> None:
    host = lab.find("host", "xen1")
    lab.run("SR.create", host, {}, "0", "new", "", "floppies", "user", False, {})


@row("SR_HAS_PBD", errors.HypervisorError, "forget it", "a host is still connected with storage pool 'shared'")
def sr_has_pbd(lab: Lab) -> None:
    lab.run("SR.forget", lab.find("SR", "shared"))


@row("SR_HAS_NO_PBDS", errors.PoolNotFound, "create data", "no host is connected with storage pool 'local of xen2'")
def sr_has_no_pbds(lab: Lab) -> None:
    sr = lab.local_sr("xen2")
    for pbd in lab.call("SR.get_PBDs", sr):
        lab.call("PBD.unplug", pbd)
    lab.vdi(sr=sr)


@row("SR_OPERATION_NOT_SUPPORTED", errors.Unsupported, "create data", "storage pool 'ISO library' is of a kind")
def sr_operation_not_supported(lab: Lab) -> None:
    lab.vdi(sr=lab.find("SR", "ISO library"))


@row(
    "VDI_NEEDS_VM_FOR_MIGRATE",
    errors.HypervisorError,
    "move data",
    "volume 'data' can only be moved while a running instance has it",
)
def vdi_needs_vm_for_migrate(lab: Lab) -> None:
    lab.run("VDI.pool_migrate", lab.vdi(), lab.local_sr("xen1"), {})


# -- devices and networks -------------------------------------------------------------------------------------------


@row("DEVICE_ALREADY_ATTACHED", errors.HypervisorError, "plug data", "the device is plugged in already")
def device_already_attached(lab: Lab) -> None:
    vbd = lab.vbd(lab.running(), lab.vdi())
    for _time in range(2):
        lab.run("VBD.plug", vbd)


@row("DEVICE_ALREADY_DETACHED", errors.HypervisorError, "unplug data", "the device is not plugged in")
def device_already_detached(lab: Lab) -> None:
    lab.run("VBD.unplug", lab.vbd(lab.running(), lab.vdi()))


@row("OPERATION_NOT_ALLOWED", errors.HypervisorError, "detach data", "the server does not allow it now: ")
def operation_not_allowed(lab: Lab) -> None:
    vbd = lab.vbd(lab.running(), lab.vdi())
    lab.run("VBD.plug", vbd)
    lab.run("VBD.destroy", vbd)


@row("MAC_INVALID", errors.HypervisorError, "add a NIC", "no-mac is no MAC address")
def mac_invalid(lab: Lab) -> None:
    lab.vif(lab.vm(), lab.find("network", "lab"), MAC="no-mac")


@row("NETWORK_CONTAINS_VIF", errors.HypervisorError, "remove it", "running instances are on the network")
def network_contains_vif(lab: Lab) -> None:
    network = lab.find("network", "lab")
    vm = lab.vm()
    lab.vif(vm, network)
    lab.call("VM.start", vm, False, False)
    lab.run("network.destroy", network)


@row("NETWORK_CONTAINS_PIF", errors.HypervisorError, "remove it", "a network card of a host is on the network")
def network_contains_pif(lab: Lab) -> None:
    lab.run("network.destroy", lab.find("network", "Pool-wide network associated with eth0"))


@row("XENAPI_MISSING_PLUGIN", errors.HypervisorError, "ask a plugin", "the host has no plugin no-such")
def xenapi_missing_plugin(lab: Lab) -> None:
    lab.run("host.call_plugin", lab.find("host", "xen1"), "no-such", "main", {})


@row("VM_CANNOT_DELETE_DEFAULT_TEMPLATE", errors.HypervisorError, "remove it", "template 'Debian Bookworm 12' belongs")
def vm_cannot_delete_default_template(lab: Lab) -> None:
    lab.run("VM.destroy", lab.find("VM", "Debian Bookworm 12"))


@row(
    "PROVISION_ONLY_ALLOWED_ON_TEMPLATE", errors.HypervisorError, "make web", "only a template can be made an instance"
)
def provision_only_allowed_on_template(lab: Lab) -> None:
    lab.run("VM.provision", lab.vm())


@pytest.fixture
def lab(platform: XenApiPlatform) -> Iterator[Lab]:
    made = Lab(platform.server)
    yield made
    made.driver.close()


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.code}-{row.what}")
def test_what_a_user_reads(lab: Lab, row: Row):
    with pytest.raises(errors.AnyvirtError) as caught, lab.driver.guard(row.what, "web"):
        row.provoke(lab)
    error = caught.value
    if row.code != "NO_SUCH_CODE":
        assert code_of(error) == row.code, error
    wanted = row.message if isinstance(error, errors.InstanceNotFound) else f"cannot {row.what}: {row.message}"
    assert str(error).startswith(wanted)
    assert error.kind == row.kind.kind
    assert "OpaqueRef" not in str(error)


def test_there_are_enough():
    assert len({row.code for row in TABLE}) >= 30
