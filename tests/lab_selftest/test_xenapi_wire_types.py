# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Types, values on the wire and failures, by themselves."""

from __future__ import annotations

import ast
from datetime import datetime, timedelta, timezone
from pathlib import Path
from xmlrpc.client import DateTime, loads

import pytest

import lab.xenapi
from lab.xenapi import wire
from lab.xenapi.datamodel import NULL, model
from lab.xenapi.failures import Failure
from lab.xenapi.modeltypes import parse_type

_MOMENT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone.utc)
_SOURCES = sorted(Path(lab.xenapi.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize(
    "text",
    [
        "string",
        "VM ref set",
        "enum vm_operations set",
        "(string -> enum vm_operations) map",
        "(VM ref -> (string -> string) map) map",
        "string set set",
        "sr_stat record option",
        "an event batch",
    ],
)
def test_types_read_back_as_they_are_written(text):
    assert str(parse_type(text)) == text


@pytest.mark.parametrize("text", ["", "VM", "strings", "(string -> int) set", "string map", "VM ref set of"])
def test_what_is_no_type(text):
    with pytest.raises(ValueError, match=r"is no type|is written|goes on"):
        parse_type(text)


_SAMPLES = [
    ("string", "a < b & c > d \r\n é", "a < b & c > d \r\n é"),
    ("string", "", ""),
    ("int", -(2**62), str(-(2**62))),
    ("float", 0.1, 0.1),
    ("bool", False, False),
    ("datetime", _MOMENT, DateTime("20260304T05:06:07Z")),
    ("datetime", _MOMENT.astimezone(timezone(timedelta(hours=2))), DateTime("20260304T05:06:07Z")),
    ("VM ref", NULL, NULL),
    ("enum vbd_mode", "RO", "RO"),
    ("int set", [1, 2], ["1", "2"]),
    ("(int -> float) map", {3: 0.5}, {"3": 0.5}),
    ("(string -> string) map", {"<k>": "v"}, {"<k>": "v"}),
    ("(VM ref -> string set) map", {"OpaqueRef:x": ["a"]}, {"OpaqueRef:x": ["a"]}),
]


@pytest.mark.parametrize(("text", "native", "on_wire"), _SAMPLES)
def test_values_there_and_back(text, native, on_wire):
    of = parse_type(text)
    assert wire.fits(of, native)
    xml = wire.encode(of, native)
    ((received,), _method) = loads(f"<params><param>{xml}</param></params>")
    assert received == on_wire
    assert wire.decode(of, received, "it") == native


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("int", 1),
        ("int", "1.5"),
        ("int", ""),
        ("bool", "true"),
        ("bool", 1),
        ("float", 1),
        ("string", None),
        ("string", True),
        ("datetime", "yesterday"),
        ("datetime", "20261301T00:00:00Z"),
        ("enum vbd_mode", "rw"),
        ("VM ref", None),
        ("string set", {"a": "b"}),
        ("string set", ["a", 1]),
        ("(string -> string) map", []),
        ("(int -> int) map", {"one": "1"}),
        ("VBD record", []),
    ],
)
def test_what_does_not_fit_is_an_internal_error(text, value):
    with pytest.raises(Failure) as caught:
        wire.decode(parse_type(text), value, "VM.start: force")
    assert caught.value.code == "INTERNAL_ERROR"
    assert caught.value.params[0].startswith("VM.start: force")


def test_records_of_constructors():
    of = parse_type("VBD record")
    fields = model().classes["VBD"].fields
    given = {
        "VM": "OpaqueRef:x",
        "VDI": NULL,
        "userdevice": "0",
        "bootable": True,
        "mode": "RW",
        "type": "Disk",
        "empty": False,
        "other_config": {},
        "qos_algorithm_type": "",
        "qos_algorithm_params": {},
    }
    decoded = wire.decode(of, {**given, "status_code": "runtime: not the client's to give", "whim": 1}, "it")
    assert {name: decoded[name] for name in given} == given
    assert decoded["unpluggable"] is True
    assert set(decoded) == {name for name, item in fields.items() if item.given_at_creation}


@pytest.mark.parametrize(("code", "params"), [("NO_SUCH_CODE", ()), ("HANDLE_INVALID", ("VM",)), ("HOST_IS_LIVE", ())])
def test_failures_keep_to_the_table(code, params):
    with pytest.raises(ValueError, match=code):
        raise Failure(code, *params)


def test_backends_number_their_failures():
    assert Failure("SR_BACKEND_FAILURE_46", "", "gone", "").details[0] == "SR_BACKEND_FAILURE_46"


@pytest.mark.parametrize("path", _SOURCES, ids=lambda path: path.stem)
def test_failures_that_the_server_can_raise_keep_to_the_table(path):
    """Also those that no test provokes."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id != "Failure":
            continue
        code, *params = node.args
        if isinstance(code, ast.Constant) and not any(isinstance(param, ast.Starred) for param in params):
            assert Failure(code.value, *("" for _param in params)).details[0] == code.value
