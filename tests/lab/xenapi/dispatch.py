# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries out a call: looks the message up, checks the arguments and the session, runs the handler or starts a task."""

from __future__ import annotations

import copy
import functools
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from lab.xenapi import behaviour, wire
from lab.xenapi.call import Call
from lab.xenapi.calls import Calls, Made, writes
from lab.xenapi.database import Ref
from lab.xenapi.datamodel import NULL, Message, Param, model
from lab.xenapi.failures import Failure
from lab.xenapi.faults import ConnectionDropped, Faults, Hit
from lab.xenapi.generic import generic_messages
from lab.xenapi.modeltypes import Type
from lab.xenapi.pool import Pool
from lab.xenapi.registry import registered
from lab.xenapi.sessions import check_session

log = logging.getLogger("lab.xenapi")

ASYNC = "Async."
_LOCAL_TO_A_SLAVE = ("session.slave_local_login_with_password", "session.local_logout")
_OF_THE_DESTINATION = ("vdi_map", "vif_map", "vgpu_map")
"""Maps whose values are objects of the pool that a VM goes to."""
_NEVER_ASYNC = ("session", "event", "auth")


class Method(NamedTuple):
    message: Message
    handler: Callable[..., Any]
    asynchronous: bool  # whether there is an Async form


@functools.cache
def methods() -> dict[str, Method]:
    """Every message by its full name."""
    behaviour.load_all()
    handlers = dict(registered())
    found: dict[str, Method] = {}
    for cls in model().classes.values():
        explicit = [(message, _not_implemented(message)) for message in cls.messages.values()]
        for message, handler in [*generic_messages(cls), *explicit]:
            name = message.full_name
            found[name] = Method(message, handlers.pop(name, handler), _has_async(message))
    if handlers:
        raise ValueError(f"handlers for messages that the data model does not have: {', '.join(sorted(handlers))}")
    return found


def _not_implemented(message: Message) -> Callable[..., Any]:
    def refuse(_call: Call, *_args: Any) -> Any:
        raise Failure("NOT_IMPLEMENTED", message.full_name)

    return refuse


def _has_async(message: Message) -> bool:
    if message.generic:
        return message.name in ("create", "destroy")
    if message.cls in _NEVER_ASYNC or message.name.startswith("get_"):
        return False
    return message.cls != "task" or message.name == "cancel"


class Dispatcher:
    """Calls of all clients go through here."""

    def __init__(self, faults: Faults, calls: Calls) -> None:
        self._faults = faults
        self._calls = calls

    def dispatch(self, pool: Pool, name: str, params: Sequence[Any], master: str | None = None) -> str:
        """The reply's value as XML; ``master`` is its address when a slave was called. Raises Failure."""
        asynchronous = name.startswith(ASYNC)
        plain = name.removeprefix(ASYNC)
        writing = writes(plain)
        self._calls.made(Made(plain, writing, asynchronous))
        hit = self._faults.hit(plain, writing=writing, asynchronous=asynchronous)
        if hit.dropped_before:
            raise ConnectionDropped
        value = self._answer(pool, name, params, master, hit)
        if hit.dropped_after:
            raise ConnectionDropped
        return value

    def _answer(self, pool: Pool, name: str, params: Sequence[Any], master: str | None, hit: Hit) -> str:
        asynchronous = name.startswith(ASYNC)
        plain = name.removeprefix(ASYNC)
        if master is not None and plain not in _LOCAL_TO_A_SLAVE:
            raise Failure("HOST_IS_SLAVE", master)
        method = methods().get(plain)
        if method is None or (asynchronous and not method.asynchronous):
            raise Failure("MESSAGE_METHOD_UNKNOWN", name)
        session, arguments = _arguments(method.message, name, params)
        if method.message.needs_session:
            check_session(pool, session)
        if asynchronous:
            return wire.string(_start(pool, session, method, arguments, hit))
        call = Call(pool, session)
        return _carry_out(call, method, arguments, hit)


def _arguments(message: Message, name: str, params: Sequence[Any]) -> tuple[Ref, list[Any]]:
    """The session and the other arguments as natives."""
    session = NULL
    given = list(params)
    if message.needs_session:
        if not given:
            raise _count_mismatch(message, name, -1)
        session = wire.decode(Type("ref", "session"), given.pop(0), f"{name}: session_id")
    if not message.required_params <= len(given) <= len(message.params):
        raise _count_mismatch(message, name, len(given))
    arguments = [
        wire.decode(param.type, value, f"{name}: {param.name}")
        for param, value in zip(message.params, given, strict=False)
    ]
    return session, arguments + [copy.deepcopy(param.default) for param in message.params[len(given) :]]


def _count_mismatch(message: Message, name: str, received: int) -> Failure:
    return Failure("MESSAGE_PARAMETER_COUNT_MISMATCH", name, str(message.required_params), str(received))


def _start(pool: Pool, session: Ref, method: Method, arguments: list[Any], hit: Hit) -> Ref:
    """Let the call run as a task."""
    task = pool.tasks.create(ASYNC + method.message.full_name)
    call = Call(pool, session, task, pool.tasks.watch(task))

    def run() -> None:
        try:
            if hit.hangs:
                call.sleep(threading.TIMEOUT_MAX)
            value = _carry_out(call, method, arguments, hit)
        except Failure as failure:
            pool.tasks.fail(task, failure)
        else:
            pool.tasks.complete(task, value)

    threading.Thread(target=run, name=f"{method.message.full_name} {task}", daemon=True).start()
    return task


def _carry_out(call: Call, method: Method, arguments: list[Any], hit: Hit) -> str:
    if hit.seconds:
        call.sleep(hit.seconds)
    if hit.failure:
        raise hit.failure
    message = method.message
    try:
        _check_references(call, message.params, arguments)
        result = method.handler(call, *arguments)
        if not isinstance(result, wire.WireXml) and not wire.fits(message.result, result):
            raise TypeError(f"answers {message.result}, not {result!r}")
        return wire.encode(message.result, result)
    except Failure:
        raise
    except Exception as error:
        # A mistake of this server: the client gets what a real one would send, the log says where it is.
        log.exception("%s failed", message.full_name)
        raise Failure("INTERNAL_ERROR", repr(error)) from error


def _check_references(call: Call, params: Sequence[Param], arguments: Sequence[Any]) -> None:
    """HANDLE_INVALID for a reference to nothing; only the object that the message is sent to may not be NULL."""
    for position, (param, value) in enumerate(zip(params, arguments, strict=True)):
        of, given = param.type, value
        if param.name in _OF_THE_DESTINATION:
            of, given = Type("set", item=of.map_key), list(value)
        for cls, ref in _references(of, given):
            if (ref != NULL or (position == 0 and param.type.kind == "ref")) and not call.db.exists(cls, ref):
                raise Failure("HANDLE_INVALID", cls, ref)


def _references(of: Type, value: Any) -> Iterator[tuple[str, Ref]]:
    """The references in a value, with their classes."""
    if of.kind == "ref":
        yield of.name, value
    elif of.kind == "set":
        for item in value:
            yield from _references(of.inner, item)
    elif of.kind == "map":
        for key, item in value.items():
            yield from _references(of.map_key, key)
            yield from _references(of.inner, item)
    elif of.kind == "record":
        fields = model().classes[of.name].fields
        for name, item in value.items():
            yield from _references(fields[name].type, item)
