# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an instance needs to be filtered: pure functions, no calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...errors import InvalidInput, Problem, SecurityGroupNotFound, Unsupported
from ...model.instance import Instance
from ...model.secgroup import NO_FIREWALL, SecurityGroup
from ..capabilities import FEATURES
from ..members import is_filtered
from .findings import Finding
from .groups import cannot_filter, is_open
from .vifaddresses import address_problems


def filtering_findings(instance: Instance) -> Iterator[Finding]:
    """What can never be."""
    engine = instance.firewall
    if engine not in (None, NO_FIREWALL) and f"firewall_{engine}" not in FEATURES:
        yield Problem("firewall", f"{engine!r} is not {NO_FIREWALL}, the only value on XenServer"), InvalidInput
    if is_filtered(instance) and not instance.security_groups:
        yield Problem("security_groups", cannot_filter([])), Unsupported


def group_findings(instance: Instance, groups: Mapping[str, SecurityGroup]) -> Iterator[Finding]:
    """What is wrong with an instance's groups.

    Args:
        groups: All that there are.
    """
    if not is_filtered(instance):
        return
    names = instance.security_groups or []
    unknown = sorted(set(names) - groups.keys())
    for name in unknown:
        yield Problem("security_groups", f"there is no security group named {name!r}"), SecurityGroupNotFound
    if names and not unknown and not is_open([groups[name] for name in names]):
        yield Problem("security_groups", cannot_filter(names)), Unsupported


def address_findings(instance: Instance) -> Iterator[Finding]:
    """Which NICs of a filtered instance cannot be locked."""
    if is_filtered(instance):
        for number, nic in enumerate(instance.nics or []):
            for problem in address_problems(f"nics[{number}]", nic):
                yield problem, InvalidInput
