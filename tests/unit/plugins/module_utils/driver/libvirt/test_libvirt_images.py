# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers of image files, read here or by libvirt."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.images import ImageFacts, facts_here
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import ImageNotFound, UnsafeImage
from contract.contents import qcow2_image

_VOLUME = (
    "<volume><capacity unit='bytes'>4096</capacity><target><path>/srv/a</path><format type='{format}'/></target>"
    "{backing}</volume>"
)


def test_what_files_here_are(tmp_path: Path):
    files = {"raw": bytes(2048), "qcow2": qcow2_image(1 << 20).file, "vmdk": b"KDMV" + bytes(1020)}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert facts_here(str(tmp_path / "raw")) == ImageFacts("raw", 2048)
    assert facts_here(str(tmp_path / "qcow2")) == ImageFacts("qcow2", 1 << 20)
    assert facts_here(str(tmp_path / "vmdk")) is None, "libvirt is asked"
    assert facts_here(str(tmp_path / "missing")) is None
    assert facts_here(str(tmp_path)) is None


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


def leaning_qcow2() -> bytes:
    image = bytearray(qcow2_image(1 << 20).file)
    image[8:20] = struct.pack(">QI", 512, len(b"/etc/shadow"))
    image[512:523] = b"/etc/shadow"
    return bytes(image)


@pytest.mark.parametrize("uri", ["qemu+tcp://far/system", "qemu:///system"])
def test_an_image_that_leans_on_another_file_is_refused(
    stubs: Any, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    image, file = leaning_qcow2(), tmp_path / "image"
    file.write_bytes(image)
    volume = stubs.Recorder(infoFlags=[0, 1 << 20, len(image)])
    driver = stubs.opened(uri=uri, storageVolLookupByPath=volume)
    monkeypatch.setattr(driver, "download", lambda _volume, offset, length: image[offset : offset + length])
    with pytest.raises(UnsafeImage, match="/etc/shadow"):
        driver.usable_image(str(file))
