# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the source reaches the destination: what is asked, of whom, and what an answer means."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.migrationreach import reach_problems
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import MigrationWishes

HERE = "qemu:///system"
THERE = "qemu+tls://kvm2/system"
BY_SOURCE = {"manager": "source"}
TUNNELLED = {"manager": "source", "transport": "tunnelled"}


class Net:
    """A network in which nothing but what it is told answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.unknown: set[str] = set()
        self.answer: OSError | None = ConnectionRefusedError(errno.ECONNREFUSED, "refused")

    def getaddrinfo(self, host: str, port: int, **_kind: object) -> list[Any]:
        """The name's only address, which looks like it."""
        if host in self.unknown:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]

    def connect(self, _socket: object, address: tuple[str, int]) -> None:
        """What comes of asking there."""
        self.asked.append(address)
        if self.answer is not None:
            raise self.answer


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Net:
    net = Net()

    class Socket(socket.socket):
        def connect(self, address: Any) -> None:
            net.connect(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", net.getaddrinfo)
    monkeypatch.setattr(socket, "socket", Socket)
    return net


def problems(
    source: str = HERE, dest: str = THERE, own_name: str = "kvm2.lan", config: Path = Path("/none"), **wishes: Any
) -> list[str]:
    """What is told."""
    found = MigrationWishes(**wishes)
    return reach_problems(ConnectionOptions(source), ConnectionOptions(dest), own_name, found, config)


@pytest.mark.parametrize(
    ("wishes", "dest", "asked"),
    [
        ({}, THERE, [("kvm2.lan", 49215)]),
        ({}, "qemu+ssh://root@kvm2/system", [("kvm2.lan", 49215)]),
        ({}, "qemu+tcp://10.0.0.2/system", [("10.0.0.2", 49215)]),
        ({"migrate_uri": "tcp://10.9.0.2"}, THERE, [("10.9.0.2", 49215)]),
        ({"migrate_uri": "tcp://10.9.0.2:49300"}, THERE, []),  # another guest may be awaited there
        ({"migrate_uri": "rdma://10.9.0.2"}, THERE, []),
        (BY_SOURCE, THERE, [("kvm2", 16514), ("kvm2.lan", 49215)]),
        (BY_SOURCE, "qemu+tcp://kvm2:99/system", [("kvm2", 99), ("kvm2.lan", 49215)]),
        ({**BY_SOURCE, "peer_uri": "qemu+tcp://inner/system"}, THERE, [("inner", 16509), ("kvm2.lan", 49215)]),
        ({**BY_SOURCE, "peer_uri": "qemu+ssh://alias/system"}, THERE, [("kvm2.lan", 49215)]),
        ({**BY_SOURCE, "peer_uri": "qemu+unix:///system?socket=/run/forwarded"}, HERE, [("kvm2.lan", 49215)]),
        (TUNNELLED, THERE, [("kvm2", 16514)]),
    ],
)
def test_who_is_asked(net: Net, wishes: dict[str, Any], dest: str, asked: list[tuple[str, int]]):
    assert problems(dest=dest, **wishes) == []
    assert net.asked == asked


@pytest.mark.parametrize("source", ["qemu+ssh://root@kvm1/system", "qemu+unix:///system?socket=/run/forwarded"])
def test_only_the_source_itself_can_tell(net: Net, source: str):
    assert problems(source=source) == []
    assert net.asked == []


def test_one_who_listens_is_as_good(net: Net):
    net.answer = None
    assert problems(**BY_SOURCE) == []


@pytest.mark.parametrize("number", [errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT])
def test_everything_that_does_not_answer_is_told(net: Net, number: int):
    net.answer = OSError(number, os.strerror(number))
    daemon, data = problems(**BY_SOURCE)
    assert daemon.startswith("dest: the source does not reach port 16514 of kvm2, where its libvirt listens: ")
    assert data.startswith("migrate_uri: the source does not reach port 49215 of kvm2.lan, where its hypervisor takes ")
    assert os.strerror(number) in data


def test_one_who_keeps_silent_is_told(net: Net):
    net.answer = socket.timeout("timed out")
    (problem,) = problems()
    assert "no answer; let it through the firewalls" in problem


def test_a_name_that_the_source_does_not_know(net: Net):
    net.unknown = {"kvm2.lan"}
    (problem,) = problems()
    assert problem.startswith("migrate_uri: the source cannot look up 'kvm2.lan', where its hypervisor takes ")
    assert problems(migrate_uri="tcp://10.9.0.2") == []


@pytest.mark.parametrize("source", [HERE, "qemu+ssh://root@kvm1/system"])
def test_a_host_without_a_name_of_its_own(net: Net, source: str):
    (problem,) = problems(source=source, own_name="localhost.localdomain")
    assert "calls itself 'localhost.localdomain'" in problem
    assert problems(source=source, own_name="localhost", migrate_uri="tcp://10.9.0.2") == []
    assert problems(source=source, own_name="localhost", **TUNNELLED) == []


def test_libvirts_own_settings_are_followed(net: Net, tmp_path: Path):
    config = tmp_path / "qemu.conf"
    config.write_text('#migration_host = "other"\n#migration_port_max = 1\nmigration_port_max = 50100  # ours\n')
    assert problems(config=config) == []
    assert net.asked == [("kvm2.lan", 50100)]
    config.write_text('migration_host = "10.9.0.1"\n')
    assert problems(config=config, own_name="localhost") == []
    assert net.asked == [("kvm2.lan", 50100)]


def test_an_address_of_this_machine_is_no_way_from_daemon_to_daemon(net: Net):
    (problem,) = problems(dest=HERE, **BY_SOURCE)
    assert "say with peer_uri how it can" in problem
