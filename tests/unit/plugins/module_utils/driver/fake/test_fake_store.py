# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store: whole or not at all, whatever else runs and whoever is killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.store import (
    INSTANCES,
    JOURNAL,
    VOLUMES,
    DamagedRecord,
    Store,
    is_file_name,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import HypervisorUnavailable

FORK = multiprocessing.get_context("fork")


def start(work: Callable[..., None], *arguments: object) -> multiprocessing.process.BaseProcess:
    process = FORK.Process(target=work, args=arguments)
    process.start()
    return process


def put(store: Store, kind: str, key: str, **record: object) -> None:
    with store.writing() as changes:
        changes.put(kind, key, record)


def records(folder: str, kind: str) -> dict[str, dict]:
    """As a driver sees them that has just come."""
    with Store(folder).reading() as view:
        return view.all(kind)


def test_reading_a_folder_that_is_not_there_makes_nothing(root):
    assert records(root, INSTANCES) == {}
    assert not os.path.exists(root)


def test_what_is_written_is_read_by_others(root):
    store, other = Store(root), Store(root)
    put(store, INSTANCES, "a", value=1)
    assert records(root, INSTANCES) == {"a": {"value": 1}}
    with other.reading() as view:
        assert view.get(INSTANCES, "a") == {"value": 1}
    put(store, INSTANCES, "a", value=2)
    put(store, VOLUMES, "pool/v", value=3)
    with other.reading() as view:
        assert view.get(INSTANCES, "a") == {"value": 2}
        assert view.all(VOLUMES) == {"pool/v": {"value": 3}}
    with other.writing() as changes:
        changes.delete(INSTANCES, "a")
        assert changes.all(INSTANCES) == {}
    with store.reading() as view:
        assert view.all(INSTANCES) == {}
        assert view.get(INSTANCES, "a") is None


def test_equally_long_values_in_quick_succession_are_told_apart(root):
    writer, reader = Store(root), Store(root)
    for value in range(1000, 1300):
        put(writer, INSTANCES, "a", value=value)
        with reader.reading() as view:
            found = view.all(INSTANCES) if value % 2 else {"a": view.get(INSTANCES, "a")}
        assert found == {"a": {"value": value}}


def test_an_exception_leaves_everything_as_it_was(root):
    store = Store(root)
    put(store, INSTANCES, "a", value=1)
    stamp = store.stamp()

    def fail_half_way() -> None:
        with store.writing() as changes:
            changes.put(INSTANCES, "a", {"value": 2})
            changes.put(INSTANCES, "b", {"value": 2})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert records(root, INSTANCES) == {"a": {"value": 1}}
    assert store.stamp() == stamp


def test_a_record_that_stays_the_same_is_no_change(root):
    store = Store(root)
    put(store, INSTANCES, "a", value=1)
    stamp = store.stamp()
    put(store, INSTANCES, "a", value=1)
    assert store.stamp() == stamp


def test_removing_everything_leaves_the_lock_alone(root):
    store = Store(root)
    put(store, VOLUMES, "pool/v", value=1)
    with store.writing() as changes:
        changes.delete(VOLUMES, "pool/v")
    assert os.listdir(root) == ["lock"]


def test_a_journal_left_by_a_killed_process_is_finished_by_the_next_reader(root):
    store = Store(root)
    put(store, INSTANCES, "a", value=1)
    journal = [[INSTANCES, "a", None], [INSTANCES, "b", {"value": 2}]]
    Path(root, JOURNAL).write_text(json.dumps(journal), encoding="utf-8")
    with store.reading() as view:
        assert view.all(INSTANCES) == {"b": {"value": 2}}
    assert not Path(root, JOURNAL).exists()


def test_a_damaged_record_is_named(root):
    store = Store(root)
    put(store, INSTANCES, "a", value=1)
    Path(root, INSTANCES, "a.json").write_text("{", encoding="utf-8")
    with pytest.raises(DamagedRecord, match=r"a\.json is damaged"), Store(root).reading() as view:
        view.all(INSTANCES)
    assert len(Store(root).damaged()) == 1


def test_a_lock_that_is_never_given_back_is_an_error_in_time(root):
    store = Store(root)
    put(store, INSTANCES, "a", value=1)
    with store.writing():
        begin = time.monotonic()
        with pytest.raises(HypervisorUnavailable, match="locked by another process"), Store(root, 0.1).reading():
            pass
        assert time.monotonic() - begin < 5


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\0b", "a\nb", "x" * 300])
def test_names_that_cannot_be_a_file(root, name):
    assert not is_file_name(name)
    with Store(root).reading() as view:
        assert view.get(INSTANCES, name) is None


def add_one(folder: str, times: int) -> None:
    store = Store(folder)
    for number in range(times):
        with store.writing() as changes:
            counter = changes.get(INSTANCES, "counter") or {"value": 0}
            changes.put(INSTANCES, "counter", {"value": counter["value"] + 1})
            changes.put(INSTANCES, f"{os.getpid()}-{number}", {"value": number})


def test_eight_processes_lose_no_update(root):
    workers = [start(add_one, root, 25) for _turn in range(8)]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    found = records(root, INSTANCES)
    assert found.pop("counter") == {"value": 200}
    assert len(found) == 200


def move_money(folder: str) -> None:
    """Move amounts between accounts for ever: each move changes two records, whose sum stays the same."""
    store = Store(folder)
    dice = random.Random(os.getpid())
    while True:
        giver, taker = dice.sample("abcdef", 2)
        with store.writing() as changes:
            amounts = {key: (changes.get(INSTANCES, key) or {"amount": 0})["amount"] for key in (giver, taker)}
            changes.put(INSTANCES, giver, {"amount": amounts[giver] - 1})
            changes.put(INSTANCES, taker, {"amount": amounts[taker] + 1})


def test_writers_killed_at_any_moment_leave_whole_operations(root):
    dice = random.Random(7)
    seen = Store(root)
    for _turn in range(40):
        worker = start(move_money, root)
        time.sleep(dice.uniform(0.005, 0.04))
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        for store in (seen, Store(root)):
            with store.reading() as view:
                assert sum(record["amount"] for record in view.all(INSTANCES).values()) == 0
    assert seen.damaged() == []
    assert len(records(root, INSTANCES)) == 6
