# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The yardstick: what the playbooks of the bench ask for, done by a script that calls XenAPI and nothing else.

Usage: python -m bench.direct_xenapi URL USER PASSWORD define|facts|remove COUNT
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import XenAPI

from bench.names import PREFIX, names

_MEMORY = str(64 * 1024 * 1024)


def define(api: Any, count: int) -> None:
    """Make them out of the template for other machines, without looking what is there."""
    [template] = api.VM.get_by_name_label("Other install media")
    for name in names(count):
        vm = api.VM.clone(template, name)
        api.VM.remove_from_other_config(vm, "disks")
        api.VM.provision(vm)
        api.VM.set_memory_limits(vm, _MEMORY, _MEMORY, _MEMORY, _MEMORY)


def facts(api: Any, count: int) -> None:
    """State, size and counters of all, and the hosts'."""
    found = api.VM.get_all_records()
    for kind in ("VM_metrics", "host", "host_metrics", "host_cpu", "SR", "PBD"):
        getattr(api, kind).get_all_records()
    if not len(found) >= count:
        sys.exit(f"expected {count} machines, found {len(found)}")


def remove(api: Any, _count: int) -> None:
    """Remove what the bench made."""
    for vm, record in api.VM.get_all_records().items():
        if record["name_label"].startswith(PREFIX):
            api.VM.destroy(vm)


def main() -> None:
    """Log in and do one of them."""
    actions: dict[str, Callable[[Any, int], None]] = {"define": define, "facts": facts, "remove": remove}
    url, user, password, action, count = sys.argv[1:]
    session = XenAPI.Session(url)
    session.xenapi.login_with_password(user, password, "1.0", "bench")
    try:
        actions[action](session.xenapi, int(count))
    finally:
        session.xenapi.session.logout()


if __name__ == "__main__":
    main()
