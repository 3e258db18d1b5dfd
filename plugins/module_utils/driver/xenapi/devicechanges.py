# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks and network interfaces of VMs that exist: plugged, unplugged, and put back as they were."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...errors import HypervisorError
from .errors import code_of
from .guests import GuestsMixin
from .query import any_of
from .records import Object

VBD, VIF = "VBD", "VIF"

PLUG_S = 30.0
"""For how long a guest that still boots is waited for until it can be given a device, or let go of one."""

_COMMON = ("VM", "other_config", "qos_algorithm_type", "qos_algorithm_params")
_FIELDS: Mapping[str, tuple[str, ...]] = {
    VBD: (*_COMMON, "VDI", "userdevice", "bootable", "mode", "type", "unpluggable", "empty"),
    VIF: (*_COMMON, "network", "device", "MAC", "MTU", "locking_mode", "ipv4_allowed", "ipv6_allowed"),
}
"""What a device is made from."""


class DeviceChangesMixin(GuestsMixin):
    """Changes of devices. ``kind`` is ``VBD`` or ``VIF``."""

    def devices_of(self, kind: str, vm: str) -> dict[str, Object]:
        """A VM's devices by reference; to be used within ``guard``."""
        found = self.fetch(kind, any_of("VM", [vm]))
        return {ref: device for ref, device in found.items() if device["VM"] == vm}

    def plug(self, kind: str, ref: str, name: str) -> None:
        """Give a running guest a device that its VM has; to be used within ``guard``.

        Raises:
            Unsupported: the guest has no drivers for it.
            HypervisorError: it did not take it.
        """
        self._hotplug(f"{kind}.plug", ref, name, "DEVICE_ALREADY_ATTACHED")
        if not self.call(f"{kind}.get_currently_attached", ref):
            raise HypervisorError(f"the guest of instance {name!r} was given a {_NOUNS[kind]} and did not take it")

    def remove_device(self, kind: str, ref: str, name: str, device: Object) -> None:
        """Take a device away, from a running guest too; to be used within ``guard``."""
        if device["currently_attached"]:
            self._hotplug(f"{kind}.unplug", ref, name, "DEVICE_ALREADY_DETACHED", "DEVICE_NOT_ATTACHED")
        self.call(f"{kind}.destroy", ref)

    def _hotplug(self, method: str, ref: str, name: str, *content: str) -> None:
        """Plug or unplug, as soon as the guest can; failures that say that it is so already are none."""

        def attempt(_left_s: float) -> None:
            try:
                self.run_task(method, ref)
            except self.api.library.Failure as failure:
                if code_of(failure) not in content:
                    raise

        self.when_guest_can(name, PLUG_S, 2.0, attempt)

    def restore_devices(
        self,
        kind: str,
        vm: str,
        name: str,
        before: Mapping[str, Object],
        counts: Callable[[Object], bool] = lambda _device: True,
    ) -> None:
        """Give a VM exactly the devices that it had ``before``, whatever has become of them.

        Args:
            counts: Tells those that matter; others may have come or gone meanwhile.
        """
        with self.guard(f"put back the {_NOUNS[kind]}s of instance {name!r}", name):
            now = {ref: device for ref, device in self.devices_of(kind, vm).items() if counts(device)}
            before = {ref: device for ref, device in before.items() if counts(device)}
            for ref, device in now.items():
                if ref not in before:
                    self.remove_device(kind, ref, name, device)
            for ref, device in before.items():
                self._restore_device(kind, name, ref, device, now.get(ref))

    def move_vif(self, ref: str, vif: Object, network: str, other_config: Mapping[str, str]) -> None:
        """Put a network interface on another network, with its address; a running guest does not lose it."""
        if vif["network"] != network:
            self.run_task("VIF.move", ref, network)
        if vif["other_config"] != other_config:
            self.call("VIF.set_other_config", ref, dict(other_config))

    def _restore_device(self, kind: str, name: str, ref: str, before: Object, now: Object | None) -> None:
        if now is None:
            ref = str(self.call(f"{kind}.create", {field: before[field] for field in _FIELDS[kind]}))
        elif kind == VIF:
            self.move_vif(ref, now, before["network"], before["other_config"])
        is_plugged = now is not None and now["currently_attached"]
        if before["currently_attached"] and not is_plugged and self._is_running(before["VM"]):
            self.plug(kind, ref, name)

    def _is_running(self, vm: str) -> bool:
        return bool(self.call("VM.get_power_state", vm) == "Running")


_NOUNS = {VBD: "disk", VIF: "network interface"}
