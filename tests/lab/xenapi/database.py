# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool's database: rows by class and reference, their generations, and the condition that every change notifies."""

from __future__ import annotations

import functools
import itertools
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from lab.xenapi import wire
from lab.xenapi.datamodel import NULL, REQUIRED, DataModel, Field, model
from lab.xenapi.failures import Failure

Ref = str

# How many deletions event.from can still report; who asks for older ones is told that events were lost.
_DELETIONS_KEPT = 20_000


@dataclass
class Row:
    values: dict[str, Any]
    created: int
    changed: int
    xml: str | None = None  # the record as it goes over the wire, until the next change


class Change(NamedTuple):
    """The latest change of one object, as event.from reports it."""

    cls: str
    ref: Ref
    created: int
    changed: int
    snapshot: str  # XML
    deleted: bool


class Database:
    """Natives by class, reference and field; every method takes the lock itself.

    ``lock`` may be held around several calls that belong together; ``changed`` is notified on each change. Unknown
    references raise HANDLE_INVALID.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.generation = 0
        self.forgotten = 0  # deletions up to this generation are not known any more
        self._model: DataModel = model()
        self._tables: dict[str, dict[Ref, Row]] = {name: {} for name in self._model.classes}
        self._by_uuid: dict[str, dict[str, Ref]] = {name: {} for name in self._model.classes}
        # Oldest change first, so that what changed since a generation is the end of it.
        self._alive: OrderedDict[tuple[str, Ref], int] = OrderedDict()
        self._deleted: OrderedDict[tuple[str, Ref], Change] = OrderedDict()

    # -- reading -------------------------------------------------------------------------------------------------------

    def exists(self, cls: str, ref: Ref) -> bool:
        return ref in self._tables[cls]

    def refs(self, cls: str) -> list[Ref]:
        with self.lock:
            return list(self._tables[cls])

    def get(self, cls: str, ref: Ref, field: str) -> Any:
        """The value of one field; lists and maps are copies."""
        with self.lock:
            return _copied(self._row(cls, ref).values[field])

    def record(self, cls: str, ref: Ref) -> dict[str, Any]:
        """All fields; lists and maps are copies."""
        with self.lock:
            return {name: _copied(value) for name, value in self._row(cls, ref).values.items()}

    def view(self, cls: str, ref: Ref) -> Mapping[str, Any]:
        """All fields, not copied: to be read while the lock is held, and not to be kept."""
        return self._row(cls, ref).values

    def find(self, cls: str, **fields: Any) -> list[Ref]:
        """The objects that have these values."""
        with self.lock:
            wanted = fields.items()
            return [
                ref
                for ref, row in self._tables[cls].items()
                if all(row.values[name] == value for name, value in wanted)
            ]

    def by_uuid(self, cls: str, wanted: str) -> Ref | None:
        with self.lock:
            return self._by_uuid[cls].get(wanted)

    def record_xml(self, cls: str, ref: Ref) -> str:
        """``<value><struct>...`` for the record."""
        with self.lock:
            return self._xml(cls, self._row(cls, ref))

    def all_records_xml(self, cls: str, refs: list[Ref] | None = None) -> str:
        """``<value><struct>...`` for a map of references to records: of the whole class, or of ``refs``."""
        with self.lock:
            table = self._tables[cls]
            return wire.struct((ref, self._xml(cls, table[ref])) for ref in (table if refs is None else refs))

    def counts(self) -> dict[str, int]:
        """How many objects each class has."""
        with self.lock:
            return {cls: len(table) for cls, table in self._tables.items()}

    def changes_since(self, generation: int, wanted: Callable[[str, Ref], bool]) -> list[Change]:
        """What was deleted, created or changed after that generation, each object once: deletions, then the others."""
        with self.lock:
            deleted = itertools.takewhile(lambda change: change.changed > generation, reversed(self._deleted.values()))
            gone = [change for change in deleted if change.created <= generation and wanted(change.cls, change.ref)]
            alive = itertools.takewhile(lambda item: item[1] > generation, reversed(self._alive.items()))
            there = [self._change(cls, ref) for (cls, ref), _changed in alive if wanted(cls, ref)]
            return gone[::-1] + there[::-1]

    # -- writing -------------------------------------------------------------------------------------------------------

    def create(self, cls: str, *, ref: Ref | None = None, **fields: Any) -> Ref:
        """A new object; fields not given have the model's defaults, ``uuid`` is made unless given."""
        with self.lock:
            ref = ref or f"OpaqueRef:{uuid.uuid4()}"
            known = self._model.classes[cls].fields
            for name, value in fields.items():
                self._check(cls, known, name, value)
            values = {name: self._initial(item, fields) for name, item in known.items()}
            if not values.get("uuid", "none"):
                values["uuid"] = str(uuid.uuid4())
            self.generation += 1
            self._tables[cls][ref] = Row(values, self.generation, self.generation)
            if "uuid" in values:
                self._by_uuid[cls][values["uuid"]] = ref
            self._alive[cls, ref] = self.generation
            for name, item in known.items():
                if item.type.kind == "ref":
                    self._relate(cls, ref, name, NULL, values[name])
            self.changed.notify_all()
            return ref

    def set(self, cls: str, ref: Ref, **fields: Any) -> None:
        """Write fields; values that are there already make no change and no event."""
        with self.lock:
            row = self._row(cls, ref)
            known = self._model.classes[cls].fields
            for name, value in fields.items():
                self._check(cls, known, name, value)
            for name, value in fields.items():
                before = row.values[name]
                if before == value:
                    continue
                row.values[name] = _copied(value)
                if name == "uuid":
                    del self._by_uuid[cls][before]
                    self._by_uuid[cls][value] = ref
                if known[name].type.kind == "ref":
                    self._relate(cls, ref, name, before, value)
                self._touch(cls, ref, row)

    def destroy(self, cls: str, ref: Ref) -> None:
        with self.lock:
            row = self._row(cls, ref)
            for name, item in self._model.classes[cls].fields.items():
                if item.type.kind == "ref":
                    self._relate(cls, ref, name, row.values[name], NULL)
            self.generation += 1
            self._deleted[cls, ref] = self._change(cls, ref, deleted=True)
            del self._tables[cls][ref], self._alive[cls, ref]
            self._by_uuid[cls].pop(row.values.get("uuid", ""), None)
            if len(self._deleted) > _DELETIONS_KEPT:
                self.forgotten = self._deleted.popitem(last=False)[1].changed
            self.changed.notify_all()

    def touch(self, cls: str, ref: Ref) -> None:
        """Report the object as changed though no field is."""
        with self.lock:
            self._touch(cls, ref, self._row(cls, ref))

    # -- inside --------------------------------------------------------------------------------------------------------

    def _row(self, cls: str, ref: Ref) -> Row:
        try:
            return self._tables[cls][ref]
        except KeyError:
            raise Failure("HANDLE_INVALID", cls, ref) from None

    def _change(self, cls: str, ref: Ref, *, deleted: bool = False) -> Change:
        row = self._tables[cls][ref]
        return Change(cls, ref, row.created, self.generation if deleted else row.changed, self._xml(cls, row), deleted)

    def _xml(self, cls: str, row: Row) -> str:
        if row.xml is None:
            fields = self._model.classes[cls].fields
            row.xml = wire.struct((name, wire.encode(fields[name].type, value)) for name, value in row.values.items())
        return row.xml

    def _touch(self, cls: str, ref: Ref, row: Row) -> None:
        self.generation += 1
        row.changed = self.generation
        row.xml = None
        self._alive[cls, ref] = self.generation
        self._alive.move_to_end((cls, ref))
        self.changed.notify_all()

    def _relate(self, cls: str, ref: Ref, field: str, before: Ref, after: Ref) -> None:
        """Keep the other side of a reference: VBD.VM is where VM.VBDs comes from."""
        for other_cls, other_field in _derived().get((cls, field), ()):
            for target, belongs in ((before, False), (after, True)):
                row = self._tables[other_cls].get(target)
                if row is None:
                    continue
                members = row.values[other_field]
                if belongs:
                    members.append(ref)
                else:
                    members.remove(ref)
                self._touch(other_cls, target, row)

    def _check(self, cls: str, known: dict[str, Field], name: str, value: Any) -> None:
        item = known.get(name)
        if item is None:
            raise ValueError(f"{cls} has no field {name}")
        if item.reverse:
            raise ValueError(f"{cls}.{name} follows from {'.'.join(item.reverse)}: write that")
        if not wire.fits(item.type, value):
            raise TypeError(f"{cls}.{name} is of type {item.type}, not {value!r}")

    def _initial(self, item: Field, given: dict[str, Any]) -> Any:
        if item.name in given:
            return _copied(given[item.name])
        return self._model.zero(item.type) if item.default is REQUIRED else _copied(item.default)


def _copied(value: Any) -> Any:
    """A copy of a field's value, faster than copy.deepcopy: lists and maps are all that can change."""
    if value.__class__ is list:
        return [_copied(item) for item in value]
    return {key: _copied(item) for key, item in value.items()} if value.__class__ is dict else value


@functools.cache
def _derived() -> dict[tuple[str, str], list[tuple[str, str]]]:
    """For a field that refers to another object: the sets over there that follow from it."""
    relations: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for cls in model().classes.values():
        for item in cls.fields.values():
            if item.reverse:
                relations.setdefault(item.reverse, []).append((cls.name, item.name))
    return relations
