# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module that runs on the source itself finds out beforehand whether that reaches the destination."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from contract.helpers import state_of
from contract.migration_helpers import NAME, both_ends, spawned
from contract.moving import TESTS
from contract.platforms.libvirt_qemu import QemuPlatform

pytestmark = pytest.mark.on("libvirt")

_TASK = """
import json, sys
sys.path.insert(0, sys.argv[1])
import importable
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from contract.moving import answer
params, check = json.loads(sys.argv[2])
options = {"source": ConnectionOptions(params["uri"]), "dest": ConnectionOptions(params["dest"])}
print(json.dumps(answer(params, options, check), default=str))
"""


def on_the_source(platform: QemuPlatform, check: bool, **params: Any) -> dict[str, Any]:
    """What a task answers whose module runs on the source's own host."""
    given = {"uri": "qemu:///system", "name": NAME, "mode": "live", **params}
    command = [sys.executable, "-c", _TASK, str(TESTS), json.dumps([given, check])]
    answer: dict[str, Any] = json.loads(platform.lab.machine.run(command).stdout)
    return answer


@contextmanager
def silent(platform: QemuPlatform, ports: str) -> Iterator[None]:
    """Have a host's firewall drop what comes to these ports."""
    chain = f"type filter hook input priority 0; tcp dport {{ {ports} }} drop;"
    platform.run_on_host("nft", f"table inet silent {{ chain input {{ {chain} }}; }}")
    try:
        yield
    finally:
        platform.run_on_host("nft", "delete table inet silent")


def test_a_firewall_in_between_is_told_before_anything_is_done(platform: QemuPlatform):
    partner = platform.partner()
    assert isinstance(partner, QemuPlatform)
    ends, dest = both_ends(platform), partner.lab.tcp_uri
    spawned(ends, power_on=True, disks=[], nics=[])
    platform.wait_ready(ends.source, NAME)
    before = ends.pictures()
    with silent(partner, "49152-49215, 16514"):
        peer_uri = dest.replace("+tcp", "+tls")
        refused = on_the_source(platform, True, dest=dest, manager="source", peer_uri=peer_uri)
        assert refused["instances"][0]["error"]["kind"] == "migration_impossible", refused
        daemon, data = refused["instances"][0]["problems"]
        assert "port 16514" in daemon
        assert "port 49215" in data
        assert "no answer; let it through the firewalls" in data
        once_more = on_the_source(platform, False, dest=dest)
        assert once_more["instances"][0]["problems"] == [data]
    assert ends.pictures() == before
    done = on_the_source(platform, False, dest=dest)
    assert not done.get("failed"), done
    assert state_of(ends.destination, NAME) == "running"
    assert ends.source.list_instances() == []
