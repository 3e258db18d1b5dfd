# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replacing a cached image: the old one stays until the new one is known to be good, whatever happens."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import Pool, VolumeKey
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile import image_replace
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.images import reconcile_images
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.task import Task
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.progress import Progress, Report
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.sparse import write_segments
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.staging import StagedContent
from contract.contents import qcow2_image
from contract.image_lab import DATA, KEY, WRONG_SOURCES, Lab, dial, slowly, start, wait_for
from lab.hostile import File, HostileServer

OLD = b"old" * 50000
NEW_SHA256 = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder, of this process and of those that it starts."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


@pytest.fixture
def lab(tmp_path: Path, temporary: Path) -> Iterator[Lab]:
    """With the old image in the cache, and the source of the new one."""
    folder = tmp_path / "fake"
    folder.mkdir()
    lab = Lab(folder)
    lab.source.write_bytes(OLD)
    lab.done(name="img", path=str(lab.source))
    lab.source.write_bytes(DATA)
    yield lab
    assert os.listdir(temporary) == []


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer().running() as running:
        running.files["/image"] = File(DATA)
        yield running


def replaced(lab: Lab, **params: Any) -> dict[str, Any]:
    return lab.run(**{"name": "img", "path": str(lab.source), "force": True, **params})


def require_old(lab: Lab) -> None:
    assert list(lab.images()) == [KEY]
    assert lab.images()[KEY].complete
    assert lab.data() == OLD
    assert len(lab.files()) == 1


def not_undone(result: dict[str, Any]) -> str:
    assert result["error"]["rolled_back"] is False
    return "".join(result["error"]["not_undone"])


def test_what_nobody_needs_is_replaced(lab: Lab) -> None:
    result = lab.done(name="img", path=str(lab.source), checksum=NEW_SHA256, force=True)
    assert [step.split()[0] for step in result["image"]["steps"]] == ["fetch", "remove", "write"]
    after = result["image"]["after"]
    assert after["checksum"] == after["source_checksum"] == NEW_SHA256
    assert after["file_bytes"] == after["size_bytes"] == len(DATA)
    assert after["source"] == str(lab.source)
    assert lab.data() == DATA
    assert replaced(lab)["changed"]  # nothing tells that it is the same
    lab.child()
    result = replaced(lab)
    assert result["error"]["kind"] == "volume_in_use"
    assert "default/child" in result["msg"]
    assert lab.data() == DATA


def test_what_is_compressed_takes_the_same_way(lab: Lab) -> None:
    lab.source.write_bytes(gzip.compress(DATA))
    checksum = f"sha256:{hashlib.sha256(lab.source.read_bytes()).hexdigest()}"
    after = lab.done(name="img", path=str(lab.source), checksum=checksum, force=True)["image"]["after"]
    assert (after["source_checksum"], after["checksum"]) == (checksum, NEW_SHA256)
    assert lab.data() == DATA


@WRONG_SOURCES
def test_what_is_wrong_replaces_nothing(lab: Lab, content: bytes | None, options: dict[str, Any], kind: str) -> None:
    if content is None:
        lab.source.unlink()
    else:
        lab.source.write_bytes(content)
    result = replaced(lab, **options)
    assert result["error"]["kind"] == kind
    assert result["error"]["rolled_back"] is None
    assert result["error"]["step"].startswith("fetch the image img")
    assert not result["changed"]
    require_old(lab)


def test_a_download_that_breaks_off_replaces_nothing(lab: Lab, server: HostileServer) -> None:
    server.files["/short"] = File(DATA, says_length=len(DATA) + 1, ranges=False)
    result = replaced(lab, path=None, url=server.url("/short"), url_retries=0)
    assert result["error"]["kind"] == "transfer_error"
    require_old(lab)


def test_killed_while_it_is_fetched(lab: Lab, server: HostileServer) -> None:
    server.handlers["/image"] = slowly(30)
    run = start(lab, name="img", url=server.url("/image"), force=True)
    wait_for(lambda: len(server.seen) == 1)
    require_old(lab)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    require_old(lab)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", ["image_delete", "image_reserve", "image_write", "image_finish"])
def test_killed_later_is_mended_by_the_next_run(lab: Lab, operation: str, when: str) -> None:
    dial(lab, operation=operation, when=when, kill=True)
    params = {"name": "img", "path": str(lab.source), "force": True, "checksum": NEW_SHA256}
    killed = start(lab, **params)
    killed.communicate(timeout=60)
    assert killed.returncode == 137
    if (operation, when) == ("image_delete", "before"):
        require_old(lab)
    assert "failed" not in lab.run(**params, takeover_after=0.1)
    assert lab.data() == DATA
    assert len(lab.files()) == 1
    assert not lab.run(**params)["changed"]


@pytest.mark.parametrize("operation", ["image_reserve", "image_write"])
def test_an_error_after_the_old_image_went_says_so(lab: Lab, operation: str) -> None:
    dial(lab, operation=operation, when="before", error="hypervisor_error", message="no")
    result = replaced(lab)
    assert result["error"]["kind"] == "hypervisor_error"
    assert "the old image is gone" in not_undone(result)
    assert result["changed"]
    assert lab.images() == {}
    assert lab.files() == []
    assert replaced(lab)["changed"]
    assert lab.data() == DATA


