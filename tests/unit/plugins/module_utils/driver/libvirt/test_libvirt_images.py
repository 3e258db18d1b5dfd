# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers of image files, read here or by libvirt."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.images import ImageFacts, read_header
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import HypervisorError, ImageNotFound

_VOLUME = (
    "<volume><capacity unit='bytes'>4096</capacity><target><path>/srv/a</path><format type='{format}'/></target>"
    "{backing}</volume>"
)


def qcow2(size_bytes: int, backing: bytes = b"", features: int = 0, version: int = 3) -> bytes:
    head = struct.pack(">4sIQIIQ", b"QFI\xfb", version, 112 if backing else 0, len(backing), 16, size_bytes)
    return head.ljust(72, b"\0") + struct.pack(">Q", features).ljust(40, b"\0") + backing


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        (b"\0" * 2048, ImageFacts("raw", 2048)),
        (b"", ImageFacts("raw", 0)),
        (qcow2(1 << 30), ImageFacts("qcow2", 1 << 30)),
        (qcow2(1 << 30, version=2, features=4), ImageFacts("qcow2", 1 << 30)),
        (qcow2(1 << 30, b"/etc/shadow"), ImageFacts("qcow2", 1 << 30, "/etc/shadow")),
        (qcow2(1 << 30, features=4), ImageFacts("qcow2", 1 << 30, "an external data file")),
        (b"KDMV" + b"\0" * 100, None),
        (b"vhdxfile" + b"\0" * 100, None),
    ],
)
def test_headers(tmp_path: Path, content: bytes, facts: ImageFacts | None):
    file = tmp_path / "image"
    file.write_bytes(content)
    assert read_header(str(file)) == facts


def test_no_file_is_no_header(tmp_path: Path):
    assert read_header(str(tmp_path / "missing")) is None
    assert read_header(str(tmp_path)) is None


def test_a_file_of_another_machine_is_not_looked_for_here(stubs: Any, tmp_path: Path):
    file = tmp_path / "image"
    file.write_bytes(b"\0" * 512)
    volume = stubs.Recorder(XMLDesc=_VOLUME.format(format="qcow2", backing=""))
    driver = stubs.opened(uri="qemu+ssh://root@far/system", storageVolLookupByPath=volume)
    assert driver.image_facts(str(file)) == ImageFacts("qcow2", 4096)


def test_a_file_in_no_pool_is_seen_through_a_passing_one(stubs: Any):
    volume = stubs.Recorder(XMLDesc=_VOLUME.format(format="qcow2", backing=""))
    pool = stubs.Recorder(name="anyvirt-look-1", storageVolLookupByName=volume, destroy=0)
    driver = stubs.opened(
        uri="qemu+tcp://far/system",
        storageVolLookupByPath=stubs.Error(50),
        storagePoolLookupByTargetPath=stubs.Error(49),
        storagePoolCreateXML=pool,
    )
    assert driver.image_facts("/srv/images/a.qcow2").format == "qcow2"
    assert pool.called[-1] == "destroy"


@pytest.mark.parametrize(
    "answers",
    [
        {"storagePoolCreateXML": (38, "cannot open directory '/srv': No such file or directory")},
        {"storagePoolCreateXML": (50, "no storage vol with matching name")},
    ],
)
def test_a_file_that_is_not_there(stubs: Any, answers: dict[str, tuple[int, str]]):
    driver = stubs.opened(
        uri="qemu+tcp://far/system",
        storageVolLookupByPath=stubs.Error(50),
        storagePoolLookupByTargetPath=stubs.Error(49),
        **{call: stubs.Error(*error) for call, error in answers.items()},
    )
    with pytest.raises(ImageNotFound, match="/srv/a"):
        driver.image_facts("/srv/a")


def test_an_image_that_leans_on_another_file_is_refused(stubs: Any):
    backing = "<backingStore><path>/etc/shadow</path></backingStore>"
    volume = stubs.Recorder(XMLDesc=_VOLUME.format(format="qcow2", backing=backing))
    driver = stubs.opened(uri="qemu+tcp://far/system", storageVolLookupByPath=volume)
    with pytest.raises(HypervisorError, match="/etc/shadow"):
        driver.usable_image("/srv/a")
