# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors in our words."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree.ElementTree import ParseError
from xmlrpc.client import Fault

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.codes import BY_CODE
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.errors import (
    code_of,
    details_of,
    translate,
    translated,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.transport import (
    HttpRefused,
    TransportError,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AlreadyExists,
    AnyvirtError,
    HypervisorError,
    HypervisorUnavailable,
    InstanceNotFound,
    InsufficientCapacity,
    InvalidPowerState,
    NotFound,
    PermissionDenied,
    PoolNotFound,
    TimeoutExpired,
    VolumeInUse,
    VolumeNotFound,
)

VM, VDI, SR = (f"OpaqueRef:{digit * 8}-aaaa-bbbb-cccc-{digit * 12}" for digit in "123")
LABELS = {VM: "web1", VDI: "web1.xvdb"}
ERRORS = Path(__file__).parents[5] / "lab/xenapi/errors.txt"
BEYOND_THE_TABLE = {"VM_IS_SNAPSHOT", "SR_BACKEND_FAILURE_44"}
"""Codes of real servers that their own list leaves out."""


class Failure(Exception):
    def __init__(self, *details: str) -> None:
        self.details = list(details)


def error_for(*details: str, name: str | None = "web1") -> AnyvirtError:
    error = translate(Failure(*details), "start instance 'web1'", name, LABELS)
    assert error is not None
    return error


@pytest.mark.parametrize(
    ("details", "kind", "message"),
    [
        (
            ("VM_BAD_POWER_STATE", VM, "halted", "running"),
            InvalidPowerState,
            "cannot start instance 'web1': instance 'web1' is running, and it would have to be halted",
        ),
        (
            ("HOST_NOT_ENOUGH_FREE_MEMORY", "4294967296", "1048576"),
            InsufficientCapacity,
            "cannot start instance 'web1': it takes 4096 MiB of memory, and the host has 1 MiB left",
        ),
        (
            ("VDI_IN_USE", VDI, "destroy"),
            VolumeInUse,
            "cannot start instance 'web1': volume 'web1.xvdb' is in use (destroy)",
        ),
        (
            ("SR_HAS_NO_PBDS", SR),
            PoolNotFound,
            "cannot start instance 'web1': no host is connected with the storage pool",
        ),
        (("DEVICE_ALREADY_EXISTS", "0"), AlreadyExists, "cannot start instance 'web1': its device 0 is taken"),
        (
            ("SR_BACKEND_FAILURE_44", "", "", "no room"),
            InsufficientCapacity,
            "cannot start instance 'web1': the storage pool is full: no room",
        ),
        (
            ("SR_BACKEND_FAILURE_1200", "", "", f"lost {VDI} of {SR}"),
            HypervisorError,
            "cannot start instance 'web1': the storage pool failed: lost 'web1.xvdb' of (unnamed)",
        ),
        (
            ("WLB_URL_INVALID", "http://x", VDI, SR),
            HypervisorError,
            "cannot start instance 'web1': the server says WLB_URL_INVALID (http://x, 'web1.xvdb', (unnamed))",
        ),
        (("WLB_TIMEOUT",), HypervisorError, "cannot start instance 'web1': the server says WLB_TIMEOUT"),
        (("HANDLE_INVALID", "VM", VM), InstanceNotFound, "there is no instance named 'web1'"),
        (
            ("HANDLE_INVALID", "VDI", VDI),
            VolumeNotFound,
            "cannot start instance 'web1': the volume that it is about exists no more",
        ),
        (
            ("HANDLE_INVALID", "PBD", SR),
            NotFound,
            "cannot start instance 'web1': the PBD that it is about exists no more",
        ),
        (
            ("MEMORY_CONSTRAINT_VIOLATION",),
            HypervisorError,
            "cannot start instance 'web1': its memory limits do not fit together",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_failures(details: tuple[str, ...], kind: type[AnyvirtError], message: str):
    error = error_for(*details)
    assert (type(error), str(error)) == (kind, message)


def test_a_guest_that_does_not_heed_is_a_timeout():
    error = error_for("VM_SHUTDOWN_TIMEOUT", VM, "60")
    assert isinstance(error, TimeoutExpired)
    assert error.last_seen == "running"


def test_an_instance_without_a_name_is_still_named_by_its_label():
    assert "instance 'web1'" in str(error_for("VM_HALTED", VM, name=None))
    assert "the instance has" in str(error_for("VM_HALTED", SR, name=None))


@pytest.mark.parametrize(
    ("raw", "kind", "message"),
    [
        (TransportError("nobody answers at h:1"), HypervisorUnavailable, "cannot look: nobody answers at h:1"),
        (Fault(401, "You must log in"), PermissionDenied, "cannot look: the server ended the session"),
        (Fault(500, f"no good: {SR}"), HypervisorError, "cannot look: no good: (unnamed)"),
        (HttpRefused(403, "Forbidden"), PermissionDenied, "cannot look: the server says HTTP 403 Forbidden"),
        (ParseError("no rates"), HypervisorError, "cannot look: the server's answer cannot be understood (no rates)"),
        (HttpRefused(404, "Not Found"), HypervisorError, "cannot look: the server says HTTP 404 Not Found"),
        (FileNotFoundError(2, "No such file", "/i.raw"), HypervisorError, "No such file: '/i.raw'"),
    ],
)
def test_other_errors(raw: Exception, kind: type[AnyvirtError], message: str):
    with pytest.raises(kind) as caught:
        with translated("look"):
            raise raw
    assert message in str(caught.value)
    assert caught.value.__cause__ is raw


def test_what_is_none_of_the_servers_errors_stays():
    with pytest.raises(ZeroDivisionError), translated("look"):
        raise ZeroDivisionError
    with pytest.raises(PoolNotFound, match="as it is"), translated("look"):
        raise PoolNotFound("as it is")


def test_the_code_is_found_behind_our_error():
    with pytest.raises(AnyvirtError) as caught, translated("look"):
        raise Failure("VDI_IN_USE", VDI, "destroy")
    assert code_of(caught.value) == "VDI_IN_USE"
    assert details_of(caught.value) == ["VDI_IN_USE", VDI, "destroy"]
    assert code_of(None) == code_of(ValueError()) == ""


def known_codes() -> dict[str, int]:
    """The error codes of the server that tests use -> how many parameters they have."""
    found = {}
    for line in ERRORS.read_text().splitlines():
        code, _colon, parameters = line.partition(":")
        if code and not code.startswith("#"):
            found[code] = len([parameter for parameter in parameters.split(",") if parameter.strip()])
    return found


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_every_code_of_the_table_exists_and_has_the_parameters_that_are_told(code: str):
    numbers = {int(number) for number in re.findall(r"\{(\d)", BY_CODE[code].message)}
    if code not in BEYOND_THE_TABLE:
        assert max(numbers, default=-1) < known_codes()[code]
    references = [f"OpaqueRef:{digit * 8}" for digit in "12345"]
    message = str(error_for(code, *references))
    assert "OpaqueRef" not in message
    assert "{" not in message


def test_there_are_many():
    assert len(BY_CODE) >= 100
