# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel modules out of an unpacked kernel package, which comes without a dependency list."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")


def load_order(modules_folder: Path, wanted: Iterable[str]) -> list[Path]:
    """Files of the wanted modules, each after those it depends on; a built-in one is left out."""
    files = {_canonical(path.stem): path for path in modules_folder.rglob("*.ko")}
    ordered: dict[str, Path] = {}

    def add(name: str) -> None:
        path = files.get(name)
        if path is None or name in ordered:
            return
        for needed in _dependencies(path):
            add(needed)
        ordered[name] = path

    for module in wanted:
        add(_canonical(module))
    return list(ordered.values())


def _dependencies(path: Path) -> list[str]:
    found = _DEPENDS.search(path.read_bytes())
    return [_canonical(name) for name in found.group(1).decode().split(",") if name] if found else []


def _canonical(name: str) -> str:
    return name.replace("-", "_")
