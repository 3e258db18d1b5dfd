# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The seed disk from which cloud-init's NoCloud source takes its data: a small CD image labelled ``cidata``."""

from __future__ import annotations

import io

from ..errors import LibraryMissing
from ..model.instance import CloudInit

LABEL = "cidata"


def build_seed(data: CloudInit) -> bytes:
    """The image, with its files under their long names for Linux (Rock Ridge) and Windows (Joliet).

    Raises:
        LibraryMissing: pycdlib is not installed here.
    """
    try:
        import pycdlib
    except ImportError as error:
        raise LibraryMissing(
            "the Python library pycdlib, which builds the cloud-init disk, is not installed where the module runs: "
            "install the package python3-pycdlib, or pycdlib with pip"
        ) from error
    image = pycdlib.PyCdlib()
    image.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=LABEL)
    try:
        for number, (name, text) in enumerate(_files(data).items()):
            content = text.encode()
            image.add_fp(io.BytesIO(content), len(content), f"/FILE{number}.;1", rr_name=name, joliet_path=f"/{name}")
        written = io.BytesIO()
        image.write_fp(written)
    finally:
        image.close()
    return written.getvalue()


def _files(data: CloudInit) -> dict[str, str]:
    files = {"meta-data": data.meta_data, "user-data": data.user_data}
    if data.network_config:
        files["network-config"] = data.network_config
    return files
