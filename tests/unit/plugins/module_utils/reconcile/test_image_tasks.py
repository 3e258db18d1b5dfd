# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks of virt_image on the fake hypervisor."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.storagedriver import FakeStorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import AnyvirtError, ImageNotFound, InvalidInput
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import (
    Image,
    Volume,
    VolumeKey,
    VolumeSource,
)
from contract import image_process
from contract.image_lab import DATA, KEY, SHA256, WRONG_SOURCES, Lab, dial, slowly, start, wait_for
from lab.hostile import File, HostileServer


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer().running() as running:
        running.files["/image"] = File(DATA)
        yield running


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    folder = tmp_path / "fake"
    folder.mkdir()
    return Lab(folder)


# -- present --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["path", "url"])
def test_an_image_is_fetched_once(lab: Lab, server: HostileServer, kind: str) -> None:
    source = str(lab.source) if kind == "path" else server.url("/image?token=s3cret")
    result = lab.done(name="img", **{kind: source}, checksum=f"sha256:{SHA256}")
    assert result["changed"]
    after = result["image"]["after"]
    assert after["checksum"] == after["source_checksum"] == f"sha256:{SHA256}"
    assert after["file_bytes"] == after["size_bytes"] == len(DATA)
    assert after["format"] == "raw"
    assert "s3cret" not in json.dumps(result)
    assert lab.data() == DATA
    if kind == "url":
        assert len(server.seen) == 1


def test_what_is_compressed_is_verified_packed_and_kept_unpacked(lab: Lab) -> None:
    packed = gzip.compress(DATA)
    lab.source.write_bytes(packed)
    checksum = "md5:" + hashlib.md5(packed).hexdigest()
    after = lab.done(name="img", path=str(lab.source), checksum=checksum)["image"]["after"]
    assert (after["source_checksum"], after["checksum"]) == (checksum, f"sha256:{SHA256}")
    assert not lab.run(name="img", checksum=f"sha256:{SHA256}")["changed"]


@WRONG_SOURCES
def test_what_is_wrong_leaves_nothing(lab: Lab, content: bytes | None, options: dict[str, Any], kind: str) -> None:
    if content is None:
        lab.source.unlink()
    else:
        lab.source.write_bytes(content)
    result = lab.run(name="img", path=str(lab.source), **options)
    assert result["failed"]
    assert result["error"]["kind"] == kind
    assert result["error"]["rolled_back"] is True
    assert not result["changed"]
    assert lab.images() == {}
    assert lab.files() == []


def test_another_image_of_the_name_is_not_taken_for_it(lab: Lab, server: HostileServer) -> None:
    lab.done(name="img", path=str(lab.source))
    for options in (
        {"checksum": "sha256:" + "1" * 64},
        {"url": server.url("/image")},
        {"format": "qcow2"},
    ):
        result = lab.run(name="img", **options)
        assert result["error"]["kind"] == "already_exists"
        assert "force: true" in result["msg"]
    with lab.driver() as driver:
        driver.create_volume(driver.complete_volume(Volume("vol", "default", size_bytes=1 << 20)))
    assert lab.run(name="vol", path=str(lab.source))["error"]["kind"] == "already_exists"


@pytest.mark.parametrize("looks", [1, 2])
def test_a_name_reserved_between_two_looks_is_no_volume(lab: Lab, monkeypatch: pytest.MonkeyPatch, looks: int) -> None:
    """The images are read before the volumes, when it is planned and when it is waited for."""
    seen = []
    look = FakeStorageDriver.get_images

    def outdated(driver: FakeStorageDriver, pools: Sequence[str] | None = None) -> dict[VolumeKey, Image]:
        images = look(driver, pools)
        seen.append(images)
        if len(seen) == 1:
            driver.reserve_image(Image("img", "default", claim="somebody else"))
        return images if len(seen) > looks else {}

    monkeypatch.setattr(FakeStorageDriver, "get_images", outdated)
    result = lab.run(name="img", path=str(lab.source), takeover_after=0.5)
    assert "failed" not in result, result["msg"]
    assert result["changed"], "the other one showed no sign of life"
    assert len(seen) > looks


def test_many_at_once_and_one_fails(lab: Lab, server: HostileServer) -> None:
    images = [{"name": f"img{number}"} for number in range(5)] + [{"name": "bad", "checksum": "md5:" + "0" * 32}]
    result = lab.run(images=images, url=server.url("/image"), workers=3)
    assert result["failed"]
    assert result["changed"]
    assert [image["changed"] for image in result["images"]] == [True] * 5 + [False]
    assert sorted(key.name for key in lab.images()) == [f"img{number}" for number in range(5)]


