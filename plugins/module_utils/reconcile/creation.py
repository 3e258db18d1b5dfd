# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""New instances: what they are made of, where the task leaves it open."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Callable

from ..driver.base import ComputeDriver
from ..errors import Problem
from ..model.instance import Disk, Instance, Nic
from ..model.mac import with_addresses
from .desired import SUSPENDED, Desired, topology_option, topology_size
from .filtering import contradictions_of_new, engine_of_new


def problems_with_new(wanted: Desired) -> list[Problem]:
    """What a task has to say of an instance that does not exist yet, and did not."""
    problems = []
    if wanted.instance.memory_mb is None:
        problems.append(
            Problem(
                f"{wanted.where}memory_mb",
                f"there is no instance {wanted.name!r} yet, and a new one needs memory_mb or flavor",
            )
        )
    cpu, boot = wanted.instance.cpu, wanted.instance.boot
    topology = None if cpu is None or wanted.instance.vcpus or wanted.instance.max_vcpus else topology_option(cpu)
    if cpu is not None and topology is not None and topology_size(cpu) != 1:
        problems.append(Problem(f"{wanted.where}cpu.{topology}", "a new instance has one vCPU unless vcpus says more"))
    if boot is not None and not boot.kernel and not wanted.instance.hypervisor:  # whose extras may bring a kernel
        problems += [
            Problem(f"{wanted.where}boot.{option}", "is for a kernel that is booted directly, and there is none")
            for option in ("initrd", "cmdline")
            if getattr(boot, option)
        ]
    problems += [Problem(wanted.where + option, message) for option, message in contradictions_of_new(wanted.instance)]
    if wanted.state == SUSPENDED:
        problems.append(
            Problem(
                f"{wanted.where}state",
                f"there is no instance {wanted.name!r} yet, and a new one has no memory to suspend",
            )
        )
    return problems


def asked_for(wanted: Desired) -> Instance:
    """The new instance as the task describes it."""
    boot = wanted.instance.boot
    if boot is not None:  # what would be taken away is not there yet
        boot = replace(boot, kernel=boot.kernel or None, initrd=boot.initrd or None)
    return replace(wanted.instance, boot=boot, disks=new_disks(wanted), firewall=engine_of_new(wanted.instance))


def new_instance(driver: ComputeDriver, wanted: Desired, identity: Callable[[], str]) -> Instance:
    """The whole instance to be made, with all that the driver decides by itself."""
    partial = asked_for(wanted)
    metadata = {key: value for key, value in (wanted.metadata or {}).items() if value is not None}
    nics = with_macs(partial.name, partial.nics or [], (), identity)
    return driver.complete(replace(partial, vcpus=partial.vcpus or 1, nics=nics, metadata=metadata))


def new_disks(wanted: Desired) -> list[Disk]:
    """The disks in the guest's order: root and swap of image and flavor, then the declared ones."""
    image, pool = wanted.instance.image, wanted.instance.pool
    declared = list(wanted.disks or [])
    made = []
    if image is not None or (wanted.root_bytes is not None and not wanted.first_is_root):
        made.append(Disk(role="root", image=image, pool=pool, size_bytes=wanted.root_bytes))
    if wanted.swap_bytes:
        swap = Disk(role="swap", pool=pool, size_bytes=wanted.swap_bytes)
        if wanted.first_is_root:
            return [declared[0], swap, *declared[1:]]
        made.append(swap)
    return made + declared


def new_disk_options(wanted: Desired) -> list[str]:
    """For each of ``new_disks`` the option that asks for it."""
    declared = [f"disks[{number}]" for number in range(len(wanted.disks or ()))]
    made = []
    if wanted.instance.image is not None:
        made.append("image")
    elif wanted.root_bytes is not None and not wanted.first_is_root:
        made.append(wanted.root_option)
    if wanted.swap_bytes:
        if wanted.first_is_root:
            return [declared[0], wanted.swap_option, *declared[1:]]
        made.append(wanted.swap_option)
    return made + declared


def with_macs(name: str, nics: list[Nic], taken: Collection[str], identity: Callable[[], str]) -> list[Nic]:
    """The NICs with an address each, the same at every run."""
    if all(nic.mac is not None for nic in nics):
        return list(nics)
    macs = with_addresses(identity, name, [nic.mac for nic in nics], taken)
    return [replace(nic, mac=mac) for nic, mac in zip(nics, macs)]
