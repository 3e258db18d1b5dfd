# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cloud-init seed disk."""

from __future__ import annotations

import io
import sys

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.seed import build_seed
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import LibraryMissing
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import CloudInit


def files_of(image: bytes) -> dict[str, str]:
    pycdlib = pytest.importorskip("pycdlib")
    disk = pycdlib.PyCdlib()
    disk.open_fp(io.BytesIO(image))
    try:
        found = {}
        for _folder, _folders, names in disk.walk(rr_path="/"):
            for name in names:
                content = io.BytesIO()
                disk.get_file_from_iso_fp(content, rr_path=f"/{name}")
                found[name] = content.getvalue().decode()
        assert disk.pvd.volume_identifier.decode().strip() == "cidata"
        return found
    finally:
        disk.close()


def test_all_its_files():
    pytest.importorskip("pycdlib")
    data = CloudInit("#cloud-config\nname: jö\n", "instance-id: one\n", "version: 2\n")
    assert files_of(build_seed(data)) == {
        "user-data": data.user_data,
        "meta-data": data.meta_data,
        "network-config": data.network_config,
    }


def test_cloud_init_wants_two_files_even_if_they_are_empty():
    pytest.importorskip("pycdlib")
    assert files_of(build_seed(CloudInit())) == {"user-data": "", "meta-data": ""}


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pycdlib", None)
    with pytest.raises(LibraryMissing, match="python3-pycdlib"):
        build_seed(CloudInit())
