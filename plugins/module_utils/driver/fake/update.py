# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing what an instance is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from ...errors import InvalidInput, InvalidPowerState, Problem
from ...model import power_state
from ...model.instance import Disk, Instance, Nic
from ...undo import Undo, UndoStack
from .checks import group_findings, with_firewall
from .guest import Look
from .records import SEED, UNFELT, felt, option_value, plain, volume_key, without_addresses
from .spawn import SpawnMixin
from .storage import seed_disk
from .store import INSTANCES, VOLUMES, Changes, Record

_PLUGGABLE = power_state.ACTIVE - {power_state.SHUTDOWN}


class UpdateMixin(SpawnMixin):
    """Configuration and running guest, changed together or apart."""

    def live_options(self, current: Instance, desired: Instance, options: Collection[str]) -> set[str]:
        if current.power_state in power_state.OFF:
            return set(options)
        live = {option for option in options if option in UNFELT}
        if "nics" in options and _without_addresses(current.nics) == _without_addresses(desired.nics):
            live.add("nics")
        if current.power_state in _PLUGGABLE:
            live |= {option for option in options if _fits_running(current, desired, option)}
        return live

    def update_instance(
        self, current: Instance, desired: Instance, options: Collection[str], live: Collection[str]
    ) -> Undo:
        name = current.name
        desired = self._complete_changes(current, desired, options)
        done = UndoStack()
        with done:
            if {"disks", "cloud_init"} & set(options):
                self._change_volumes(current, desired, done)
            before = self._redefine(current, desired, options, done)
            if live and self._is_running(before):
                self._change_running(name, desired, live, done)
        return lambda: done.take_back(f"the changes of {name!r}")

    def balloon_memory(self, name: str, memory_mb: int) -> None:
        with self._write("balloon", name) as changes:
            record, seen = self._instance(changes, name)
            if seen.state not in power_state.EXECUTING:
                raise InvalidPowerState(
                    f"instance {name!r} is {power_state.name(seen.state)}; only a running guest can be given memory"
                )
            running = record["running"]
            if not 0 < memory_mb <= running["max_memory_mb"]:
                limit = f"must be between 1 and its maximum of {running['max_memory_mb']}"
                raise InvalidInput([Problem("memory_mb", limit)])
            self._require_room(changes, name, memory_mb, running["vcpus"])
            changes.put(INSTANCES, name, {**record, "running": {**running, "memory_mb": memory_mb}})

    def plug_vifs(self, name: str, nics: Sequence[Nic]) -> None:
        with self._write("change_running", name) as changes:
            record, seen = self._instance(changes, name)
            old = record["config"].get("nics", [])
            added = self._name_nics(name, [*(Nic(**nic) for nic in old), *nics], ())[len(old) :]
            self._require_nics(changes, name, added)
            self._put_nics(changes, record, seen, [*old, *plain(added)])

    def unplug_vifs(self, name: str, macs: Collection[str]) -> None:
        gone = {mac.lower() for mac in macs}
        with self._write("change_running", name) as changes:
            record, seen = self._instance(changes, name)
            kept = [nic for nic in record["config"].get("nics", []) if nic.get("mac") not in gone]
            self._put_nics(changes, record, seen, kept)

    # -- parts of an update -----------------------------------------------------------------------------------------

    def _complete_changes(self, current: Instance, desired: Instance, options: Collection[str]) -> Instance:
        """``desired`` with the names that the driver gives to new disks and NICs."""
        disks = list((desired.disks if "disks" in options else None) or current.disks or [])
        if "cloud_init" in options:
            disks = [disk for disk in disks if disk.role != SEED]
            had = [disk for disk in current.disks or [] if disk.role == SEED]
            disks.append(had[0] if had else seed_disk())
        elif "disks" in options and not any(disk.role == SEED for disk in disks):
            disks += [disk for disk in current.disks or [] if disk.role == SEED]
        taken = [disk.device for disk in current.disks or [] if disk.device]
        if "firewall" not in options:
            desired = replace(desired, firewall=current.firewall)
        desired = with_firewall(desired)
        desired = replace(desired, disks=self._name_disks(current.name, disks, desired.pool or current.pool, taken))
        if "nics" in options:
            nics = self._keep_macs(current, desired.nics or [])
            has = {nic.mac: nic.addresses for nic in current.nics or []}
            nics = [replace(nic, addresses=has.get(nic.mac)) if nic.addresses is None else nic for nic in nics]
            desired.nics = self._name_nics(current.name, nics, ())
        return desired

    def _keep_macs(self, current: Instance, wanted: Sequence[Nic]) -> list[Nic]:
        """The wanted NICs; one without an address takes that of an existing one on its network that is left over."""
        named = {nic.mac for nic in wanted}
        spare = [nic for nic in current.nics or [] if nic.mac not in named]
        kept = []
        for nic in wanted:
            same = [old for old in spare if (old.network, old.bridge) == (nic.network, nic.bridge)]
            if nic.mac is None and same:
                spare.remove(same[0])
                kept.append(replace(nic, mac=same[0].mac))
            else:
                kept.append(nic)
        return kept

    def _change_volumes(self, current: Instance, desired: Instance, done: UndoStack) -> None:
        """Make what new disks need, grow what is to grow, and write a new seed."""
        name = current.name
        old = {disk.device: disk for disk in current.disks or []}
        fingerprint = desired.cloud_init.fingerprint() if desired.cloud_init else None
        for disk in desired.disks or []:
            had = old.get(disk.device)
            if had is None:
                if disk.owned:
                    config = {"cloud_init_fingerprint": fingerprint}
                    self._create_volume({"name": name, "config": config}, plain(disk), done)
            elif disk.role == SEED and desired.cloud_init is not None:
                self._change_volume("volume_replace", name, had, {"fingerprint": fingerprint}, done)
            elif disk.size_bytes and disk.volume and disk.size_bytes != had.size_bytes:
                self._change_volume("volume_resize", name, had, {"size_bytes": disk.size_bytes}, done)

    def _change_volume(self, operation: str, name: str, disk: Disk, values: Record, done: UndoStack) -> None:
        key = volume_key(plain(disk))
        with self._write(operation, name) as changes:
            volume = changes.get(VOLUMES, key)
            if volume is None:
                raise InvalidInput([Problem("disks", f"the volume {key} of disk {disk.device} is gone")])
            more = values.get("size_bytes", volume["size_bytes"]) - volume["size_bytes"]
            if more < 0:
                raise InvalidInput([Problem("disks", f"disk {disk.device} cannot be made smaller")])
            if more:
                self._require_pool_room(changes, volume["pool"], more)
            changes.put(VOLUMES, key, {**volume, **values})
            before = {field: volume[field] for field in values}
            done.push(f"put back the volume {key}", lambda: self._restore_volume(operation, name, key, before))

    def _restore_volume(self, operation: str, name: str, key: str, before: Record) -> None:
        with self._write(operation, name) as changes:
            volume = changes.get(VOLUMES, key)
            if volume is not None:
                changes.put(VOLUMES, key, {**volume, **before})

    def _redefine(
        self, current: Instance, desired: Instance, options: Collection[str], done: UndoStack
    ) -> tuple[Record, Look]:
        name = current.name
        with self._write("redefine", name) as changes:
            record, seen = self._instance(changes, name)
            values = _new_values(desired, options)
            if "security_groups" in options:
                self._raise_first(group_findings(changes, desired, record))
            if "nics" in options:
                self._require_nics(changes, name, desired.nics or [])
            config = {field: value for field, value in {**record["config"], **values}.items() if value is not None}
            if "disks" in values:
                self._fill_from_volumes(changes, config["disks"])
            check_sizes(config)
            changes.put(INSTANCES, name, {**record, "config": config})
            old = record["config"]
            before = {field: old.get(field) for field in {*old, *config} if old.get(field) != config.get(field)}
            done.push("put back the configuration", lambda: self._restore(name, "redefine", "config", before))
            return record, seen

    def _change_running(self, name: str, desired: Instance, live: Collection[str], done: UndoStack) -> None:
        with self._write("change_running", name) as changes:
            record, seen = self._instance(changes, name)
            if not self._is_running((record, seen)):
                return
            running, values = record["running"], felt(_new_values(desired, live))
            memory_mb = values.get("memory_mb", running["memory_mb"])
            vcpus = values.get("vcpus", running["vcpus"])
            if memory_mb > running["memory_mb"] or vcpus > running["vcpus"]:
                self._require_room(changes, name, memory_mb, vcpus)
            before = {field: running.get(field) for field in values}
            leases = record["leases"]
            record = {
                **record,
                "running": {field: item for field, item in {**running, **values}.items() if item is not None},
            }
            if "nics" in values:
                record["leases"] = self._leases_for(changes, record)
            changes.put(INSTANCES, name, record)
            done.push(
                "put back what the guest had",
                lambda: self._restore(name, "change_running", "running", before, leases),
            )

    def _restore(self, name: str, operation: str, part: str, before: Record, leases: Record | None = None) -> None:
        """Give the fields of ``before`` their values back; None stands for one that was not there."""
        with self._write(operation, name) as changes:
            record, _seen = self._instance(changes, name)
            if record[part] is None:
                return
            values = {field: value for field, value in {**record[part], **before}.items() if value is not None}
            changes.put(
                INSTANCES, name, {**record, part: values, "leases": record["leases"] if leases is None else leases}
            )

    def _is_running(self, found: tuple[Record, Look]) -> bool:
        return found[1].state in _PLUGGABLE

    def _require_nics(self, changes: Changes, name: str, nics: Sequence[Nic]) -> None:
        self._raise_first(self._nic_findings(changes, Instance(name, nics=list(nics))))

    def _put_nics(self, changes: Changes, record: Record, seen: Look, nics: list[Record]) -> None:
        record = {**record, "config": {**record["config"], "nics": nics}}
        if self._is_running((record, seen)):
            record["running"] = {**record["running"], "nics": [without_addresses(nic) for nic in nics]}
            record["leases"] = self._leases_for(changes, record)
        changes.put(INSTANCES, record["name"], record)


