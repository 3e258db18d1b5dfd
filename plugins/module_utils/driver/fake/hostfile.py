# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host of the fake is made of: its optional file ``host.json``, with a plausible machine where it is silent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Callable, NamedTuple

from ...model.host import CpuInfo
from ...model.storage import DIR
from ...model.units import GIB
from . import settings
from .poolkinds import KINDS

HOST_FILE = "host.json"
DEFAULT_POOL = "default"
DEFAULT_POOL_BYTES = 1000 * GIB

DEFAULT_CPU = CpuInfo(
    arch="x86_64",
    model="Fake-Server-v1",
    vendor="Anyvirt",
    sockets=1,
    cores=8,
    threads=2,
    features=["aes", "avx", "fpu", "msr", "pae", "sse", "sse2", "sse4.1", "sse4.2", "ssse3", "tsc"],
)


class Pool(NamedTuple):
    """A storage pool of the host; a ``shared`` one is the same on all hosts that have one of its name."""

    size_bytes: int
    active: bool = True
    kind: str = DIR
    path: str | None = None
    autostart: bool = True
    shared: bool = False


class Device(NamedTuple):
    """A block device that pools can be made of; ``holds`` says in words what is on it already."""

    size_bytes: int
    holds: str | None = None


class Network(NamedTuple):
    """A network or bridge. Guests on a network with a ``subnet`` get a lease; on a bridge only their agent tells."""

    subnet: str | None = None
    active: bool = True


class Image(NamedTuple):
    """An image that exists without a file behind it."""

    size_bytes: int
    format: str = "qcow2"


class HostSettings(NamedTuple):
    """A host: what it has, and what is there to be used.

    Attributes:
        vcpu_overcommit: How many virtual processors may be active for each real one.
        reserved_memory_mb: What the host keeps for itself.
        new_pool_size: The size of a pool that is made on demand.
        version: Of its hypervisor.
        migration_mib_s: How fast it sends instances to other hosts, in MiB a second.
    """

    vcpus: int
    vcpu_overcommit: float
    memory_mb: int
    reserved_memory_mb: int
    cpu: CpuInfo
    new_pool_size: int
    pools: Mapping[str, Pool]
    devices: Mapping[str, Device]
    networks: Mapping[str, Network]
    bridges: Mapping[str, Network]
    images: Mapping[str, Image]
    version: str = "1.0.0"
    migration_mib_s: float = 16384.0


_DEFAULTS = HostSettings(
    vcpus=16,
    vcpu_overcommit=16.0,
    memory_mb=65536,
    reserved_memory_mb=512,
    cpu=DEFAULT_CPU,
    new_pool_size=100 * GIB,
    pools={DEFAULT_POOL: Pool(DEFAULT_POOL_BYTES)},
    devices={},
    networks={"default": Network("192.168.122.0/24")},
    bridges={"br0": Network("10.0.0.0/24")},
    images={
        "/images/cirros.qcow2": Image(GIB // 8),
        "/images/debian-12.qcow2": Image(2 * GIB),
        "/images/alpine.raw": Image(GIB, "raw"),
    },
)


def parse_host(content: Mapping[str, Any]) -> HostSettings:
    """The host that a ``host.json`` describes. Raises ValueError for what makes no sense in it."""
    settings.only_known("host.json", content, _READERS)
    return _DEFAULTS._replace(**{key: _READERS[key](key, value) for key, value in content.items()})


def _cpu(where: str, value: Any) -> CpuInfo:
    found = settings.mapping(where, value)
    readers: dict[str, Callable[[str, Any], Any]] = {
        "arch": settings.text,
        "model": settings.text,
        "vendor": settings.text,
        "sockets": settings.count,
        "cores": settings.count,
        "threads": settings.count,
        "features": settings.texts,
    }
    settings.only_known(where, found, readers)
    return replace(DEFAULT_CPU, **{key: readers[key](f"{where}.{key}", item) for key, item in found.items()})


def _pool(where: str, value: Any) -> Pool:
    found = settings.mapping(where, value)
    settings.only_known(where, found, ("size", "active", "kind", "path", "shared"))
    kind = settings.text(f"{where}.kind", found.get("kind", DIR))
    if kind not in KINDS:
        raise ValueError(f"{where}.kind: {kind!r} is not one of {', '.join(KINDS)}")
    return Pool(
        size_bytes=settings.size(f"{where}.size", found["size"]) if "size" in found else DEFAULT_POOL_BYTES,
        active=settings.truth(f"{where}.active", found.get("active", True)),
        kind=kind,
        path=settings.text(f"{where}.path", found["path"]) if "path" in found else None,
        shared=settings.truth(f"{where}.shared", found.get("shared", False)),
    )


def _device(where: str, value: Any) -> Device:
    found = settings.mapping(where, value)
    settings.only_known(where, found, ("size", "holds"))
    if "size" not in found:
        raise ValueError(f"{where} needs a size")
    holds = settings.text(f"{where}.holds", found["holds"]) if "holds" in found else None
    return Device(settings.size(f"{where}.size", found["size"]), holds)


def _network(where: str, value: Any) -> Network:
    found = settings.mapping(where, value)
    settings.only_known(where, found, ("subnet", "active"))
    subnet = found.get("subnet")
    if subnet is not None:
        import ipaddress

        try:
            ipaddress.IPv4Network(settings.text(f"{where}.subnet", subnet))
        except ValueError as error:
            raise ValueError(f"{where}.subnet is no IPv4 network such as 10.0.0.0/24: {error}") from None
    return Network(subnet, settings.truth(f"{where}.active", found.get("active", True)))


def _image(where: str, value: Any) -> Image:
    found = settings.mapping(where, value)
    settings.only_known(where, found, ("size", "format"))
    if "size" not in found:
        raise ValueError(f"{where} needs a size")
    return Image(
        settings.size(f"{where}.size", found["size"]), settings.text(f"{where}.format", found.get("format", "qcow2"))
    )


def _each(reader: Callable[[str, Any], Any]) -> Callable[[str, Any], dict[str, Any]]:
    def read(where: str, value: Any) -> dict[str, Any]:
        return {name: reader(f"{where}.{name}", item) for name, item in settings.mapping(where, value).items()}

    return read


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "vcpus": settings.count,
    "vcpu_overcommit": settings.number,
    "memory_mb": settings.count,
    "reserved_memory_mb": settings.count,
    "cpu": _cpu,
    "new_pool_size": settings.size,
    "pools": _each(_pool),
    "devices": _each(_device),
    "networks": _each(_network),
    "bridges": _each(_network),
    "images": _each(_image),
    "version": settings.text,
    "migration_mib_s": settings.number,
}
