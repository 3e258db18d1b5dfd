# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What storage costs on libvirt, beside the tools that do the same and nothing else.

Usage: python -m bench.storage [--repeats 5] [--size-mb 1024]

Times are of the driver alone, through an open connection, against whole runs of the tools. Whatever is written is on
the disk when the clock stops, for all of them.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import libvirt

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storageuri import get_storage_driver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Boot, Console, Disk, Instance
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import (
    Image,
    Volume,
    VolumeKey,
    VolumeSource,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.workers import DEFAULT_WORKERS
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer import sparse
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.fetch import FetchOptions, open_content
from bench.names import names
from lab.guest import Guest, build_guest
from lab.hosts import LibvirtHost

POOL = "bench"
CHILDREN = 50
TURNS = 10
DISK = """<disk type='volume' device='disk'><driver name='qemu' type='raw'/><source pool='{pool}' volume='{volume}'/>
<target dev='vdz' bus='virtio'/></disk>"""


class Row(NamedTuple):
    """One measurement: seconds of all, ``ours`` among them; what ours may be at most, in words."""

    what: str
    seconds: dict[str, float]
    goal: str = ""


class StorageBench:
    """A pool on a libvirtd of our own, and files in the same file system."""

    def __init__(self, host: LibvirtHost, driver: StorageDriver, guest: Guest, repeats: int, size_mb: int) -> None:
        self.host = host
        self.driver = driver
        self.guest = guest
        self.repeats = repeats
        self.size = size_mb * MIB
        self.folder = host.images
        self.uri = host.uri

    def compare(self, after: Callable[[], object], **contenders: Callable[[], object]) -> dict[str, float]:
        """The shortest of repeated runs in seconds, of each: what else the machine does only ever adds to it. They take
        turns, so that they meet the same noise. What ``after`` does to clean up is not counted."""
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for _turn in range(self.repeats):
            for name, run in contenders.items():
                subprocess.run(["sync"], check=True)
                start = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - start)
                after()
        return {name: min(taken) for name, taken in times.items()}

    def virsh(self, *commands: str) -> None:
        """Several commands in one run, as somebody who is in a hurry does it."""
        subprocess.run(["virsh", "-q", "-c", self.uri, ";".join(commands)], check=True, stdout=subprocess.DEVNULL)

    def sync(self, path: Path | str) -> None:
        subprocess.run(["sync", str(path)], check=True)

    # -- data -------------------------------------------------------------------------------------------------------

    def data(self, folder: Path) -> Iterator[Row]:
        """A volume with 25% data, in and out."""
        source = folder / "data.raw"
        make_data(source, self.size, every=4)
        key = VolumeKey(POOL, "data")
        inside = self.folder / key.name

        def remove() -> None:
            inside.unlink()
            self.virsh(f"pool-refresh {POOL}")

        def upload() -> None:
            self.fill(key, source)
            self.sync(inside)

        def virsh_upload() -> None:
            create = f"vol-create-as {POOL} {key.name} {self.size} --allocation 0 --format raw"
            self.virsh(create, f"vol-upload {key.name} {source} --pool {POOL} --sparse")
            self.sync(inside)

        def cp_in() -> None:
            copy(source, inside)

        yield Row("upload", self.compare(remove, ours=upload, virsh=virsh_upload, cp=cp_in), "1.15 x virsh")

        self.fill(key, source)
        target = folder / "out.raw"

        def remove_copy() -> None:
            if subprocess.run(["cmp", "--silent", str(source), str(target)], check=False).returncode:
                raise SystemExit("bench: what came out is not what went in")
            target.unlink()

        def download() -> None:
            with self.driver.open_volume(key) as reader:
                sparse.write_segments(str(target), reader.segments())

        def virsh_download() -> None:
            self.virsh(f"vol-download {key.name} {target} --pool {POOL} --sparse")
            self.sync(target)

        def cp_out() -> None:
            copy(inside, target)

        contenders = {"ours": download, "virsh": virsh_download, "cp": cp_out}
        yield Row("download", self.compare(remove_copy, **contenders), "1.15 x virsh")
        remove()
        source.unlink()

    def fill(self, key: VolumeKey, source: Path) -> None:
        """A new volume with what is in a file."""
        with open_content(FetchOptions(path=str(source)), self.driver.progress) as content:
            wanted = Volume(key.name, key.pool, format="raw", source=VolumeSource(path=str(source)))
            self.driver.create_volume(self.driver.complete_volume(wanted, content.facts), content)

    # -- instances from an image ------------------------------------------------------------------------------------

    def children(self, folder: Path) -> Iterator[Row]:
        """Instances that lean on one image, beside one whole copy of it."""
        source = folder / "image.raw"
        make_data(source, self.size, every=1)
        image = Image("image", POOL, format="raw", size_bytes=self.size, source=str(source), claim="bench")
        self.driver.reserve_image(image)
        with open_content(FetchOptions(path=str(source)), self.driver.progress) as content:
            image.file_bytes = self.driver.write_image(image, content)
        self.driver.finish_image(image)
        target = folder / "copy.raw"
        copied = self.compare(target.unlink, copy=lambda: copy(source, target))
        before, room = room_of(self.folder), 0

        def spawn(name: str) -> None:
            disk = Disk(role="root", image=image.name, pool=POOL)
            instance = Instance(name, memory_mb=64, vcpus=1, pool=POOL, disks=[disk])
            self.driver.spawn(self.driver.complete(instance), power_on=False)

        def spawn_all() -> None:
            with ThreadPoolExecutor(DEFAULT_WORKERS) as workers:
                list(workers.map(spawn, names(CHILDREN)))

        def destroy() -> None:
            nonlocal room
            room = room_of(self.folder) - before
            for name in names(CHILDREN):
                self.driver.destroy(name)

        yield Row(f"{CHILDREN} children", {**self.compare(destroy, ours=spawn_all), **copied}, "1 x copy")
        print(f"  room: {room / MIB:.1f} MiB for {CHILDREN} children, {self.size / MIB:.0f} MiB for one copy")
        self.driver.delete_image(image.key)
        source.unlink()

    # -- disks that come and go -------------------------------------------------------------------------------------

    def attaching(self) -> Iterator[Row]:
        """One volume, to and from an instance that is off and one that runs."""
        volume = Volume("spare", POOL, size_bytes=8 * MIB, format="raw")
        self.driver.create_volume(self.driver.complete_volume(volume))
        boot = Boot(kernel=str(self.guest.kernel), initrd=str(self.guest.initrd), cmdline=self.guest.cmdline)
        fields: dict[str, Any] = {
            "memory_mb": 96,
            "vcpus": 1,
            "boot": boot,
            "console": Console(serial=True),
            "pool": POOL,
            "disks": [],
        }
        for state in ("off", "running"):
            instance = Instance(f"attach-{state}", **fields)
            self.driver.spawn(self.driver.complete(instance), power_on=state == "running")
            if state == "running":
                self.await_guest(instance.name)
            yield self.attach_and_detach(instance.name, volume, state)
            self.driver.destroy(instance.name)
        self.driver.delete_volume(volume.key)

    def attach_and_detach(self, name: str, volume: Volume, state: str) -> Row:
        """Both together, since the one cannot be repeated without the other."""
        flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG | (libvirt.VIR_DOMAIN_AFFECT_LIVE if state == "running" else 0)
        document = DISK.format(pool=POOL, volume=volume.name)
        connection = libvirt.open(self.uri)
        domain = connection.lookupByName(name)

        def ours() -> None:
            for _turn in range(TURNS):
                disk = self.driver.complete_attachment(name, Disk(volume=volume.name, pool=POOL, device="vdz"))
                self.driver.attach_volume(name, disk)
                self.driver.detach_volume(name, "vdz", 20.0)

        def direct() -> None:
            for _turn in range(TURNS):
                domain.attachDeviceFlags(document, flags)
                domain.detachDeviceFlags(document, flags)
                while "vdz" in domain.XMLDesc():
                    time.sleep(0.01)

        seconds = self.compare(lambda: None, ours=ours, direct=direct)
        row = Row(f"{TURNS} x attach, detach ({state})", seconds)
        connection.close()
        return row

    def await_guest(self, name: str) -> None:
        """Until it listens to devices that come."""
        deadline = time.monotonic() + 120
        while b"ANYVIRT GUEST READY" not in self.driver.get_console_output(name):
            if time.monotonic() > deadline:
                raise SystemExit(f"bench: the guest {name} does not boot")
            time.sleep(0.5)


