# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab itself: what the other suites take for granted, shown with plain libvirt calls and hand-written XML."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import libvirt
import libvirt_qemu
import pytest

from lab import cache
from lab.console import wait_for_line, wait_until
from lab.errors import LabError
from lab.guest import READY_LINE, Guest
from lab.hosts import BRIDGE, NETWORK, LibvirtHost
from lab.lxc import READY_LINE as CONTAINER_READY_LINE
from lab.lxc import copy_lxc_root
from lab.machine import running_machines
from lab.proc import run

_USER_DATA = "#cloud-config\nusers: []\n"
_META_DATA = "instance-id: i-1\nlocal-hostname: seeded\n"


def _domain_xml(name: str, guest: Guest, *, direct_boot: bool = True, extra: str = "") -> str:
    boot = (
        f"<kernel>{guest.kernel}</kernel><initrd>{guest.initrd}</initrd><cmdline>{guest.cmdline}</cmdline>"
        if direct_boot
        else ""
    )
    return f"""
    <domain type='qemu'>
      <name>{name}</name><memory unit='MiB'>96</memory><vcpu>1</vcpu>
      <os><type arch='x86_64' machine='pc'>hvm</type>{boot}</os>
      <features><acpi/><apic/></features>
      <cpu mode='custom' match='exact'><model fallback='forbid'>qemu64</model></cpu>
      <devices>
        <serial type='pty'><log file='{_inner_log(name)}'/></serial>
        <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
        {extra}
      </devices>
    </domain>"""


def _inner_log(name: str) -> str:
    return f"/var/log/libvirt/qemu/{name}.console"


def _disk_xml(path: Path, device: str, kind: str = "disk", image_format: str = "qcow2") -> str:
    bus = "ide" if kind == "cdrom" else "virtio"
    return (
        f"<disk type='file' device='{kind}'><driver name='qemu' type='{image_format}'/>"
        f"<source file='{path}'/><target dev='{device}' bus='{bus}'/></disk>"
    )


@contextmanager
def _running(uri: str, xml: str) -> Iterator[libvirt.virDomain]:
    connection = libvirt.open(uri)
    domain = connection.createXML(xml)
    try:
        yield domain
    finally:
        connection.close()
        _destroy(uri, domain.name())


def _destroy(uri: str, name: str) -> None:
    # On a connection of its own: a test may have broken the one it used.
    with libvirt.open(uri) as connection:
        for domain in connection.listAllDomains():
            if domain.name() == name:
                domain.destroy()


def _is_gone(domain: libvirt.virDomain) -> bool:
    try:
        return not domain.isActive()
    except libvirt.libvirtError as error:
        return bool(error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN)


def test_guest_reports_what_it_was_given(libvirt_host: LibvirtHost, guest: Guest, tmp_path: Path) -> None:
    overlay = libvirt_host.images / "inventory.qcow2"
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", guest.root_image, "-F", "qcow2", overlay])
    seed = _seed(libvirt_host.images / "seed.iso", tmp_path)
    extra = (
        f"{_disk_xml(overlay, 'vda')}{_disk_xml(seed, 'hda', kind='cdrom', image_format='raw')}"
        f"<interface type='network'><source network='{NETWORK}'/><mac address='52:54:00:aa:00:01'/>"
        "<model type='virtio'/></interface>"
        f"<interface type='bridge'><source bridge='{BRIDGE}'/><mac address='52:54:00:aa:00:02'/>"
        "<model type='virtio'/></interface>"
    )
    with _running(libvirt_host.uri, _domain_xml("inventory", guest, extra=extra)) as domain:
        log = libvirt_host.outer_path(_inner_log("inventory"))
        assert "hostname=seeded" in wait_for_line(log, READY_LINE)
        wait_for_line(log, "ANYVIRT NIC eth0 mac=52:54:00:aa:00:01")
        wait_for_line(log, "ANYVIRT NIC eth1 mac=52:54:00:aa:00:02")
        wait_for_line(log, "ANYVIRT DISK vda size=67108864")
        wait_for_line(log, "ANYVIRT ROOT device=vda2 boots=1")
        wait_for_line(log, "local-hostname=seeded instance-id=i-1")
        wait_for_line(log, f"user-data sha256={hashlib.sha256(_USER_DATA.encode()).hexdigest()}")

        address = wait_for_line(log, "ANYVIRT ADDRESS eth0").split()[-1]
        network = domain.connect().networkLookupByName(NETWORK)
        assert [lease["ipaddr"] for lease in network.DHCPLeases()] == [address]

        wait_for_line(log, "ANYVIRT AGENT started")
        answer = wait_until(lambda: _ask_agent(domain, "guest-get-host-name"), "an answer of the guest agent")
        assert answer == {"host-name": "seeded"}
        seen = domain.interfaceAddresses(libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT)
        assert address in [entry["addr"] for entry in seen["eth0"]["addrs"]]