def test_a_new_image_needs_a_source(lab: Lab) -> None:
    for params in ({"name": "img"}, {"name": "img", "checksum": f"sha256:{SHA256}"}):
        with pytest.raises(InvalidInput, match="url: is missing"):
            lab.run(**params)


def test_pools_that_are_not_there(lab: Lab) -> None:
    result = lab.run(check=True, name="img", path=str(lab.source), pool="nowhere")
    assert result["error"]["kind"] == "pool_not_found"
    assert not lab.run(name="img", state="absent", pool="nowhere")["changed"]
    with pytest.raises(AnyvirtError, match="nowhere"):
        lab.run(state="absent", older_than="1d", pool="nowhere")


# -- absent ---------------------------------------------------------------------------------------------------------


def test_removing(lab: Lab) -> None:
    lab.done(name="img", path=str(lab.source))
    lab.child()
    result = lab.run(name="img", state="absent")
    assert result["error"]["kind"] == "volume_in_use"
    assert "default/child" in result["msg"]
    with lab.driver() as driver:
        driver.delete_volume(VolumeKey("default", "child"))
    assert lab.done(name="img", state="absent")["changed"]
    assert lab.images() == {}
    assert lab.files() == []


def test_cleaning_up_by_age(lab: Lab) -> None:
    for name in ("img", "other"):
        lab.run(name=name, path=str(lab.source))
    lab.child()
    assert lab.done(state="absent", older_than="1h")["images"] == []
    result = lab.run(state="absent", older_than="0")
    assert result["changed"]
    by_name = {image["name"]: image for image in result["images"]}
    assert "default/child" in by_name["img"]["kept"]
    assert by_name["other"]["changed"]
    assert list(lab.images()) == [KEY]


def test_what_is_just_being_fetched_is_not_removed(lab: Lab) -> None:
    with lab.driver() as driver:
        image = Image("img", "default", claim="somebody", fetched_s=0.0)
        driver.reserve_image(image)
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(0.02):
                image.beat += 1
                driver.beat_image(image)

        thread = threading.Thread(target=beat)
        thread.start()
        try:
            result = lab.run(state="absent", takeover_after=0.5, name="img")
            assert result["error"]["kind"] == "volume_in_use"
            assert "somebody" in result["msg"]
            result = lab.run(state="absent", takeover_after=0.5, older_than="1h")
            assert "failed" not in result
            assert not result["changed"]
            assert "somebody" in result["images"][0]["kept"]
        finally:
            stop.set()
            thread.join()
    assert lab.run(state="absent", name="img", takeover_after=0.1)["changed"]
    assert lab.images() == {}


# -- exported -------------------------------------------------------------------------------------------------------


def test_exporting(lab: Lab, tmp_path: Path) -> None:
    lab.run(name="img", path=str(lab.source))
    dest = tmp_path / "copy"
    result = lab.done(name="img", state="exported", dest=str(dest))
    assert result["image"]["sha256"] == SHA256
    assert result["image"]["file_bytes"] == len(DATA)
    assert result["image"]["format"] == "raw"
    assert dest.read_bytes() == DATA
    assert dest.stat().st_blocks * 512 < len(DATA) // 2
    assert dest.stat().st_mode & 0o777 == 0o600
    dest.write_bytes(b"something else")
    assert lab.done(name="img", state="exported", dest=str(dest))["changed"]
    assert lab.run(name="img", state="exported", dest=str(dest), force=True)["changed"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "fake", "source.img"]


def test_exporting_a_volume_compares_its_data(lab: Lab, tmp_path: Path) -> None:
    lab.run(name="img", path=str(lab.source))
    with lab.driver() as driver:
        driver.create_volume(
            driver.complete_volume(Volume("whole", "default", source=VolumeSource(image="img", copy_on_write=False)))
        )
    dest = tmp_path / "copy"
    assert lab.done(name="whole", state="exported", dest=str(dest))["changed"]
    data = bytearray(dest.read_bytes())
    data[500000] ^= 1
    dest.write_bytes(data)
    assert lab.done(name="whole", state="exported", dest=str(dest))["changed"]


