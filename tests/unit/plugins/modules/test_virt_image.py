# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""virt_image from its entry to its result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest
import yaml

from ansible_collections.anyvirt.compute.plugins.modules import virt_image

RunModule = Callable[..., "dict[str, Any]"]


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "source.img"
    path.write_bytes(b"disk" * 1024)
    return str(path)


def options_of(result: dict[str, Any]) -> list[str]:
    return [problem["option"] for problem in result["error"]["problems"]]


def test_fetched_once_as_foretold(image_module: RunModule, source: str) -> None:
    foretold = image_module(name="img", path=source, _ansible_check_mode=True)
    made = image_module(name="img", path=source, _ansible_diff=True)
    again = image_module(name="img", path=source)
    assert [foretold["changed"], made["changed"], again["changed"]] == [True, True, False]
    assert foretold["image"]["steps"] == made["image"]["steps"] == [f"fetch the image img from {source}"]
    assert made["image"]["before"] is None
    assert made["diff"][0]["before_header"] == "image img"
    assert image_module(name="img", state="absent")["image"]["steps"] == ["remove the image img"]
    assert not image_module(name="img", state="absent")["changed"]


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"name": "a/b", "url": "http://host/x"}, ["name"]),
        ({"name": "img", "url": "file:///x"}, ["url"]),
        ({"name": "img", "url": "ftp://host/x"}, ["url"]),
        ({"name": "img", "url": "http:///x"}, ["url"]),
        ({"name": "img", "url": "http://host:port/x"}, ["url"]),
        ({"name": "img", "url": "http://host/a b"}, ["url"]),
        ({"name": "img", "url": "http://me:secret@host/x"}, ["url"]),
        ({"name": "img", "url": "http://host/x", "path": "/x"}, ["path"]),
        ({"name": "img", "path": "x/y"}, ["path"]),
        ({"name": "img", "path": "/x", "url_password": "p", "url_retries": 1}, ["url_password", "url_retries"]),
        ({"name": "img", "path": "/x", "checksum": "abc"}, ["checksum"]),
        ({"name": "img", "path": "/x", "checksum": "sha256:abc"}, ["checksum"]),
        ({"name": "img", "path": "/x", "checksum": "crc32:" + "0" * 8}, ["checksum"]),
        ({"name": "img", "path": "/x", "checksum": "md5:ftp://host/SUMS"}, ["checksum"]),
        ({"name": "img", "path": "/x", "checksum": "md5:http://me:secret@host/SUMS"}, ["checksum"]),
        ({"name": "img", "path": "/x", "max_size": "huge"}, ["max_size"]),
        ({"name": "img", "path": "/x", "takeover_after": 0}, ["takeover_after"]),
        ({"name": "img", "url": "http://host/x", "url_headers": {"a b": "c", "d": "e\nf"}}, ["url_headers"] * 2),
        ({"name": "img", "path": "/x", "dest": "/y"}, ["dest"]),
        ({"name": "img", "state": "absent", "path": "/x", "force": True}, ["path", "force"]),
        ({"name": "img", "state": "exported"}, ["dest"]),
        ({"name": "img", "state": "exported", "dest": "y"}, ["dest"]),
        ({"name": "img", "state": "exported", "dest": "/y", "url": "http://host/x"}, ["url"]),
        ({"name": "img", "path": "/x", "workers": 0}, ["workers"]),
        ({"older_than": "1d"}, ["older_than"]),
        ({"older_than": "soon", "state": "absent"}, ["older_than"]),
        ({"older_than": "1d", "state": "absent", "path": "/x"}, ["path"]),
        ({"images": [{"name": "a", "path": "/x"}, {"name": "a", "path": "/x"}]}, ["images[1].name"]),
        ({"images": [{"name": "a", "path": "x"}, {"name": "b", "url": "x"}]}, ["images[0].path", "images[1].url"]),
        ({"images": [{"name": "a"}, {"name": "b"}], "checksum": "x", "path": "/x"}, ["checksum"]),
        ({"images": [{"name": "a", "pool": "default"}, {"name": "a"}], "path": "/x"}, ["images[1].name"]),
        (
            {"images": [{"name": "a"}, {"name": "b"}], "state": "exported", "dest": "/x"},
            ["images[1].dest"],
        ),
        ({}, [""]),
        ({"name": "img", "older_than": "1d", "state": "absent"}, [""]),
    ],
)
def test_wrong_options(image_module: RunModule, folder: Path, options: dict[str, Any], wrong: list[str]) -> None:
    result = image_module(**options)
    assert result["error"]["kind"] == "invalid_input"
    assert options_of(result)[: len(wrong)] == wrong
    assert not folder.exists() or not list(folder.rglob("*.json"))


