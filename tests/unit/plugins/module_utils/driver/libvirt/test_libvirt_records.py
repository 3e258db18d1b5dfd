# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records beside volumes, as bytes."""

from __future__ import annotations

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.cachedimages import to_image, to_payload
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.volumerecord import (
    decode,
    encode,
    is_hidden,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import InvalidInput
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import Image


def test_a_record_comes_back():
    payload = {"metadata": {"ä": "ö\n"}, "unfinished": True}
    assert decode(encode(payload)) == payload


def test_a_shorter_record_replaces_a_longer_one():
    longer, shorter = encode({"metadata": {"a": "x" * 5000}}), encode({})
    assert decode(shorter + longer[len(shorter) :]) == {}


@pytest.mark.parametrize("data", [b"", bytes(4096), b"anyvirt record 1\n{", b"anyvirt record 1\n[]\0", b"else"])
def test_what_was_never_written_is_no_record(data: bytes):
    assert decode(data) is None


def test_a_record_has_an_end():
    with pytest.raises(InvalidInput, match="metadata"):
        encode({"metadata": {"a": "x" * (1 << 16)}})


def test_an_image_comes_back():
    image = Image("img", "p", "qcow2", 1 << 30, 1 << 20, "https://e.org/i", "sha256:00", None, 5.0, "me", 3, "/p/img")
    assert to_image("p", "img", "/p/img", to_payload(image)) == image


def test_a_later_version_may_know_more_of_an_image():
    assert to_image("p", "img", "/p/img", {"format": "raw", "colour": "blue"}) == Image(
        "img", "p", "raw", path="/p/img"
    )


def test_an_image_without_a_record_is_not_complete():
    assert not to_image("p", "img", None, None).complete


def test_image_whose_removal_was_cut_short_is_not_complete():
    whole = to_payload(Image("img", "p", "raw", fetched_s=1.0))
    assert to_image("p", "img", "/p/img", whole).complete
    assert not to_image("p", "img", None, whole).complete
    assert to_image("p", "img", None, {**whole, "claim": "me"}).claim == "me"


def test_only_our_own_volumes_are_hidden():
    assert is_hidden("a.anyvirt-volume")
    assert is_hidden("a.anyvirt-removing")
    assert not is_hidden("anyvirt-volume")
