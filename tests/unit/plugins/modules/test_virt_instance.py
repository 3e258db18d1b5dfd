# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""virt_instance from its entry to its result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest
import yaml

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.firewalldriver import FakeFirewallDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import SecurityGroup
from ansible_collections.anyvirt.compute.plugins.modules import virt_instance

RunModule = Callable[..., "dict[str, Any]"]

WEB: dict[str, Any] = {
    "name": "web1",
    "flavor": "tiny",
    "image": "/images/cirros.qcow2",
    "networks": ["default"],
    "cloud_init": {"user_data": {"password": "hunter22", "hostname": "web1"}},
    "state": "running",
}


def dial(folder: Path, **orders: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "faults.json").write_text(json.dumps(orders), encoding="utf-8")


def test_created_once(instance_module: RunModule) -> None:
    foretold = instance_module(**WEB, _ansible_check_mode=True)
    first = instance_module(**WEB)
    again = instance_module(**WEB)
    assert [foretold["changed"], first["changed"], again["changed"]] == [True, True, False]
    assert foretold["instance"]["steps"] == first["instance"]["steps"]
    assert again["instance"]["steps"] == []
    assert first["instance"]["before"] is None
    assert first["instance"]["addresses"]
    assert first["instance"]["console"]["vnc"]["port"] >= 5900
    assert first["instances"] == [first["instance"]]


def test_check_mode_foretells_what_comes(instance_module: RunModule) -> None:
    off = {**WEB, "state": "present"}
    foretold = instance_module(**off, _ansible_check_mode=True)["instance"]
    made = instance_module(**off)["instance"]
    seen = instance_module(name="web1")["instance"]
    assert foretold["after"] == made["after"] == seen["after"]


def test_what_is_added_is_named(instance_module: RunModule) -> None:
    instance_module(name="a", memory_mb=64)
    added = instance_module(name="a", disks=[{"size": "1G"}], networks=["default"])["instance"]
    assert added["after"] == instance_module(name="a")["instance"]["after"]
    assert added["after"]["disks"][0]["device"] == "vda"


def test_secrets_are_nowhere(instance_module: RunModule) -> None:
    for result in (
        instance_module(**WEB, password="topsecret", _ansible_diff=True),
        instance_module(**{**WEB, "cloud_init": {"user_data": "password: hunter22"}}, _ansible_diff=True),
        instance_module(**{**WEB, "memory_mb": 0}),
        instance_module(**{**WEB, "memory_mb": "much"}),
        instance_module(**{**WEB, "cloud_init": "hunter22"}),
        instance_module(instances=["name=web1 cloud_init=hunter22"]),
        instance_module(instances=[{**WEB, "cloud_init": ["hunter22"]}]),
        instance_module(**{**WEB, "cloud_init": {"userdata": "hunter22"}}),
        instance_module(instances=[{**WEB, "cloudinit": {"user_data": "hunter22"}}]),
        instance_module(**{**WEB, "cloud_init": {"network_config": {"wifi": "hunter22"}, "meta_data": "hunter22"}}),
        instance_module(**WEB, uri="qemu+tcp://root:hunter22@web1/system"),
        instance_module(**WEB, uri="nonsense://root:hunter22@web1:99999/"),
    ):
        text = json.dumps(result)
        assert "hunter22" not in text
        assert "topsecret" not in text
        assert "web1" in text, "what only looks like a secret is not blanked"