def test_secrets_are_nowhere(image_module: RunModule, folder: Path) -> None:
    result = image_module(
        images=[{"name": "img", "url_password": "s3cret", "url_headers": {"X-Token": "t0ken"}}],
        url="http://127.0.0.1:1/x?signature=s1gned",
        url_username="me",
        url_retries=0,
    )
    assert result["error"]["kind"] == "transfer_error"
    words = json.dumps(result)
    assert "s3cret" not in words
    assert "t0ken" not in words
    assert "s1gned" not in json.dumps({**result, "invocation": None})
    kept = "".join(path.read_text() for path in folder.rglob("*.json"))
    assert not any(secret in kept for secret in ("s3cret", "t0ken", "s1gned"))


def test_all_documented_age_units(image_module: RunModule, source: str) -> None:
    image_module(name="img", path=source)
    for age in ("3600", "3600s", "60m", "1h", "1.5d", "2w"):
        assert image_module(state="absent", older_than=age)["images"] == []
    assert image_module(state="absent", older_than="0s")["changed"]


def test_a_clean_up_keeps_what_is_needed_by_now(image_module: RunModule, source: str, folder: Path) -> None:
    image_module(name="img", path=source)
    faults = [{"operation": "image_delete", "error": "volume_in_use", "message": "it has a child by now"}]
    (folder / "faults.json").write_text(json.dumps({"faults": faults}))
    kept = image_module(state="absent", older_than="0s")
    assert not kept["changed"]
    assert not kept.get("failed")
    assert [(image["kept"], image["steps"]) for image in kept["images"]] == [("it has a child by now", [])]
    assert kept["images"][0]["after"]["state"] == "present"


def test_an_image_is_gone_though_the_reply_to_that_was_lost(image_module: RunModule, source: str, folder: Path) -> None:
    image_module(name="img", path=source)
    faults = [{"operation": "image_delete", "error": "hypervisor_error", "when": "after", "times": 1}]
    (folder / "faults.json").write_text(json.dumps({"faults": faults}))
    failed = image_module(name="img", state="absent")
    assert (failed["failed"], failed["changed"], failed["image"]["after"]) == (True, True, None)


def test_a_disc_is_raw_data_too(image_module: RunModule, tmp_path: Path) -> None:
    disc = tmp_path / "disc"
    disc.write_bytes(bytes(32769) + b"CD001" + bytes(100000))
    options = {"name": "img", "path": str(disc), "format": "raw"}
    assert image_module(**options)["image"]["after"]["format"] == "iso"
    again = image_module(**options)
    assert (again["changed"], again.get("failed")) == (False, None)


def test_documentation_and_options_agree() -> None:
    documented = yaml.safe_load(virt_image.DOCUMENTATION)["options"]
    assert set(documented) == set(virt_image.ARGUMENT_SPEC)
    entries = documented["images"]["suboptions"]
    assert set(entries) == set(virt_image.IMAGE_OPTIONS) | {"name"}
    for name, spec in virt_image.IMAGE_OPTIONS.items():
        for options in (documented, entries):
            assert options[name]["type"] == spec["type"], name
            assert options[name].get("choices") == spec.get("choices"), name
            assert "default" not in options[name]
