# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The XenAPI data model: its classes with their fields, messages and enums, read from ``model/CLASS.txt``.

The files list what differs from class to class::

    class VBD: records, lists, lifecycle      which of the generic messages there are: get_record, get_by_uuid and the
                                              fields' own; get_all and get_all_records; create and destroy
    enum vbd_mode: RO RW
    runtime uuid:       string                set by the server alone
    create  VM:         VM ref                given when the object is created, read-only afterwards
    rw      bootable:   bool = false          with a default: may be left out when the object is created
    runtime VBDs:       VBD ref set <- VBD.VM derived: the VBDs whose field VM refers to this object
    message insert(vbd: VBD ref, vdi: VDI ref) -> result      a session comes first unless `without session` follows

What follows from the fields (getters, setters, add_to, remove_from, get_by_name_label) is not listed: see `generic`.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lab.xenapi.modeltypes import Type, parse_type

NULL = "OpaqueRef:NULL"
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MODEL = Path(__file__).parent / "model"
_FIELD = re.compile(
    r"(?P<where>runtime|create|rw) +(?P<name>\w+): +(?P<type>[^=<]+?)(?: = (?P<default>.+)| <- (?P<reverse>\S+))?"
)
_MESSAGE = re.compile(r"message (?P<name>\w+)\((?P<params>.*)\)(?: -> (?P<result>.+?))?(?P<open> without session)?")
_PARAM = re.compile(r"(?P<name>\w+): (?P<type>[^=]+?)(?: = (?P<default>.+))?")
_PARAM_SEPARATOR = re.compile(r", (?=\w+: )")


class Required:
    """Stands for the default of what has none."""


REQUIRED = Required()


@dataclass(frozen=True)
class Field:
    name: str
    type: Type
    where: str  # runtime, create or rw
    default: Any = REQUIRED
    reverse: tuple[str, str] | None = None  # class and field that refer to this object, for a derived set

    @property
    def writable(self) -> bool:
        return self.where == "rw"

    @property
    def given_at_creation(self) -> bool:
        return self.where != "runtime"


@dataclass(frozen=True)
class Param:
    name: str
    type: Type
    default: Any = REQUIRED


@dataclass(frozen=True)
class Message:
    cls: str
    name: str
    params: tuple[Param, ...]  # without the session
    result: Type
    needs_session: bool = True
    generic: bool = False

    @property
    def full_name(self) -> str:
        return f"{self.cls}.{self.name}"

    @property
    def required_params(self) -> int:
        return sum(param.default is REQUIRED for param in self.params)


@dataclass
class ModelClass:
    name: str
    offers: frozenset[str] = frozenset()
    fields: dict[str, Field] = field(default_factory=dict)
    messages: dict[str, Message] = field(default_factory=dict)


@dataclass
class DataModel:
    classes: dict[str, ModelClass] = field(default_factory=dict)
    enums: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def zero(self, of: Type) -> Any:
        """What a field holds that has no default and that nobody gave a value."""
        if of.kind == "enum":
            return self.enums[of.name][0]
        if of.kind in ("set", "map"):
            return [] if of.kind == "set" else {}
        return {"string": "", "int": 0, "float": 0.0, "bool": False, "datetime": EPOCH, "ref": NULL}.get(of.kind)


@functools.cache
def model() -> DataModel:
    """The whole data model; read once."""
    found = DataModel()
    for path in sorted(_MODEL.glob("*.txt")):
        _read_class(found, path)
    return found


def _read_class(into: DataModel, path: Path) -> None:
    cls = ModelClass("")
    for line in _joined_lines(path.read_text(encoding="utf-8")):
        kind, _space, rest = line.partition(" ")
        if kind == "class":
            name, _colon, offers = rest.partition(": ")
            cls = into.classes[name] = ModelClass(name, frozenset(filter(None, offers.split(", "))))
        elif kind == "enum":
            name, _colon, values = rest.partition(": ")
            into.enums[name] = tuple(values.split())
        elif kind == "message":
            message = _message(cls.name, line, path)
            cls.messages[message.name] = message
        else:
            item = _field(line, path)
            cls.fields[item.name] = item


def _joined_lines(text: str) -> Iterator[str]:
    """The lines, those that start with blanks joined to the one before."""
    return (line for line in re.sub(r"\n +", " ", text).replace("( ", "(").splitlines() if line)


def _field(line: str, path: Path) -> Field:
    match = _FIELD.fullmatch(line)
    if not match:
        raise ValueError(f"{path.name}: no field: {line}")
    of = parse_type(match["type"])
    cls, _dot, name = (match["reverse"] or "").partition(".")
    return Field(match["name"], of, match["where"], literal(of, match["default"]), (cls, name) if cls else None)


def _message(cls: str, line: str, path: Path) -> Message:
    match = _MESSAGE.fullmatch(line)
    if not match:
        raise ValueError(f"{path.name}: no message: {line}")
    params = []
    for text in filter(None, _PARAM_SEPARATOR.split(match["params"])):
        param = _PARAM.fullmatch(text)
        if not param:
            raise ValueError(f"{path.name}: no parameter: {text}")
        of = parse_type(param["type"])
        params.append(Param(param["name"], of, literal(of, param["default"])))
    result = parse_type(match["result"] or "void")
    return Message(cls, match["name"], tuple(params), result, needs_session=not match["open"])


def literal(of: Type, text: str | None) -> Any:
    """The value that ``text`` writes: JSON, or a bare word for references, enums and dates."""
    if text is None:
        return REQUIRED
    if of.kind == "ref":
        return NULL
    if of.kind == "enum":
        return text
    if of.kind == "datetime":
        return datetime.strptime(text, "%Y%m%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    if of.kind == "option":
        return None if text == "none" else literal(of.inner, text)
    return json.loads(text)
