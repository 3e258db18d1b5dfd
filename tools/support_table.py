# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/support.md, the table of what each driver can do, from what the drivers declare.

A driver's folder has a ``capabilities.py`` whose ``CAPABILITIES`` maps features to Support. A driver that serves
several kinds of hypervisor has one such mapping for each: ``CAPABILITIES`` is then a mapping of kind to that.
With --check nothing is written; the exit code says whether the file is up to date.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT / "tests"))
importlib.import_module("importable")

DRIVERS = "ansible_collections.anyvirt.compute.plugins.module_utils.driver"
PAGE = CHECKOUT / "docs" / "support.md"
INTRODUCTION = """\
# What works on which hypervisor

Generated from what the drivers declare (`make format` writes it anew). A task that asks for something that its
hypervisor cannot do fails before it changes anything, and its error says what to use instead.
"""


def columns() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Heading and declaration of each column."""
    folder = CHECKOUT / "plugins" / "module_utils" / "driver"
    for path in sorted(folder.glob("*/capabilities.py")):
        driver = path.parent.name
        declared = importlib.import_module(f"{DRIVERS}.{driver}.capabilities").CAPABILITIES
        if all(isinstance(value, Mapping) for value in declared.values()):
            for kind, mapping in declared.items():
                yield f"{driver}: {kind}", mapping
        else:
            yield driver, declared


def page() -> str:
    shared = importlib.import_module(f"{DRIVERS}.capabilities")
    shown = list(columns())
    notes: list[str] = []
    lines = [
        "| | " + " | ".join(heading for heading, declared in shown) + " |",
        "|---|" + ":-:|" * len(shown),
    ]
    for feature, meaning in shared.FEATURES.items():
        cells = [_cell(shared.support(declared, feature), notes) for heading, declared in shown]
        lines.append(f"| {meaning} | " + " | ".join(cells) + " |")
    numbered = [f"{number}. {note}" for number, note in enumerate(notes, 1)]
    return "\n".join([INTRODUCTION, *lines, *(["", *numbered] if numbered else [])]) + "\n"


def _cell(support: Any, notes: list[str]) -> str:
    text = "yes" if support.works else "no"
    if not support.note:
        return text
    if support.note not in notes:
        notes.append(support.note)
    return f"{text} ({notes.index(support.note) + 1})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when the page is out of date")
    text = page()
    current = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    if parser.parse_args().check:
        if text != current:
            print(f"{PAGE.relative_to(CHECKOUT)} is out of date: run 'make format'", file=sys.stderr)
        return int(text != current)
    if text != current:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
