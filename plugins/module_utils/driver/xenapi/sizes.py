# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory and virtual processors of VMs that exist."""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import InvalidInput, Problem
from ...model.instance import Instance
from ...model.units import MIB
from ...undo import UndoStack
from .devicechanges import DeviceChangesMixin
from .records import Object
from .vmfields import MEMORY_LIMITS

_VCPUS = ("VCPUs_max", "VCPUs_at_startup")


class SizesMixin(DeviceChangesMixin):
    """What of its host an instance takes."""

    def change_sizes(self, ref: str, vm: Object, desired: Instance, options: set[str], done: UndoStack) -> None:
        """Give a VM that is off the sizes in ``options``; to be used within ``guard``."""
        wanted = {**_wanted_memory(vm, desired, options), **_wanted_vcpus(vm, desired, options)}
        if any(vm[field] != value for field, value in wanted.items()):
            before = {field: vm[field] for field in wanted}
            done.push("give it the sizes back that it had", lambda: self._put_back(ref, vm["name_label"], before))
            self._put_sizes(ref, vm, wanted)

    def change_running_memory(self, ref: str, vm: Object, memory_mb: int, done: UndoStack) -> None:
        """Give a running guest so much memory; to be used within ``guard``.

        Raises:
            InvalidInput: it is not between the limits that it was started with.
        """
        least, most = (-(-int(vm["memory_static_min"]) // MIB), int(vm["memory_static_max"]) // MIB)
        if not least <= memory_mb <= most:
            raise InvalidInput([Problem("memory_mb", f"must be between {least} and {most} while it runs")])
        before, wanted = (vm["memory_dynamic_min"], vm["memory_dynamic_max"]), str(memory_mb * MIB)
        if before == (wanted, wanted):
            return

        def put_back() -> None:
            with self.guard(f"set the memory of instance {vm['name_label']!r}", vm["name_label"]):
                self.call("VM.set_memory_dynamic_range", ref, *before)

        done.push("give the guest the memory it had", put_back)
        self.call("VM.set_memory_dynamic_range", ref, wanted, wanted)

    def change_running_vcpus(self, ref: str, vm: Object, has: int, vcpus: int, done: UndoStack) -> None:
        """Give a running guest so many virtual processors; to be used within ``guard``."""
        if has == vcpus and vm["VCPUs_at_startup"] == str(vcpus):
            return

        def put_back() -> None:
            with self.guard(f"set the vCPUs of instance {vm['name_label']!r}", vm["name_label"]):
                self.call("VM.set_VCPUs_number_live", ref, str(has))

        done.push("give the guest the vCPUs it had", put_back)
        self.when_guest_can(
            vm["name_label"],
            30.0,
            2.0,
            lambda _left_s: self.call("VM.set_VCPUs_number_live", ref, str(vcpus)),
        )

    def _put_back(self, ref: str, name: str, before: Mapping[str, str]) -> None:
        with self.guard(f"put back the sizes of instance {name!r}", name):
            self._put_sizes(ref, self.call("VM.get_record", ref), before)

    def _put_sizes(self, ref: str, vm: Object, wanted: Mapping[str, str]) -> None:
        """Set what differs, in an order in which the limits fit together at each moment."""
        if any(vm[field] != wanted[field] for field in MEMORY_LIMITS):
            self.call("VM.set_memory_limits", ref, *(wanted[field] for field in MEMORY_LIMITS))
        grows = int(wanted["VCPUs_max"]) >= int(vm["VCPUs_at_startup"])
        for field in _VCPUS if grows else reversed(_VCPUS):
            if vm[field] != wanted[field]:
                self.call(f"VM.set_{field}", ref, wanted[field])


def _wanted_memory(vm: Object, desired: Instance, options: set[str]) -> dict[str, str]:
    """The memory limits. Who raises a size alone raises its limit with it."""
    least, most, low, high = (int(vm[field]) for field in MEMORY_LIMITS)
    if "memory_mb" in options and desired.memory_mb is not None:
        low = high = desired.memory_mb * MIB
    if "max_memory_mb" in options and desired.max_memory_mb is not None:
        most = desired.max_memory_mb * MIB
    values = (min(least, low), max(most, high), low, high)
    return dict(zip(MEMORY_LIMITS, map(str, values)))


def _wanted_vcpus(vm: Object, desired: Instance, options: set[str]) -> dict[str, str]:
    vcpus, most = int(vm["VCPUs_at_startup"]), int(vm["VCPUs_max"])
    if "vcpus" in options and desired.vcpus is not None:
        vcpus = desired.vcpus
    if "max_vcpus" in options and desired.max_vcpus is not None:
        most = desired.max_vcpus
    return {"VCPUs_max": str(max(most, vcpus)), "VCPUs_at_startup": str(vcpus)}
