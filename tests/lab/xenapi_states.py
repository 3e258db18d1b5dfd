# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs in every power state, for the tests of what they allow there."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lab.xenapi_objects import hvm, make_disk, make_vdi, make_vm, sr_named, start

STATES = ("Halted", "Paused", "Suspended", "Running")


def make_in_state(xenapi: Any, state: str, name: str = "vm1") -> str:
    """An HVM machine with tools and a disk on the shared SR."""
    vm = make_vm(xenapi, name, **hvm())
    make_disk(xenapi, vm, make_vdi(xenapi, sr_named(xenapi, "shared")), userdevice="0", bootable=True)
    if state != "Halted":
        start(xenapi, vm)
    if state == "Paused":
        xenapi.VM.pause(vm)
    if state == "Suspended":
        xenapi.VM.suspend(vm)
    return vm


def wait_until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def host_named(xenapi: Any, name: str) -> str:
    return str(xenapi.host.get_by_name_label(name)[0])


def other_host(xenapi: Any, vm: str) -> str:
    return str(next(host for host in xenapi.host.get_all() if host != xenapi.VM.get_resident_on(vm)))


def memory_free(xenapi: Any, host: str) -> int:
    return int(xenapi.host_metrics.get_memory_free(xenapi.host.get_metrics(host)))
