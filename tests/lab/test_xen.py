# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Xen lab itself: guests, their console, storage and saved states, through libvirt as a driver would."""

from __future__ import annotations

import time
from collections.abc import Iterator

import libvirt
import pytest

from lab.errors import LabError
from lab.xen import XenHost

pytest_plugins = ["lab.xen_fixtures"]
pytestmark = pytest.mark.slow

DOMAIN = """
<domain type='xen'>
  <name>{name}</name>
  <memory unit='MiB'>192</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='{machine}'>{os_type}</type>
    <kernel>{host.guest_kernel}</kernel>
    <initrd>{host.guest_initrd}</initrd>
    <cmdline>console=hvc0 mitigations=off quiet</cmdline>
  </os>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    {devices}
    <console type='pty'><target type='xen' port='0'/></console>
  </devices>
</domain>
"""
POOL = "<pool type='dir'><name>lab</name><target><path>{folder}</path></target></pool>"
VOLUME = """
<volume>
  <name>{name}</name><capacity unit='MiB'>32</capacity>
  <target><format type='{format}'/></target>
  {backing}
</volume>
"""


@pytest.fixture(scope="module")
def connection(xen_host: XenHost) -> Iterator[libvirt.virConnect]:
    connection = libvirt.open(xen_host.uri)
    yield connection
    connection.close()


@pytest.fixture
def pool(xen_host: XenHost, connection: libvirt.virConnect) -> Iterator[libvirt.virStoragePool]:
    pool = connection.storagePoolDefineXML(POOL.format(folder=xen_host.pool_folder))
    pool.build()
    pool.create()
    yield pool
    for volume in pool.listAllVolumes():
        volume.delete()
    pool.destroy()
    pool.undefine()


@pytest.fixture
def define(xen_host: XenHost, connection: libvirt.virConnect):
    """Define guests that are gone after the test."""
    domains: list[libvirt.virDomain] = []

    def define(name: str, machine: str, devices: str = "") -> libvirt.virDomain:
        os_type = {"xenpv": "xen", "xenpvh": "xenpvh"}[machine]
        xml = DOMAIN.format(name=name, machine=machine, os_type=os_type, host=xen_host, devices=devices)
        domains.append(connection.defineXML(xml))
        return domains[-1]

    yield define
    for domain in domains:
        if domain.isActive():
            domain.destroy()
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)


def wait_until_off(domain: libvirt.virDomain, timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while domain.isActive():
        assert time.monotonic() < deadline, f"{domain.name()} is still up"
        time.sleep(0.2)


def create_volume(pool: libvirt.virStoragePool, name: str, volume_format: str, backing: str = "") -> str:
    if backing:
        backing = f"<backingStore><path>{backing}</path><format type='raw'/></backingStore>"
    xml = VOLUME.format(name=name, format=volume_format, backing=backing)
    return str(pool.createXML(xml).path())


@pytest.mark.parametrize("machine", ["xenpv", "xenpvh"])
def test_a_guest_starts_says_so_and_shuts_down_when_asked(xen_host: XenHost, define, machine: str) -> None:
    domain = define(f"shuts-down-{machine}", machine)
    domain.create()
    console = xen_host.wait_for_guest(domain.name())
    assert "cpus=1" in console
    domain.shutdown()
    wait_until_off(domain)


def test_a_guest_restarts_when_asked(xen_host: XenHost, define) -> None:
    domain = define("restarts", "xenpv")
    domain.create()
    xen_host.wait_for_guest(domain.name())
    domain.reboot()
    console = xen_host.wait_for_guest(domain.name(), times=2)
    assert "ANYVIRT GUEST GOING DOWN reboot" in console


@pytest.mark.parametrize("machine", ["xenpv", "xenpvh"])
def test_a_guest_goes_on_after_a_managed_save(xen_host: XenHost, define, machine: str) -> None:
    domain = define(f"saved-{machine}", machine)
    domain.create()
    xen_host.wait_for_guest(domain.name())
    domain.managedSave()
    assert not domain.isActive()
    assert domain.hasManagedSaveImage()
    domain.create()
    assert domain.isActive()
    domain.shutdown()
    wait_until_off(domain)
    assert xen_host.guest_console(domain.name()).count(xen_host.guest_ready) == 1


def test_a_guest_goes_on_after_save_and_restore(xen_host: XenHost, connection: libvirt.virConnect, define) -> None:
    domain = define("restored", "xenpv")
    domain.create()
    xen_host.wait_for_guest(domain.name())
    domain.save("/var/tmp/restored.save")
    assert not domain.isActive()
    connection.restore("/var/tmp/restored.save")
    assert domain.isActive()
    domain.shutdown()
    wait_until_off(domain)


def test_the_console_takes_commands(xen_host: XenHost, connection: libvirt.virConnect, define) -> None:
    domain = define("console", "xenpv")
    domain.create()
    xen_host.wait_for_guest(domain.name())
    stream = connection.newStream()
    domain.openConsole(None, stream)
    stream.send(b"echo $((6 * 7))-from-the-guest\n")
    xen_host.wait_for_guest(domain.name(), text="42-from-the-guest")
    stream.abort()


def test_a_guest_sees_volumes_and_a_nic(xen_host: XenHost, pool: libvirt.virStoragePool, define) -> None:
    raw = create_volume(pool, "base.raw", "raw")
    overlay = create_volume(pool, "overlay.qcow2", "qcow2", backing=raw)
    blank = create_volume(pool, "blank.raw", "raw")
    devices = f"""
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/><source file='{overlay}'/><target dev='xvda' bus='xen'/>
    </disk>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/><source file='{blank}'/><target dev='xvdb' bus='xen'/>
    </disk>
    <interface type='bridge'><source bridge='{xen_host.bridge}'/><mac address='00:16:3e:00:00:01'/></interface>
    """
    domain = define("devices", "xenpv", devices)
    domain.create()
    console = xen_host.wait_for_guest(domain.name())
    assert "disks=[ xvda xvdb ] macs=[ 00:16:3e:00:00:01 ]" in console


def test_dom0_runs_commands(xen_host: XenHost) -> None:
    assert xen_host.run("echo one; echo two >&2") == "one\ntwo\n"
    assert xen_host.run("seq 100000").count("\n") == 100_000
    with pytest.raises(LabError, match="exit status 3: oh"):
        xen_host.run("echo oh; exit 3")
    assert xen_host.run("exit 3", check=False) == ""


def test_a_command_that_does_not_end_is_an_error_and_the_next_one_is_answered(xen_host: XenHost) -> None:
    with pytest.raises(LabError, match="did not answer within 1 s"):
        xen_host.run("sleep 4", timeout_s=1)
    assert xen_host.run("echo again") == "again\n"


def test_the_serial_console_is_logged(xen_host: XenHost) -> None:
    assert "Xen version 4.17" in xen_host.console_log
    assert "LAB" in xen_host.console_log
