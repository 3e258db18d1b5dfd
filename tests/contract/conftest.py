# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chooses the drivers that the suite runs on, and gives every test its platform."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewall import FirewallDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from contract import firewall_engines
from contract.platforms import NAMES, make_platform
from contract.platforms.base import Platform

firewall = firewall_engines.firewall
"""A fixture for all tests."""

_NOWHERE = "none of --drivers"
_SLOW_TO_START = ("xen",)

# The Xen host is a whole machine in an emulator, and once in some hundred tests its libvirtd dies of a segmentation
# fault. A test in which that happens runs a second time, on a host started anew, and the report counts it as a rerun.
_EMULATED = ("xen",)
_DAEMON_DIED = "HypervisorUnavailable|client socket is closed|End of file while reading data|Connection reset by peer"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--drivers", help=f"where to run the contract suite, of {', '.join(NAMES)} (default: all)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "on(*platforms): the test makes sense on these platforms only")
    config.addinivalue_line("markers", "thorough: a repetition, left out where each start takes many seconds")


def chosen_platforms(config: pytest.Config) -> list[str]:
    text = config.getoption("--drivers") or os.environ.get("ANYVIRT_DRIVERS") or os.environ.get("DRIVERS") or ""
    chosen = text.replace(",", " ").split() or list(NAMES)
    unknown = [name for name in chosen if name not in NAMES]
    if unknown:
        raise pytest.UsageError(f"--drivers: there is no {', '.join(unknown)}; choose from {', '.join(NAMES)}")
    return chosen


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "host" not in metafunc.fixturenames:
        return
    chosen = chosen_platforms(metafunc.config)
    marker = metafunc.definition.get_closest_marker("on")
    wanted = [name for name in chosen if marker is None or name in marker.args]
    metafunc.parametrize("host", wanted or [_NOWHERE], indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Drop tests of platforms that were not chosen; those are no skipped tests, since nobody asked for them."""

    def has_a_place(item: pytest.Item) -> bool:
        callspec = getattr(item, "callspec", None)
        host = callspec.params.get("host") if callspec is not None else None
        return host != _NOWHERE and not (host in _SLOW_TO_START and item.get_closest_marker("thorough"))

    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is not None and callspec.params.get("host") in _EMULATED:
            item.add_marker(pytest.mark.flaky(reruns=1, only_rerun=[_DAEMON_DIED]))
    nowhere = [item for item in items if not has_a_place(item)]
    if nowhere:
        config.hook.pytest_deselected(items=nowhere)
        items[:] = [item for item in items if has_a_place(item)]
    items.sort(key=_starts_a_second_machine)


def _starts_a_second_machine(item: pytest.Item) -> bool:
    """Whether a test starts one more emulated machine, which costs all later tests a third of a processor and a second
    cleaning: such tests come last."""
    callspec = getattr(item, "callspec", None)
    return callspec is not None and callspec.params.get("host") in _EMULATED and "_migration" in item.path.stem


@pytest.fixture(scope="session")
def host(request: pytest.FixtureRequest) -> Iterator[Platform]:
    """The platform itself, for fixtures that keep a guest for several tests; tests take ``platform``."""
    platform = make_platform(request.param)
    try:
        yield platform
    finally:
        platform.cleanup()
        platform.stop_all()


@pytest.fixture
def platform(host: Platform) -> Iterator[Platform]:
    """A hypervisor, emptied after the test."""
    with host.in_place():
        yield host
        host.cleanup()


@pytest.fixture
def driver(platform: Platform) -> ComputeDriver:
    """A driver that is connected to ``platform``."""
    return platform.driver()


@pytest.fixture
def storage(platform: Platform) -> StorageDriver:
    """A driver that also manages storage, connected to ``platform``."""
    return platform.storage_driver()


@pytest.fixture
def secgroups(platform: Platform) -> FirewallDriver:
    """A driver that also manages security groups, connected to ``platform``."""
    return platform.firewall_driver()
