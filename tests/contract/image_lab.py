# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks of virt_image on a fake hypervisor of their own."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storageuri import get_storage_driver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import (
    Image,
    Volume,
    VolumeKey,
    VolumeSource,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.images import reconcile_images
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.task import Task
from contract import image_process

DATA = random.Random(4).randbytes(300000) + bytes(1 << 20) + b"end".ljust(1000, b"\1")
SHA256 = hashlib.sha256(DATA).hexdigest()
KEY = VolumeKey("default", "img")

WRONG_SOURCES = pytest.mark.parametrize(
    ("content", "options", "kind"),
    [
        (DATA, {"checksum": "sha1:" + "0" * 40}, "checksum_mismatch"),
        (DATA, {"format": "qcow2"}, "transfer_error"),
        (DATA, {"max_size": "1M"}, "unsafe_image"),
        (b"QFI\xfb\0\0\0\3" + bytes(7) + b"\1" + bytes(500), {}, "unsafe_image"),
        (gzip.compress(DATA, mtime=0)[:-20], {}, "transfer_error"),
        (b"", {}, "transfer_error"),
        (None, {}, "transfer_error"),
    ],
    ids=["checksum", "format", "max_size", "unsafe", "cut short", "empty", "missing"],
)
"""What no image is made of, with the options that say so: for tests with ``content``, ``options`` and ``kind``."""


class Lab:
    """A fake hypervisor in a folder, and tasks for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = f"fake://{folder}"
        self.source = folder.parent / "source.img"
        self.source.write_bytes(DATA)

    def driver(self) -> StorageDriver:
        return get_storage_driver(ConnectionOptions(self.uri))

    def run(self, check: bool = False, **params: Any) -> dict[str, Any]:
        params.setdefault("images", None)
        return reconcile_images(Task(params, check, True, self.driver, lambda warning: None))

    def done(self, **params: Any) -> dict[str, Any]:
        """In check mode, for real and again; the result of the real run, for a single image."""
        before = self.images()
        expected = self.run(check=True, **params)
        assert self.images() == before
        result = self.run(**params)
        assert "failed" not in result, result["msg"]
        assert [each["steps"] for each in expected["images"]] == [each["steps"] for each in result["images"]]
        assert not self.run(**params)["changed"]
        return result

    def images(self) -> dict[VolumeKey, Image]:
        with self.driver() as driver:
            images: dict[VolumeKey, Image] = driver.get_images()
            return images

    def data(self, key: VolumeKey = KEY) -> bytes:
        target = self.folder.parent / "read"
        self.run(name=key.name, pool=key.pool, state="exported", dest=str(target), force=True)
        return target.read_bytes()

    def files(self) -> list[str]:
        data = self.folder / "hosts" / "fake1" / "data"
        return sorted(os.listdir(data)) if data.exists() else []

    def child(self, name: str = "child") -> None:
        with self.driver() as driver:
            driver.create_volume(
                driver.complete_volume(Volume(name, "default", source=VolumeSource(image="img", copy_on_write=True)))
            )


def start(lab: Lab, **params: Any) -> subprocess.Popen[bytes]:
    return image_process.start(ConnectionOptions(lab.uri), **params)


def slowly(seconds: float) -> Callable[[Any], None]:
    """Sends the image, and takes its time."""

    def answer(request: Any) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(DATA)))
        request.end_headers()
        try:
            request.wfile.write(DATA[:200000])
            time.sleep(seconds)
            request.wfile.write(DATA[200000:])
        except OSError:
            pass  # it was killed

    return answer


def dial(lab: Lab, **fault: Any) -> None:
    (lab.folder / "faults.json").write_text(json.dumps({"faults": [{"times": 1, **fault}]}))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
