# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""virt_image on each hypervisor: the plan is true, a second run finds nothing to do, failures leave nothing behind."""

from __future__ import annotations

import gzip
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import (
    Image,
    Volume,
    VolumeKey,
    VolumeSource,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.images import reconcile_images
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.sparse import write_segments
from contract import image_process, task
from contract.contents import sparse
from contract.platforms.base import Platform
from contract.storage_helpers import SIZE, changes_nothing, created, image_content, make
from lab.hostile import File, HostileServer

pytestmark = pytest.mark.on("fake", "libvirt", "xenapi")


@pytest.fixture
def ready(storage: StorageDriver) -> StorageDriver:
    """A driver that has an image cache; on others there is nothing to see here."""
    for feature in ("images", "volume_transfer"):
        if not storage.supports(feature):
            pytest.skip(f"{storage.name} has no {feature}")
    return storage


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A raw image with holes."""
    path = tmp_path / "source.img"
    write_segments(str(path), sparse().segments())
    return path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with HostileServer().running() as running:
        yield running


def run(platform: Platform, **params: Any) -> task.Outcome:
    return task.run(platform, reconcile=reconcile_images, **{"images": None, "pool": platform.pool, **params})


def done(platform: Platform, **params: Any) -> task.Outcome:
    """A task that goes well, as check mode foretold, and whose second run does nothing."""
    with changes_nothing(platform):
        foretold = run(platform, check=True, **params)
    assert foretold.calls.lasting_writes == []
    outcome = run(platform, **params)
    assert outcome.kind is None, outcome.result
    assert outcome.steps == foretold.steps
    again = run(platform, **params)
    assert not again.changed
    assert again.steps == []
    assert again.calls.lasting_writes == []
    return outcome


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def exported(platform: Platform, folder: Path, name: str = "one") -> Path:
    dest = folder / f"{name}.exported"
    assert run(platform, name=name, state="exported", dest=str(dest), force=True).kind is None
    return dest


def test_life_of_an_image(ready: StorageDriver, platform: Platform, source: Path, tmp_path: Path):
    with changes_nothing(platform):
        checksum = f"sha256:{sha256_of(source)}"
        outcome = done(platform, name="one", path=str(source), checksum=checksum)
        after = outcome.result["image"]["after"]
        assert after["source_checksum"] == after["checksum"] == checksum
        assert after["size_bytes"] == SIZE
        assert sha256_of(exported(platform, tmp_path)) == sha256_of(source)
        assert exported(platform, tmp_path).stat().st_blocks * 512 < SIZE // 2
        assert done(platform, name="one", state="absent").changed


def test_images_of_the_kind_that_instances_like(ready: StorageDriver, platform: Platform, tmp_path: Path):
    content = image_content(platform)
    path = tmp_path / "source"
    write_segments(str(path), content.segments())
    outcome = done(platform, name="one", path=str(path), format=content.facts.format)
    assert outcome.result["image"]["after"]["size_bytes"] == content.facts.size_bytes
    assert sha256_of(exported(platform, tmp_path)) == sha256_of(path)


def test_packed_from_a_server_whose_connections_break(
    ready: StorageDriver, platform: Platform, source: Path, server: HostileServer, tmp_path: Path
):
    packed = gzip.compress(source.read_bytes())
    server.files["/one.img.gz"] = File(packed, breaks=[len(packed) // 3, len(packed) // 3])
    checksum = f"sha512:{hashlib.sha512(packed).hexdigest()}"
    outcome = run(platform, name="one", url=server.url("/one.img.gz"), checksum=checksum)
    assert outcome.kind is None, outcome.result
    assert len(server.seen) == 3
    assert sha256_of(exported(platform, tmp_path)) == sha256_of(source)


def test_exporting_twice_and_over_something_else(ready: StorageDriver, platform: Platform, tmp_path: Path):
    volume = created(platform, ready, "one", sparse())
    dest = tmp_path / "copy"
    outcome = done(platform, name="one", state="exported", dest=str(dest))
    assert outcome.result["image"]["sha256"] == sha256_of(dest)
    if volume.format == "raw":
        assert dest.read_bytes() == sparse().data()
    data = bytearray(dest.read_bytes())
    data[len(data) // 2] ^= 1
    dest.write_bytes(data)
    assert done(platform, name="one", state="exported", dest=str(dest)).changed


def wrong(source: Path, server: HostileServer) -> dict[str, dict[str, Any]]:
    """Kind of error -> what causes it."""
    vmdk = source.with_name("vmdk")
    vmdk.write_bytes(b"KDMV" + bytes(SIZE))
    data = source.read_bytes()
    server.files["/short"] = File(data, says_length=len(data) + 1, ranges=False)
    return {
        "checksum_mismatch": {"path": str(source), "checksum": "md5:" + "0" * 32},
        "unsafe_image": {"path": str(vmdk)},
        "transfer_error": {"url": server.url("/short"), "url_retries": 0},
    }


@pytest.mark.parametrize("kind", ["checksum_mismatch", "unsafe_image", "transfer_error"])
def test_what_is_wrong_leaves_nothing(
    ready: StorageDriver, platform: Platform, source: Path, server: HostileServer, kind: str
):
    with changes_nothing(platform):
        outcome = run(platform, name="one", **wrong(source, server)[kind])
        assert outcome.kind == kind
        assert outcome.result["error"]["rolled_back"] is True


@pytest.mark.parametrize("kind", ["checksum_mismatch", "unsafe_image", "transfer_error"])
def test_what_is_wrong_replaces_nothing(
    ready: StorageDriver, platform: Platform, source: Path, server: HostileServer, kind: str
):
    done(platform, name="one", path=str(source))
    with changes_nothing(platform):
        outcome = run(platform, name="one", force=True, **wrong(source, server)[kind])
        assert outcome.kind == kind
        assert not outcome.changed


def test_replacing(ready: StorageDriver, platform: Platform, source: Path, tmp_path: Path):
    done(platform, name="one", path=str(source))
    data = bytearray(source.read_bytes())
    data[:4] = b"new!"
    source.write_bytes(data)
    done(platform, name="one", path=str(source), checksum=f"sha256:{sha256_of(source)}", force=True)
    assert sha256_of(exported(platform, tmp_path)) == sha256_of(source)


def test_needed_by_a_child(ready: StorageDriver, platform: Platform, source: Path):
    if not ready.supports("volume_copy_on_write"):
        pytest.skip("no children here")
    content = image_content(platform)
    write_segments(str(source), content.segments())
    done(platform, name="one", path=str(source))
    done(platform, name="unneeded", path=str(source))
    make(ready, Volume("child", platform.pool, source=VolumeSource(image="one")))
    with changes_nothing(platform):
        for params in ({"state": "absent"}, {"path": str(source), "force": True}):
            for check in (True, False):
                outcome = run(platform, check=check, name="one", **params)
                assert outcome.kind == "volume_in_use"
                assert "child" in outcome.result["msg"]
    outcome = done(platform, state="absent", older_than="0")
    assert {one["name"]: "kept" in one for one in outcome.objects} == {"one": True, "unneeded": False}
    assert list(ready.get_images([platform.pool])) == [VolumeKey(platform.pool, "one")]


def test_what_another_left_is_taken_over(ready: StorageDriver, platform: Platform, source: Path, tmp_path: Path):
    with changes_nothing(platform):
        ready.reserve_image(Image("one", platform.pool, claim="dead", fetched_s=1.0))
        assert run(platform, name="one", path=str(source), takeover_after=0.2).changed
        assert sha256_of(exported(platform, tmp_path)) == sha256_of(source)
        run(platform, name="one", state="absent")
    with changes_nothing(platform):
        ready.reserve_image(Image("one", platform.pool, claim="dead", fetched_s=1.0))
        assert run(platform, state="absent", older_than="1h", takeover_after=0.2).changed


@pytest.mark.slow
def test_each_call_of_a_fetch_fails_in_turn(ready: StorageDriver, platform: Platform, source: Path):
    params = {"name": "one", "path": str(source), "takeover_after": 600}
    before = platform.snapshot()
    whole = run(platform, **params)
    assert whole.changed
    run(platform, name="one", state="absent")
    for number in range(1, len(whole.calls) + 1):
        told = f"call {number} of {len(whole.calls)}: {whole.calls[number - 1].name}"
        outcome = run(platform, fail_at=number, **params)
        if outcome.kind is None:
            run(platform, name="one", state="absent")
        else:
            assert outcome.result["error"]["not_undone"] == [], told
        assert platform.snapshot() == before, told


@pytest.mark.slow
def test_each_call_of_a_replacement_fails_in_turn(ready: StorageDriver, platform: Platform, source: Path):
    params = {"name": "one", "path": str(source), "takeover_after": 0.3}
    run(platform, **params)
    before = platform.snapshot()
    whole = run(platform, force=True, **params)
    assert whole.changed
    for number in range(1, len(whole.calls) + 1):
        told = f"call {number} of {len(whole.calls)}: {whole.calls[number - 1].name}"
        run(platform, name="one", state="absent")
        run(platform, **params)
        old = ready.get_images([platform.pool])
        outcome = run(platform, force=True, fail_at=number, **params)
        now = ready.get_images([platform.pool])
        if outcome.kind is None:
            assert next(iter(now.values())).complete, told
        elif outcome.result["error"]["not_undone"]:
            assert now == {}, told
        else:
            assert now == old, told
    run(platform, **params)
    assert len(platform.snapshot()) == len(before)


def test_a_full_disk_where_the_module_runs(ready: StorageDriver, platform: Platform, tmp_path: Path):
    created(platform, ready, "one", sparse())
    dest = tmp_path / "copy"
    dest.write_text("old")

    def full(*_arguments: object) -> int:
        raise OSError(28, os.strerror(28))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        outcome = run(platform, name="one", state="exported", dest=str(dest), force=True)
    assert outcome.kind == "insufficient_capacity"
    assert dest.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["copy"]


# -- many processes -------------------------------------------------------------------------------------------------


def slowly(data: bytes, seconds: float) -> Callable[[BaseHTTPRequestHandler], None]:
    """Sends it, and takes its time."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        with suppress(OSError):  # the other side may be dead
            request.wfile.write(data[: len(data) // 2])
            time.sleep(seconds)
            request.wfile.write(data[len(data) // 2 :])

    return answer


@pytest.mark.slow
def test_many_processes_fetch_once(
    ready: StorageDriver, platform: Platform, source: Path, server: HostileServer, tmp_path: Path
):
    server.handlers["/image"] = slowly(source.read_bytes(), 2)
    params = {"name": "one", "pool": platform.pool, "url": server.url("/image"), "takeover_after": 20}
    processes = [image_process.start(platform.options(), **params) for _number in range(3)]
    results = [image_process.result_of(process) for process in processes]
    assert not [result["msg"] for result in results if result.get("failed")]
    assert sum(result["changed"] for result in results) == 1
    assert len(server.seen) == 1
    assert sha256_of(exported(platform, tmp_path)) == sha256_of(source)


@pytest.mark.slow
def test_a_killed_fetch_is_taken_over(
    ready: StorageDriver, platform: Platform, source: Path, server: HostileServer, tmp_path: Path
):
    with changes_nothing(platform):
        server.handlers["/image"] = slowly(source.read_bytes(), 60)
        server.files["/image"] = File(source.read_bytes())
        params = {"name": "one", "pool": platform.pool, "url": server.url("/image"), "takeover_after": 3}
        first = image_process.start(platform.options(), **params)
        until = time.monotonic() + 60
        while not any(image.beat for image in ready.get_images([platform.pool]).values()):
            assert time.monotonic() < until
            assert first.poll() is None, first.communicate()
            time.sleep(0.1)
        del server.handlers["/image"]
        others = [image_process.start(platform.options(), **params) for _number in range(2)]
        first.kill()
        first.communicate()
        results = [image_process.result_of(process) for process in others]
        assert not [result["msg"] for result in results if result.get("failed")]
        assert sum(result["changed"] for result in results) == 1
        assert sha256_of(exported(platform, tmp_path)) == sha256_of(source)
        run(platform, name="one", state="absent")