def _seed(target: Path, scratch: Path) -> Path:
    (scratch / "user-data").write_text(_USER_DATA)
    (scratch / "meta-data").write_text(_META_DATA)
    mkisofs = ["xorriso", "-as", "mkisofs", "-quiet", "-volid", "cidata", "-joliet", "-rock", "-output"]
    run([*mkisofs, target, scratch / "user-data", scratch / "meta-data"])
    return target


def _ask_agent(domain: libvirt.virDomain, command: str) -> object:
    try:
        return json.loads(libvirt_qemu.qemuAgentCommand(domain, json.dumps({"execute": command}), 5, 0))["return"]
    except libvirt.libvirtError:
        return None


@pytest.mark.parametrize("way", [libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN, libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT])
def test_guest_goes_down_when_asked(libvirt_host: LibvirtHost, guest: Guest, way: int) -> None:
    name = f"shutdown-{way}"
    with _running(libvirt_host.uri, _domain_xml(name, guest)) as domain:
        wait_for_line(libvirt_host.outer_path(_inner_log(name)), "ANYVIRT AGENT started")
        wait_until(lambda: _ask_agent(domain, "guest-info"), "an answer of the guest agent")
        domain.shutdownFlags(way)
        wait_until(lambda: _is_gone(domain), "the guest's end", timeout_s=30)


def test_image_boots_by_itself_and_keeps_what_is_written(libvirt_host: LibvirtHost, guest: Guest) -> None:
    overlay = libvirt_host.images / "boots.qcow2"
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", guest.root_image, "-F", "qcow2", overlay])
    for boot in (1, 2):
        name = f"boots-{boot}"
        xml = _domain_xml(name, guest, direct_boot=False, extra=_disk_xml(overlay, "vda"))
        with _running(libvirt_host.uri, xml):
            log = libvirt_host.outer_path(_inner_log(name))
            wait_for_line(log, READY_LINE)
            wait_for_line(log, f"ANYVIRT ROOT device=vda2 boots={boot}")


def test_devices_plugged_in_while_running_are_reported(libvirt_host: LibvirtHost, guest: Guest) -> None:
    volume = libvirt_host.images / "plugged.qcow2"
    run(["qemu-img", "create", "-q", "-f", "qcow2", volume, "8M"])
    with _running(libvirt_host.uri, _domain_xml("plug", guest)) as domain:
        log = libvirt_host.outer_path(_inner_log("plug"))
        wait_for_line(log, READY_LINE)
        domain.attachDevice(_disk_xml(volume, "vdb"))
        domain.attachDevice(
            f"<interface type='network'><source network='{NETWORK}'/><mac address='52:54:00:aa:00:03'/>"
            "<model type='virtio'/></interface>"
        )
        wait_for_line(log, "size=8388608")
        wait_for_line(log, "mac=52:54:00:aa:00:03")
        wait_for_line(log, "ANYVIRT ADDRESS eth0")


def test_container_talks_and_goes_down(libvirt_host: LibvirtHost) -> None:
    root = copy_lxc_root(libvirt_host.images / "container")
    xml = f"""
    <domain type='lxc'>
      <name>container</name><memory unit='MiB'>64</memory>
      <os><type>exe</type><init>/sbin/init</init></os>
      <devices>
        <filesystem type='mount'><source dir='{root}'/><target dir='/'/></filesystem>
        <console type='pty'/>
      </devices>
    </domain>"""
    with _running(libvirt_host.lxc_uri, xml) as domain:
        stream = domain.connect().newStream()
        domain.openConsole(None, stream)
        said = b""
        while CONTAINER_READY_LINE.encode() not in said:
            said += stream.recv(1024)
        domain.shutdown()
        wait_until(lambda: _is_gone(domain), "the container's end", timeout_s=15)


