# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs between what is and what a task wants. What the task does not mention never differs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any, Callable, NamedTuple

from ..errors import Problem
from ..model.instance import Instance
from .compare_disks import compare_disks
from .compare_nics import compare_nics
from .desired import CUSTOM, Desired, topology_option, topology_size
from .filtering import compare_filtering
from .views import HIDDEN, is_document


class Change(NamedTuple):
    """One thing that changes.

    Attributes:
        option: As the task's author knows it, e.g. ``boot.kernel``.
        field: The field of ``Instance`` that it belongs to.
        old, new: Plain data for people; no secrets.
    """

    option: str
    field: str
    old: Any
    new: Any


@dataclass
class Comparison:
    """How an instance differs from what is wanted.

    Attributes:
        changes: One for each option that differs.
        desired: The instance's name and, of the fields that change, their whole wanted value.
        declared: What of that has to be looked for on the host: the NICs and disks as the task declares them.
        grows: A disk that exists has to grow.
        unfelt: Fields that change in a way that no guest feels.
        problems: Why it cannot be as wanted.
        warnings: What the task's author should know.
    """

    desired: Instance
    declared: Instance
    changes: list[Change] = field(default_factory=list)
    grows: bool = False
    unfelt: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def fields(self) -> set[str]:
        """The fields of Instance that change."""
        return {change.field for change in self.changes}

    def add(self, option: str, field_name: str, old: Any, new: Any, value: Any) -> None:
        """Note a change; ``value`` is what the field becomes."""
        self.changes.append(Change(option, field_name, old, new))
        setattr(self.desired, field_name, value)
        setattr(self.declared, field_name, value)

    def refuse(self, option: str, message: str) -> None:
        """Note that something wanted is not possible."""
        self.problems.append(Problem(option, message))


_PLAIN = ("memory_mb", "max_memory_mb", "vcpus", "max_vcpus", "autostart", "description", "locked", "protected")
_GROUPS = ("boot", "cpu", "console")
_OFF_WHEN_UNKNOWN = {"autostart": False, "description": "", "locked": False, "protected": False}


DifferingExtras = Callable[[Instance, Instance], Collection[str]]


def compare(current: Instance, wanted: Desired, differing_extras: DifferingExtras, extras_option: str) -> Comparison:
    """How ``current`` differs from what is wanted. Asks no hypervisor.

    Args:
        differing_extras: Which of ``wanted.instance.hypervisor`` differ; only the driver can tell.
        extras_option: The option that these come from.
    """
    found = Comparison(Instance(current.name), Instance(current.name))
    for name in _PLAIN:
        old, new = getattr(current, name), getattr(wanted.instance, name)
        if new is not None and new != (_OFF_WHEN_UNKNOWN.get(name) if old is None else old):
            found.add(name, name, old, new, new)
    _raise_limits(current, wanted, found)
    _compare_flavor(current, wanted, found)
    _compare_image(current, wanted, found)
    for name in _GROUPS:
        _compare_group(name, current, wanted.instance, found)
    _check_topology(current, wanted, found)
    _compare_metadata(current, wanted, found)
    _compare_cloud_init(current, wanted, found)
    _compare_extras(current, wanted, differing_extras, extras_option, found)
    compare_filtering(current, wanted, found)
    if wanted.disks is not None or wanted.root_bytes is not None or wanted.swap_option:
        compare_disks(current, wanted, found)
    if wanted.instance.nics is not None:
        compare_nics(current, wanted, found)
    return found


def _raise_limits(current: Instance, wanted: Desired, found: Comparison) -> None:
    """The limit of growth goes up with what is under it."""
    for option, limit in (("memory_mb", "max_memory_mb"), ("vcpus", "max_vcpus")):
        new, limit_now, asked = getattr(found.desired, option), getattr(current, limit), getattr(wanted.instance, limit)
        if new is not None and asked is None and limit_now is not None and limit_now < new:
            found.add(limit, limit, limit_now, new, new)
        below = getattr(current, option)
        if asked is not None and new is None and getattr(wanted.instance, option) is None and below and asked < below:
            found.refuse(wanted.where + limit, f"must not be less than {option}, which is {below}")


