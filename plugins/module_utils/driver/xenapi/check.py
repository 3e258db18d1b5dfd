# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checking what is asked, before anything is done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Callable

from ...errors import (
    AlreadyExists,
    AnyvirtError,
    HypervisorUnavailable,
    ImageNotFound,
    InvalidInput,
    Problem,
    VolumeInUse,
)
from ...model.instance import CDROM, Disk, Instance, Nic
from ...model.secgroup import SecurityGroup
from ...model.units import format_size
from ..members import is_filtered
from .complete import CompleteMixin, disks_too_small
from .filtering import address_findings, filtering_findings, group_findings
from .findings import Finding, raise_first
from .groups import read_groups
from .images import is_file, look_at
from .metadata import read_volume_record
from .query import MOST, any_of
from .records import is_instance
from .syntax import syntax_problems


class CheckMixin(CompleteMixin):
    """Syntax, and what the pool lacks."""

    def check_parameter_syntax(self, instance: Instance) -> list[Problem]:
        never = [problem for problem, _kind in filtering_findings(instance)]
        return syntax_problems(instance) + self.unmet_needs(instance) + never

    def validate_parameters(self, instances: Sequence[Instance]) -> dict[str, list[Problem]]:
        self.forget_places()
        self._read_names(instances)
        owners = self._owners(nic.mac for instance in instances for nic in instance.nics or [] if nic.mac)
        there = self._those_there(instances)
        groups = self.groups_for(instances)
        found: dict[str, list[Problem]] = {}
        for instance in instances:
            findings = self._findings(instance, instance.name in there, owners, groups)
            problems = [problem for problem, _kind in findings]
            if problems:
                found[instance.name] = problems
        return found

    def require_pool_has(self, instance: Instance) -> None:
        """Raise the error of the first thing that the pool lacks for a new instance."""
        problems = self.check_parameter_syntax(instance)
        if problems:
            raise InvalidInput(problems)
        raise_first(self._findings(instance, False, {}, self.groups_for([instance])))

    def require_nics(self, name: str, nics: Sequence[Nic]) -> None:
        """Raise the error of the first thing that the pool lacks for these NICs of an instance."""
        owners = self._owners(nic.mac for nic in nics if nic.mac)
        raise_first(self._nic_findings(Instance(name, nics=list(nics)), owners))

    def groups_for(self, instances: Iterable[Instance]) -> dict[str, SecurityGroup]:
        """The security groups that there are now, where one of the instances is filtered."""
        if not any(is_filtered(instance) for instance in instances):
            return {}
        with self.guard("read the security groups"):
            _ref, pool = self.pool()
        return read_groups(pool["other_config"])

    # -- reading, a constant number of calls ------------------------------------------------------------------------

    def _read_names(self, instances: Sequence[Instance]) -> None:
        """Ask for all virtual disks that are mentioned, in one call."""
        names: set[str] = set()
        for instance in instances:
            images = [instance.image, *(disk.image for disk in instance.disks or [])]
            names.update(image for image in images if image is not None and not is_file(image))
            names.update(disk.volume for disk in instance.disks or [] if disk.volume is not None and not disk.owned)
        if names:
            self.places().vdis(names)

    def _those_there(self, instances: Sequence[Instance]) -> set[str]:
        """The names of those that exist, as far as that makes a difference: what they were made from may be gone."""
        names = {
            instance.name
            for instance in instances
            if instance.image is not None
            or instance.hypervisor.get("template") is not None
            or any(disk.image is not None for disk in instance.disks or [])
            or is_filtered(instance)
        }
        if not names:
            return set()
        with self.guard("look up the instances"):
            return {vm["name_label"] for vm in self.find_vms(names).values()}

    def _owners(self, addresses: Iterable[str]) -> dict[str, set[str]]:
        """The names of the instances that have these MAC addresses; in lower case."""
        macs = {mac.lower() for mac in addresses}
        if not macs:
            return {}
        owners: dict[str, set[str]] = {}
        both = macs | {mac.upper() for mac in macs}
        with self.guard("read the instances' MAC addresses"):
            vifs = self.fetch("VIF", any_of("MAC", both) if len(both) <= MOST else None)
            matching = [vif for vif in vifs.values() if vif["MAC"].lower() in macs]
            vms = self.fetch_refs("VM", {vif["VM"] for vif in matching})
        for vif in matching:
            vm = vms.get(vif["VM"])
            if vm is not None and is_instance(vm):
                owners.setdefault(vif["MAC"].lower(), set()).add(vm["name_label"])
        return owners

    # -- finding ----------------------------------------------------------------------------------------------------

    def _findings(
        self,
        instance: Instance,
        is_there: bool,
        owners: Mapping[str, set[str]],
        groups: Mapping[str, SecurityGroup],
    ) -> Iterator[Finding]:
        """What the pool lacks for the mentioned values; what an existing instance was made from is not looked for."""
        extras = instance.hypervisor
        near = extras.get("affinity") or None
        if near is not None:
            yield from _tried("hypervisor.affinity", lambda: self.find_host(near))
        if instance.pool is not None:
            yield from _tried("pool", lambda: self.find_pool(str(instance.pool), near))
        if extras.get("template") is not None and not is_there:
            yield from self._template_findings(instance, extras["template"])
        if instance.image is not None and not is_there:
            yield from self._image_findings("image", "", instance.image, instance.pool, None)
        for number, disk in enumerate(instance.disks or []):
            yield from self._disk_findings(instance, f"disks[{number}]", disk, is_there, near)
        yield from self._nic_findings(instance, owners)
        yield from group_findings(instance, groups)
        if not is_there:
            yield from address_findings(instance)

    def _template_findings(self, instance: Instance, name: str) -> Iterator[Finding]:
        problem = next(_tried("hypervisor.template", lambda: self.find_template(name)), None)
        if problem is not None:
            yield problem
            return
        if is_filtered(instance) and not instance.nics and self.find_template(name).record["VIFs"]:
            needed = f"the template {name!r} brings network interfaces, which a filtered instance has to declare"
            yield Problem("nics", needed), InvalidInput
        for number, brought in disks_too_small(instance.disks or [], self.find_template(name).like.disks or []):
            needed = format_size(brought.size_bytes or 0)
            yield Problem(f"disks[{number}].size_bytes", f"the template {name!r} brings {needed}"), InvalidInput

    def _require_given(self, disk: Disk, volume: str, pool: str, is_there: bool) -> None:
        found = read_volume_record(self.find_volume(volume, pool).record)
        is_written = disk.kind != CDROM and not disk.read_only and not is_there
        if is_written and found is not None and found.cached is not None:
            raise VolumeInUse(
                f"{pool}/{volume} is an image of the cache, which nobody may write to; name it as the image"
            )

    def _disk_findings(
        self, instance: Instance, where: str, disk: Disk, is_there: bool, near: str | None
    ) -> Iterator[Finding]:
        pool = disk.pool or instance.pool
        is_made = disk.owned or (disk.volume is None and disk.kind != CDROM)
        if pool is None and is_made and disk.image is None and self.default_repository() is None:
            none = "the pool of hosts has no default storage repository; name one"
            yield Problem(f"{where}.pool", none), InvalidInput
        if pool is not None and pool != instance.pool and (is_made or disk.volume is not None):
            problem = next(_tried(f"{where}.pool", lambda: self.find_pool(pool, near)), None)
            if problem is not None:
                yield problem
                return
        if disk.volume is not None and not disk.owned and pool is not None:
            volume = disk.volume
            yield from _tried(f"{where}.volume", lambda: self._require_given(disk, volume, pool, is_there))
        if disk.image is not None and not is_there:
            is_new = disk.image != instance.image
            option = f"{where}.image" if is_new else ""
            yield from self._image_findings(option, f"{where}.size_bytes", disk.image, pool, disk.size_bytes)

    def _image_findings(
        self, option: str, size_option: str, image: str, pool: str | None, size_bytes: int | None
    ) -> Iterator[Finding]:
        """What is wrong with an image, told of ``option`` if that is given, and with a disk's size for it."""
        if is_file(image):
            file = look_at(image)
            if file is None:
                problem: Finding | None = (Problem(option, f"there is no file {image!r}"), ImageNotFound)
            elif file.obstacle is not None:
                problem = Problem(option, file.obstacle), InvalidInput
            else:
                problem = None
            needed = 0 if file is None else file.size_bytes
        else:
            problem = next(_tried(option, lambda: self.find_image(image, pool)), None)
            needed = 0 if problem is not None else int(self.find_image(image, pool).record["virtual_size"])
        if problem is not None:
            if option:
                yield problem
        elif size_bytes is not None and size_bytes < needed:
            yield Problem(size_option, f"the image {image!r} needs {format_size(needed)}"), InvalidInput

    def _nic_findings(self, instance: Instance, owners: Mapping[str, set[str]]) -> Iterator[Finding]:
        used: dict[str, str] = {}
        for number, nic in enumerate(instance.nics or []):
            where = f"nics[{number}]"
            if nic.network is not None or nic.bridge is not None:
                option = "network" if nic.network is not None else "bridge"
                yield from _tried(f"{where}.{option}", partial(self.find_network, nic))
            if nic.mac is None:
                continue
            mac = nic.mac.lower()
            owner = used.get(mac) or next(iter(sorted(owners.get(mac, set()) - {instance.name})), None)
            if owner is not None:
                yield Problem(f"{where}.mac", f"{mac} is taken by instance {owner!r}"), AlreadyExists
            used[mac] = instance.name


def _tried(option: str, find: Callable[[], object]) -> Iterator[Finding]:
    """The problem of not finding something."""
    try:
        find()
    except HypervisorUnavailable:
        raise
    except AnyvirtError as error:
        yield Problem(option, str(error)), error.__class__
