# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages that follow from a class's fields, which its file of the model does not list."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from lab.xenapi import wire
from lab.xenapi.call import Call
from lab.xenapi.database import Ref
from lab.xenapi.datamodel import Field, Message, ModelClass, Param
from lab.xenapi.failures import Failure
from lab.xenapi.modeltypes import Type, parse_type
from lab.xenapi.query import matching

Handler = Callable[..., Any]

_STRING, _VOID = parse_type("string"), parse_type("void")


def generic_messages(cls: ModelClass) -> Iterator[tuple[Message, Handler]]:
    """Each generic message of the class with the function that carries it out."""
    if "records" in cls.offers:
        yield from _record_messages(cls)
        for item in cls.fields.values():
            yield from _field_messages(cls, item)
    if "lists" in cls.offers:
        yield from _list_messages(cls)
    if "lifecycle" in cls.offers:
        yield from _lifecycle_messages(cls)


def _message(cls: ModelClass, name: str, result: Type, *params: Param) -> Message:
    return Message(cls.name, name, params, result, generic=True)


def _record_messages(cls: ModelClass) -> Iterator[tuple[Message, Handler]]:
    self = Param("self", Type("ref", cls.name))
    yield _message(cls, "get_record", Type("record", cls.name), self), functools.partial(_get_record, cls.name)
    uuid = Param("uuid", _STRING)
    yield _message(cls, "get_by_uuid", Type("ref", cls.name), uuid), functools.partial(_get_by_uuid, cls.name)
    if "name_label" in cls.fields:
        found = Type("set", item=Type("ref", cls.name))
        label = Param("label", _STRING)
        yield _message(cls, "get_by_name_label", found, label), functools.partial(_get_by_name, cls.name)


def _list_messages(cls: ModelClass) -> Iterator[tuple[Message, Handler]]:
    ref = Type("ref", cls.name)
    records = Type("map", item=Type("record", cls.name), key=ref)
    yield _message(cls, "get_all", Type("set", item=ref)), lambda call: call.db.refs(cls.name)
    yield _message(cls, "get_all_records", records), functools.partial(_get_all_records, cls.name)
    expression = Param("expr", _STRING)
    yield _message(cls, "get_all_records_where", records, expression), functools.partial(_get_records_where, cls.name)


def _lifecycle_messages(cls: ModelClass) -> Iterator[tuple[Message, Handler]]:
    ref = Type("ref", cls.name)
    args = Param("args", Type("record", cls.name))
    yield _message(cls, "create", ref, args), functools.partial(_create, cls.name)
    yield _message(cls, "destroy", _VOID, Param("self", ref)), functools.partial(_destroy, cls.name)


def _field_messages(cls: ModelClass, item: Field) -> Iterator[tuple[Message, Handler]]:
    self = Param("self", Type("ref", cls.name))
    bound = (cls.name, item.name)
    yield _message(cls, f"get_{item.name}", item.type, self), functools.partial(_get, *bound)
    if not item.writable:
        return
    yield _message(cls, f"set_{item.name}", _VOID, self, Param("value", item.type)), functools.partial(_set, *bound)
    if item.type.kind == "map":
        key, value = Param("key", item.type.map_key), Param("value", item.type.inner)
        yield _message(cls, f"add_to_{item.name}", _VOID, self, key, value), functools.partial(_add_to, *bound)
        yield _message(cls, f"remove_from_{item.name}", _VOID, self, key), functools.partial(_remove_from, *bound)
    elif item.type.kind == "set":
        value = Param("value", item.type.inner)
        yield _message(cls, f"add_{item.name}", _VOID, self, value), functools.partial(_add, *bound)
        yield _message(cls, f"remove_{item.name}", _VOID, self, value), functools.partial(_remove, *bound)


def _get_record(cls: str, call: Call, ref: Ref) -> wire.WireXml:
    return wire.WireXml(call.db.record_xml(cls, ref))


def _get_all_records(cls: str, call: Call) -> wire.WireXml:
    return wire.WireXml(call.db.all_records_xml(cls))


def _get_records_where(cls: str, call: Call, expression: str) -> wire.WireXml:
    with call.db.lock:
        return wire.WireXml(call.db.all_records_xml(cls, matching(call.db, cls, expression)))


def _get_by_uuid(cls: str, call: Call, uuid: str) -> Ref:
    ref = call.db.by_uuid(cls, uuid)
    if ref is None:
        raise Failure("UUID_INVALID", cls, uuid)
    return ref


def _get_by_name(cls: str, call: Call, label: str) -> list[Ref]:
    return call.db.find(cls, name_label=label)


def _create(cls: str, call: Call, args: dict[str, Any]) -> Ref:
    return call.db.create(cls, **args)


def _destroy(cls: str, call: Call, ref: Ref) -> None:
    call.db.destroy(cls, ref)


def _get(cls: str, field: str, call: Call, ref: Ref) -> Any:
    return call.db.get(cls, ref, field)


def _set(cls: str, field: str, call: Call, ref: Ref, value: Any) -> None:
    call.db.set(cls, ref, **{field: value})


def _add_to(cls: str, field: str, call: Call, ref: Ref, key: Any, value: Any) -> None:
    with call.db.lock:
        content = call.db.get(cls, ref, field)
        if key in content:
            raise Failure("MAP_DUPLICATE_KEY", cls, field, ref, str(key))
        call.db.set(cls, ref, **{field: {**content, key: value}})


def _remove_from(cls: str, field: str, call: Call, ref: Ref, key: Any) -> None:
    with call.db.lock:
        content = call.db.get(cls, ref, field)
        content.pop(key, None)
        call.db.set(cls, ref, **{field: content})


def _add(cls: str, field: str, call: Call, ref: Ref, value: Any) -> None:
    with call.db.lock:
        content = call.db.get(cls, ref, field)
        if value not in content:
            call.db.set(cls, ref, **{field: [*content, value]})


def _remove(cls: str, field: str, call: Call, ref: Ref, value: Any) -> None:
    with call.db.lock:
        call.db.set(cls, ref, **{field: [item for item in call.db.get(cls, ref, field) if item != value]})