def _compare_flavor(current: Instance, wanted: Desired, found: Comparison) -> None:
    flavor = wanted.flavor
    if flavor is not None and flavor != current.flavor:
        found.add("flavor", "flavor", current.flavor.name if current.flavor else None, flavor.name, flavor)


def _compare_image(current: Instance, wanted: Desired, found: Comparison) -> None:
    image = wanted.instance.image
    if image is None or image == current.image:
        return
    if current.image is None:
        found.warnings.append(
            f"{wanted.where}image: nothing tells which image {current.name} was made from, "
            f"so it is not compared with {image}"
        )
        return
    found.refuse(
        f"{wanted.where}image",
        f"{current.name} was made from {current.image}; an instance that exists is not given another image. "
        "Remove it first to have it made anew",
    )


def _compare_group(name: str, current: Instance, wanted: Instance, found: Comparison) -> None:
    """Options with options inside: those inside that are mentioned are compared one by one."""
    new_group = getattr(wanted, name)
    if new_group is None:
        return
    old_group = getattr(current, name) or type(new_group)()
    differing = {}
    for option, new in vars(new_group).items():
        old = getattr(old_group, option)
        if new is not None and new != old and not (new == "" and old is None):
            differing[option] = (old, new)
    _drop_what_goes_with(differing, old_group)
    if differing:
        whole = replace(old_group, **{option: new for option, (_old, new) in differing.items()})
        for option, (old, new) in differing.items():
            found.add(f"{name}.{option}", name, old, new, whole)
        setattr(
            found.declared, name, type(new_group)(**{option: new or None for option, (_old, new) in differing.items()})
        )


def _drop_what_goes_with(differing: dict[str, tuple[Any, Any]], old_group: Any) -> None:
    """A ramdisk and a command line go with their kernel, a processor's model with the mode that needs one."""
    if differing.get("kernel", ("", None))[1] == "":
        for option in ("initrd", "cmdline"):
            if getattr(old_group, option):
                differing[option] = (getattr(old_group, option), "")
    if differing.get("mode", ("", CUSTOM))[1] != CUSTOM and old_group.model is not None:
        differing["model"] = (old_group.model, None)


def _check_topology(current: Instance, wanted: Desired, found: Comparison) -> None:
    cpu = found.desired.cpu
    option = None if cpu is None or wanted.instance.cpu is None else topology_option(wanted.instance.cpu)
    limit = found.desired.max_vcpus or current.max_vcpus or found.desired.vcpus or current.vcpus
    if cpu is None or option is None or limit is None:
        return
    count = topology_size(cpu)
    if count != limit:
        found.refuse(
            f"{wanted.where}cpu.{option}",
            f"sockets x cores x threads comes to {count}, but {current.name} can have {limit} vCPUs; "
            "give max_vcpus beside it, or other numbers",
        )


def _compare_metadata(current: Instance, wanted: Desired, found: Comparison) -> None:
    if wanted.metadata is None:
        return
    old = current.metadata or {}
    whole = {key: value for key, value in {**old, **wanted.metadata}.items() if value is not None}
    for key, new in wanted.metadata.items():
        if new != old.get(key):
            found.add(f"metadata.{key}", "metadata", old.get(key), new, whole)


def _compare_cloud_init(current: Instance, wanted: Desired, found: Comparison) -> None:
    data = wanted.instance.cloud_init
    if data is not None and data.fingerprint() != current.cloud_init_fingerprint:
        old = "none" if current.cloud_init_fingerprint is None else "other data"
        found.add("cloud_init", "cloud_init", old, "the given data", data)


def _compare_extras(
    current: Instance, wanted: Desired, differing_extras: DifferingExtras, extras_option: str, found: Comparison
) -> None:
    extras = wanted.instance.hypervisor
    if not extras:
        return
    differing = {key: extras[key] for key in sorted(differing_extras(current, wanted.instance))}
    for key, value in differing.items():
        old, new = (HIDDEN if is_document(item) else item for item in (current.hypervisor.get(key), value))
        found.add(f"{extras_option}.{key}", "hypervisor", old, new, differing)
