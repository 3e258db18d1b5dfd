# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merging users' pieces of XML into domains."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.merge import (
    SnippetError,
    check_snippet,
    has_snippet,
    merge_snippet,
)

DOMAIN = """
<domain><name>x</name><memory>1</memory><features><acpi/></features>
<devices><watchdog model='i6300esb'/><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng></devices>
</domain>
"""

MERGED = {
    "a device that a domain has several of is added": (
        "<rng model='virtio'><backend model='random'>/dev/random</backend></rng>",
        "devices/rng[2]/backend",
        {"model": "random"},
    ),
    "one that is there is not": ("<rng model='virtio'/>", "devices/rng", {"model": "virtio"}),
    "a device that there is one of is changed": (
        "<watchdog action='poweroff'/>",
        "devices/watchdog",
        {"model": "i6300esb", "action": "poweroff"},
    ),
    "children are merged": (
        "<features><hyperv><relaxed state='on'/></hyperv></features>",
        "features/hyperv/relaxed",
        {"state": "on"},
    ),
    "what is missing is made": (
        "<memtune><hard_limit unit='MiB'>5</hard_limit></memtune>",
        "memtune/hard_limit",
        {"unit": "MiB"},
    ),
    "a whole domain stands for its parts": ("<domain><title>t</title></domain>", "title", {}),
    "devices too": ("<devices><sound model='ac97'/></devices>", "devices/sound", {"model": "ac97"}),
    "a memory module is a device": ("<memory model='dimm'/>", "devices/memory", {"model": "dimm"}),
}


@pytest.mark.parametrize("what", MERGED)
def test_merging(what: str):
    snippet, path, attributes = MERGED[what]
    domain = ElementTree.fromstring(DOMAIN)
    merge_snippet(domain, snippet)
    found = domain.find(path)
    assert found is not None
    assert found.attrib == attributes
    assert has_snippet(domain, snippet)
    once = ElementTree.tostring(domain)
    merge_snippet(domain, snippet)
    assert ElementTree.tostring(domain) == once, "merging again changes nothing"


def test_one_that_is_there_is_not_added():
    domain = ElementTree.fromstring(DOMAIN)
    merge_snippet(domain, "<rng model='virtio'/>")
    assert len(domain.findall("devices/rng")) == 1


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (
            "<hostdev><address domain='0x0000' slot='0x0a'/></hostdev>",
            "<hostdev><address domain='0' slot='10'/></hostdev>",
        ),
        (
            "<interface><mac address='52:54:00:aa:00:01'/></interface>",
            "<interface><mac address='52:54:00:AA:00:01'/></interface>",
        ),
    ],
)
def test_libvirts_own_words_say_the_same(there: str, said: str):
    domain = ElementTree.fromstring(f"<domain><devices>{there}</devices></domain>")
    assert has_snippet(domain, said)


def test_sizes_in_other_units_say_the_same():
    domain = ElementTree.fromstring("<domain><memtune><hard_limit unit='KiB'>5120</hard_limit></memtune></domain>")
    assert has_snippet(domain, "<memtune><hard_limit unit='MiB'>5</hard_limit></memtune>")
    assert not has_snippet(domain, "<memtune><hard_limit unit='MiB'>6</hard_limit></memtune>")


@pytest.mark.parametrize(
    "snippet",
    [
        "<a",
        "",
        "<a/><b/>",
        "<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a>&e;</a>",
        "<name>other</name>",
        "<domain><uuid>1</uuid></domain>",
        "<metadata/>",
        "<memory>1</memory>",
    ],
)
def test_what_is_refused(snippet: str):
    with pytest.raises(SnippetError):
        check_snippet(snippet)
