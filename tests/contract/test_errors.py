# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors: the same ones on every hypervisor, in words, by kind and in bounded time."""

from __future__ import annotations

import builtins
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils import errors
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ACPI, HARD, ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions, get_connection
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AnyvirtError,
    HypervisorUnavailable,
    InstanceNotFound,
    InvalidUri,
    LibraryMissing,
    PermissionDenied,
    Unsupported,
)
from contract.helpers import where_supported
from contract.platforms.base import Platform

if TYPE_CHECKING:
    from contract.platforms.fake import FakePlatform
    from contract.platforms.libvirt_qemu import QemuPlatform

NEEDS_AN_INSTANCE: dict[str, tuple[str | None, Callable[[ComputeDriver], object]]] = {
    "get_info": (None, lambda driver: driver.get_info("ghost")),
    "power_on": (None, lambda driver: driver.power_on("ghost")),
    "power_off": (None, lambda driver: driver.power_off("ghost", ACPI, timeout_s=1)),
    "request_shutdown": ("shutdown_acpi", lambda driver: driver.request_shutdown("ghost", ACPI)),
    "force_off": ("shutdown_forced", lambda driver: driver.force_off("ghost")),
    "reboot": ("reboot_hard", lambda driver: driver.reboot("ghost", HARD)),
    "pause": ("pause", lambda driver: driver.pause("ghost")),
    "unpause": ("pause", lambda driver: driver.unpause("ghost")),
    "suspend": ("suspend", lambda driver: driver.suspend("ghost")),
    "resume": ("suspend", lambda driver: driver.resume("ghost")),
    "balloon_memory": ("memory_live", lambda driver: driver.balloon_memory("ghost", 64)),
    "plug_vifs": ("nics", lambda driver: driver.plug_vifs("ghost", [])),
    "unplug_vifs": ("nics", lambda driver: driver.unplug_vifs("ghost", ["52:54:00:00:00:01"])),
    "list_disks": (None, lambda driver: driver.list_disks("ghost")),
    "list_interfaces": (None, lambda driver: driver.list_interfaces("ghost")),
    "block_stats": ("block_stats", lambda driver: driver.block_stats("ghost", "vda")),
    "interface_stats": ("interface_stats", lambda driver: driver.interface_stats("ghost", "net0")),
    "get_diagnostics": ("diagnostics", lambda driver: driver.get_diagnostics("ghost")),
    "get_console_output": ("console_output", lambda driver: driver.get_console_output("ghost")),
    "get_vnc_console": ("vnc_console", lambda driver: driver.get_vnc_console("ghost")),
    "wait_for_state": (None, lambda driver: driver.wait_for_state("ghost", {1}, 1)),
}


@pytest.mark.parametrize("method", NEEDS_AN_INSTANCE)
def test_no_such_instance(driver: ComputeDriver, method: str):
    feature, call = NEEDS_AN_INSTANCE[method]
    if method == "power_off" and not driver.supports("shutdown_acpi"):
        feature = "shutdown_acpi"
    with where_supported(driver, *filter(None, [feature])):
        with pytest.raises(InstanceNotFound, match="ghost") as caught:
            call(driver)
        assert caught.value.kind == "instance_not_found"


def test_uml_is_refused_with_the_reason():
    with pytest.raises(Unsupported, match="removed"):
        get_connection(ConnectionOptions("uml:///system"))


@pytest.mark.parametrize("uri", ["", " ", "nonsense", "qemu+tcp://[::1/system", "ftp://host/", "qemu:///a b"])
def test_a_uri_that_makes_no_sense(uri: str):
    with pytest.raises(InvalidUri, match="uri"):
        get_connection(ConnectionOptions(uri))


