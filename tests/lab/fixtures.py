# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Session fixtures over the lab, for ``pytest_plugins = ["lab.fixtures"]``.

Each pytest process, so each worker of pytest-xdist, gets hosts of its own: their names hold its process id, and
their addresses are claimed one by one. They end with the process, even when that is killed. A lab that cannot
work here fails the tests that need it; it never skips them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.guest import Guest, build_guest
from lab.hosts import LibvirtHost
from lab.lxc import build_lxc_root


@pytest.fixture(scope="session")
def libvirt_host() -> Iterator[LibvirtHost]:
    """A libvirt host of this worker's own."""
    yield from _running_host("one")


@pytest.fixture(scope="session")
def second_libvirt_host() -> Iterator[LibvirtHost]:
    """Another one, that the first can migrate to."""
    yield from _running_host("two")


@pytest.fixture(scope="session")
def guest() -> Guest:
    """The kernel, initramfs and disk image of the test guest."""
    try:
        return build_guest()
    except LabError as error:
        pytest.fail(f"the test guest cannot be built: {error}", pytrace=False)


@pytest.fixture(scope="session")
def lxc_root() -> Path:
    """The root folder of a test container; lab.lxc.copy_lxc_root() makes one that may be written to."""
    try:
        return build_lxc_root()
    except LabError as error:
        pytest.fail(f"the container's root folder cannot be built: {error}", pytrace=False)


def _running_host(part: str) -> Iterator[LibvirtHost]:
    host = LibvirtHost(f"test-{os.getpid()}-{part}")
    try:
        host.start()
    except LabError as error:
        pytest.fail(f"the libvirt host cannot be started: {error}", pytrace=False)
    yield host
    host.stop()
