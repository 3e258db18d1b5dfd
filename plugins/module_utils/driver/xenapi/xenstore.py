# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parameter records: what a guest finds for itself in its XenStore, below ``vm-data``.

They are the VM's ``xenstore_data``, which the server writes into the XenStore at each start. The names, and what the
networking records hold, are those that guest agents know since OpenStack Nova's XenAPI driver.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Callable

from ...model.instance import Instance, Nic
from .extras import GUEST_DATA, HOSTNAME, NETWORKING
from .instances import InstancesMixin


def spawn_xenstore_data(instance: Instance) -> dict[str, str]:
    """What a new instance's guest is told: its name and its NICs."""
    return {HOSTNAME: instance.name, **network_records(instance.nics or [])}


def without_networking(xenstore_data: Mapping[str, str]) -> dict[str, str]:
    """The data without what it says of NICs."""
    return {key: value for key, value in xenstore_data.items() if not key.startswith(NETWORKING)}


def network_records(nics: Sequence[Nic]) -> dict[str, str]:
    """A record for each NIC, by its address."""
    return {
        NETWORKING + (nic.mac or "").replace(":", "").upper(): json.dumps(
            {"label": nic.network or nic.bridge, "mac": nic.mac}
        )
        for nic in nics
        if nic.mac
    }


class XenStoreMixin(InstancesMixin):
    """Reading and writing the parameter records of an instance. Keys are given and told without ``vm-data/``."""

    def read_param_xenstore(self, name: str, keys: Collection[str] | None = None) -> dict[str, str]:
        """The parameter records, or those of ``keys`` that there are."""
        _ref, vm = self.lookup(name)
        records = _below_vm_data(vm["xenstore_data"])
        return {key: value for key, value in records.items() if keys is None or key in keys}

    def read_partial_param_xenstore(self, name: str, prefix: str) -> dict[str, str]:
        """The parameter records whose keys begin with ``prefix``."""
        return {key: value for key, value in self.read_param_xenstore(name).items() if key.startswith(prefix)}

    def write_param_xenstore(self, name: str, mapping: Mapping[str, str]) -> None:
        """Add parameter records, in the place of those of the same keys. The guest sees them when it has started
        again."""
        self._change(name, lambda records: {**records, **mapping})

    def remove_param_xenstore(self, name: str, keys: Collection[str]) -> None:
        """Remove parameter records; those that are not there are ignored."""
        self._change(name, lambda records: {key: value for key, value in records.items() if key not in keys})

    def clear_param_xenstore(self, name: str) -> None:
        """Remove all parameter records."""
        self._change(name, lambda records: {})

    def inject_hostname(self, name: str, hostname: str) -> None:
        """Tell the guest what it is called."""
        self.write_param_xenstore(name, {HOSTNAME[len(GUEST_DATA) :]: hostname})

    def inject_network_info(self, name: str, nics: Sequence[Nic]) -> None:
        """Tell the guest what NICs it has, in the place of what it was told before."""
        fresh = {key[len(GUEST_DATA) :]: value for key, value in network_records(nics).items()}
        old = NETWORKING[len(GUEST_DATA) :]

        def change(records: dict[str, str]) -> dict[str, str]:
            return {**{key: value for key, value in records.items() if not key.startswith(old)}, **fresh}

        self._change(name, change)

    def _change(self, name: str, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
        ref, vm = self.lookup(name)
        old = vm["xenstore_data"]
        others = {key: value for key, value in old.items() if not key.startswith(GUEST_DATA)}
        records = {GUEST_DATA + key: value for key, value in change(_below_vm_data(old)).items()}
        if {**others, **records} != old:
            with self.guard(f"change the parameter records of instance {name!r}", name):
                self.call("VM.set_xenstore_data", ref, {**others, **records})


def _below_vm_data(xenstore_data: Mapping[str, str]) -> dict[str, str]:
    start = len(GUEST_DATA)
    return {key[start:]: value for key, value in xenstore_data.items() if key.startswith(GUEST_DATA)}