@pytest.mark.on("libvirt", "lxc", "xen", "xenapi")
def test_the_library_is_missing(platform: Platform, monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def without_it(name: str, names=None, places=None, wanted=(), level: int = 0):
        if level == 0 and name.split(".", maxsplit=1)[0] == platform.library:
            raise ImportError(f"No module named {name!r}", name=name)
        return real(name, names, places, wanted, level)

    monkeypatch.setattr(builtins, "__import__", without_it)
    driver = platform.closed_driver()
    with pytest.raises(LibraryMissing, match=platform.library) as caught:
        driver.open()
    assert platform.package in str(caught.value)
    assert driver.verify()


@pytest.mark.on("libvirt", "lxc", "xenapi")
def test_nobody_listens(platform: Platform):
    for uri in platform.deaf_uris:
        driver = platform.closed_driver(uri=uri)
        with pytest.raises(HypervisorUnavailable) as caught:
            driver.open()
        assert uri in str(caught.value)
        assert driver.verify()
        driver.close()


@pytest.mark.on("libvirt")
def test_permission_denied(platform: QemuPlatform):
    """The socket is there and its mode says no: seen as another user, in a child process."""
    from contract.child import as_nobody

    assert as_nobody(platform.lab.socket, platform.options()) == PermissionDenied.kind


@pytest.mark.on("fake")
def test_a_folder_that_cannot_be_written(platform: FakePlatform):
    from contract.child import as_nobody

    assert as_nobody(platform.folder, platform.options()) == PermissionDenied.kind


@pytest.mark.on("libvirt", "lxc", "xenapi")
def test_a_daemon_that_dies_in_the_middle(platform: Platform):
    driver = platform.driver()
    platform.spawned(driver, "one")
    platform.kill_service()
    try:
        started = time.monotonic()
        with pytest.raises(HypervisorUnavailable):
            driver.list_instances()
        driver.close()
        assert time.monotonic() - started < 5
    finally:
        platform.restart_service()
    assert platform.driver().list_instances() == ["one"]


@pytest.mark.on("libvirt", "xenapi")
@pytest.mark.slow
def test_a_daemon_that_freezes_in_the_middle(platform: Platform):
    driver = platform.driver(call_timeout_s=4.0)
    platform.spawned(driver, "one")
    platform.freeze_service()
    try:
        started = time.monotonic()
        with pytest.raises(HypervisorUnavailable):
            driver.list_instances_detail()
        assert time.monotonic() - started < 15
        started = time.monotonic()
        with pytest.raises(HypervisorUnavailable):
            driver.get_info("one")
        driver.close()
        assert time.monotonic() - started < 15
    finally:
        platform.thaw_service()
    assert platform.driver().list_instances() == ["one"]


@pytest.mark.on("libvirt", "xenapi")
@pytest.mark.slow
def test_a_daemon_that_is_frozen_when_we_come(platform: Platform):
    platform.freeze_service()
    try:
        for uri in platform.uris:
            driver = platform.closed_driver(uri=uri, connect_timeout_s=2.0)
            started = time.monotonic()
            with pytest.raises(HypervisorUnavailable):
                driver.open()
            driver.close()
            assert time.monotonic() - started < 10
    finally:
        platform.thaw_service()


@pytest.mark.on("libvirt", "xenapi")
def test_a_daemon_that_dies_during_a_wait(platform: Platform):
    driver = platform.driver()
    platform.spawned(driver, "one")
    killer = threading.Timer(0.5, platform.kill_service)
    killer.start()
    try:
        started = time.monotonic()
        with pytest.raises(HypervisorUnavailable):
            driver.wait_for_state("one", {1}, timeout_s=20)
        assert time.monotonic() - started < 10
    finally:
        killer.join()
        platform.restart_service()


def test_closing_is_harmless(platform: Platform):
    driver = platform.closed_driver()
    driver.close()
    driver.open()
    driver.close()
    driver.close()
    driver.open()
    assert driver.list_instances() == []
    driver.close()


def test_every_error_has_a_kind_of_its_own():
    found = [error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, AnyvirtError)]
    assert len({error.kind for error in found}) == len(found) > 20
