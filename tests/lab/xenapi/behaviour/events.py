# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events: what changed since a token, waited for without polling."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

from lab.xenapi import wire
from lab.xenapi.call import Call
from lab.xenapi.database import Change, Ref
from lab.xenapi.datamodel import model
from lab.xenapi.failures import Failure
from lab.xenapi.registry import message
from lab.xenapi.sessions import check_session

_TOKEN = re.compile(r"(\d{20}),(\d{20})")
# A session's reference lets its reader in, so nobody is told of others' sessions.
_SECRET = ("session",)
_NEXT_WAITS_S = 30.0


class Subscription:
    """Which objects' events are wanted: ``*``, ``vm`` for a class, ``vm/OpaqueRef:...`` for one object."""

    def __init__(self, wanted: Iterable[str]) -> None:
        self._everything = False
        self._classes: set[str] = set()
        self._objects: set[tuple[str, str]] = set()
        for text in wanted:
            cls, slash, ref = text.partition("/")
            if text == "*":
                self._everything = True
            elif slash and ref:
                self._objects.add((cls.lower(), ref))
            elif cls and not slash:
                self._classes.add(cls.lower())
            else:
                raise Failure("EVENT_SUBSCRIPTION_PARSE_FAILURE", text)

    def matches(self, cls: str, ref: Ref) -> bool:
        name = cls.lower()
        if name in _SECRET:
            return False
        return self._everything or name in self._classes or (name, ref) in self._objects


@message("event.from")
def events_from(call: Call, classes: list[str], token: str, timeout: float) -> wire.WireXml:
    subscription = Subscription(classes)
    since = _generation(token)
    changes, until = _wait(call, subscription, since, timeout)
    counts = call.db.counts()
    return wire.WireXml(
        wire.struct(
            {
                "events": wire.array([_event(change, since) for change in changes]),
                "valid_ref_counts": wire.struct(
                    (cls.lower(), f"<value><i4>{number}</i4></value>") for cls, number in counts.items()
                ),
                "token": wire.string(_token(until)),
            }.items()
        )
    )


@message("event.get_current_id")
def current_id(call: Call) -> int:
    return call.db.generation


@message("event.inject")
def inject(call: Call, cls: str, ref: str) -> str:
    """Report the object as changed; answers the token that event.from has to pass to have seen it."""
    names = {name.lower(): name for name in model().classes}
    if cls.lower() not in names:
        raise Failure("HANDLE_INVALID", cls, ref)
    with call.db.lock:
        call.db.touch(names[cls.lower()], ref)
        return _token(call.db.generation)


@message("event.register")
def register(call: Call, classes: list[str]) -> None:
    Subscription(classes)
    with call.db.lock:
        wanted, since = call.pool.subscriptions.get(call.session, (set(), call.db.generation))
        call.pool.subscriptions[call.session] = (wanted | set(classes), since)


@message("event.unregister")
def unregister(call: Call, classes: list[str]) -> None:
    with call.db.lock:
        wanted, since = call.pool.subscriptions.get(call.session, (set(), 0))
        if wanted - set(classes):
            call.pool.subscriptions[call.session] = (wanted - set(classes), since)
        else:
            call.pool.subscriptions.pop(call.session, None)


@message("event.next")
def next_events(call: Call) -> wire.WireXml:
    with call.db.lock:
        if call.session not in call.pool.subscriptions:
            raise Failure("SESSION_NOT_REGISTERED", call.session)
        wanted, since = call.pool.subscriptions[call.session]
    changes, until = _wait(call, Subscription(wanted), since, _NEXT_WAITS_S)
    with call.db.lock:
        if call.session in call.pool.subscriptions:
            call.pool.subscriptions[call.session] = (call.pool.subscriptions[call.session][0], until)
    return wire.WireXml(wire.array([_event(change, since) for change in changes]))


def _wait(call: Call, subscription: Subscription, since: int, timeout: float) -> tuple[list[Change], int]:
    """The changes after ``since``, as soon as there are any, and the generation up to which they go."""
    deadline = time.monotonic() + timeout
    with call.db.changed:
        if 0 < since < call.db.forgotten:
            raise Failure("EVENTS_LOST")
        while True:
            found = call.db.changes_since(since, subscription.matches)
            left = deadline - time.monotonic()
            if found or left <= 0 or call.stopping.is_set():
                return found, call.db.generation
            since = call.db.generation
            call.db.changed.wait(left)
            check_session(call.pool, call.session)


def _event(change: Change, since: int) -> str:
    operation = "del" if change.deleted else "add" if change.created > since else "mod"
    return wire.struct(
        {
            "id": wire.string(str(change.changed)),
            "timestamp": wire.string(repr(time.time())),
            "class": wire.string(change.cls.lower()),
            "operation": wire.string(operation),
            "ref": wire.string(change.ref),
            "snapshot": change.snapshot,
        }.items()
    )


def _token(generation: int) -> str:
    return f"{generation:020d},{0:020d}"


def _generation(token: str) -> int:
    match = _TOKEN.fullmatch(token)
    if not match and token:
        raise Failure("EVENT_FROM_TOKEN_PARSE_FAILURE", token)
    return int(match[1]) if match else 0