def _new_values(desired: Instance, options: Collection[str]) -> Record:
    values = dict(option_value(desired, option) for option in options)
    if "cloud_init" in options:
        values["disks"] = plain(desired.disks)
    if "security_groups" in options:
        values["firewall"] = desired.firewall
    return values


def _without_addresses(nics: Sequence[Nic] | None) -> list[Nic]:
    return [replace(nic, addresses=None) for nic in nics or []]


def check_sizes(config: Record) -> None:
    """Raise InvalidInput for sizes of nothing, and let limits go up with what is under them."""
    for option, most in (("memory_mb", "max_memory_mb"), ("vcpus", "max_vcpus")):
        if config[option] <= 0:
            raise InvalidInput([Problem(option, "must be more than zero")])
        # Who raises a size alone raises its limit with it.
        config[most] = max(config[most], config[option])


def _fits_running(current: Instance, desired: Instance, option: str) -> bool:
    """Whether a running guest can be given the desired value."""
    running = {field: values[0] for field, values in current.pending.items()}
    if option == "memory_mb":
        most = running.get("max_memory_mb", current.max_memory_mb)
        return desired.memory_mb is not None and most is not None and desired.memory_mb <= most
    if option == "vcpus":
        has = running.get("vcpus", current.vcpus)
        most = running.get("max_vcpus", current.max_vcpus)
        return desired.vcpus is not None and has is not None and most is not None and has <= desired.vcpus <= most
    return option in ("nics", "disks")
