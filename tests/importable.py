# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes ``import ansible_collections.anyvirt.compute...`` find this checkout, wherever it lies and whatever its name.

Importing this module is enough. Tests get it from conftest.py; a script or a child process that a test starts does::

    sys.path.insert(0, TESTS)   # the folder of this file
    import importable
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

TESTS = Path(__file__).resolve().parent
CHECKOUT = TESTS.parent
PACKAGES = {
    "ansible_collections": [],
    "ansible_collections.anyvirt": [],
    "ansible_collections.anyvirt.compute": [str(CHECKOUT)],
}


def ansible_imports_collections() -> bool:
    """Whether Ansible's own loader is at work, as it is below ansible-test."""
    return any(type(finder).__name__ == "_AnsibleCollectionFinder" for finder in sys.meta_path)


def make_importable() -> None:
    if str(TESTS) not in sys.path:
        sys.path.insert(0, str(TESTS))
    if ansible_imports_collections():
        return
    for name, path in PACKAGES.items():
        if name not in sys.modules:
            package = ModuleType(name, "A package without a folder of its own.")
            package.__path__ = path
            sys.modules[name] = package
        parent, dot, child = name.rpartition(".")
        if dot:
            setattr(sys.modules[parent], child, sys.modules[name])


make_importable()
