# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Built artefacts, kept outside the repository and made once however many processes ask for them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_root() -> Path:
    """ANYVIRT_LAB_CACHE, else anyvirt-lab under the XDG cache folder."""
    chosen = os.environ.get("ANYVIRT_LAB_CACHE")
    if chosen:
        return Path(chosen).resolve()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).resolve() / "anyvirt-lab"


def key_of(*parts: str | bytes) -> str:
    """A short name for what an artefact is made from."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:16]


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on path for the body; the kernel drops it if the holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def build_once(name: str, key: str, build: Callable[[Path], None]) -> Path:
    """The folder that build(folder) filled for this key; a half-made one is never seen by anybody."""
    root = cache_root()
    final = root / f"{name}-{key}"
    if final.is_dir():
        return final
    with file_lock(root / f"{name}.lock"):
        if final.is_dir():
            return final
        for abandoned in root.glob(f"{name}.building-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f"{name}.building-", dir=root))
        try:
            build(work)
            work.chmod(0o755)
            work.rename(final)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return final
