# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of situations: what both hosts show of an instance, and what is to be done about it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Instance, Nic
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import (
    COLD,
    DEPARTED,
    INCOMING,
    LIVE,
    MOVED,
    MOVING,
    OUTGOING,
    Migration,
    MigrationProgress,
    MigrationRecord,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile import migration_situation as table
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.migration_situation import (
    Clearing,
    End,
    Situation,
    situation_of,
)

HERE, THERE, ELSEWHERE = "host-a", "host-b", "host-c"

CLEAR = {
    "discard there": Clearing("destination", "discard"),
    "discard here": Clearing("source", "discard"),
    "finish there": Clearing("destination", "finish_destination"),
    "finish here": Clearing("source", "finish_source"),
    "was moved from there": Clearing("destination", "finish_source"),
    "departed there": Clearing("destination", "remove_departed"),
    "came here": Clearing("source", "finish_destination"),
}

STATES = {
    "running": power_state.RUNNING,
    "paused": power_state.PAUSED,
    "off": power_state.SHUTOFF,
    "suspended": power_state.SUSPENDED,
}


def record(words: list[str], host: str) -> MigrationRecord | None:
    """``outgoing`` or ``incoming``, and more words about it; None without these two."""
    direction = OUTGOING if "outgoing" in words else INCOMING if "incoming" in words else None
    if direction is None:
        return None
    peer = ELSEWHERE if "elsewhere" in words else THERE if host == HERE else HERE
    phase = DEPARTED if "departed" in words else MOVED if "moved" in words else MOVING
    return MigrationRecord(
        id="other" if "other" in words else "this",
        direction=direction,
        peer=peer,
        mode=COLD if "cold" in words else LIVE,
        phase=phase,
        start="inactive" not in words,
        paused="was-paused" in words,
    )


def end(text: str, host: str) -> End:
    """E.g. ``off, outgoing cold``; an empty text is a host that has nothing."""
    if not text:
        return End(host)
    state, _comma, rest = text.partition(",")
    words = rest.split()
    kept = record(words, host)
    instance = Instance("web1", nics=[Nic(mac="52:54:00:00:00:01")], power_state=STATES[state], migration=kept)
    progress = MigrationProgress("memory") if "job" in words else None
    return End(host, instance, Migration(kept, progress) if kept is not None or progress is not None else None)


ROWS: list[tuple[str, str, str]] = [
    # -- nothing was begun
    ("", "", "instance_not_found"),
    ("running", "", "here"),
    ("off", "", "here"),
    ("", "running", "there"),
    ("", "off", "there"),
    ("running", "running", "instance_duplicated"),
    ("running", "off", "already_exists"),
    ("off", "running", "already_exists"),
    ("off", "off", "already_exists"),
    ("running, job", "", "instance_migrating"),
    # -- begun, and the hypervisor is at it
    ("running, outgoing job", "paused, incoming", "moving"),
    ("running, outgoing job", "paused, incoming job", "moving"),
    ("running, outgoing job", "", "moving"),
    ("paused, outgoing job", "running, incoming", "moving"),
    ("running, outgoing job", "running, incoming", "moving"),
    ("off, outgoing cold job", "off, incoming cold", "moving"),
    # -- begun, and cut short while the source had it
    ("running, outgoing", "", "here: discard here"),
    ("running, outgoing", "off, incoming", "here: discard there, discard here"),
    ("running, outgoing", "paused, incoming", "here: discard there, discard here"),
    ("paused, outgoing", "paused, incoming", "here: discard there, discard here"),
    ("paused, outgoing", "off, incoming", "here: discard there, discard here"),
    ("running, outgoing", "off, incoming other", "here: discard there, discard here"),
    ("running", "off, incoming", "here: discard there"),
    ("running", "paused, incoming", "instance_duplicated"),
    ("off, outgoing cold", "", "here: discard here; start"),
    ("off, outgoing cold", "off, incoming cold", "here: discard there, discard here; start"),
    (
        "off, outgoing cold was-paused",
        "off, incoming cold was-paused",
        "here: discard there, discard here; start paused",
    ),
    ("off, outgoing cold inactive", "off, incoming cold inactive", "here: discard there, discard here"),
    ("running, outgoing cold", "off, incoming cold", "here: discard there, discard here"),
    # -- it had arrived, and is not there any more
    ("off, outgoing", "", "instance_duplicated"),
    ("off, outgoing cold moved", "", "instance_duplicated"),
    ("", "off, outgoing", "instance_duplicated"),
    ("", "off, outgoing cold moved", "instance_duplicated"),
    # -- it had arrived
    ("off, outgoing cold moved", "off, incoming cold", "arrived: finish there, finish here; start"),
    ("paused, outgoing", "running, incoming", "arrived: finish there, finish here"),
    ("off, outgoing", "running, incoming", "arrived: finish there, finish here"),
    ("off, outgoing was-paused", "paused, incoming was-paused", "arrived: finish there, finish here"),
    ("off, outgoing", "paused, incoming", "arrived: finish there, finish here"),
    ("off, outgoing cold", "running, incoming cold", "arrived: finish there, finish here"),
    ("off, outgoing cold", "paused, incoming cold", "arrived: finish there, finish here"),
    ("off, outgoing", "running, incoming moved", "arrived: finish there, finish here"),
    ("off, outgoing", "off, incoming moved", "arrived: finish there, finish here"),
    ("off, outgoing cold", "off, incoming cold moved", "arrived: finish there, finish here; start"),
    ("off, outgoing cold inactive", "off, incoming cold inactive moved", "arrived: finish there, finish here"),
    ("", "off, incoming cold moved", "arrived: finish there; start"),
    ("off, outgoing", "running", "arrived: finish here"),
    ("off, outgoing", "off", "arrived: finish here"),
    ("", "running, incoming", "arrived: finish there"),
    ("", "off, incoming moved", "arrived: finish there"),
    # -- nothing tells
    ("running, outgoing", "running, incoming", "instance_duplicated"),
    ("off, outgoing", "off, incoming", "instance_duplicated"),
    ("off, outgoing", "paused, incoming job", "instance_duplicated"),
    ("off, outgoing", "running, incoming other", "instance_duplicated"),
    ("", "off, incoming", "instance_duplicated"),
    ("running, outgoing", "off", "already_exists"),
    # -- the source kept the definition
    ("off, outgoing departed", "running", "there"),
    ("off, outgoing departed", "off", "there"),
    ("off, outgoing departed", "running, incoming", "arrived: finish there"),
    ("off, outgoing departed", "", "instance_migrating"),
    ("off, outgoing departed elsewhere", "", "instance_migrating"),
    ("off, outgoing departed elsewhere", "running", "there"),
    # -- the destination was the source of an earlier one
    ("running", "off, outgoing departed", "here: departed there"),
    ("running, incoming", "off, outgoing departed", "here: came here, departed there"),
    ("running", "off, outgoing", "here: was moved from there"),
    ("off", "running, outgoing", "instance_migrating"),
    ("running", "off, outgoing departed elsewhere", "instance_migrating"),
    ("running, incoming moved", "off, outgoing", "here: came here, was moved from there"),
    ("running, incoming", "off, outgoing", "here: came here, was moved from there"),
    ("running, incoming", "", "here: came here"),
    ("paused, incoming", "off, outgoing", "here: came here, was moved from there"),
    ("off, incoming", "running, outgoing", "there: discard here, discard there"),
    ("paused, incoming", "running, outgoing", "there: discard here, discard there"),
    ("off, incoming cold", "off, outgoing cold", "there: discard here, discard there; start"),
    ("paused, incoming", "running, outgoing job", "instance_migrating"),
    ("", "running, outgoing", "there: discard there"),
    ("", "off, outgoing cold", "there: discard there; start"),
    ("", "running, outgoing job", "instance_migrating"),
    ("", "off, outgoing departed", "instance_migrating"),
    # -- a third host has to do with it
    ("running, outgoing elsewhere", "", "instance_migrating"),
    ("running, outgoing elsewhere job", "", "instance_migrating"),
    ("off, outgoing elsewhere", "running", "instance_migrating"),
    ("off, incoming elsewhere", "", "instance_migrating"),
    ("running, incoming moved elsewhere", "", "instance_migrating"),
    ("running", "off, incoming elsewhere", "instance_migrating"),
    ("", "running, incoming elsewhere", "instance_migrating"),
    ("", "running, outgoing elsewhere", "instance_migrating"),
]


def said(situation: Situation) -> str:
    if situation.error is not None:
        return situation.error.kind
    names = {clearing: words for words, clearing in CLEAR.items()}
    clear = ", ".join(names[clearing] for clearing in situation.clear)
    start = ("; start" + " paused" * situation.paused) * situation.start
    return situation.what + (f": {clear}" if clear else "") + start


@pytest.mark.parametrize(("source", "destination", "expected"), ROWS, ids=lambda text: text or "-")
def test_what_is_to_be_done(source: str, destination: str, expected: str) -> None:
    assert said(situation_of("web1", end(source, HERE), end(destination, THERE))) == expected


def test_every_combination_is_safe() -> None:
    kept = [
        " ".join(word for word in words if word)
        for words in itertools.product(
            ("outgoing", "incoming"),
            ("", "moved", "departed"),
            ("", "cold"),
            ("", "elsewhere"),
            ("", "other"),
            ("", "job"),
        )
    ]
    records = ["", "job", *kept]
    texts = ["", *(f"{state}, {words}" for state in STATES for words in records)]
    sources, destinations = ([end(text, host) for text in texts] for host in (HERE, THERE))
    seen = set()
    for source, destination in itertools.product(sources, destinations):
        found = situation_of("web1", source, destination)
        seen.add(found.what)
        assert (found.error is not None) == (found.what == table.REFUSED)
        if found.what == table.MOVING:
            assert source.has_job
            continue
        if source.executes and destination.executes:
            assert found.what == table.REFUSED
        if found.what == table.HERE:
            assert source.instance is not None
            assert not destination.executes
        if found.what in (table.ARRIVED, table.THERE):
            assert destination.instance is not None
            assert not (destination.goes(OUTGOING) and destination.record and destination.record.phase == DEPARTED)
            assert not source.executes
        for clearing in found.clear:
            cleared = source if clearing.end == table.SOURCE else destination
            other = destination if clearing.end == table.SOURCE else source
            if clearing.how == table.FINISH_SOURCE:
                assert not cleared.executes, "a guest that runs is never removed"
            if clearing.how == table.DISCARD and cleared.goes(INCOMING):
                assert not cleared.executes, "a guest that runs is never removed"
                assert other.instance is not None, "nor is the only one there is"
        if found.start:
            assert not source.is_active
            assert not destination.is_active
    assert seen == {table.HERE, table.THERE, table.MOVING, table.ARRIVED, table.REFUSED}


def test_a_namesake_is_not_taken_for_the_instance() -> None:
    source, destination = end("off, outgoing", HERE), end("off", THERE)
    other = replace(destination.instance or Instance(""), nics=[Nic(mac="52:54:00:00:00:02")])
    assert said(situation_of("web1", source, destination._replace(instance=other))) == "already_exists"
