# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making storage pools."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import partial

from ...errors import AlreadyExists, InvalidInput, NotFound, Problem
from ...model.storage import EXT, ISCSI, LVM, Pool
from ...undo import Undo, UndoStack
from .errors import code_of, details_of
from .metadata import new_id
from .poolkinds import KINDS, DeviceConfig, Kind, device_config, is_same_place
from .pools import MARK, PoolsMixin, Repository
from .records import Objects
from .storage import Made

_LUNS_TOLD = "SR_BACKEND_FAILURE_107"
"""How a storage driver that was not told which LUN is meant tells which there are."""
_UUID = re.compile(r"<UUID>\s*([0-9a-fA-F-]{36})\s*</UUID>")
_LUN = re.compile(r"<SCSIid>\s*([^<\s]+)\s*</SCSIid>")


class PoolMakingMixin(PoolsMixin):
    """New pools."""

    def create_pool(self, pool: Pool, overwrite: bool = False) -> Undo:
        problems = self.check_pool(pool)
        if problems:
            raise InvalidInput(problems)
        kind = KINDS[str(pool.kind)]
        with self.guard(f"make the storage pool {pool.name!r}"):
            named, everything = self.repositories(), self.fetch("SR").values()
            hosts = self.fetch("host")
        shared = not kind.is_local and not pool.path if pool.shared is None else pool.shared
        # What is of one host may be called as another is of another host.
        if pool.name in (named if not shared else {sr["name_label"] for sr in everything}):
            raise AlreadyExists(f"there is a storage pool {pool.name!r} already")
        config, host = device_config(pool), self._host_for(hosts)
        if pool.kind == ISCSI and not pool.devices:
            config["SCSIid"] = self._only_lun(host, kind, config)
        self._require_free(pool, kind, config, host if kind.is_local or pool.path else None)
        there = self._look_there(pool, host, kind, config, {sr["uuid"]: sr["name_label"] for sr in everything})
        if not overwrite:
            _require_harmless(pool, config, there)
        token = f"{MARK} {new_id()}"
        made = Made()
        with UndoStack() as done:
            uuid = there[0] if there and not overwrite else None
            done.push(f"remove the storage pool {pool.name}", partial(self._remove_new, token, uuid is None, made))
            with self.guard(f"make the storage pool {pool.name!r}"), self.noticing(made):
                if uuid is None:
                    made.ref = self.run_task(
                        *("SR.create", host, config, "0", pool.name, token, kind.sr_type, kind.content, shared, {})
                    )
                else:
                    self._introduce(uuid, pool.name, token, kind, shared, config, hosts if shared else [host], made)
            self.unplug_links(self._find_new(str(made.ref)), UndoStack())
        return partial(done.take_back, f"the making of the storage pool {pool.name!r}")

    def _introduce(
        self,
        uuid: str,
        name: str,
        token: str,
        kind: Kind,
        shared: bool,
        config: DeviceConfig,
        hosts: Collection[str],
        made: Made,
    ) -> None:
        """Make known what is there, with what is in it; to be used within ``guard``."""
        made.ref = str(self.call("SR.introduce", uuid, name, token, kind.sr_type, kind.content, shared, {}))
        for host in hosts:
            link = {"SR": made.ref, "host": host, "device_config": config, "other_config": {}}
            self.run_task("PBD.plug", self.call("PBD.create", link))
        self.run_task("SR.scan", made.ref)

    def _host_for(self, hosts: Objects) -> str:
        """The host that makes a pool: the one that the URI names, or the master."""
        chosen = self.chosen_host()
        if chosen is not None:
            return str(chosen[0])
        with self.guard("read the pool"):
            master = str(self.pool()[1]["master"])
        return master if master in hosts else next(iter(hosts))

    def _require_free(self, pool: Pool, kind: Kind, config: DeviceConfig, host: str | None) -> None:
        """Refuse what is another pool's already, also that of a pool which is not active and so cannot be probed."""
        with self.guard("look where the storage pools are"):
            links, srs = self.fetch("PBD"), self.fetch("SR")
        for link in links.values():
            sr = srs.get(link["SR"])
            if sr is None or (host is not None and link["host"] != host):
                continue
            if is_same_place(kind.sr_type, config, sr, link["device_config"]):
                raise AlreadyExists(
                    f"where the pool {pool.name!r} is to be, there is the pool {sr['name_label']!r} already"
                )

    def _look_there(
        self, pool: Pool, host: str, kind: Kind, config: DeviceConfig, known: Mapping[str, str]
    ) -> list[str]:
        """The uuids of the repositories of this kind that are there already, and none of which is a pool's.

        Args:
            known: The pools' names by their uuid.
        """
        if not kind.can_be_probed:
            return []
        # A driver finds those of its own kind. A device may have other names, which only that tells.
        found = {its: self._probe(host, its, config) for its in ({EXT, LVM} if kind.is_local else {str(pool.kind)})}
        taken = sorted(known[uuid] for uuids in found.values() for uuid in uuids if uuid in known)
        if taken:
            raise AlreadyExists(f"where the pool {pool.name!r} is to be, there is the pool {', '.join(taken)} already")
        return found[str(pool.kind)]

    def _probe(self, host: str, kind: str, config: DeviceConfig) -> list[str]:
        """The uuids of the repositories of this kind that are there already."""
        with self.guard("look what is where the storage pool is to be"):
            told = self.call("SR.probe", host, config, KINDS[kind].sr_type, {})
        return sorted({uuid.lower() for uuid in _UUID.findall(told)})

    def _only_lun(self, host: str, kind: Kind, config: DeviceConfig) -> str:
        """The SCSI id of the only LUN of a target."""
        with self.guard(f"ask the iSCSI target {config['targetIQN']} for its LUNs"):
            try:
                told = str(self.call("SR.probe", host, config, kind.sr_type, {}))
            except self.api.library.Failure as failure:
                if code_of(failure) != _LUNS_TOLD:
                    raise
                told = " ".join(details_of(failure)[1:])
        found = sorted(set(_LUN.findall(told)))
        if not found:
            raise NotFound(f"the iSCSI target {config['targetIQN']} has no LUNs for this host")
        if len(found) > 1:
            several = f"the target has {len(found)} LUNs; give the SCSI id of one of them: {', '.join(found)}"
            raise InvalidInput([Problem("devices", several)])
        return str(found[0])

    def _find_new(self, ref: str) -> Repository:
        with self.guard("look up the new storage pool"):
            links = {one: link for one, link in self.fetch("PBD").items() if link["SR"] == ref}
            return Repository(ref, self.call("SR.get_record", ref), links)

    def _remove_new(self, token: str, with_data: bool, made: Made) -> None:
        """Remove a repository of which perhaps nobody has told us that it was made."""
        if made.is_lost:
            self.settle("SR.create", "PBD.plug")
        with self.guard("look for the storage pool that was made"):
            found = [ref for ref, sr in self.fetch("SR").items() if sr["name_description"] == token]
        for ref in found:
            self.unplug_links(self._find_new(ref), UndoStack())
            with self.guard("remove the storage pool again"):
                self.run_task("SR.destroy" if with_data else "SR.forget", ref)
        self.forget_places()


def _require_harmless(pool: Pool, config: DeviceConfig, there: Collection[str]) -> None:
    """Refuse to make a repository where that may overwrite something, or where several are."""
    where = config.get("device") or config.get("SCSIid")
    if len(there) > 1:
        raise AlreadyExists(
            f"where the pool {pool.name!r} is to be, there are {len(there)} storage repositories of others "
            f"({', '.join(sorted(there))}); give it another place"
        )
    if where and not there:
        raise AlreadyExists(
            f"no storage repository of kind {pool.kind} is on {where}, and XenAPI cannot see what else is on it; the "
            f"new pool {pool.name!r} would take its place: say overwrite: true when nothing on it is needed"
        )