def test_the_uri_may_come_from_the_environment(instance_module: RunModule, folder: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", "uml:///system")
    monkeypatch.setenv("ANYVIRT_URI", f"fake://{folder}")
    assert instance_module(uri=None, name="a", memory_mb=64)["changed"]
    monkeypatch.delenv("ANYVIRT_URI")
    assert instance_module(uri=None, name="a", memory_mb=64)["error"]["kind"] == "unsupported"


def test_the_diff_is_yaml(instance_module: RunModule) -> None:
    [created] = instance_module(**WEB, _ansible_diff=True)["diff"]
    assert created["before"] == ""
    assert yaml.safe_load(created["after"])["networks"][0]["network"] == "default"
    [changed] = instance_module(name="web1", description="new: text", _ansible_diff=True)["diff"]
    old, new = yaml.safe_load(changed["before"]), yaml.safe_load(changed["after"])
    assert {key for key in new if new[key] != old.get(key)} == {"description"}
    assert instance_module(name="web1", _ansible_diff=True)["diff"] == []


def test_a_failed_plan_says_what_was_undone(instance_module: RunModule, folder: Path) -> None:
    instance_module(**WEB)
    dial(folder, faults=[{"operation": "start", "error": "hypervisor_error", "message": "no"}])
    result = instance_module(name="web1", memory_mb=1024, apply="restart", shutdown={"method": "forced"})
    assert result["failed"]
    error = result["error"]
    assert error["kind"] == "hypervisor_error"
    assert error["step"] == "start web1"
    assert error["undone"][0].startswith("undo: change web1")
    assert error["rolled_back"] is False, "it cannot be started again either"
    assert error["not_undone"][0].startswith("undo: stop web1")
    assert result["instance"]["after"]["memory_mb"] == 512


def test_a_step_without_a_way_back_is_told(instance_module: RunModule, folder: Path) -> None:
    for state in ("running", "suspended"):
        instance_module(**{**WEB, "state": state} if state == "running" else {"name": "web1", "state": state})
    dial(folder, faults=[{"operation": "redefine", "error": "hypervisor_error"}])
    result = instance_module(name="web1", state="stopped", vcpus=2, shutdown={"method": "forced"})
    assert result["changed"], "its saved memory is lost"
    assert result["error"]["rolled_back"] is False
    assert result["error"]["not_undone"] == ["undo: stop web1 at once: there is no way back"]


def test_a_paused_guest_is_rebooted(instance_module: RunModule) -> None:
    instance_module(**{**WEB, "state": "paused"})
    assert instance_module(name="web1", state="rebooted")["instance"]["power_cycled"]


def test_check_mode_foretells_the_end_of_a_shutdown(instance_module: RunModule, folder: Path) -> None:
    dial(folder, guests={"*": {"shutdown_s": 1}})
    instance_module(**WEB)
    instance_module(name="web1", state="stopped", shutdown={"timeout": 0.1})
    foretold = instance_module(name="web1", state="stopped", _ansible_check_mode=True)["instance"]
    stopped = instance_module(name="web1", state="stopped")["instance"]
    assert foretold["power_state"] == stopped["power_state"] == "shutoff"


def test_one_of_many_fails(instance_module: RunModule, folder: Path) -> None:
    dial(folder, faults=[{"operation": "start", "instance": "b", "error": "insufficient_capacity"}])
    result = instance_module(memory_mb=64, state="running", instances=[{"name": name} for name in "abc"])
    assert result["msg"].startswith("1 of 3 instances failed: b: ")
    assert result["error"]["kind"] == "insufficient_capacity"
    assert [item["changed"] for item in result["instances"]] == [True, False, True]
    assert result["instances"][1]["error"]["rolled_back"] is True
    assert [item["power_state"] for item in result["instances"]] == ["running", None, "running"]


def test_locked(instance_module: RunModule) -> None:
    instance_module(name="a", memory_mb=64, locked=True)
    for change in ({"state": "running"}, {"state": "absent"}, {"description": "x"}, {"locked": False, "vcpus": 2}):
        assert instance_module(name="a", **change)["error"]["kind"] == "instance_locked"
    assert not instance_module(name="a", memory_mb=64, locked=True)["changed"]
    assert instance_module(name="a", vcpus=2, override_lock=True)["changed"]
    assert instance_module(name="a", state="stopped", memory_mb=64, locked=False)["changed"]
    assert instance_module(name="a", state="absent")["changed"]


def test_protected(instance_module: RunModule) -> None:
    instance_module(name="a", memory_mb=64, protected=True)
    for extra in ({}, {"protected": False}, {"override_lock": True}):
        assert instance_module(name="a", state="absent", **extra)["error"]["kind"] == "instance_protected"
    assert instance_module(name="a", protected=False)["changed"]
    assert instance_module(name="a", state="absent")["changed"]


def test_stopping_by_force_when_asking_was_in_vain(instance_module: RunModule, folder: Path) -> None:
    instance_module(**WEB)
    dial(folder, guests={"*": {"ignores_acpi": True}})
    polite = instance_module(name="web1", state="stopped", shutdown={"timeout": 0.2})
    assert polite["error"]["kind"] == "timeout"
    assert polite["error"]["last_seen"] == "running"
    assert polite["instance"]["power_state"] == "running"
    forced = instance_module(name="web1", state="stopped", shutdown={"timeout": 0.2, "force_after_timeout": True})
    assert forced["instance"]["power_state"] == "shutoff"


def test_a_wait_in_vain_keeps_the_instance(instance_module: RunModule) -> None:
    result = instance_module(**WEB, wait={"pattern": "never written", "timeout": 0.3})
    assert result["error"]["kind"] == "timeout"
    assert result["error"]["step"] == "wait for console of web1"
    assert result["instance"]["changed"]
    assert result["instance"]["power_state"] == "running"
    assert "GUEST READY" in result["error"]["last_seen"]
    seen = instance_module(name="web1", wait={"pattern": "GUEST READY", "timeout": 5})
    assert not seen["changed"]


def test_what_a_task_does_not_mention_stays(instance_module: RunModule) -> None:
    before = instance_module(**WEB, metadata={"a": "1"}, description="x")["instance"]["after"]
    after = instance_module(name="web1", metadata={"b": "2"})["instance"]["after"]
    assert after == {**before, "metadata": {"a": "1", "b": "2"}}


def test_resizing(instance_module: RunModule) -> None:
    instance_module(**WEB, root_gb=1)
    later = instance_module(name="web1", flavor="small", apply="next_boot")["instance"]
    applied = {change["option"]: change["applied"] for change in later["changes"]}
    assert applied["memory_mb"] == "pending"
    assert applied["flavor"] == applied["root_gb"] == "live"
    assert later["pending"]["memory_mb"] == {"running": 512, "configured": 2048}
    assert not instance_module(name="web1", flavor="small", apply="next_boot")["changed"]
    now = instance_module(name="web1", flavor="small", apply="restart")["instance"]
    assert now["power_cycled"]
    assert now["pending"] == {}
    assert not instance_module(name="web1", flavor="small", apply="restart")["changed"]


@pytest.mark.parametrize("state", ["present", "absent"])
def test_an_interrupted_creation_is_mended(instance_module: RunModule, folder: Path, state: str) -> None:
    import os
    import subprocess
    import sys

    dial(folder, faults=[{"operation": "volume_create", "kill": True, "times": 1}])
    tests = Path(__file__).parents[3]
    script = (
        f"import sys; sys.path.insert(0, {str(tests)!r}); import importable\n"
        "from ansible.module_utils.testing import patch_module_args\n"
        f"from {virt_instance.__name__} import main\n"
        f"with patch_module_args({ {'uri': f'fake://{folder}', **WEB}!r}): main()\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", script], env=dict(os.environ), capture_output=True, text=True, check=False
    )
    assert killed.returncode == 137, killed.stderr
    result = instance_module(**{**WEB, "state": state})
    assert result["changed"]
    assert "interrupted" in result["instance"]["steps"][0]
    assert not instance_module(**{**WEB, "state": state})["changed"]


