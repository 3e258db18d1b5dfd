# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest that runs is not sent to a host that lacks something of its processor, and the reason is libvirt's own."""

from __future__ import annotations

from dataclasses import replace
from xml.etree.ElementTree import Element, SubElement

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.domain import Domain
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Cpu
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import COLD, LIVE
from contract.migration_helpers import both_ends, plan_of, spawned
from contract.platforms.libvirt_qemu import QemuPlatform

pytestmark = pytest.mark.on("libvirt")

LACKING = "avx512f"
"""What QEMU emulates on no processor."""


def test_a_processor_that_lacks_something_is_told(platform: QemuPlatform, monkeypatch: pytest.MonkeyPatch):
    ends = both_ends(platform)
    instance = spawned(ends, power_on=True, disks=[], nics=[], cpu=Cpu(mode="custom", model="qemu64"))
    assert plan_of(ends, instance, mode=LIVE).problems == []
    compare = ends.destination.lacking_processor  # type: ignore[attr-defined]

    def compare_more(running: Domain, cpu: Element) -> str | None:
        """Both hosts of the lab have the same processor, so the guest is said to have more than it has."""
        SubElement(cpu, "feature", policy="require", name=LACKING)
        found: str | None = compare(running, cpu)
        return found

    monkeypatch.setattr(ends.destination, "lacking_processor", compare_more)
    (problem,) = plan_of(ends, instance, mode=LIVE).problems
    assert problem.startswith("the destination cannot give it its processor: ")
    assert LACKING in problem
    assert problem.endswith("; move it cold")
    assert plan_of(ends, instance, mode=COLD).problems == []


def test_a_processor_that_is_the_hosts_own_is_compared_whole(platform: QemuPlatform, monkeypatch: pytest.MonkeyPatch):
    ends = both_ends(platform)
    instance = spawned(ends, power_on=True, disks=[], nics=[], hypervisor={"xml": ["<cpu mode='maximum'/>"]})
    known = ends.source.get_cpu_info()
    monkeypatch.setattr(ends.source, "get_cpu_info", lambda: replace(known, model="EPYC-Milan", vendor="AMD"))
    (problem,) = plan_of(ends, instance, mode=LIVE).problems
    assert problem.startswith("its processor is this host's own (cpu.mode maximum): a guest of a EPYC-Milan cannot run")
    assert problem.endswith("; move it cold")
