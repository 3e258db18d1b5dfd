# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every generic message of every class, called once, as the data model's table lists them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any
from xmlrpc.client import DateTime

import pytest
import XenAPI

from lab.xenapi.datamodel import NULL, REQUIRED, ModelClass, model
from lab.xenapi.dispatch import methods
from lab.xenapi.generic import generic_messages
from lab.xenapi.modeltypes import Type

_CLASSES = model().classes
_REF = re.compile(r"OpaqueRef:(NULL|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})")
# What a message must not answer that the model has and that was called with the right arguments.
_NO_ANSWER = ("MESSAGE_METHOD_UNKNOWN", "MESSAGE_PARAMETER_COUNT_MISMATCH", "INTERNAL_ERROR")


def _names(offer: str) -> list[str]:
    return [name for name, cls in _CLASSES.items() if offer in cls.offers]


def _generic(cls: ModelClass) -> set[str]:
    return {message.full_name for message, _handler in generic_messages(cls)}


def _is_plain(name: str) -> bool:
    """Whether no behaviour module has put something of its own in the generic message's place."""
    cls, _dot, message = name.partition(".")
    generic = {found.name: handler for found, handler in generic_messages(_CLASSES[cls])}
    return getattr(methods()[name].handler, "func", None) is getattr(generic[message], "func", REQUIRED)


def _sample(of: Type) -> Any:
    """A value for the wire."""
    return {
        "string": lambda: "a <sample> & more",
        "int": lambda: "9007199254740993",
        "float": lambda: 0.5,
        "bool": lambda: True,
        "datetime": lambda: DateTime("20260102T03:04:05Z"),
        "ref": lambda: NULL,
        "enum": lambda: model().enums[of.name][-1],
        "set": lambda: [_sample(of.inner)],
        "map": lambda: {_sample(of.map_key): _sample(of.inner)},
    }[of.kind]()


def _check_wire(of: Type, value: Any) -> None:
    """The types on the wire, told apart from the server's own code."""
    if of.kind in ("string", "enum"):
        assert isinstance(value, str)
        assert of.kind == "string" or value in model().enums[of.name]
    elif of.kind == "int":
        assert isinstance(value, str)
        assert re.fullmatch(r"-?\d+", value)
    elif of.kind == "ref":
        assert _REF.fullmatch(value)
    elif of.kind == "datetime":
        assert re.fullmatch(r"\d{8}T\d\d:\d\d:\d\dZ", str(value))
    elif of.kind == "set":
        assert isinstance(value, list)
        for item in value:
            _check_wire(of.inner, item)
    elif of.kind == "map":
        assert isinstance(value, dict)
        for key, item in value.items():
            _check_wire(of.map_key, key)
            _check_wire(of.inner, item)
    else:
        assert of.kind in ("bool", "float")
        assert isinstance(value, {"bool": bool, "float": float}[of.kind])


def _attempt(call: Callable[[], Any], name: str) -> bool:
    """Whether it worked; what a behaviour module put in the place of a generic message may have its reasons not to."""
    try:
        call()
    except XenAPI.Failure as failure:
        assert not _is_plain(name), failure.details
        assert failure.details[0] not in _NO_ANSWER, failure.details
        return False
    return True


def _fails(code: str, call: Callable[..., Any], *args: Any) -> list[str]:
    with pytest.raises(XenAPI.Failure) as caught:
        call(*args)
    assert caught.value.details[0] == code
    return list(caught.value.details)


def test_the_table_is_the_whole_data_model():
    assert len(_CLASSES) == 67
    assert sum(len(cls.fields) for cls in _CLASSES.values()) == 845
    assert len(model().enums) == 64
    for cls in _CLASSES.values():
        for item in cls.fields.values():
            if item.reverse:
                other, field = item.reverse
                assert item.type.inner.name == other
                assert _CLASSES[other].fields[field].type == Type("ref", cls.name)
            if item.default is not REQUIRED and item.type.kind == "enum":
                assert item.default in model().enums[item.type.name]


def test_each_generic_message_is_called_once(xenapi_server, xenapi):
    with xenapi_server.calls.recording() as record:
        for cls in _CLASSES.values():
            _walk(xenapi_server.db, getattr(xenapi, cls.name), cls)
    called = {made.name for made in record}
    everything = set().union(*map(_generic, _CLASSES.values()))
    assert everything - called == set()
    assert len(everything) > 1300


