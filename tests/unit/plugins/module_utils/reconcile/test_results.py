# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results in the words of the options."""

from __future__ import annotations

import pytest
import yaml

from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AnyvirtError,
    InvalidInput,
    Problem,
    TimeoutExpired,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state
from ansible_collections.anyvirt.compute.plugins.module_utils.model.flavor import Flavor
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import CloudInit, Disk, Instance, Nic
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.failures import error_as_dict, message_of
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.views import (
    instance_as_dict,
    pending_as_dict,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.yamltext import to_yaml


def test_an_instance():
    instance = Instance(
        "a",
        memory_mb=64,
        flavor=Flavor("x", 64, 1),
        disks=[Disk("vda", size_bytes=5)],
        nics=[Nic("lan", mac="52:00:00:00:00:01")],
        cloud_init=CloudInit("secret"),
        cloud_init_fingerprint="fingerprint",
        hypervisor={"machine": "q35", "xml": ["<x/>"], "template": "<domain/>"},
        power_state=power_state.RUNNING,
        pending={"memory_mb": (32, 64), "nics": ([], [Nic("lan")]), "cloud_init": ("old print", "new print")},
    )
    shown = instance_as_dict(instance, "hyper")
    assert shown["networks"] == [{"network": "lan", "mac": "52:00:00:00:00:01"}]
    assert shown["hyper"] == {"machine": "q35"}
    assert shown["flavor"]["name"] == "x"
    assert shown["power_state"] == "running"
    assert shown["cloud_init"] == "present"
    assert "vcpus" not in shown
    pending = pending_as_dict(instance, "hyper")
    assert pending["networks"] == {"running": [], "configured": [{"network": "lan"}]}
    assert "print" not in repr((shown, pending["cloud_init"]))
    assert "secret" not in repr(shown)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"a": 1, "b": [], "c": {}, "d": None, "e": True, "f": 1.5},
        {"a": ["x", {"y": [1, {"z": "on"}], "n": {"m": ["q"]}}, [1, [2]]]},
        {
            "a": "no",
            "b": "12",
            "c": "x: y",
            "d": "line\nline",
            "e": "",
            "f": "# x",
            "g": "/p/q.r",
            "h": "- x",
            "i": "~",
        },
    ],
)
def test_yaml_says_the_same(data):
    assert (yaml.safe_load(to_yaml(data)) or {}) == data


def test_errors():
    error = TimeoutExpired("never came", "nothing")
    error.step, error.rolled_back, error.undone = "start a", True, ["undo: x"]
    described = error_as_dict(error)
    assert described["kind"] == "timeout"
    assert described["last_seen"] == "nothing"
    assert described["rolled_back"] is True
    assert message_of(error) == "start a: never came; last seen: nothing. What was done is taken back: undo: x"
    problems = error_as_dict(InvalidInput([Problem("name", "is bad")]))["problems"]
    assert problems == [{"option": "name", "message": "is bad"}]
    assert error_as_dict(ValueError("x"))["kind"] == "unexpected_error"


def test_what_could_not_be_undone_is_in_the_message():
    error = AnyvirtError("broken")
    error.not_undone = ["remove volume: busy"]
    assert "Not undone: remove volume: busy" in message_of(error)
