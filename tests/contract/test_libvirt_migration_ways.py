# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All ways in which a guest can go live from host to host: who drives it, what carries it, what helps it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import LIVE
from contract.helpers import state_of
from contract.migration_helpers import (
    NAME,
    Ends,
    carried_out,
    planned,
    spawned,
)
from contract.platforms.libvirt_qemu import QemuPlatform
from lab.authority import Authority

pytestmark = pytest.mark.on("libvirt")

WAYS: tuple[dict[str, Any], ...] = (
    {"manager": "source"},
    {"manager": "source", "transport": "tunnelled"},
    {"transport": "tls"},
    {"parallel": 2, "bandwidth_mib_s": 200},
    {"compression": True, "auto_converge": True, "max_downtime_ms": 200},
    {"post_copy": True, "bandwidth_mib_s": 20, "timeout_s": 0.5, "on_timeout": "post_copy"},
    {"bandwidth_mib_s": 20, "timeout_s": 0.5, "on_timeout": "pause"},
    {"bandwidth_mib_s": 60, "timeout_s": 0.1, "on_timeout": "continue"},
)


@pytest.fixture(scope="module")
def certified(host: QemuPlatform) -> Iterator[None]:
    """Both hosts' QEMUs have certificates that the other one believes."""
    authority, hosts = Authority("lab hosts"), [host, host.partner()]
    kept = {}
    for platform in hosts:
        assert isinstance(platform, QemuPlatform)
        lab = platform.lab
        folder = lab.outer_path("/etc/libvirt/certificates")
        folder.mkdir()
        (folder / "ca-cert.pem").write_bytes(authority.certificate)
        for use in ("server", "client"):
            issued = authority.issue([lab.name], [lab.address], use)
            (folder / f"{use}-cert.pem").write_bytes(issued.certificate)
            (folder / f"{use}-key.pem").write_bytes(issued.key)
        settings: Path = lab.outer_path("/etc/libvirt/qemu.conf")
        kept[platform] = settings.read_text()
        settings.write_text(kept[platform] + 'migrate_tls_x509_cert_dir = "/etc/libvirt/certificates"\n')
        lab.restart_daemon()
    yield
    for platform, text in kept.items():
        platform.lab.outer_path("/etc/libvirt/qemu.conf").write_text(text)
        platform.lab.restart_daemon()


@pytest.mark.usefixtures("certified")
def test_there_and_back_in_every_way(platform: QemuPlatform):
    hosts = (platform, platform.partner())
    drivers = [host.migration_driver() for host in hosts]
    spawned(Ends(platform, *drivers), power_on=True, disks=[])
    platform.wait_ready(drivers[0], NAME)
    for number, wishes in enumerate(WAYS):
        source, destination = number % 2, (number + 1) % 2
        ends = Ends(platform, drivers[source], drivers[destination])
        peer = hosts[destination].uris[1] if wishes.get("manager") == "source" else None
        plan = planned(ends, ends.source.get_instances([NAME])[NAME], mode=LIVE, peer_uri=peer, **wishes)
        result = carried_out(ends, plan)
        assert state_of(ends.destination, NAME) == "running", wishes
        assert ends.source.list_instances() == [], wishes
        assert result.memory_bytes, wishes
        assert result.downtime_ms is not None, wishes
        assert result.post_copy == ("post_copy" in wishes), wishes
