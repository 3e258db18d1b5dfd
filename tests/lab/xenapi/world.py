# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated pool beside its database: guests and what they write, and what happens by itself."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lab.xenapi import domains, guest_metrics
from lab.xenapi.clock import Clock
from lab.xenapi.database import Database, Ref
from lab.xenapi.guest import AddressPool, Guest
from lab.xenapi.settings import PoolSettings
from lab.xenapi.volumes import content_digest
from lab.xenapi.world_hosts import build_hosts
from lab.xenapi.world_network import build_networks
from lab.xenapi.world_storage import build_storage
from lab.xenapi.world_vms import build_extra_vms, build_templates

if TYPE_CHECKING:
    from lab.xenapi.operations import Operation

_LAB_ADDRESSES = "10.88.0.0/24"
HOST_FILES = frozenset({"/boot/guest/vmlinuz", "/boot/guest/initrd.img"})


class World:
    """What is not in the database. Everything in here is read and written with the database's lock held."""

    def __init__(self, db: Database, settings: PoolSettings) -> None:
        self.db = db
        self.settings = settings
        self.scheme = "http"  # of the locations of consoles
        self.clock = Clock()
        self.guests: dict[Ref, Guest] = {}
        self.sleeping: dict[Ref, Guest] = {}  # guests of suspended VMs
        self.operations: dict[Ref, list[Operation]] = {}
        self.texts: dict[Ref, str] = {}
        self.dhcp: dict[Ref, AddressPool] = {}  # by network
        self.host_files = set(HOST_FILES)
        self._domids = itertools.count(1)

    def next_domid(self) -> int:
        return next(self._domids)

    def console_text(self, vm: Ref) -> str:
        """What the guest has written since the VM was last started."""
        with self.db.lock:
            return self.texts.get(vm, "")

    def crash(self, vm: Ref) -> None:
        """Let the guest crash; what becomes of the VM is up to its ``actions_after_crash``."""
        domains.crash(self, vm)

    def guests_changed(self, vm: Ref) -> None:
        """The VM's interfaces have changed: its tools report the addresses anew."""
        guest_metrics.refresh(self, vm)

    def snapshot(self) -> dict[str, str]:
        """What the pool holds beside its records: a hash of the content of each VDI."""
        with self.db.lock:
            return {vdi: content_digest(self.db, vdi) for vdi in self.db.refs("VDI")}

    def serve_at(self, urls: Sequence[str]) -> None:
        """Tell where the hosts can be reached, the master first."""
        with self.db.lock:
            for host, url in zip(self.db.refs("host"), urls, strict=True):
                self.scheme, _separator, address = url.partition("://")
                self.db.set("host", host, address=address)

    def close(self) -> None:
        self.clock.close()


def build_world(db: Database, settings: PoolSettings) -> World:
    """Fill an empty database with the initial pool."""
    world = World(db, settings)
    with db.lock:
        hosts = build_hosts(db, settings)
        networks = build_networks(db, settings, hosts)
        storage = build_storage(db, settings, hosts)
        world.dhcp[networks.lab] = AddressPool(_LAB_ADDRESSES)
        build_templates(db, storage.golden_image)
        build_extra_vms(db, settings.extra_vms, storage.shared, networks.lab)
    return world