def test_guest_migrates_live_to_another_host(
    libvirt_host: LibvirtHost, second_libvirt_host: LibvirtHost, guest: Guest
) -> None:
    disk = libvirt_host.shared / f"{libvirt_host.name}-migrates.qcow2"
    run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "8M"])
    target = libvirt.open(second_libvirt_host.tcp_uri)
    disk_xml = _disk_xml(disk, "vda").replace("type='qcow2'", "type='qcow2' cache='none'")
    try:
        with _running(libvirt_host.tcp_uri, _domain_xml("migrates", guest, extra=disk_xml)) as domain:
            wait_for_line(libvirt_host.outer_path(_inner_log("migrates")), READY_LINE)
            # libvirt only knows network file systems to be shared.
            flags = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_UNSAFE
            arrived = domain.migrate3(target, {}, flags)
            assert arrived.isActive()
            arrived.destroy()
    finally:
        target.close()
        disk.unlink()


def test_daemon_can_hang_die_and_come_back_while_guests_run(libvirt_host: LibvirtHost, guest: Guest) -> None:
    with _running(libvirt_host.uri, _domain_xml("survivor", guest)) as domain:
        libvirt_host.pause_daemon()
        asked = subprocess.Popen(["virsh", "-c", libvirt_host.uri, "list"], stdout=subprocess.PIPE)
        with pytest.raises(subprocess.TimeoutExpired):
            asked.wait(timeout=1)
        libvirt_host.resume_daemon()
        output, _errors = asked.communicate(timeout=30)
        assert b"survivor" in output

        libvirt_host.kill_daemon()
        with pytest.raises(libvirt.libvirtError):
            libvirt.open(libvirt_host.uri)
        with pytest.raises(libvirt.libvirtError):
            domain.info()
        libvirt_host.restart_daemon()
        # Its guest still runs, and the new daemon has taken it over: until then an end of the guest looks like one of
        # the daemon's own making, and the domain is gone while it is being destroyed.
        wait_for_line(libvirt_host.outer_path(_inner_log("survivor")), "ANYVIRT AGENT started")
        with libvirt.open(libvirt_host.uri) as connection:
            survivor = connection.lookupByName("survivor")
            wait_until(lambda: _ask_agent(survivor, "guest-info"), "an answer of the guest agent")


def test_host_of_a_killed_test_run_ends_and_its_name_is_free_again() -> None:
    name = "test-orphan"
    script = f"from lab.hosts import LibvirtHost; LibvirtHost({name!r}).start(); print('up', flush=True); input()"
    starter = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=Path(__file__).resolve().parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert starter.stdout is not None
    assert starter.stdin is not None
    assert starter.stdout.readline() == b"up\n"
    assert name in running_machines()
    with pytest.raises(LabError, match="running already"):
        LibvirtHost(name).start()
    starter.kill()
    starter.wait()
    starter.stdin.close()
    starter.stdout.close()
    wait_until(lambda: name not in running_machines(), "the host's end", timeout_s=10)
    with LibvirtHost(name) as host:
        assert host.daemon_pid


def test_concurrent_builders_build_once(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys, time; from lab import cache\n"
        "def build(folder):\n"
        f"    open({str(tmp_path / 'builds')!r}, 'a').write('built ')\n"
        "    time.sleep(0.3)\n"
        "    (folder / 'result').write_text('done')\n"
        "print((cache.build_once('thing', 'key', build) / 'result').read_text())"
    )
    builders = [
        subprocess.Popen(
            ["env", f"ANYVIRT_LAB_CACHE={tmp_path / 'cache'}", sys.executable, "-c", script],
            cwd=Path(__file__).resolve().parents[1],
            stdout=subprocess.PIPE,
        )
        for _number in range(4)
    ]
    assert [builder.communicate(timeout=30)[0] for builder in builders] == [b"done\n"] * 4
    assert (tmp_path / "builds").read_text() == "built "


def test_failed_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYVIRT_LAB_CACHE", str(tmp_path))

    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise LabError("no")

    with pytest.raises(LabError, match="no"):
        cache.build_once("thing", "key", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["thing.lock"]
