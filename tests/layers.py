# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the imports of plugins/ and says which of them point the wrong way.

Arrows point one way: modules -> module.py -> reconcile -> driver -> hypervisor library; errors, undo, model, transfer
are the ground. On the controller's side: action and filter -> plugin_utils -> transfer. Whatever is found in the
sources counts: imports inside functions, and those for type checking alone.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

OWN_PACKAGE = "ansible_collections.anyvirt.compute.plugins."
REGISTRIES = (
    "module_utils.driver.uri",
    "module_utils.driver.storageuri",
    "module_utils.driver.firewalluri",
    "module_utils.driver.migrationuri",
)
LIBRARY_OF = {"libvirt": "libvirt", "libvirt_lxc": "libvirt", "libvirt_qemu": "libvirt", "XenAPI": "xenapi"}

GROUND = {"errors", "undo", "model", "transfer"}
ALLOWED = {
    "errors": set[str](),
    "undo": {"errors"},
    "model": {"errors", "model"},
    "transfer": {"errors", "undo", "model", "transfer"},
    "driver": {*GROUND, "driver"},
    "reconcile": {*GROUND, "driver", "reconcile"},
    "module.py": {*GROUND, "driver", "reconcile", "module.py"},
    "modules": {"module.py", "reconcile"},
    "plugin_utils": {"transfer", "plugin_utils"},
    "action": {"plugin_utils"},
    "doc_fragments": set[str](),
    "filter": {"plugin_utils"},
}
"""Layer -> the layers it may import. A driver's own folder is the layer ``driver/NAME``: see allowed_for()."""


class Import(NamedTuple):
    name: str
    """Absolute, and below plugins/ when it is ours: ``module_utils.errors`` but ``ansible.module_utils.basic``."""
    line: int
    ours: bool
    deferred: bool
    """It is not carried out when the file is imported: inside a function, or for type checking."""


class Source(NamedTuple):
    name: str
    path: Path
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"


class Checker:
    """All rules, over one folder of plugins."""

    def __init__(self, plugins: Path) -> None:
        self.plugins = plugins
        self.sources = [self._read(path) for path in sorted(plugins.rglob("*.py"))]
        self.names = {source.name for source in self.sources}
        self.drivers = {name.split(".")[2] for name in self.names if self._is_below_a_driver(name)}

    def violations(self) -> list[str]:
        return [
            f"{source.path.relative_to(self.plugins)}:{line}: {what}"
            for source in self.sources
            for line, what in self._violations_of(source)
        ]

    def _read(self, path: Path) -> Source:
        parts = path.relative_to(self.plugins).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        return Source(".".join(parts), path, ast.parse(path.read_text(encoding="utf-8"), str(path)))

    def _is_below_a_driver(self, name: str) -> bool:
        return name.startswith("module_utils.driver.") and name.count(".") >= 3

    def layer(self, name: str) -> str | None:
        """The layer that a file of ours belongs to; None when the house has no such room."""
        kind, *rooms = name.split(".")
        if kind != "module_utils":
            return kind if kind in ALLOWED else None
        if rooms in ([], ["module"]):
            return "module.py"
        if rooms[0] == "driver" and self.drivers.intersection(rooms[1:2]):
            return f"driver/{rooms[1]}"
        return rooms[0] if rooms[0] in ALLOWED else None

    def allowed_for(self, source: Source) -> set[str]:
        layer = self.layer(source.name)
        if layer is None:
            return set()
        if layer.startswith("driver/"):
            return {*ALLOWED["driver"], layer}
        if source.name in REGISTRIES:
            return {*ALLOWED["driver"], *(f"driver/{name}" for name in self.drivers)}
        return ALLOWED[layer]

    def _violations_of(self, source: Source) -> Iterator[tuple[int, str]]:
        if self.layer(source.name) is None:
            yield 1, "belongs to no layer"
            return
        for found in self.imports(source):
            judge = self._problem_with_ours if found.ours else self._problem_with_foreign
            problem = judge(source, found)
            if problem:
                yield found.line, problem
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
                yield node.lineno, "imports by a name made at run time: Ansible would not ship the file"
            if self.layer(source.name) == "reconcile" and isinstance(node, ast.Constant) and node.value in self.drivers:
                yield node.lineno, f"reconcile names the driver {node.value}"

    def _problem_with_ours(self, source: Source, found: Import) -> str | None:
        if found.name not in self.names and not (self.plugins / found.name.replace(".", "/")).is_dir():
            return f"imports {found.name}, which does not exist"
        target = self.layer(found.name)
        if target not in self.allowed_for(source):
            return f"{self.layer(source.name)} must not import {target} ({found.name})"
        return None

    def _problem_with_foreign(self, source: Source, found: Import) -> str | None:
        layer = self.layer(source.name)
        top = found.name.partition(".")[0]
        if top == "ansible":
            if layer in ("action", "plugin_utils") or (layer, found.name) == ("filter", "ansible.errors"):
                return None
            if layer not in ("module.py", "modules"):
                return f"{layer} must not import ansible"
            if not f"{found.name}.".startswith("ansible.module_utils."):
                return f"imports {found.name}: only ansible.module_utils is there where modules run"
            return None
        if top in LIBRARY_OF and layer != f"driver/{LIBRARY_OF[top]}":
            return f"{layer} must not import {top}: only the driver {LIBRARY_OF[top]} does"
        if top not in sys.stdlib_module_names and not found.deferred:
            return f"imports {top} at once: a library that may be missing is imported where it is used"
        return None

    def imports(self, source: Source) -> Iterator[Import]:
        deferred = set(_deferred(source.tree))
        for node in ast.walk(source.tree):
            later = node in deferred
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield self._import(alias.name, node.lineno, later)
            elif isinstance(node, ast.ImportFrom):
                base = self._base(source, node)
                for alias in node.names:
                    whole = f"{base}.{alias.name}"
                    inner = whole.removeprefix(OWN_PACKAGE)
                    yield self._import(whole if inner in self.names else base, node.lineno, later)

    def _base(self, source: Source, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        folder = source.name.split(".") if source.is_package else source.name.split(".")[:-1]
        folder = folder[: len(folder) - (node.level - 1)]
        return OWN_PACKAGE + ".".join([*folder, *([node.module] if node.module else [])])

    def _import(self, name: str, line: int, deferred: bool) -> Import:
        return Import(name.removeprefix(OWN_PACKAGE), line, name.startswith(OWN_PACKAGE), deferred)


def _deferred(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from ast.walk(node)
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for child in node.body:
                yield from ast.walk(child)


def _called(node: ast.Call) -> str:
    return ast.unparse(node.func).rpartition(".")[2]
