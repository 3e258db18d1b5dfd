# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpack Debian packages into a folder without installing them."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lab.errors import LabError
from lab.proc import run

# A downloader that drops to the _apt user cannot write into a folder of ours.
_APT_AS_ROOT = ("-o", "APT::Sandbox::User=root")


def newest_kernel_package(meta: str = "linux-image-cloud-amd64") -> str:
    """The package with the kernel itself, which the meta package depends on."""
    listing = run(["apt-cache", "depends", meta], check=False).stdout
    found = re.search(r"^\s*Depends: (linux-image-\d\S*)", listing, re.MULTILINE)
    if found is None:
        raise LabError(f"apt knows no package {meta}: run 'apt-get update' first")
    return found.group(1)


def identities(packages: Sequence[str]) -> str:
    """File names and checksums of what download() would fetch: the key for a build from them."""
    lines = run(["apt-get", "download", "--print-uris", *_APT_AS_ROOT, *packages]).stdout.splitlines()
    return "\n".join(sorted(line.split(" ", 1)[1] for line in lines if line.startswith("'")))


def unpack(packages: Sequence[str], target: Path) -> None:
    """Download the packages and unpack their files below target."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="anyvirt-lab-debs-") as folder:
        run(["apt-get", "download", "-qq", *_APT_AS_ROOT, *packages], cwd=Path(folder), timeout_s=600)
        for package in sorted(Path(folder).glob("*.deb")):
            run(["dpkg", "-x", package, target])