def make_data(path: Path, size: int, every: int) -> None:
    """A file with data in each fourth (or whatever ``every`` is) of its pieces of 4 MiB."""
    generator = random.Random(1)
    with path.open("wb") as file:
        for number in range(0, size // (4 * MIB), every):
            file.seek(number * 4 * MIB)
            file.write(generator.randbytes(4 * MIB))
        file.truncate(size)


def copy(source: Path, target: Path) -> None:
    """With a tool that knows holes."""
    subprocess.run(["cp", "--sparse=always", "--reflink=never", str(source), str(target)], check=True)
    subprocess.run(["sync", str(target)], check=True)


def room_of(folder: Path) -> int:
    """What the files below a folder take of the disk."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_blocks * 512
    return total


def print_table(rows: Iterator[Row]) -> None:
    """One line as soon as it is measured."""
    print("\nStorage of libvirt (QEMU)")
    for row in rows:
        ours = row.seconds["ours"]
        others = "   ".join(
            f"{name} {seconds:.2f} s: x {ours / seconds:.2f}" for name, seconds in row.seconds.items() if name != "ours"
        )
        print(f"{row.what:<28} {ours:>6.2f} s   {others:<44} {row.goal}", flush=True)


def define_pool(uri: str) -> None:
    """Where the host keeps its images."""
    connection = libvirt.open(uri)
    path = "/var/lib/libvirt/images"
    document = f"<pool type='dir'><name>{POOL}</name><target><path>{path}</path></target></pool>"
    connection.storagePoolDefineXML(document).create()
    connection.close()


def measure(repeats: int, size_mb: int = 1024) -> None:
    """All of it."""
    guest = build_guest()
    with (
        LibvirtHost("bench-storage", 8) as host,
        tempfile.TemporaryDirectory(prefix="bench-", dir=host.machine.state) as name,
    ):
        define_pool(host.uri)
        driver = get_storage_driver(ConnectionOptions(host.uri))
        with driver:
            bench = StorageBench(host, driver, guest, repeats, size_mb)
            print_table(chain(bench.data(Path(name)), bench.children(Path(name)), bench.attaching()))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="runs of which the shortest counts")
    parser.add_argument("--size-mb", type=int, default=1024, help="of the volume and the image, in MiB")
    arguments = parser.parse_args()
    measure(arguments.repeats, arguments.size_mb)


if __name__ == "__main__":
    main()
