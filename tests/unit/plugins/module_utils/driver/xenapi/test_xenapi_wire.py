# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading answers: the same values as Python's own XML-RPC has."""

from __future__ import annotations

import gc
import xml.etree.ElementTree as ET
import xmlrpc.client
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.wire import parse_reply


def parse(text: str) -> tuple[Any, ...]:
    return parse_reply(text.encode())


VALUES = [
    "",
    "text",
    "  spaces and\nlines ",
    "<&>\"'",
    "\u00e4\u20ac\U0001f600",
    "8589934592",
    True,
    False,
    1.5,
    -0.25,
    [],
    {},
    [[], {}, ""],
    {"": "empty name", "Status": "Success", "Value": [{"a": "1", "b": {"c": ["x", True, 0.0]}}]},
    7,
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values(value: Any):
    text = xmlrpc.client.dumps((value,), methodresponse=True)
    assert parse(text) == xmlrpc.client.loads(text)[0] == (value,)


def test_texts_without_a_type_are_texts():
    text = (
        "<?xml version='1.0'?><methodResponse><params><param><value><struct><member><name>Status</name>"
        "<value>Success</value></member><member><name>Value</name><value/></member></struct></value></param></params>"
        "</methodResponse>"
    )
    assert parse(text) == ({"Status": "Success", "Value": ""},)


def test_dates_are_as_the_client_package_has_them():
    text = xmlrpc.client.dumps((xmlrpc.client.DateTime("20261121T10:00:00Z"),), methodresponse=True)
    (date,) = parse(text)
    assert isinstance(date, xmlrpc.client.DateTime)
    assert date.value == "20261121T10:00:00Z"


def test_nothing_and_bytes():
    text = xmlrpc.client.dumps(([None, xmlrpc.client.Binary(b"\0\xff")],), methodresponse=True, allow_none=True)
    assert parse(text) == ([None, b"\0\xff"],)


def test_faults_are_raised():
    with pytest.raises(xmlrpc.client.Fault) as caught:
        parse(xmlrpc.client.dumps(xmlrpc.client.Fault(401, "who are you?")))
    assert (caught.value.faultCode, caught.value.faultString) == (401, "who are you?")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>",
        "<methodResponse><params><param/></params></methodResponse>",
        "<methodResponse><params><param><value><duration>3</duration></value></param></params></methodResponse>",
        "<methodResponse><params><param><value><int>three</int></value></param></params></methodResponse>",
        "<methodResponse><params><param><value><array/></value></param></params></methodResponse>",
        "<methodResponse><params><param><value><struct><member/></struct></value></param></params></methodResponse>",
        "<methodResponse><fault><value><string>no</string></value></fault></methodResponse>",
        "<!DOCTYPE html><html><body>It works!</body></html>",
        "<methodResponse><params><param>"
        + "<value><array><data>" * 5000
        + "</data></array></value>" * 5000
        + "</param></params></methodResponse>",
    ],
    ids=range(10),
)
def test_what_is_no_answer(text: str):
    with pytest.raises(ET.ParseError):
        parse(text)


def test_what_is_something_else():
    """A page for people has no values; the transport says what that means."""
    assert parse("<html><body>It works!</body></html>") == ()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_answers_that_would_grow(encoding: str):
    """Little text that becomes much, so little that Expat itself would let it."""
    text = (
        f'<!DOCTYPE r [<!ENTITY a "{"x" * 1000}">]><methodResponse><params><param><value>{"&a;" * 1000}</value></param>'
        "</params></methodResponse>"
    )
    with pytest.raises(ET.ParseError, match="document type"):
        parse_reply(text.encode(encoding))


def test_the_garbage_collector_is_as_it_was():
    text = xmlrpc.client.dumps(("x",), methodresponse=True)
    for switch in (gc.disable, gc.enable):
        switch()
        before = gc.isenabled()
        parse(text)
        with pytest.raises(ET.ParseError):
            parse("no")
        assert gc.isenabled() == before