def test_an_error_of_the_removal(lab: Lab) -> None:
    dial(lab, operation="image_delete", when="before", error="hypervisor_error", message="no")
    result = replaced(lab)
    assert result["error"]["rolled_back"] is True
    require_old(lab)
    dial(lab, operation="image_delete", when="after", error="hypervisor_error", message="only the reply is lost")
    assert "failed" not in replaced(lab)
    assert lab.data() == DATA


# -- room -----------------------------------------------------------------------------------------------------------


def test_no_room_for_the_temporary_file(lab: Lab, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", lambda _folder: SimpleNamespace(f_bavail=1, f_frsize=4096))
        result = replaced(lab)
    assert result["error"]["kind"] == "insufficient_capacity"
    assert str(temporary) in result["msg"]
    assert "TMPDIR" in result["msg"]
    require_old(lab)


def test_only_what_is_no_hole_needs_room(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    os.truncate(lab.source, 1 << 33)
    monkeypatch.setattr(os, "statvfs", lambda _folder: SimpleNamespace(f_bavail=1 << 10, f_frsize=4096))
    assert replaced(lab)["image"]["after"]["file_bytes"] == 1 << 33


def test_the_temporary_folder_fills_up(lab: Lab, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> int:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        result = replaced(lab)
    assert result["error"]["kind"] == "insufficient_capacity"
    assert str(temporary) in result["msg"]
    assert "TMPDIR" in result["msg"]
    require_old(lab)


def test_no_temporary_folder_at_all(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "gettempdir", none)
        result = replaced(lab)
    assert result["error"]["kind"] == "transfer_error"
    assert "TMPDIR" in result["msg"]
    require_old(lab)


def test_a_pool_without_room_keeps_what_it_has(lab: Lab) -> None:
    host = lab.folder / "hosts" / "fake1" / "host.json"
    host.write_text(json.dumps({"pools": {"default": {"size": "1M"}}}))
    lab.source.write_bytes(b"x" * (1 << 20) + b"y")
    result = replaced(lab)
    assert result["error"]["kind"] == "insufficient_capacity"
    assert "needs 2M, and 1M are free in 'default'" in result["msg"]
    require_old(lab)
    lab.source.write_bytes(b"x" * (1 << 20))  # just what there is without the old one
    assert "failed" not in replaced(lab)


def test_a_pool_that_cannot_hold_the_format_keeps_what_it_has(lab: Lab) -> None:
    with lab.driver() as driver:
        driver.create_pool(Pool("isos", "iso", path="/isos"))
        driver.start_pool("isos")
    key = VolumeKey("isos", "img")
    assert "failed" not in lab.run(name="img", pool="isos", path=str(lab.source))
    write_segments(str(lab.source), qcow2_image(1 << 20).segments())
    result = replaced(lab, pool="isos")
    assert result["error"]["kind"] == "invalid_input"
    assert result["error"]["step"].startswith("fetch")
    assert lab.images()[key].checksum == NEW_SHA256


# -- others ---------------------------------------------------------------------------------------------------------


def test_a_child_made_meanwhile_keeps_the_old_one(lab: Lab, server: HostileServer) -> None:
    """After the plan was made, while the new one comes."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        lab.child()
        del server.handlers["/image"]
        server.answer(request)

    server.handlers["/image"] = answer
    result = replaced(lab, path=None, url=server.url("/image"))
    assert result["error"]["kind"] == "volume_in_use"
    assert result["error"]["rolled_back"] is True
    assert not result["changed"]
    require_old(lab)


Overtake = Callable[[Callable[[], object]], None]


@pytest.fixture
def overtake() -> Iterator[Overtake]:
    """Has something done once, just after the next fetch into a temporary file."""
    with pytest.MonkeyPatch.context() as patch:

        def prepare(do: Callable[[], object]) -> None:
            class Overtaken(StagedContent):
                def __init__(self, *arguments: Any) -> None:
                    super().__init__(*arguments)
                    patch.undo()
                    do()

            patch.setattr(image_replace, "StagedContent", Overtaken)

        yield prepare


def test_what_another_run_put_there_meanwhile_is_not_removed(lab: Lab, overtake: Overtake) -> None:
    overtake(lambda: replaced(lab))
    result = replaced(lab, checksum=NEW_SHA256)
    assert "failed" not in result
    assert not result["changed"]
    assert lab.data() == DATA


def test_what_another_run_put_there_meanwhile_may_be_wrong(lab: Lab, overtake: Overtake) -> None:
    other = lab.source.with_name("other")
    other.write_bytes(b"other" * 1000)
    overtake(lambda: replaced(lab, path=str(other)))
    result = replaced(lab, checksum=NEW_SHA256)
    assert result["error"]["kind"] == "already_exists"
    assert "another run" in result["msg"]
    assert not result["changed"]
    assert lab.data() == other.read_bytes()


def test_an_image_that_was_removed_meanwhile_is_there_again(lab: Lab, overtake: Overtake) -> None:
    overtake(lambda: lab.run(name="img", state="absent"))
    assert replaced(lab)["changed"]
    assert lab.data() == DATA


def test_both_halves_report_how_far_they_are(lab: Lab, server: HostileServer) -> None:
    reports: list[Report] = []

    def connect() -> StorageDriver:
        driver = lab.driver()
        driver.progress = Progress(reports.append)
        return driver

    params = {"name": "img", "url": server.url("/image"), "force": True, "images": None}
    reconcile_images(Task(params, False, False, connect, lambda warning: None))
    ends = [(report.what, report.done) for report in reports if report.ended]
    assert ends == [(f"fetch {server.url('/image')}", len(DATA)), (server.url("/image"), len(DATA))]