def _walk(db: Any, proxy: Any, cls: ModelClass) -> None:
    if "records" not in cls.offers:
        return
    ref = db.create(cls.name, **({"name_label": "walked"} if "name_label" in cls.fields else {}))
    record = proxy.get_record(ref)
    assert set(record) == set(cls.fields)
    for name, item in cls.fields.items():
        value = getattr(proxy, f"get_{name}")(ref)
        _check_wire(item.type, value)
        assert str(value) == str(record[name])
        _walk_setter(proxy, cls, ref, name)
    assert proxy.get_by_uuid(db.get(cls.name, ref, "uuid")) == ref
    if "name_label" in cls.fields:
        db.set(cls.name, ref, name_label="walked")
        assert ref in proxy.get_by_name_label("walked")
        assert proxy.get_by_name_label("nobody has this name") == []
    if "lists" in cls.offers:
        assert ref in proxy.get_all()
        assert set(proxy.get_all_records()) == set(proxy.get_all())
        assert list(proxy.get_all_records_where(f'field "uuid" = "{record["uuid"]}"')) == [ref]
    if "lifecycle" in cls.offers:
        _walk_lifecycle(proxy, cls, ref)


def _walk_setter(proxy: Any, cls: ModelClass, ref: str, name: str) -> None:
    item = cls.fields[name]
    if not item.writable:
        if f"set_{name}" not in cls.messages:
            _fails("MESSAGE_METHOD_UNKNOWN", getattr(proxy, f"set_{name}"), ref, _sample(item.type))
        return
    sample = _sample(item.type)
    full = f"{cls.name}.set_{name}"
    if _attempt(lambda: getattr(proxy, f"set_{name}")(ref, sample), full) and _is_plain(full):
        assert str(getattr(proxy, f"get_{name}")(ref)) == str(sample)
    if item.type.kind == "map":
        (key, value), *_rest = sample.items()
        remove, add = getattr(proxy, f"remove_from_{name}"), getattr(proxy, f"add_to_{name}")
        for _twice in range(2):
            remove(ref, key)
        add(ref, key, value)
        details = _fails("MAP_DUPLICATE_KEY", add, ref, key, value)
        assert details[1:3] == [cls.name, name]
        assert getattr(proxy, f"get_{name}")(ref)[key] == value
    elif item.type.kind == "set":
        add, remove = getattr(proxy, f"add_{name}"), getattr(proxy, f"remove_{name}")
        for _twice in range(2):
            add(ref, sample[0])
        assert getattr(proxy, f"get_{name}")(ref) == sample
        remove(ref, sample[0])
        assert getattr(proxy, f"get_{name}")(ref) == []


def _walk_lifecycle(proxy: Any, cls: ModelClass, ref: str) -> None:
    given = {name: _sample(item.type) for name, item in cls.fields.items() if item.given_at_creation}
    _attempt(lambda: proxy.create(given), f"{cls.name}.create")
    for name, item in cls.fields.items():
        if item.given_at_creation and item.default is REQUIRED:
            without = {other: value for other, value in given.items() if other != name}
            assert name in _fails("INTERNAL_ERROR", proxy.create, without)[1]
    if _attempt(lambda: proxy.destroy(ref), f"{cls.name}.destroy") and _is_plain(f"{cls.name}.destroy"):
        assert _fails("HANDLE_INVALID", proxy.get_record, ref)[1:] == [cls.name, ref]


@pytest.mark.parametrize("name", _names("records"))
def test_what_there_is_not(xenapi, name):
    proxy = getattr(xenapi, name)
    nowhere = "OpaqueRef:00000000-0000-0000-0000-000000000000"
    assert _fails("HANDLE_INVALID", proxy.get_record, nowhere)[1:] == [name, nowhere]
    assert _fails("HANDLE_INVALID", proxy.get_uuid, NULL)[1:] == [name, NULL]
    assert _fails("UUID_INVALID", proxy.get_by_uuid, "no uuid")[1:] == [name, "no uuid"]
    assert _fails("MESSAGE_METHOD_UNKNOWN", proxy.get_nothing, nowhere)[1:] == [f"{name}.get_nothing"]


