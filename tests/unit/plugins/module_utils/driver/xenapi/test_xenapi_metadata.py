# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept with VMs and volumes."""

from __future__ import annotations

import json

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.metadata import (
    KEY,
    Record,
    VolumeRecord,
    foreign_keys,
    new_id,
    read_record,
    read_volume_record,
    with_record,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.flavor import Flavor

WHOLE = Record(
    id="an-id",
    vm_uuid="u1",
    flavor=Flavor("m1.small", 2048, 1, 20, rxtx=1.5),
    image="golden",
    pool="shared",
    metadata={"team": "blü"},
    locked=True,
    protected=True,
    cloud_init_fingerprint="abc",
    unfinished=True,
    deferred={"vcpus": 2},
    firewall="none",
    security_groups=["db", "web"],
    project="shop",
    allow_project_net_traffic=True,
    addresses={"02:16:3e:00:00:01": ["192.0.2.7"]},
)


@pytest.mark.parametrize(
    "record",
    [WHOLE, Record(id="an-id", vm_uuid="u1"), Record(id="an-id", vm_uuid="u1", security_groups=[])],
)
def test_there_and_back(record: Record):
    assert read_record({"uuid": "u1", "other_config": with_record({}, record)}) == record


@pytest.mark.parametrize("record", [VolumeRecord("an-id", "web1"), VolumeRecord("i", "w", "root", "img", 5, True)])
def test_volumes_there_and_back(record: VolumeRecord):
    assert read_volume_record({"other_config": with_record({}, record)}) == record


def test_what_others_made_of_our_filtering():
    values = {"security_groups": ["web", 7], "addresses": {"02:16:3e:00:00:01": ["192.0.2.7", None], "other": "text"}}
    text = json.dumps({"id": "an-id", "vm_uuid": "u1", "project": 7, "firewall": [], **values})
    record = read_record({"uuid": "u1", "other_config": {KEY: text}})
    assert record == Record(
        id="an-id", vm_uuid="u1", security_groups=["web"], addresses={"02:16:3e:00:00:01": ["192.0.2.7"]}
    )


def test_other_keys_stay():
    kept = with_record({"folder": "/a", KEY: "old"}, WHOLE)
    assert kept["folder"] == "/a"
    assert foreign_keys({**kept, "anyvirt-clone:x": "y"}) == {"folder": "/a"}
    assert with_record(kept, None) == {"folder": "/a"}


def test_a_copy_of_ours_is_not_ours():
    finished = with_record({}, Record(id="an-id", vm_uuid="u1"))
    assert read_record({"uuid": "u2", "other_config": finished}) is None
    assert read_record({"uuid": "u2", "other_config": with_record({}, Record(id="i", unfinished=True))}) is not None


@pytest.mark.parametrize("text", ["", "no JSON", "[" * 100_000, "[]", "7", '"text"', "null"], ids=range(7))
def test_what_is_no_record(text: str):
    assert read_record({"uuid": "u1", "other_config": {KEY: text}}) is None
    assert read_volume_record({"other_config": {KEY: text}}) is None


def test_values_of_the_wrong_kind_are_left_out():
    text = json.dumps(
        {"vm_uuid": "u1", "metadata": [], "locked": "yes", "flavor": {"name": "x"}, "deferred": 1, "size": 9, "id": 3}
    )
    assert read_record({"uuid": "u1", "other_config": {KEY: text}}) == Record(vm_uuid="u1")
    assert read_volume_record({"other_config": {KEY: '{"instance": "one"}'}}) is None


def test_ids_differ():
    assert new_id() != new_id()