def test_documentation_and_arguments_are_the_same() -> None:
    documented = yaml.safe_load(virt_instance.DOCUMENTATION)["options"]

    def compare(options: dict[str, Any], spec: dict[str, Any], where: str) -> None:
        assert set(options) == set(spec), where
        for name, option in options.items():
            for key in ("type", "choices", "default", "elements", "required"):
                assert option.get(key) == spec[name].get(key), f"{where}{name}: {key}"
            if "options" in spec[name] or "suboptions" in option:
                compare(option["suboptions"], spec[name]["options"], f"{where}{name}.")

    compare(documented, virt_instance.ARGUMENT_SPEC, "")


def test_the_examples_work(instance_module: RunModule, folder: Path) -> None:
    with FakeFirewallDriver(ConnectionOptions(f"fake://{folder}")) as driver:
        for group in ("monitored", "web"):
            driver.define_security_group(SecurityGroup(group))
    tasks = [task for task in yaml.safe_load(virt_instance.EXAMPLES) if "anyvirt.compute.virt_instance" in task]
    assert len(tasks) > 5
    for task in tasks:
        options = dict(task["anyvirt.compute.virt_instance"])
        del options["uri"]
        result = instance_module(**options, _ansible_check_mode=task.get("check_mode", False))
        assert not result.get("failed"), (task["name"], result)
        assert result["changed"] or "wait" in options, task["name"]
    assert instance_module(instances=[], state="absent")["changed"] is False


def test_a_new_nic_keeps_its_address(instance_module: RunModule) -> None:
    instance_module(**WEB)
    networks = ["default", {"bridge": "br0"}, {"bridge": "br0"}]
    foretold = instance_module(name="web1", networks=networks, _ansible_check_mode=True)["instance"]
    added = instance_module(name="web1", networks=networks)["instance"]
    macs = [change["new"]["mac"] for change in added["changes"]]
    assert [change["option"] for change in added["changes"]] == ["networks[1]", "networks[2]"]
    assert [nic["mac"] for nic in added["after"]["networks"]][1:] == macs
    assert foretold["changes"] == added["changes"]
    assert len(set(macs)) == 2
    assert not instance_module(name="web1", networks=networks)["changed"]
    purged = instance_module(name="web1", networks=["default"], purge_networks=True)["instance"]
    assert [change["new"] for change in purged["changes"]] == [None, None]
    assert len(purged["after"]["networks"]) == 1
