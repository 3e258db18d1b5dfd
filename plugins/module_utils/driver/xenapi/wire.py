# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a XenAPI server answers, from XML-RPC to Python.

Python's own XML-RPC calls a Python function for each tag, which is what reading a large pool would mostly cost. Here
the XML is parsed by compiled code and then walked once. The values are the same: whole numbers stay texts, since that
is what XenAPI sends, and dates are ``xmlrpc.client.DateTime``.
"""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any, Callable
from xmlrpc.client import DateTime, Fault


class ReplyParser:
    """Takes the XML of a reply in pieces."""

    def __init__(self) -> None:
        # Expat itself, from version 2.4.1 on, refuses texts that blow up; nothing outside the text is ever loaded.
        self._parser = ET.XMLParser()  # noqa: S314

    def feed(self, piece: bytes) -> None:
        """Take the next piece.

        Raises:
            ParseError: it is no XML.
        """
        self._parser.feed(piece)

    def close(self) -> tuple[Any, ...]:
        """The values of the reply.

        Raises:
            ParseError: it is no XML, or not a reply's.
            Fault: the reply is one.
        """
        root = self._parser.close()
        try:
            fault = root.find("fault/value")
            values = tuple(_value(value) for value in root.iterfind("params/param/value"))
            described = None if fault is None else _value(fault)
            told = None if described is None else Fault(described["faultCode"], described["faultString"])
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise ET.ParseError(f"no XML-RPC: {error}") from error
        if told is not None:
            raise told
        if root.tag != "methodResponse":
            raise ET.ParseError("no XML-RPC")
        return values


def _value(element: ET.Element) -> Any:
    if not len(element):  # a value without a type is a text
        return element.text or ""
    inner = element[0]
    return _CONVERTERS[inner.tag](inner)


def _text(element: ET.Element) -> str:
    return element.text or ""


def _struct(element: ET.Element) -> dict[str, Any]:
    return {name.text or "": _value(value) for name, value in element}


def _array(element: ET.Element) -> list[Any]:
    return [_value(value) for value in element[0]]


_CONVERTERS: Mapping[str, Callable[[ET.Element], Any]] = {
    "string": _text,
    "struct": _struct,
    "array": _array,
    "boolean": lambda element: element.text == "1",
    "double": lambda element: float(_text(element)),
    **dict.fromkeys(("int", "i4", "i8"), lambda element: int(_text(element))),
    "dateTime.iso8601": lambda element: DateTime(_text(element)),
    "nil": lambda _element: None,
    "base64": lambda element: base64.b64decode(_text(element)),
}