def test_exporting_what_cannot_be(lab: Lab, tmp_path: Path) -> None:
    assert lab.run(name="img", state="exported", dest=str(tmp_path / "x"))["error"]["kind"] == "volume_not_found"
    lab.run(name="img", path=str(lab.source))
    for dest in (tmp_path, tmp_path / "nowhere" / "x"):
        with pytest.raises(InvalidInput, match="dest: "):
            lab.run(name="img", state="exported", dest=str(dest))
    with lab.driver() as driver:
        driver.reserve_image(Image("half", "default", claim="somebody"))
    assert lab.run(name="half", state="exported", dest=str(tmp_path / "x"))["error"]["kind"] == "volume_not_found"


# -- many processes -------------------------------------------------------------------------------------------------


def test_one_who_wants_something_else_is_told(lab: Lab, server: HostileServer) -> None:
    server.handlers["/image"] = slowly(1.0)
    first = start(lab, name="img", url=server.url("/image"))
    wait_for(lambda: len(server.seen) == 1)
    result = lab.run(name="img", url=server.url("/image"), checksum="md5:" + "0" * 32)
    assert result["error"]["kind"] == "already_exists"
    assert not result["changed"]
    assert image_process.result_of(first)["changed"]
    assert lab.data() == DATA


def test_a_killed_fetch_is_no_image_and_can_be_removed(lab: Lab, server: HostileServer) -> None:
    server.handlers["/image"] = slowly(30)
    first = start(lab, name="img", url=server.url("/image"))
    wait_for(lambda: len(server.seen) == 1)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert not lab.images()[KEY].complete
    with pytest.raises(ImageNotFound):
        lab.child()
    result = lab.run(name="img", state="absent", takeover_after=0.3)
    assert result["changed"]
    assert lab.images() == {}
    assert lab.files() == []


def test_a_fetch_that_was_only_frozen_notices_that_it_was_given_up(lab: Lab, server: HostileServer) -> None:
    server.handlers["/image"] = slowly(2)
    first = start(lab, name="img", url=server.url("/image"), takeover_after=0.6)
    wait_for(lambda: any(image.beat for image in lab.images().values()))
    first.send_signal(signal.SIGSTOP)
    del server.handlers["/image"]
    assert lab.run(name="img", url=server.url("/image"), takeover_after=0.6)["changed"]
    first.send_signal(signal.SIGCONT)
    result = image_process.result_of(first)
    assert result["failed"]
    assert lab.data() == DATA
    assert len(lab.files()) == 1


# -- trouble at each point ------------------------------------------------------------------------------------------

POINTS = [
    (operation, when) for operation in ("image_reserve", "image_write", "image_finish") for when in ("before", "after")
]


@pytest.mark.parametrize(("operation", "when"), POINTS)
def test_an_error_at_each_point_leaves_nothing(lab: Lab, operation: str, when: str) -> None:
    dial(lab, operation=operation, when=when, error="hypervisor_error", message="no")
    result = lab.run(name="img", path=str(lab.source))
    if (operation, when) == ("image_finish", "after"):  # only its reply was lost
        assert result["changed"]
        assert lab.data() == DATA
        return
    assert result["error"]["kind"] == "hypervisor_error"
    assert result["error"]["rolled_back"] is True
    assert lab.images() == {}
    assert lab.files() == []


@pytest.mark.parametrize(("operation", "when"), POINTS)
def test_a_run_killed_at_each_point_is_mended_by_the_next(lab: Lab, operation: str, when: str) -> None:
    dial(lab, operation=operation, when=when, kill=True)
    killed = start(lab, name="img", path=str(lab.source))
    killed.communicate(timeout=60)
    assert killed.returncode == 137
    assert not any(image.complete for image in lab.images().values()) or (operation, when) == ("image_finish", "after")
    result = lab.run(name="img", path=str(lab.source), takeover_after=0.1)
    assert "failed" not in result
    assert lab.data() == DATA
    assert len(lab.files()) == 1


def test_no_room_in_the_pool(lab: Lab) -> None:
    host = lab.folder / "hosts" / "fake1" / "host.json"
    host.parent.mkdir(parents=True)
    host.write_text(json.dumps({"pools": {"default": {"size": "1G"}}}))
    os.truncate(lab.source, 2 << 30)
    result = lab.run(name="img", path=str(lab.source))
    assert result["error"]["kind"] == "insufficient_capacity"
    assert lab.images() == {}
    assert lab.files() == []
