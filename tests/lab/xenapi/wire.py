# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values on the wire: XML-RPC to natives and back, by data model type.

An int travels as a string in both directions, a float as a double, a set as an array, maps and records as structs. What
does not fit its type is an INTERNAL_ERROR, as in the real server.
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any
from xmlrpc.client import DateTime

from lab.xenapi.datamodel import REQUIRED, Field, model
from lab.xenapi.failures import Failure
from lab.xenapi.modeltypes import Type

_INT = re.compile(r"-?\d+")
_DATE = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d+)?Z?")
_PLAIN_NATIVES: dict[str, type] = {"string": str, "int": int, "float": float, "bool": bool, "datetime": datetime}


class WireXml(str):
    """A value that is XML already: ``<value>...</value>``."""

    __slots__ = ()


# -- from the client ---------------------------------------------------------------------------------------------------


def decode(of: Type, value: Any, what: str) -> Any:
    """The native for a value from the wire; ``what`` names it in the INTERNAL_ERROR that a misfit raises."""
    kind = of.kind
    if kind in ("string", "ref") and isinstance(value, str):
        return value
    if kind == "int" and isinstance(value, str) and _INT.fullmatch(value):
        return int(value)
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind == "float" and isinstance(value, float):
        return value
    if kind == "datetime" and isinstance(value, (str, DateTime)):
        return _date(str(value), what)
    if kind == "enum" and isinstance(value, str) and value in model().enums[of.name]:
        return value
    if kind == "set" and isinstance(value, list):
        return [decode(of.inner, item, what) for item in value]
    if kind == "map" and isinstance(value, dict):
        return {decode(of.map_key, key, what): decode(of.inner, item, what) for key, item in value.items()}
    if kind == "record" and isinstance(value, dict):
        return _constructor_record(of.name, value, what)
    raise Failure("INTERNAL_ERROR", f"{what}: expected {of}, received {_shown(value)}")


def _date(text: str, what: str) -> datetime:
    match = _DATE.fullmatch(text)
    if match:
        try:
            return datetime(*map(int, match.groups()), tzinfo=timezone.utc)  # type: ignore[arg-type,misc]
        except ValueError:
            pass
    raise Failure("INTERNAL_ERROR", f"{what}: expected datetime, received {text!r}")


def _constructor_record(cls: str, given: dict[str, Any], what: str) -> dict[str, Any]:
    """The fields that a constructor takes; what else the client sent is none of its business."""
    fields = [item for item in model().classes[cls].fields.values() if item.given_at_creation]
    return {item.name: _constructor_field(item, given, f"{what}: {item.name}") for item in fields}


def _constructor_field(item: Field, given: dict[str, Any], what: str) -> Any:
    if item.name in given:
        return decode(item.type, given[item.name], what)
    if item.default is REQUIRED:
        raise Failure("INTERNAL_ERROR", f"{what}: this field of the record is missing")
    return copy.deepcopy(item.default)


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{value.__class__.__name__} {text if len(text) <= 60 else text[:57] + '...'}"


# -- to the client -----------------------------------------------------------------------------------------------------


def encode(of: Type, value: Any) -> str:
    """``<value>...</value>`` for a native."""
    return value if isinstance(value, WireXml) else encoder(of)(value)


@functools.cache
def encoder(of: Type) -> Callable[[Any], str]:
    """What writes values of this type; made once for each type because records have very many values."""
    if of.kind in _ENCODERS:
        return _ENCODERS[of.kind]
    if of.kind == "set":
        item = encoder(of.inner)
        return lambda value: f"<value><array><data>{''.join(map(item, value))}</data></array></value>"
    if of.kind == "map":
        key, item = _key_writer(of.map_key), encoder(of.inner)
        return lambda value: struct((key(name), item(value[name])) for name in value)
    if of.kind == "option":
        return encoder(of.inner)
    if of.kind == "record":
        return functools.partial(_record, of.name)
    raise ValueError(f"a value of type {of} is written by whoever makes it")


def _record(cls: str, value: dict[str, Any]) -> str:
    fields = model().classes[cls].fields
    return struct(
        (name, encode(item.type, value[name])) for name, item in fields.items() if value.get(name) is not None
    )


def struct(members: Any) -> str:
    """A struct of (name, XML of the value); the names are escaped here."""
    inside = "".join([f"<member><name>{_escaped(name)}</name>{xml}</member>" for name, xml in members])
    return f"<value><struct>{inside}</struct></value>"


def array(values: list[str]) -> str:
    """An array of the XML of its values."""
    return f"<value><array><data>{''.join(values)}</data></array></value>"


def string(value: str) -> str:
    return f"<value>{_escaped(value)}</value>"


def date_text(value: datetime) -> str:
    return value.astimezone(timezone.utc).strftime("%Y%m%dT%H:%M:%SZ")


def _escaped(text: str) -> str:
    if "&" in text or "<" in text or ">" in text or "\r" in text:
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")
    return text


def _key_writer(of: Type) -> Callable[[Any], str]:
    return date_text if of.kind == "datetime" else str


_ENCODERS: dict[str, Callable[[Any], str]] = {
    "string": string,
    "ref": string,
    "enum": string,
    "int": lambda value: f"<value>{value}</value>",
    "float": lambda value: f"<value><double>{value!r}</double></value>",
    "bool": lambda value: f"<value><boolean>{value:d}</boolean></value>",
    "datetime": lambda value: f"<value><dateTime.iso8601>{date_text(value)}</dateTime.iso8601></value>",
    "void": lambda _value: "<value></value>",
}


# -- natives -----------------------------------------------------------------------------------------------------------


def fits(of: Type, value: Any) -> bool:
    """Whether a native is one of this type; catches the server's own mistakes where they are made."""
    if of.kind in ("ref", "enum"):
        return isinstance(value, str) and (of.kind == "ref" or value in model().enums[of.name])
    if of.kind == "set":
        return isinstance(value, list) and all(fits(of.inner, item) for item in value)
    if of.kind == "map":
        return isinstance(value, dict) and all(
            fits(of.map_key, key) and fits(of.inner, item) for key, item in value.items()
        )
    if of.kind == "option":
        return value is None or fits(of.inner, value)
    if of.kind in ("void", "record", "batch"):
        return value is None if of.kind == "void" else isinstance(value, dict)
    native = _PLAIN_NATIVES[of.kind]
    return isinstance(value, native) and (of.kind == "bool") == isinstance(value, bool)