def test_arguments_are_counted_without_the_session(xenapi):
    vm = xenapi.VM.get_all()[0]
    assert _fails("MESSAGE_PARAMETER_COUNT_MISMATCH", xenapi.VM.get_uuid)[1:] == ["VM.get_uuid", "1", "0"]
    assert _fails("MESSAGE_PARAMETER_COUNT_MISMATCH", xenapi.VM.start, vm)[1:] == ["VM.start", "3", "1"]
    details = _fails("MESSAGE_PARAMETER_COUNT_MISMATCH", xenapi.Async.VM.start, vm, False, False, "more")
    assert details[1:] == ["Async.VM.start", "3", "4"]


@pytest.mark.parametrize(
    ("setter", "value"),
    [
        ("set_user_version", 1),
        ("set_user_version", "one"),
        ("set_name_label", True),
        ("set_is_a_template", "true"),
        ("set_affinity", True),
        ("set_tags", "one"),
        ("set_other_config", {"key": True}),
        ("set_actions_after_reboot", "Restart"),
        ("set_blocked_operations", {"begin": "not an operation"}),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(xenapi, setter, value):
    vm = xenapi.VM.get_all()[0]
    before = xenapi.VM.get_record(vm)
    assert setter in _fails("INTERNAL_ERROR", getattr(xenapi.VM, setter), vm, value)[1]
    assert xenapi.VM.get_record(vm) == before


def test_references_to_nothing_are_refused_wherever_they_stand(xenapi):
    vm = xenapi.VM.get_all()[0]
    assert _fails("HANDLE_INVALID", xenapi.VM.set_affinity, vm, "nobody")[1:] == ["host", "nobody"]
    record = {name: _sample(item.type) for name, item in _CLASSES["PBD"].fields.items() if item.given_at_creation}
    assert _fails("HANDLE_INVALID", xenapi.PBD.create, {**record, "host": "OpaqueRef:gone"})[1] == "host"


def test_what_is_not_modelled_says_so(xenapi):
    assert _fails("NOT_IMPLEMENTED", xenapi.pool.enable_ha, [], {})[1:] == ["pool.enable_ha"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ('field "name__label" = "one"', ["one"]),
        ('field "name__label" = "one" or field "name__label" = "two"', ["one", "two"]),
        ("field 'is_a_template' = 'true' and (field \"user__version\" = \"7\")", ["two"]),
        ('not (field "name__label" = "one") and field "user_version" = "7"', ["two"]),
        ('not field "user_version" = "7" and field "name__label" = "one"', []),
        ('field "affinity" = "HOST" and field "user_version" = "7"', ["one"]),
        ('"a" = "b"', []),
    ],
)
def test_queries(xenapi_server, xenapi, query, names):
    host = xenapi.host.get_all()[0]
    xenapi_server.db.create("VM", name_label="one", user_version=7, affinity=host)
    xenapi_server.db.create("VM", name_label="two", user_version=7, is_a_template=True)
    found = xenapi.VM.get_all_records_where(query.replace("HOST", host))
    assert sorted(record["name_label"] for record in found.values()) == names


@pytest.mark.parametrize(
    "query",
    ["", "field", 'field "uuid" = ', 'field "nothing" = "x"', 'field "name_label" = "one"', "true true", "(true"],
)
def test_what_is_no_query(xenapi, query):
    _fails("INTERNAL_ERROR", xenapi.VM.get_all_records_where, query)


def test_the_other_side_of_a_reference_follows(xenapi_server, xenapi):
    db = xenapi_server.db
    one, two = db.create("VM", name_label="one"), db.create("VM", name_label="two")
    vbd = db.create("VBD", VM=one)
    assert xenapi.VM.get_VBDs(one) == [vbd]
    db.set("VBD", vbd, VM=two)
    assert (xenapi.VM.get_VBDs(one), xenapi.VM.get_VBDs(two)) == ([], [vbd])
    db.destroy("VBD", vbd)
    assert xenapi.VM.get_VBDs(two) == []
    with pytest.raises(ValueError, match=r"VBD\.VM"):
        db.set("VM", one, VBDs=[vbd])


def test_dates_pass_through(xenapi_server, xenapi):
    moment = datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone.utc)
    vm = xenapi_server.db.create("VM", snapshot_time=moment)
    assert str(xenapi.VM.get_snapshot_time(vm)) == "20260304T05:06:07Z"
