# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt's errors become ours."""

from __future__ import annotations

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils import errors as ours
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt import errors

CODES = [name for name, value in vars(errors).items() if name.isupper() and value.__class__ is int]


def test_the_numbers_are_the_librarys():
    libvirt = pytest.importorskip("libvirt")
    for name in CODES:
        prefix = "VIR_" if name.startswith("FROM_") else "VIR_ERR_"
        assert getattr(errors, name) == getattr(libvirt, prefix + name), name


@pytest.mark.parametrize(
    ("code", "domain", "text", "expected"),
    [
        (errors.NO_DOMAIN, 10, "Domain not found", ours.InstanceNotFound),
        (errors.NO_NETWORK, 19, "Network not found", ours.NetworkNotFound),
        (errors.NO_STORAGE_POOL, 18, "Storage pool not found", ours.PoolNotFound),
        (errors.NO_STORAGE_VOL, 18, "Storage volume not found", ours.VolumeNotFound),
        (errors.STORAGE_VOL_EXIST, 18, "storage volume 'a' exists already", ours.AlreadyExists),
        (errors.DOM_EXIST, 10, "domain 'a' exists", ours.AlreadyExists),
        (errors.OPERATION_FAILED, 20, "domain 'a' already exists with uuid 1", ours.AlreadyExists),
        (errors.OPERATION_FAILED, 20, "something else", ours.HypervisorError),
        (errors.OPERATION_INVALID, 10, "domain is not running", ours.InvalidPowerState),
        (errors.OPERATION_INVALID, 17, "Domain is not running", ours.InvalidPowerState),
        (errors.OPERATION_INVALID, 18, "storage pool 'a' is not active", ours.PoolNotFound),
        (errors.OPERATION_INVALID, 18, "storage pool 'a' is already active", ours.HypervisorError),
        (errors.OPERATION_INVALID, 19, "network 'a' is not active", ours.NetworkNotFound),
        (errors.NO_SUPPORT, 10, "not supported by the connection driver", ours.Unsupported),
        (errors.CONFIG_UNSUPPORTED, 10, "unsupported configuration", ours.Unsupported),
        (errors.ARGUMENT_UNSUPPORTED, 10, "argument unsupported", ours.Unsupported),
        (errors.OPERATION_UNSUPPORTED, 41, "unsupported disk driver qemu", ours.Unsupported),
        (errors.OPERATION_DENIED, 0, "read only access prevents it", ours.PermissionDenied),
        (errors.AUTH_FAILED, 7, "authentication failed", ours.PermissionDenied),
        (errors.AUTH_CANCELLED, 7, "authentication cancelled", ours.PermissionDenied),
        (errors.AUTH_UNAVAILABLE, 60, "no polkit agent", ours.PermissionDenied),
        (errors.ACCESS_DENIED, 55, "access denied", ours.PermissionDenied),
        (errors.NO_CONNECT, 0, "failed to connect", ours.HypervisorUnavailable),
        (errors.INVALID_CONN, 0, "invalid connection pointer", ours.HypervisorUnavailable),
        (errors.RPC, 7, "Cannot write data: Broken pipe", ours.HypervisorUnavailable),
        (errors.INTERNAL_ERROR, 7, "client socket is closed", ours.HypervisorUnavailable),
        (errors.SYSTEM_ERROR, 7, "Cannot recv data: Connection reset by peer", ours.HypervisorUnavailable),
        (errors.INTERNAL_ERROR, 10, "qemu died", ours.HypervisorError),
        (errors.SYSTEM_ERROR, 18, "cannot open file", ours.HypervisorError),
        (errors.NO_MEMORY, 0, "out of memory", ours.InsufficientCapacity),
        (errors.INTERNAL_ERROR, 10, "cannot set up guest memory: Cannot allocate memory", ours.InsufficientCapacity),
        (errors.SYSTEM_ERROR, 18, "cannot extend file: No space left on device", ours.InsufficientCapacity),
        (errors.CPU_INCOMPATIBLE, 31, "the CPU is incompatible", ours.IncompatibleCpu),
        (0, 0, "virDomainGetXMLDesc() failed", ours.HypervisorError),
    ],
)
def test_kinds(stubs, code: int, domain: int, text: str, expected: type[ours.AnyvirtError]):
    found = errors.translate(stubs.Error(code, text, domain), "do it", "web1")
    assert found.__class__ is expected
    assert "web1" in str(found) if expected is ours.InstanceNotFound else str(found) == f"cannot do it: {text}"


def test_an_unnamed_instance_that_is_gone(stubs):
    assert errors.translate(stubs.Error(errors.NO_DOMAIN), "list").__class__ is ours.HypervisorError


def test_other_exceptions_pass(stubs):
    with pytest.raises(KeyError), errors.translated(stubs.library, "do it"):
        raise KeyError("a mistake of ours")


def test_the_cause_is_kept(stubs):
    cause = stubs.Error(errors.OPERATION_INVALID)
    with pytest.raises(ours.InvalidPowerState) as caught, errors.translated(stubs.library, "do it", "web1"):
        raise cause
    assert caught.value.__cause__ is cause
