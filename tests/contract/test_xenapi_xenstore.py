# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parameter records: what guests find in their XenStore."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.driver import XenApiDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import InstanceNotFound
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Instance
from contract.platforms.xenapi import XenApiPlatform
from contract.task import done, run

pytestmark = pytest.mark.on("xenapi")

MAC, OTHER = "52:54:00:01:00:01", "52:54:00:01:00:02"
KEY, OTHER_KEY = "networking/525400010001", "networking/525400010002"


def whole(platform: XenApiPlatform) -> dict[str, str]:
    with platform.session() as api:
        [vm] = api.VM.get_by_name_label("one")
        data: dict[str, str] = api.VM.get_xenstore_data(vm)
    return data


def test_a_new_guest_finds_its_name_and_its_networks(driver: XenApiDriver, platform: XenApiPlatform):
    platform.spawned(driver, "one", nics=[platform.nic(mac=MAC)])
    found = driver.read_param_xenstore("one")
    assert found["hostname"] == "one"
    assert json.loads(found[KEY]) == {"label": "lab", "mac": MAC}


@pytest.mark.parametrize("running", [False, True])
def test_networks_that_change_are_told(driver: XenApiDriver, platform: XenApiPlatform, running: bool):
    platform.spawned(driver, "one", power_on=running, nics=[platform.nic(mac=MAC)])
    driver.plug_vifs("one", [platform.nic(mac=OTHER)])
    assert driver.read_partial_param_xenstore("one", "networking/").keys() == {KEY, OTHER_KEY}
    driver.unplug_vifs("one", [MAC])
    assert driver.read_partial_param_xenstore("one", "networking/").keys() == {OTHER_KEY}


def test_guests_of_others_are_told_nothing(driver: XenApiDriver, platform: XenApiPlatform):
    platform.define_foreign("one")
    driver.plug_vifs("one", [platform.nic(mac=MAC)])
    assert driver.read_param_xenstore("one") == {}


def test_records_are_written_and_removed(driver: XenApiDriver, platform: XenApiPlatform):
    platform.spawned(driver, "one", hypervisor={"xenstore_data": {"vm-data/role": "web"}})
    driver.write_param_xenstore("one", {"role": "database", "more": "1"})
    assert driver.read_param_xenstore("one") == {"hostname": "one", "role": "database", "more": "1"}
    assert driver.read_param_xenstore("one", ["more", "less"]) == {"more": "1"}
    assert whole(platform)["vm-data/role"] == "database"
    driver.remove_param_xenstore("one", ["more", "less"])
    driver.inject_hostname("one", "other")
    assert driver.read_param_xenstore("one") == {"hostname": "other", "role": "database"}
    driver.inject_network_info("one", [platform.nic(mac=MAC)])
    driver.inject_network_info("one", [platform.nic(mac=OTHER)])
    assert driver.read_partial_param_xenstore("one", "networking/").keys() == {OTHER_KEY}
    driver.clear_param_xenstore("one")
    assert driver.read_param_xenstore("one") == {}


def test_what_is_no_parameter_stays(driver: XenApiDriver, platform: XenApiPlatform):
    platform.spawned(driver, "one")
    with platform.session() as api:
        [vm] = api.VM.get_by_name_label("one")
        api.VM.add_to_xenstore_data(vm, "FIST/other", "kept")
    driver.clear_param_xenstore("one")
    assert whole(platform) == {"FIST/other": "kept"}


def test_what_is_so_already_is_not_written(driver: XenApiDriver, platform: XenApiPlatform):
    platform.spawned(driver, "one")
    with platform.calls.recording() as calls:
        driver.inject_hostname("one", "one")
        driver.remove_param_xenstore("one", ["nothing"])
    assert calls.writes == []


def test_there_is_none_of_what_does_not_exist(driver: XenApiDriver):
    with pytest.raises(InstanceNotFound):
        driver.read_param_xenstore("ghost")


def test_what_a_template_tells_its_guest_is_not_told_to_others(driver: XenApiDriver, platform: XenApiPlatform):
    """It was an instance itself once, with a name and NICs of its own."""
    db = platform.server.db
    [template] = db.find("VM", name_label="golden")
    stale = {"vm-data/hostname": "golden", "vm-data/networking/525400000001": "{}", "vm-data/role": "web"}
    db.set("VM", template, xenstore_data=stale)
    driver.spawn(driver.complete(Instance("one", memory_mb=96, vcpus=1, hypervisor={"template": "golden"})))
    [vm] = db.find("VM", name_label="one")
    assert db.get("VM", vm, "xenstore_data") == {"vm-data/hostname": "one", "vm-data/role": "web"}


def test_a_record_that_is_not_wanted(driver: XenApiDriver, platform: XenApiPlatform):
    extras = {"xenstore_data": {"vm-data/hostname": None}}
    task: dict[str, Any] = {"name": "one", "memory_mb": 96, "state": "stopped", "xenapi": extras}
    assert done(platform, **task).changed
    assert not done(platform, **task).changed


@pytest.mark.parametrize("option", ["description", "xenapi"])
def test_line_ends_that_would_not_be_kept_are_refused(driver: XenApiDriver, platform: XenApiPlatform, option: str):
    text = "first\r\nsecond"
    value = text if option == "description" else {"xenstore_data": {"vm-data/text": text}}
    outcome = run(platform, name="one", memory_mb=96, **{option: value})
    assert outcome.kind == "invalid_input"
    assert "carriage returns" in outcome.result["msg"]
