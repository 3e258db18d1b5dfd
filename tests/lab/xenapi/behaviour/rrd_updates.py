# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GET /rrd_updates: what a host has recorded of itself and of the VMs that run on it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lab.xenapi.database import Database, Ref
from lab.xenapi.device_names import vbd_name, vbd_number
from lab.xenapi.httprequest import HttpRequest
from lab.xenapi.registry import http_handler
from lab.xenapi.rrd import Source, choose, xport

if TYPE_CHECKING:
    from lab.xenapi.guest import Guest

_AVERAGE = "AVERAGE"
_OPERATION_BYTES = 4096  # how much a guest reads or writes at once
_HOST_LOAD = 0.05
_HOST_RATE = 10_000.0


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
    for name, value in _vm_values(db, vm, guest):
        yield Source(f"{_AVERAGE}:vm:{db.get('VM', vm, 'uuid')}:{name}", float(value), started)


def _vm_values(db: Database, vm: Ref, guest: Guest | None) -> Iterator[tuple[str, float]]:
    """What is recorded of a VM; the control domain has no guest of ours in it."""
    memory = db.get("VM", vm, "memory_dynamic_max")
    for number in range(db.get("VM", vm, "VCPUs_at_startup")):
        yield f"cpu{number}", guest.cpu_share if guest is not None else _HOST_LOAD
    yield "memory", memory
    yield "memory_target", memory
    if guest is None:
        return
    if guest.has_tools:
        yield "memory_internal_free", memory // 1024 // 2
    for vbd in db.get("VM", vm, "VBDs"):
        number = vbd_number(db.get("VBD", vbd, "userdevice"))
        if number is not None and db.get("VBD", vbd, "currently_attached"):
            name = f"vbd_{vbd_name(number)}"
            yield f"{name}_read", guest.vbd_read_rate
            yield f"{name}_write", guest.vbd_write_rate
            yield f"{name}_iops_read", guest.vbd_read_rate / _OPERATION_BYTES
            yield f"{name}_iops_write", guest.vbd_write_rate / _OPERATION_BYTES
    for vif in db.get("VM", vm, "VIFs"):
        if db.get("VIF", vif, "currently_attached"):
            name = f"vif_{db.get('VIF', vif, 'device')}"
            yield f"{name}_rx", guest.vif_rx_rate
            yield f"{name}_tx", guest.vif_tx_rate
            yield f"{name}_rx_errors", 0
            yield f"{name}_tx_errors", 0


def _host_sources(db: Database, host: Ref) -> Iterator[Source]:
    metrics = db.get("host", host, "metrics")
    values: dict[str, float] = {
        **{f"cpu{number}": _HOST_LOAD for number in range(len(db.get("host", host, "host_CPUs")))},
        "cpu_avg": _HOST_LOAD,
        "loadavg": _HOST_LOAD,
        "memory_total_kib": db.get("host_metrics", metrics, "memory_total") // 1024,
        "memory_free_kib": db.get("host_metrics", metrics, "memory_free") // 1024,
    }
    for pif in db.get("host", host, "PIFs"):
        device = db.get("PIF", pif, "device")
        values[f"pif_{device}_rx"] = values[f"pif_{device}_tx"] = _HOST_RATE
    started = _boot_time()
    for name, value in values.items():
        yield Source(f"{_AVERAGE}:host:{db.get('host', host, 'uuid')}:{name}", float(value), started)


def _boot_time() -> float:
    """The hosts have been up for a year."""
    return time.time() - 366 * 86400
