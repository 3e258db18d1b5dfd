# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian packages as plain files: which versions the machine's apt sources offer, and their content.

Nothing is installed and no maintainer script runs. apt solves the dependencies against an empty system, so the
answer does not depend on what this machine has installed; sources, proxies and keys are the machine's own.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.proc import run

_PLANNED = re.compile(r"^Inst (?P<name>\S+) \((?P<version>\S+) .*\[(?P<architecture>\w+)\]\)", re.MULTILINE)
_EMPTY_SYSTEM = ("-o", "Dir::State::status=/dev/null", "-o", "Debug::NoLocking=1", "--no-install-recommends")


@dataclass(frozen=True, order=True)
class Package:
    """One package in one version."""

    name: str
    version: str
    architecture: str

    @property
    def file_name(self) -> str:
        """What `apt-get download` calls its file."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"

    def __str__(self) -> str:
        return f"{self.name}={self.version}"


class Apt:
    """The machine's apt, asked without touching its state.

    The package lists are the machine's own; when they are absent or too old to serve, fresh ones are fetched into
    the folder `lists`.
    """

    def __init__(self, lists: Path) -> None:
        self._fresh_lists = lists
        self._use_lists: list[str] = []

    def resolve(self, wanted: Sequence[str]) -> list[Package]:
        """The packages that an empty system would get to have `wanted`, without recommended ones."""
        plan = self._ask("-s", *_EMPTY_SYSTEM, "install", *wanted)
        return sorted(Package(**match.groupdict()) for match in _PLANNED.finditer(plan))

    def download(self, packages: Sequence[Package], folder: Path) -> list[Path]:
        """The package files, from `folder` or fetched into it."""
        folder.mkdir(parents=True, exist_ok=True)
        missing = [package for package in packages if not (folder / package.file_name).is_file()]
        if missing:
            with tempfile.TemporaryDirectory(dir=folder, prefix="fetch-") as scratch:
                self._ask("download", *map(str, missing), cwd=Path(scratch))
                for package in missing:
                    os.replace(Path(scratch, package.file_name), folder / package.file_name)
        return [folder / package.file_name for package in packages]

    def _ask(self, *arguments: str, cwd: Path | None = None) -> str:
        try:
            return self._run(*arguments, cwd=cwd)
        except LabError:
            if self._use_lists:
                raise
            self._fetch_lists()
            return self._run(*arguments, cwd=cwd)

    def _fetch_lists(self) -> None:
        (self._fresh_lists / "partial").mkdir(parents=True, exist_ok=True)
        self._use_lists = [
            "-o", f"Dir::State::lists={self._fresh_lists}",
            "-o", "Dir::Cache::pkgcache=",
            "-o", "Dir::Cache::srcpkgcache=",
        ]  # fmt: skip
        self._run("update")

    def _run(self, *arguments: str, cwd: Path | None = None) -> str:
        # A downloader that drops to the _apt user could not write into our folders.
        return run(
            ["apt-get", "-q", "-o", "APT::Sandbox::User=root", *self._use_lists, *arguments], cwd=cwd, timeout_s=600
        ).stdout


def unpack(package_file: Path, target: Path, only: Sequence[str] = (), without: Sequence[str] = ()) -> None:
    """Put the files of a package below `target`, which keeps its own directory links (/bin to /usr/bin)."""
    target.mkdir(parents=True, exist_ok=True)
    selection = [f"--exclude={pattern}" for pattern in without] + list(only)
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package_file], stdout=subprocess.PIPE) as archive:
        tar = subprocess.run(
            ["tar", "-x", "--keep-directory-symlink", "--no-same-owner", "-C", target, *selection],
            stdin=archive.stdout,
            capture_output=True,
            text=True,
            check=False,
        )
    if tar.returncode or archive.returncode:
        raise LabError(f"unpacking {package_file.name} failed: {tar.stderr.strip()}")
