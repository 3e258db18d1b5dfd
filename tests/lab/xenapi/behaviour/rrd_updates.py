# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GET /rrd_updates: what a host has recorded of itself and of the VMs that run on it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lab.xenapi.database import Database, Ref
from lab.xenapi.httprequest import HttpRequest
from lab.xenapi.measures import host_values, vm_values
from lab.xenapi.registry import http_handler
from lab.xenapi.rrd import Source, choose, xport

if TYPE_CHECKING:
    from lab.xenapi.guest import Guest

_AVERAGE = "AVERAGE"


@http_handler("GET", "/rrd_updates")
def rrd_updates(request: HttpRequest) -> None:
    """Of the host that is asked, not of the whole pool; only averages are recorded."""
    call, query, now = request.call, request.query, time.time()
    start = float(query.get("start", 0))
    since = now + start if start < 0 else start
    host = call.db.refs("host")[request.host_number]
    sources: list[Source] = []
    with call.db.lock:
        if query.get("cf", _AVERAGE) == _AVERAGE:
            for vm in call.db.get("host", host, "resident_VMs"):
                uuid = call.db.get("VM", vm, "uuid")
                if query.get("vm_uuid", uuid) == uuid:
                    sources += _vm_sources(call.db, vm, call.world.guests.get(vm))
            if query.get("host", "false") == "true":
                sources += _host_sources(call.db, host)
    archive = choose(since, int(query.get("interval", 0)), now)
    body = xport(sources, since, archive, now).encode()
    headers = {"Content-Type": "text/xml", "Content-Length": str(len(body)), "Access-Control-Allow-Origin": "*"}
    request.respond(200, headers, [body])


def _vm_sources(db: Database, vm: Ref, guest: Guest | None) -> Iterator[Source]:
    started = guest.started if guest is not None else _boot_time()
    for name, value in vm_values(db, vm, guest):
        yield Source(f"{_AVERAGE}:vm:{db.get('VM', vm, 'uuid')}:{name}", float(value), started)


def _host_sources(db: Database, host: Ref) -> Iterator[Source]:
    started = _boot_time()
    for name, value in host_values(db, host):
        yield Source(f"{_AVERAGE}:host:{db.get('host', host, 'uuid')}:{name}", float(value), started)


def _boot_time() -> float:
    """The hosts have been up for a year."""
    return time.time() - 366 * 86400
