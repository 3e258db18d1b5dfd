# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is on a host for instances to use: each kind of thing is asked for once, when it is first needed."""

from __future__ import annotations

import functools
import os
import re
from typing import TYPE_CHECKING

from ...errors import AnyvirtError, HypervisorUnavailable, ImageNotFound
from .errors import NO_DOMAIN, NO_STORAGE_POOL, code_of, translate

if TYPE_CHECKING:
    from .check import CheckMixin

_MAC = re.compile(r"<mac address=['\"]([0-9A-Fa-f:]+)['\"]")


class Inventory:
    """A host's networks, bridges, pools, volumes, files and MAC addresses, as of when they were asked for."""

    def __init__(self, driver: CheckMixin) -> None:
        self._driver = driver
        self._libvirt = driver.libvirt
        self._volumes: dict[str, set[str]] = {}
        self._files: dict[str, bool] = {}
        self._images: dict[str, bool] = {}

    @functools.cached_property
    def networks(self) -> set[str]:
        """The active networks."""
        with self._driver.guard("list the networks"):
            active = self._libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE
            return {network.name() for network in self._driver.conn.listAllNetworks(active)}

    @functools.cached_property
    def bridges(self) -> set[str] | None:
        """The host's network interfaces, bridges among them; None where libvirt cannot tell."""
        try:
            return {interface.name() for interface in self._driver.conn.listAllInterfaces(0)}
        except self._libvirt.libvirtError as error:
            translated = translate(error, "list the host's network interfaces")
            if isinstance(translated, HypervisorUnavailable):
                raise translated from error
            return None

    @functools.cached_property
    def pools(self) -> set[str]:
        """The active storage pools."""
        with self._driver.guard("list the storage pools"):
            active = self._libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE
            return {pool.name() for pool in self._driver.conn.listAllStoragePools(active)}

    @functools.cached_property
    def security_groups(self) -> set[str]:
        """The security groups."""
        return set(self._driver.declarations.groups())

    def has_volume(self, pool: str, volume: str) -> bool:
        """Whether the pool has it; the pool is only looked at again when libvirt does not know of it."""
        if pool not in self._volumes:
            self._volumes[pool] = self._list_volumes(pool, volume)
        return volume in self._volumes[pool]

    def has_file(self, path: str) -> bool:
        """Whether there is such a file on the daemon's host; True as well when that cannot be found out."""
        if path not in self._files:
            self._files[path] = self._find_file(path)
        return self._files[path]

    def has_image(self, name: str) -> bool:
        """Whether a pool's image cache has it, complete."""
        if name not in self._images:
            self._images[name] = self._driver.find_image(name) is not None
        return self._images[name]

    def owners(self, mac: str) -> set[str]:
        """The names of the instances that have this MAC address, in lower case."""
        return self._owners.get(mac, set())

    @functools.cached_property
    def _owners(self) -> dict[str, set[str]]:
        """There is no bulk call for it: each domain's configuration is read."""
        owners: dict[str, set[str]] = {}
        inactive = self._libvirt.VIR_DOMAIN_XML_INACTIVE
        with self._driver.guard("read the instances' MAC addresses"):
            for domain in self._driver.conn.listAllDomains(0):
                try:
                    text = domain.XMLDesc(inactive)
                except self._libvirt.libvirtError as error:
                    if code_of(error) != NO_DOMAIN:
                        raise
                    continue  # it went meanwhile
                for mac in _MAC.findall(text):
                    owners.setdefault(mac.lower(), set()).add(domain.name())
        return owners

    def _list_volumes(self, pool: str, wanted: str) -> set[str]:
        try:
            handle = self._driver.conn.storagePoolLookupByName(pool)
            names = set(handle.listVolumes())
            if wanted not in names:
                handle.refresh(0)
                names = set(handle.listVolumes())
            return names
        except self._libvirt.libvirtError as error:
            if code_of(error) == NO_STORAGE_POOL:
                return set()
            with self._driver.guard(f"list the volumes of the storage pool {pool!r}"):
                raise

    def _find_file(self, path: str) -> bool:
        if self._driver.shares_our_kernel and os.path.exists(path):
            return True
        if path.startswith("/dev/"):
            return not self._driver.shares_our_kernel
        try:
            self._driver.image_facts(path)
        except ImageNotFound:
            return False
        except HypervisorUnavailable:
            raise
        except AnyvirtError:
            return True  # there is something; whether it can be used is found out when it is
        return True
