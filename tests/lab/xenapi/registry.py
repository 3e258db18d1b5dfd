# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who carries out which message: behaviour modules register their functions here.

::

    @message("VM.start")
    def start(call: Call, vm: Ref, start_paused: bool, force: bool) -> None: ...

    @http_handler("PUT", "/import_raw_vdi")
    def import_raw_vdi(request: HttpRequest) -> None: ...

The arguments after the session arrive checked and as natives, references to existing objects or NULL; the result is a
native of the message's type, or a WireXml. Handlers run without the database's lock. A function may also stand in for
a generic message ("VBD.create", "VM.destroy", "VM.set_name_label").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from lab.xenapi.call import Call
from lab.xenapi.datamodel import model

if TYPE_CHECKING:
    from lab.xenapi.httprequest import HttpRequest

__all__ = ["Call", "http_handler", "http_handler_for", "message", "registered"]

Handler = Callable[..., Any]
HttpHandler = Callable[["HttpRequest"], None]
_H = TypeVar("_H", bound=Handler)

_handlers: dict[str, Handler] = {}
_http_handlers: dict[tuple[str, str], HttpHandler] = {}


def message(name: str) -> Callable[[_H], _H]:
    """Register the function that carries out the message ``Class.name``; ValueError for a class or name twice."""
    cls, _dot, rest = name.partition(".")
    if cls not in model().classes or not rest:
        raise ValueError(f"{name} is no message")

    def register(handler: _H) -> _H:
        if _handlers.setdefault(name, handler) is not handler:
            raise ValueError(f"{name} has a handler already")
        return handler

    return register


def registered() -> dict[str, Handler]:
    return _handlers


def http_handler(method: str, path: str) -> Callable[[HttpHandler], HttpHandler]:
    """Register what answers HTTP requests other than API calls; the client is logged in when it is called."""

    def register(handler: HttpHandler) -> HttpHandler:
        _http_handlers[method, path] = handler
        return handler

    return register


def http_handler_for(method: str, path: str) -> HttpHandler | None:
    return _http_handlers.get((method, path))
