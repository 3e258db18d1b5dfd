# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept with VMs that move, and how it reads on either end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.metadata import (
    KEY,
    STATE,
    Record,
    VolumeRecord,
    foreign_keys,
    read_volume_record,
    with_record,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.migrationdisks import portable
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.travels import (
    TRAVEL,
    Travel,
    read_travel,
    travel_text,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import INCOMING, MOVED, MOVING, OUTGOING

WHOLE = Travel(
    id="t1",
    mode="live",
    vm="u1",
    source="pool-a",
    destination="pool-b",
    start=True,
    paused=True,
    started_s=12.5,
    pinned=True,
    left=["shared/web1.xvda"],
    made=["other/web1.xvda"],
    kept={"0": {"anyvirt": "{}", "their": "key"}},
    media={"3": ["ISO library", "tools.iso"]},
    pools={"shared": "other"},
)
SMALL = Travel(id="t1", mode="cold", vm="u1", source="pool-a", destination="pool-b", within=True)


def vm(text: str, uuid: str = "u1") -> dict[str, Any]:
    return {"uuid": uuid, "other_config": {TRAVEL: text}}


@pytest.mark.parametrize("travel", [WHOLE, SMALL])
def test_there_and_back(travel: Travel):
    assert read_travel(vm(travel_text(travel))) == travel


def test_who_does_not_move():
    assert read_travel({"uuid": "u1", "other_config": {}}) is None
    assert read_travel(vm(travel_text(WHOLE), uuid="a copy's")) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '"text"', "{}", '{"id": "t1"}', "[" * 100000])
def test_what_others_wrote(text: str):
    assert read_travel(vm(text)) is None


def test_what_others_changed():
    values = json.loads(travel_text(WHOLE))
    strange = {"start": "yes", "left": ["a/b", 7], "kept": {"0": {"key": 1, "other": "text"}, "1": 5}, "unknown": 1}
    travel = read_travel(vm(json.dumps({**values, **strange})))
    assert travel is not None
    assert (travel.start, travel.left, travel.kept) == (False, ["a/b"], {"0": {"other": "text"}})


def test_both_ends_read_one_text():
    here, there = WHOLE.seen_from("pool-a"), WHOLE.seen_from("pool-b")
    assert (here.direction, here.peer, here.phase, here.volumes) == (OUTGOING, "pool-b", MOVING, ("shared/web1.xvda",))
    assert (there.direction, there.peer, there.phase, there.volumes) == (
        INCOMING, "pool-a", MOVING, ("other/web1.xvda",),
    )  # fmt: skip
    assert here.id == there.id == "t1"
    assert (here.start, here.paused, here.started_s) == (True, True, 12.5)


def test_only_one_that_has_it_is_settled():
    assert WHOLE.seen_from("pool-b", is_settled=True).phase == MOVED
    assert WHOLE.seen_from("pool-a", is_settled=True).phase == MOVING
    assert WHOLE.seen_from("somebody else").direction == OUTGOING


def test_what_travels_with_a_disk():
    record = VolumeRecord("an-id", "web1", role="root", size_bytes=5, vdi="old", parent="base", unfinished=True)
    other = {**with_record({"their": "key"}, record), STATE: "finished"}
    kept = portable({"uuid": "old", "other_config": other})
    assert set(kept) == {KEY, "their"}
    arrived = read_volume_record({"uuid": "new", "other_config": kept})
    assert arrived == VolumeRecord("an-id", "web1", role="root", size_bytes=5)
    assert portable({"uuid": "old", "other_config": {"their": "key"}}) == {"their": "key"}


def test_our_key_is_not_theirs():
    assert foreign_keys({TRAVEL: "{}", "their": "key", **with_record({}, Record(id="i"))}) == {"their": "key"}
