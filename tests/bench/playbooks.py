# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks that are measured, each with one task."""

from __future__ import annotations

import json
from typing import Any

from bench.names import names


def play(task: dict[str, Any], connection: dict[str, str]) -> str:
    """A playbook of that one task; JSON is YAML too."""
    return json.dumps(
        [
            {
                "hosts": "localhost",
                "connection": "local",
                "gather_facts": False,
                "module_defaults": {"group/anyvirt.compute.virt": connection},
                "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
                "tasks": [task],
            }
        ]
    )


def ping() -> dict[str, Any]:
    """The cheapest task that Ansible has."""
    return {"ansible.builtin.ping": {}}


def converge(count: int) -> dict[str, Any]:
    """Instances defined and left as they are."""
    return {
        "anyvirt.compute.virt_instance": {
            "state": "present",
            "memory_mb": 64,
            "vcpus": 1,
            "instances": [{"name": name} for name in names(count)],
        }
    }


def facts() -> dict[str, Any]:
    """Everything that has a constant cost."""
    return {"anyvirt.compute.virt_facts": {"gather_subset": ["all"]}}
