# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The layers: the collection keeps the rules, and the checker of the rules sees it when one is broken."""

from __future__ import annotations

from pathlib import Path

import pytest
from importable import CHECKOUT
from layers import Checker

PLUGINS = CHECKOUT / "plugins"
ABSOLUTE = "from ansible_collections.anyvirt.compute.plugins."

HOUSE = {
    "modules/virt_thing.py": ABSOLUTE + "module_utils.module import main",
    "filter/thing.py": "from ansible.errors import AnsibleFilterError\n" + ABSOLUTE + "plugin_utils.thing import work",
    "plugin_utils/thing.py": "import ansible.constants",
    "module_utils/module.py": "from ansible.module_utils.basic import AnsibleModule\nfrom .reconcile.plan import Plan",
    "module_utils/errors.py": "import json",
    "module_utils/undo.py": "from .errors import AnyvirtError",
    "module_utils/model/__init__.py": "",
    "module_utils/model/disk.py": "from ..errors import AnyvirtError",
    "module_utils/reconcile/__init__.py": "",
    "module_utils/reconcile/plan.py": "from ..driver import base\nfrom ..model import disk",
    "module_utils/driver/__init__.py": "",
    "module_utils/driver/base.py": "from ..undo import UndoStack",
    "module_utils/driver/uri.py": "def get():\n    from .fake.driver import FakeDriver",
    "module_utils/driver/fake/__init__.py": "",
    "module_utils/driver/fake/driver.py": "from ..base import ComputeDriver\nfrom . import store",
    "module_utils/driver/fake/store.py": "",
    "module_utils/driver/libvirt/__init__.py": "",
    "module_utils/driver/libvirt/driver.py": "def connect():\n    import libvirt",
}


def violations(folder: Path, **changed: str) -> list[str]:
    for name, text in {**HOUSE, **changed}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Checker(folder).violations()


def test_the_collection_keeps_the_rules() -> None:
    checker = Checker(PLUGINS)
    assert len(checker.sources) > 10
    assert checker.violations() == []


def test_a_house_in_order_has_no_violation(tmp_path: Path) -> None:
    assert violations(tmp_path) == []


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("modules/virt_thing.py", ABSOLUTE + "module_utils.driver.uri import get", "modules must not import driver"),
        ("modules/virt_thing.py", "import libvirt", "modules must not import libvirt"),
        ("modules/virt_thing.py", "def f():\n    import XenAPI", "modules must not import XenAPI"),
        ("modules/virt_thing.py", "import ansible.plugins", "only ansible.module_utils"),
        ("module_utils/module.py", "from .driver.fake.driver import FakeDriver", "must not import driver/fake"),
        ("module_utils/module.py", "from ansible.errors import AnsibleError", "only ansible.module_utils"),
        ("module_utils/module.py", "import jmespath", "imported where it is used"),
        ("module_utils/errors.py", "from .model import disk", "errors must not import model"),
        ("module_utils/errors.py", "from .undo import UndoStack", "errors must not import undo"),
        ("module_utils/undo.py", "from .model.disk import Disk", "undo must not import model"),
        ("module_utils/model/disk.py", "from ..driver.base import ComputeDriver", "model must not import driver"),
        ("module_utils/model/disk.py", "import ansible.module_utils.basic", "model must not import ansible"),
        ("module_utils/reconcile/plan.py", "from ..driver.fake import driver", "must not import driver/fake"),
        ("module_utils/reconcile/plan.py", "def f():\n    from ..module import main", "must not import module.py"),
        ("module_utils/reconcile/plan.py", "from ansible.module_utils import basic", "must not import ansible"),
        ("module_utils/reconcile/plan.py", "def f(driver):\n    return driver.name == 'fake'", "names the driver fake"),
        ("module_utils/driver/base.py", "from .fake import driver", "driver must not import driver/fake"),
        ("module_utils/driver/fake/driver.py", "from ...reconcile.plan import Plan", "must not import reconcile"),
        ("module_utils/driver/fake/driver.py", "from ..libvirt.driver import x", "must not import driver/libvirt"),
        ("module_utils/driver/fake/driver.py", "from ansible.module_utils import basic", "must not import ansible"),
        ("module_utils/driver/fake/driver.py", "def f():\n    import libvirt", "must not import libvirt"),
        ("module_utils/driver/libvirt/driver.py", "import libvirt", "imported where it is used"),
        ("module_utils/driver/fake/driver.py", "from .nowhere import x", "does not exist"),
        ("module_utils/driver/uri.py", "import importlib\nx = importlib.import_module('a')", "made at run time"),
        ("filter/thing.py", "from ansible.template import Templar", "filter must not import ansible"),
        ("filter/thing.py", ABSOLUTE + "module_utils.model.disk import Disk", "filter must not import model"),
        ("module_utils/helpers.py", "", "belongs to no layer"),
        ("module_utils/model/disk.py", "if TYPE_CHECKING:\n    from ..driver.base import X", "must not import driver"),
    ],
)
def test_a_broken_rule_is_seen(tmp_path: Path, file: str, text: str, complaint: str) -> None:
    found = violations(tmp_path, **{file: text})
    assert len(found) == 1, found
    assert found[0].startswith(f"{file}:")
    assert complaint in found[0]
