# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that come and go under real Xen guests."""

from __future__ import annotations

import re
import shlex

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import Unsupported
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.helpers import eventually
from contract.platforms.libvirt_xen import XenPlatform
from contract.storage_helpers import SIZE, changes_nothing, created

pytestmark = pytest.mark.on("xen")
TIMEOUT_S = 60.0
SIZES = "for d in /sys/block/xvd*; do echo SEES ${d##*/}=$(cat $d/size); done; echo END"


def sees(platform: XenPlatform, name: str) -> dict[str, int]:
    """The disks of a running guest with their sizes, as its shell tells."""
    before = platform.lab.guest_console(name).count("\nEND")
    tell(platform, name, SIZES)
    assert eventually(lambda: platform.lab.guest_console(name).count("\nEND") > before, 30)
    answer = platform.lab.guest_console(name).split("\nEND")[before]
    return {disk: int(sectors) * 512 for disk, sectors in re.findall(r"^SEES (xvd\w+)=(\d+)", answer, re.MULTILINE)}


def tell(platform: XenPlatform, name: str, command: str) -> None:
    """Type into the guest's shell."""
    tty = platform.lab.run(f"xenstore-read /local/domain/$(xl domid {name})/console/tty").strip()
    platform.lab.run(f"echo {shlex.quote(command)} > {tty}")


@pytest.mark.parametrize("machine", ["pv", "pvh"])
def test_hot_plug(storage: StorageDriver, platform: XenPlatform, machine: str):
    """The guest sees it come and go, and what it writes stays in the volume."""
    volume = created(platform, storage, "data.qcow2")
    disks, over = [Disk(size_bytes=4 * MIB)], {"hypervisor": platform.hypervisor_of(machine)}
    platform.spawned(storage, "one", power_on=True, disks=disks, **over)
    platform.wait_ready(storage, "one")
    first = {"xvda": 4 * MIB}
    assert sees(platform, "one") == first
    with changes_nothing(platform):
        disk = storage.complete_attachment("one", Disk(volume=volume.name, pool=volume.pool))
        assert (disk.device, disk.bus) == ("xvdb", "xen")
        storage.verify_hotplug("one", disk)
        undo = storage.attach_volume("one", disk)
        assert eventually(lambda: sees(platform, "one") == {**first, "xvdb": SIZE}, 30)
        tell(platform, "one", "printf marked | dd of=/dev/xvdb conv=notrunc,fsync; echo WRITTEN")
        assert eventually(lambda: "\nWRITTEN" in platform.lab.guest_console("one"), 30)
        undo()
        assert eventually(lambda: sees(platform, "one") == first, 30)
    storage.attach_volume("one", disk)
    assert eventually(lambda: "xvdb" in sees(platform, "one"), 30)
    assert storage.get_instances(["one"])["one"].pending == {}
    storage.detach_volume("one", "xvdb", TIMEOUT_S)
    assert [found.device for found in storage.get_instances(["one"])["one"].disks] == ["xvda"]
    copy = f"/tmp/{volume.name}.raw"
    stored = platform.lab.run(f"qemu-img convert -f qcow2 -O raw {volume.path} {copy} && head -c 6 {copy} && rm {copy}")
    assert stored == "marked"


def test_what_xen_has_not(storage: StorageDriver, platform: XenPlatform):
    volume = created(platform, storage, "data")
    platform.spawned(storage, "one", power_on=True)
    with changes_nothing(platform):
        for option, value in (("serial", "A1"), ("cache", "none"), ("discard", "unmap")):
            [problem] = storage.check_attachment(Disk(volume=volume.name, pool=volume.pool, **{option: value}))
            assert problem.option == option
        for device, bus, message in (("hda", "ide", "bus ide"), ("xvda", "xen", "started without any disk")):
            disk = Disk(volume=volume.name, pool=volume.pool, device=device, bus=bus)
            for call in (storage.verify_hotplug, storage.attach_volume):
                with pytest.raises(Unsupported, match=message):
                    call("one", disk)
