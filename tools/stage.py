# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies the checkout to ``DESTINATION/ansible_collections/anyvirt/compute``.

Ansible's tools only accept a collection that lies in a folder of that name, and do not follow a link to one. The copy
holds what git would commit; what the tools leave in it (caches, test output) stays from one run to the next.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
COLLECTION = Path("ansible_collections/anyvirt/compute")
NEVER_COPIED = {".git", ".venv", ".ansible", ".cache", ".nox", "build", "collections", "__pycache__"}
LEFT_BY_TOOLS = (".ansible", ".cache", ".git", ".mypy_cache", ".pytest_cache", ".ruff_cache", "tests/output")


def files_of(checkout: Path) -> list[Path]:
    """Relative paths of the files that belong to the collection's sources."""
    listed = _listed_by_git(checkout) if (checkout / ".git").exists() else None
    paths = _walked(checkout) if listed is None else listed
    return sorted(path for path in paths if os.path.lexists(checkout / path))


def synchronise(checkout: Path, target: Path) -> tuple[int, int]:
    """Make target the image of the checkout; returns how many files were copied and how many removed."""
    wanted = files_of(checkout)
    copied = sum(_copy_if_changed(checkout / path, target / path) for path in wanted)
    removed = _remove_others(target, set(wanted))
    return copied, removed


def make_git_root(target: Path) -> None:
    """Keep tools that ask git for a file list inside the copy: the checkout around it ignores the build folder."""
    if (CHECKOUT / ".git").exists() and not (target / ".git").exists():
        subprocess.run(["git", "init", "--quiet", str(target)], check=True)


def _listed_by_git(checkout: Path) -> list[Path] | None:
    command = ["git", "-C", str(checkout), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        answer = subprocess.run(command, check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return [Path(os.fsdecode(name)) for name in set(answer.split(b"\0")) if name]


def _walked(checkout: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(checkout):
        folders[:] = [name for name in folders if name not in NEVER_COPIED and not name.endswith("_cache")]
        for name in files:
            path = Path(folder, name).relative_to(checkout)
            if not path.is_relative_to("tests/output"):
                yield path


def _copy_if_changed(source: Path, target: Path) -> bool:
    if source.is_symlink():
        if target.is_symlink() and os.readlink(target) == os.readlink(source):
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.symlink_to(os.readlink(source))
        return True
    ours = source.stat()
    if target.is_file() and not target.is_symlink():
        theirs = target.stat()
        if (ours.st_mtime_ns, ours.st_size, ours.st_mode) == (theirs.st_mtime_ns, theirs.st_size, theirs.st_mode):
            return False
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
    return True


def _remove_others(target: Path, wanted: set[Path]) -> int:
    removed = 0
    for path in sorted(_kept_back(target), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(target) not in wanted:
            path.unlink()
            removed += 1
    return removed


def _kept_back(target: Path) -> Iterable[Path]:
    for path in target.rglob("*"):
        relative = path.relative_to(target)
        if not any(relative.is_relative_to(kept) for kept in LEFT_BY_TOOLS):
            yield path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("destination", type=Path, help="folder that ansible_collections/ is made in")
    target = parser.parse_args().destination.resolve() / COLLECTION
    copied, removed = synchronise(CHECKOUT, target)
    make_git_root(target)
    print(f"{target}: {copied} files copied, {removed} removed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
