# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the table of what each driver can do, from what the drivers declare: whole into docs/support.md, and without
its notes into the marked place of README.md.

A driver's folder has a ``capabilities.py`` whose ``CAPABILITIES`` maps features to Support. A driver that serves
several kinds of hypervisor has one such mapping for each: ``CAPABILITIES`` is then a mapping of kind to that.
With --check nothing is written; the exit code says whether both are up to date.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT / "tests"))
importlib.import_module("importable")

DRIVERS = "ansible_collections.anyvirt.compute.plugins.module_utils.driver"
PAGE = CHECKOUT / "docs" / "support.md"
README = CHECKOUT / "README.md"
README_MARKS = ("<!-- support table: written by make format -->\n", "<!-- end of the support table -->\n")
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
    """docs/support.md."""
    lines, notes = table()
    numbered = [f"{number}. {note}" for number, note in enumerate(notes, 1)]
    return "\n".join([INTRODUCTION, *lines, *(["", *numbered] if numbered else [])]) + "\n"


def readme(text: str) -> str:
    """README.md with the present table in its place."""
    before, rest = text.split(README_MARKS[0])
    after = rest.split(README_MARKS[1])[1]
    lines = [re.sub(r" \(\d+\)", "", line) for line in table()[0]]
    return "".join([before, README_MARKS[0], "\n", *(f"{line}\n" for line in lines), "\n", README_MARKS[1], after])


def table() -> tuple[list[str], list[str]]:
    """The table's lines, and the notes that its cells refer to."""
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
    return lines, notes


def _cell(support: Any, notes: list[str]) -> str:
    text = "yes" if support.works else "no"
    if not support.note:
        return text
    if support.note not in notes:
        notes.append(support.note)
    return f"{text} ({notes.index(support.note) + 1})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when one of the files is out of date")
    wanted = {PAGE: page(), README: readme(README.read_text(encoding="utf-8"))}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if parser.parse_args().check:
        for path in stale:
            print(f"{path.relative_to(CHECKOUT)} is out of date: run 'make format'", file=sys.stderr)
        return int(bool(stale))
    for path in stale:
        path.write_text(wanted[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
