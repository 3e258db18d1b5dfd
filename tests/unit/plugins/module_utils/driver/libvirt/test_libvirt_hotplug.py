# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plugging devices into guests that have just been started."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt import hotplug

NOT_YET = "Requested operation is not valid: Cannot attach disk until init PID is known"


@pytest.fixture(autouse=True)
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hotplug, "POLL_S", 0.01)
    monkeypatch.setattr(hotplug, "LXC_INIT_S", 0.1)


def plug(stubs: Any, domain: Any, uri: str) -> None:
    stubs.opened(domain, uri=uri).plug(domain, Element("domain"), Element("interface"))


def test_a_container_whose_first_process_is_not_known_yet(stubs: Any):
    domain = stubs.domain(attachDeviceFlags=stubs.Queue([stubs.Error(55, NOT_YET), stubs.Error(55, NOT_YET), 0]))
    plug(stubs, domain, "lxc:///system")
    assert domain.called.count("attachDeviceFlags") == 3


@pytest.mark.parametrize(
    ("uri", "code", "text", "least"),
    [
        ("lxc:///system", 55, NOT_YET, 2),
        ("lxc:///system", 55, "domain is not running", 1),
        ("lxc:///system", 1, NOT_YET, 1),
        ("qemu:///system", 55, NOT_YET, 1),
    ],
)
def test_other_refusals_are_not_waited_out(stubs: Any, uri: str, code: int, text: str, least: int):
    domain = stubs.domain(attachDeviceFlags=stubs.Error(code, text))
    with pytest.raises(stubs.Error, match=text):
        plug(stubs, domain, uri)
    assert domain.called.count("attachDeviceFlags") >= least
    assert (domain.called.count("attachDeviceFlags") > 1) == (least > 1)
