# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances made by other tools are managed without losing an element of their XML."""

from __future__ import annotations

import difflib
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Instance
from contract.helpers import state_of
from contract.platforms.xmltext import canonical

if TYPE_CHECKING:
    from contract.platforms.libvirt_qemu import QemuPlatform

pytestmark = pytest.mark.on("libvirt")

HANDMADE = "handmade"


def lines(platform: QemuPlatform, name: str) -> list[str]:
    return [line.strip() for line in canonical(platform.domain_xml(name)).splitlines()]


def difference(before: list[str], after: list[str]) -> tuple[list[str], list[str]]:
    """Lines that went, and lines that came."""
    found = [line for line in difflib.ndiff(before, after) if line[0] in "-+"]
    return [line[2:] for line in found if line[0] == "-"], [line[2:] for line in found if line[0] == "+"]


def change(driver: ComputeDriver, name: str, **changed: Any) -> None:
    current = driver.get_instances([name])[name]
    driver.update_instance(current, replace(current, **changed), set(changed), set())


@pytest.fixture
def handmade(platform: QemuPlatform) -> list[str]:
    xml = Path(__file__).with_name("rich_domain.xml").read_text()
    platform.define_xml(xml)
    return lines(platform, HANDMADE)


@pytest.fixture
def installed(platform: QemuPlatform) -> list[str]:
    """A domain as virt-install makes it."""
    command = ["virt-install", "--connect", platform.uri, "--name", "installed", "--virt-type", "qemu"]
    command += ["--memory", "128", "--vcpus", "1", "--import", "--osinfo", "detect=off,require=off"]
    command += ["--disk", f"pool={platform.pool},size=0.01,format=qcow2,sparse=yes", "--network", "bridge=labbr0"]
    command += ["--graphics", "none", "--noautoconsole", "--noreboot", "--print-xml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    platform.define_xml(done.stdout)
    return lines(platform, "installed")


def test_reading_understands_it(driver: ComputeDriver, handmade: list[str]):
    found = driver.get_instances()[HANDMADE]
    assert (found.memory_mb, found.max_memory_mb, found.vcpus, found.max_vcpus) == (256, 512, 1, 4)
    assert [nic.mac for nic in found.nics or []] == ["52:54:00:aa:bb:01", "52:54:00:aa:bb:02"]
    assert found.nics
    assert found.nics[0].bridge == "labbr0"
    assert [disk.device for disk in found.disks or []] == ["vda", "vdb", "hda"]
    assert not any(disk.owned for disk in found.disks or [])
    assert found.cpu
    assert (found.cpu.sockets, found.cpu.cores, found.cpu.threads) == (2, 2, 1)
    assert not found.unfinished


def test_reading_writes_nothing(driver: ComputeDriver, platform: QemuPlatform, handmade: list[str]):
    before = platform.snapshot()
    driver.init_host()
    driver.get_instances()
    driver.get_host_stats()
    assert platform.snapshot() == before


ASKED: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "memory": (
        {"memory_mb": 384},
        ['<currentMemory unit="KiB">262144</currentMemory>'],
        ['<currentMemory unit="KiB">393216</currentMemory>'],
    ),
    "maximum": (
        {"max_memory_mb": 1024},
        ['<memory unit="KiB">524288</memory>'],
        ['<memory unit="KiB">1048576</memory>'],
    ),
    "vcpus": (
        {"vcpus": 2},
        ['<vcpu current="1" placement="static">4</vcpu>'],
        ['<vcpu current="2" placement="static">4</vcpu>'],
    ),
    "description": ({"description": "ours now"}, [], ["<description>ours now</description>"]),
    "autostart": ({"autostart": True}, [], []),
}


@pytest.mark.parametrize("what", ASKED)
def test_exactly_what_was_asked_changes(driver: ComputeDriver, platform: QemuPlatform, handmade: list[str], what: str):
    changed, gone, come = ASKED[what]
    change(driver, HANDMADE, **changed)
    assert difference(handmade, lines(platform, HANDMADE)) == (gone, come)


def test_marks_of_ours_only_add(driver: ComputeDriver, platform: QemuPlatform, handmade: list[str]):
    change(driver, HANDMADE, locked=True, metadata={"team": "blue"})
    gone, come = difference(handmade, lines(platform, HANDMADE))
    assert gone == []
    assert come
    found = driver.get_instances()[HANDMADE]
    assert (found.locked, found.metadata) == (True, {"team": "blue"})
    change(driver, HANDMADE, locked=False, metadata={})
    found = driver.get_instances()[HANDMADE]
    assert not found.locked
    assert not found.metadata


def test_one_nic_comes_and_goes(driver: ComputeDriver, platform: QemuPlatform, handmade: list[str]):
    driver.plug_vifs(HANDMADE, [platform.nic(mac="52:54:00:aa:bb:03")])
    gone, come = difference(handmade, lines(platform, HANDMADE))
    assert gone == []
    assert any("52:54:00:aa:bb:03" in line for line in come)
    driver.unplug_vifs(HANDMADE, ["52:54:00:aa:bb:03"])
    assert lines(platform, HANDMADE) == handmade


def test_the_undo_restores_every_line(driver: ComputeDriver, platform: QemuPlatform, handmade: list[str]):
    current = driver.get_instances()[HANDMADE]
    desired = replace(current, memory_mb=128, vcpus=3, description="x", metadata={"a": "b"}, autostart=True)
    options = {"memory_mb", "vcpus", "description", "metadata", "autostart"}
    undo = driver.update_instance(current, desired, options, set())
    assert lines(platform, HANDMADE) != handmade
    undo()
    assert lines(platform, HANDMADE) == handmade


def test_what_virt_install_made(driver: ComputeDriver, platform: QemuPlatform, installed: list[str]):
    found: Instance = driver.get_instances()["installed"]
    assert (found.memory_mb, found.vcpus) == (128, 1)
    change(driver, "installed", description="taken over", memory_mb=96)
    gone, come = difference(installed, lines(platform, "installed"))
    assert gone == ['<currentMemory unit="KiB">131072</currentMemory>']
    assert sorted(come) == ['<currentMemory unit="KiB">98304</currentMemory>', "<description>taken over</description>"]
    driver.power_on("installed")
    assert state_of(driver, "installed") == "running"
    driver.destroy("installed")
    assert driver.list_instances() == []


def test_its_disks_are_not_ours_to_delete(driver: ComputeDriver, platform: QemuPlatform, handmade: list[str]):
    disk = platform.lab.outer_path("/var/lib/libvirt/images/by-hand.img")
    disk.write_bytes(b"x" * 4096)
    driver.destroy(HANDMADE)
    assert disk.exists()
    assert driver.list_instances() == []
