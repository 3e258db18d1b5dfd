# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of libvirt's migration that ask nobody: records, devices that stay, parameters, statistics."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.domain import Domain
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.metadata import (
    Record,
    read_record,
    write_record,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.migrationdevices import (
    bound_displays,
    forgotten_parts,
    lost_writes,
    stationary_parts,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.migrationdisks import DiskCopy, DiskPlan
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.migrationjobs import (
    BY_POST_COPY,
    BY_USER,
    read_progress,
    read_result,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.migrationparameters import (
    copy_problems,
    live_flags,
    live_parameters,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.migrationrecord import MovingRecord
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.migrationsnapshots import with_passwords
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.volumexml import Backing
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import MigrationRecord, MigrationWishes
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import VolumeKey

# -- records ----------------------------------------------------------------------------------------------------------

RECORD = MigrationRecord(
    "an-id", "incoming", "host-b", "live", "moved", True, True, 1795310600.125, ("pool/one", "pool/two & more")
)


@pytest.mark.parametrize(
    "moving",
    [
        MovingRecord(RECORD, True, True, ("db", "web"), ("<domainsnapshot>\n  a & b</domainsnapshot>",), "one"),
        MovingRecord(MigrationRecord("1", "outgoing", "host-a", "cold")),
    ],
)
def test_a_record_is_read_as_it_was_written(moving: MovingRecord):
    domain = ET.Element("domain")
    write_record(domain, Record(moving=moving))
    assert read_record(ET.fromstring(ET.tostring(domain))).moving == moving


def test_what_somebody_has_put_into_a_record_does_no_harm():
    domain = ET.Element("domain")
    write_record(domain, Record(moving=MovingRecord(RECORD)))
    text = ET.tostring(domain, encoding="unicode").replace("1795310600.125", "long ago")
    found = read_record(ET.fromstring(text)).moving
    assert found is not None
    assert found.migration.started_s is None


# -- devices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inside", "word"),
    [
        ("<devices><hostdev mode='subsystem' type='pci'/></devices>", "type='pci'"),
        ("<devices><interface type='hostdev'/></devices>", "type hostdev"),
        ("<devices><filesystem type='mount'><source dir='/srv/data'/></filesystem></devices>", "/srv/data"),
        ("<devices><shmem name='shared' role='peer'/></devices>", "'shared'"),
        ("<devices><video><model type='virtio'><acceleration accel3d='yes'/></model></video></devices>", "accel3d"),
        ("<devices><disk><target dev='vdb'/><transient/></disk></devices>", "disk vdb"),
        ("<launchSecurity type='sev'/>", "launchSecurity"),
        ("<cpu mode='host-passthrough' migratable='off'/>", "not to be migratable"),
        ("<cpu><feature name='invtsc' policy='require'/></cpu>", "invtsc"),
    ],
)
def test_what_ties_a_guest_to_its_host_is_told(inside: str, word: str):
    (problem,) = stationary_parts(ET.fromstring(f"<domain>{inside}</domain>"))
    assert word in problem


def test_ordinary_devices_travel():
    inside = (
        "<cpu mode='custom'><feature name='invtsc' policy='disable'/></cpu>"
        "<devices><interface type='network'/><shmem name='own' role='master'/>"
        "<video><model type='vga'/></video><disk/></devices>"
    )
    assert stationary_parts(ET.fromstring(f"<domain>{inside}</domain>")) == []


@pytest.mark.parametrize(
    ("inside", "told"),
    [
        ("", 0),
        ("<devices><tpm><backend type='passthrough'/></tpm></devices>", 0),
        ("<devices><tpm><backend type='emulator'/></tpm></devices>", 1),
        ("<os><nvram>/var/lib/libvirt/qemu/nvram/one_VARS.fd</nvram></os>", 0),
    ],
)
def test_what_one_that_is_off_remembers_elsewhere_is_told(inside: str, told: int):
    assert len(forgotten_parts(ET.fromstring(f"<domain>{inside}</domain>"))) == told


@pytest.mark.parametrize(
    ("display", "told"),
    [
        ("<graphics type='vnc' listen='10.0.0.1'><listen type='address' address='10.0.0.1'/></graphics>", "10.0.0.1"),
        ("<graphics type='spice' listen='2001:db8::1'/>", "2001:db8::1"),
        ("<graphics type='vnc' listen='0.0.0.0'/><graphics type='spice' listen='::1'/>", None),
        ("<graphics type='vnc' listen='kvm.example'/>", None),
        ("<graphics type='vnc'><listen type='socket' socket='/run/vnc'/></graphics>", None),
    ],
)
def test_a_display_that_listens_on_the_hosts_address_is_told(display: str, told: str | None):
    found = bound_displays(ET.fromstring(f"<domain><devices>{display}</devices></domain>"))
    assert len(found) == (told is not None)
    assert all(str(told) in message for message in found)


# -- snapshots --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "then"),
    [
        ("<graphics type='vnc' passwd='new'/>", '<graphics type="vnc" passwd="new"/>'),
        ("<graphics type='spice' passwd='new'/>", '<graphics type="vnc"/>'),
        ("<graphics type='vnc'/>", '<graphics type="vnc"/>'),
        ("", '<graphics type="vnc"/>'),
    ],
)
def test_a_snapshot_gets_the_displays_password_of_now(now: str, then: str):
    snapshot = "<domainsnapshot><domain><devices><graphics type='vnc'/></devices></domain></domainsnapshot>"
    config = Domain.parse(f"<domain><devices>{now}</devices></domain>")
    assert then in with_passwords(snapshot, config)


DISKS = """<domain><devices>
<disk device='disk'><driver cache='unsafe'/><target dev='vda'/></disk>
<disk device='disk'><driver cache='writeback'/><target dev='vdb'/></disk>
<disk device='cdrom'><driver cache='unsafe'/><target dev='sda'/><readonly/></disk>
</devices></domain>"""


def test_disks_that_are_never_written_out_are_not_shared():
    domain = ET.fromstring(DISKS)
    (problem,) = lost_writes(domain, frozenset())
    assert "vda" in problem
    assert lost_writes(domain, frozenset({"vda"})) == []


# -- parameters -------------------------------------------------------------------------------------------------------


class Names:
    """Each constant is its own name, and flags are sets of names in one number."""

    def __init__(self) -> None:
        self.flags: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("VIR_MIGRATE_PARAM_"):
            return name.removeprefix("VIR_MIGRATE_PARAM_").lower()
        short = name.removeprefix("VIR_MIGRATE_").lower()
        if short not in self.flags:
            self.flags.append(short)
        return 1 << self.flags.index(short)

    def names(self, flags: int) -> set[str]:
        return {name for number, name in enumerate(self.flags) if flags >> number & 1}


def copy_of(device: str, backing: Backing | None = None, at_once: bool = False) -> DiskCopy:
    key = VolumeKey("default", device)
    return DiskCopy(
        device, key, f"/a/{device}", key, f"/b/{device}", "qcow2", 1, "qcow2", backing=backing, at_once=at_once
    )


ALWAYS = {"live", "unsafe", "abort_on_error"}


@pytest.mark.parametrize(
    ("wishes", "more"),
    [
        ({}, set()),
        ({"manager": "source"}, {"peer2peer"}),
        ({"transport": "tunnelled"}, {"peer2peer", "tunnelled"}),
        ({"transport": "tls"}, {"tls"}),
        ({"auto_converge": True, "compression": True}, {"auto_converge", "compressed"}),
        ({"parallel": 4}, {"parallel"}),
        ({"post_copy": True}, {"postcopy"}),
        ({"on_timeout": "post_copy", "timeout_s": 5.0}, {"postcopy"}),
        ({"on_timeout": "post_copy"}, set()),
    ],
)
def test_wishes_become_flags(wishes: dict[str, Any], more: set[str]):
    library = Names()
    flags = live_flags(library, MigrationWishes(**wishes), DiskPlan(), "qemu")
    assert library.names(flags) == ALWAYS | more


@pytest.mark.parametrize(
    ("copies", "flag", "devices"),
    [
        ([], None, None),
        ([copy_of("sda", at_once=True)], None, None),
        ([copy_of("vda")], "non_shared_disk", ["vda"]),
        ([copy_of("vda", Backing("/b/image", "raw")), copy_of("vdb")], "non_shared_inc", ["vda", "vdb"]),
    ],
)
def test_disks_are_copied_as_planned(copies: list[DiskCopy], flag: str | None, devices: list[str] | None):
    library, plan, wishes = Names(), DiskPlan(copies=copies), MigrationWishes(disks_port=4000)
    found = library.names(live_flags(library, wishes, plan, "qemu")) - ALWAYS
    assert found == ({flag} if flag else set())
    parameters = live_parameters(library, wishes, plan, "<domain/>", ConnectionOptions("qemu+ssh://host-b/system"))
    wanted = {"dest_xml": "<domain/>"}
    assert parameters == (wanted | {"migrate_disks": devices, "disks_port": 4000} if devices else wanted)


@pytest.mark.parametrize(
    ("transport", "copies", "told"),
    [
        ("tunnelled", [copy_of("vda")], 1),
        ("tunnelled", [copy_of("sda", at_once=True)], 0),
        ("tls", [copy_of("vda")], 0),
    ],
)
def test_what_the_tunnel_does_not_carry_is_told(transport: str, copies: list[DiskCopy], told: int):
    wishes = MigrationWishes(transport=transport, manager="source")
    assert len(copy_problems(wishes, DiskPlan(copies=copies))) == told


def test_xen_gets_only_what_it_knows():
    library = Names()
    flags = live_flags(library, MigrationWishes(), DiskPlan(), "xen")
    assert library.names(flags) == {"live"}


@pytest.mark.parametrize(
    ("uri", "wishes", "found"),
    [
        ("qemu+tcp://10.0.0.2/system", {}, "tcp://10.0.0.2"),
        ("qemu+tls://[2001:db8::2]/system", {}, "tcp://[2001:db8::2]"),
        ("qemu+ssh://host-b/system", {}, None),
        ("qemu+tcp://127.0.0.1/system", {}, None),
        ("qemu:///system", {}, None),
        ("qemu+tcp://10.0.0.2/system", {"migrate_uri": "tcp://192.0.2.2:49152"}, "tcp://192.0.2.2:49152"),
        ("qemu+tcp://10.0.0.2/system", {"transport": "tunnelled"}, None),
        ("qemu+tcp://192.0.2.2/system", {"peer_uri": "qemu+tls://10.0.0.2/system"}, "tcp://10.0.0.2"),
        ("qemu+tcp://192.0.2.2/system", {"peer_uri": "qemu+tls://host-b/system"}, None),
    ],
)
def test_the_data_goes_to_an_address_that_the_source_understands(uri: str, wishes: dict[str, Any], found: str | None):
    given = live_parameters(Names(), MigrationWishes(**wishes), DiskPlan(), "", ConnectionOptions(uri))
    assert given.get("uri") == found


# -- statistics -------------------------------------------------------------------------------------------------------

MEMORY = {
    "data_total": 1000,
    "data_remaining": 250,
    "memory_processed": 700,
    "memory_bps": 50,
    "memory_dirty_rate": 3,
    "memory_page_size": 4096,
    "memory_iteration": 2,
    "downtime": 300,
    "time_elapsed": 1500,
}


@pytest.mark.parametrize(
    ("changed", "paused_by", "phase", "percent"),
    [
        ({}, None, "memory", 75.0),
        ({"data_remaining": 0}, None, "finishing", 100.0),
        ({}, BY_USER, "paused", 75.0),
        ({}, BY_POST_COPY, "post_copy", 75.0),
        ({"memory_processed": 0, "data_remaining": 0}, None, "setup", None),
        ({"memory_processed": 0, "disk_total": 900, "disk_remaining": 800, "disk_bps": 7}, None, "disks", 75.0),
    ],
)
def test_statistics_tell_the_phase(changed: dict[str, int], paused_by: int | None, phase: str, percent: float | None):
    progress = read_progress({**MEMORY, **changed}, paused_by)
    assert (progress.phase, progress.percent) == (phase, percent)


def test_statistics_in_our_units():
    progress = read_progress(MEMORY)
    assert progress.rate == 50
    assert progress.dirty_rate == 3 * 4096
    assert (progress.iteration, progress.expected_downtime_ms, progress.elapsed_s) == (2, 300, 1.5)
    assert read_progress({}).phase == "setup"
    result = read_result({"time_elapsed": 4000, "downtime": 120, "memory_processed": 5, "disk_processed": 6}, True)
    assert (result.total_ms, result.downtime_ms, result.memory_bytes, result.disk_bytes) == (4000, 120, 5, 6)
    assert result.post_copy
