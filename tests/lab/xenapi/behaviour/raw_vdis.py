# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PUT /import_raw_vdi and GET /export_raw_vdi: the contents of VDIs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from lab.xenapi import device_rules, vm_devices, volumes
from lab.xenapi.database import Database, Ref
from lab.xenapi.failures import Failure
from lab.xenapi.httprequest import HttpRequest
from lab.xenapi.registry import Call, http_handler
from lab.xenapi.srs import check_attached, check_room
from lab.xenapi.vdi_store import BLOCK, store_of

_STREAM = "application/octet-stream"


@http_handler("PUT", "/import_raw_vdi")
def import_raw_vdi(request: HttpRequest) -> None:
    """Write the body into a VDI, from its start on.

    As in a real pool the answer "200 OK" is sent before the body is read: whether all went well is to be seen in the
    task alone. The connection is closed afterwards.
    """
    call = request.call
    vdi = _vdi(call.db, request)
    _check_format(request)
    if request.headers.get("Transfer-Encoding") or "chunked" in request.query:
        raise Failure("IMPORT_ERROR_CANNOT_HANDLE_CHUNKED")
    if request.headers.get("Content-Length") is None:
        raise Failure("IMPORT_ERROR", "the request does not say how long its body is")
    with _attached(call, vdi, "RW"):
        request.respond(200, {"Content-Type": _STREAM, "task-id": call.task})
        _receive(request, vdi)


def _receive(request: HttpRequest, vdi: Ref) -> None:
    call, db = request.call, request.call.db
    total, size = int(request.headers["Content-Length"]), db.get("VDI", vdi, "virtual_size")
    offset = 0
    for block in _blocks(request.body()):
        fitting = block[: size - offset]
        _write(db, vdi, offset, fitting)
        if len(fitting) < len(block):
            raise _io_error()
        offset += len(block)
        call.progress(offset / total)
        call.sleep(0)  # where a cancelled task ends


def _write(db: Database, vdi: Ref, offset: int, block: bytes) -> None:
    store, name = store_of(db), volumes.content_name(db, vdi)
    with db.lock:
        _check_room(db, vdi, store.new_bytes(name, offset, len(block)))
        store.write(name, offset, block)
        volumes.written(db, vdi)


def _blocks(body: Iterator[bytes]) -> Iterator[bytes]:
    """The body cut where the VDI's blocks end, so that each is written once."""
    waiting = bytearray()
    for piece in body:
        waiting += piece
        while len(waiting) >= BLOCK:
            yield bytes(waiting[:BLOCK])
            del waiting[:BLOCK]
    if waiting:
        yield bytes(waiting)


def _check_room(db: Database, vdi: Ref, needed: int) -> None:
    """An SR that is full fails as the disk below it does, in the middle of the transfer."""
    try:
        check_room(db, db.get("VDI", vdi, "SR"), needed)
    except Failure:
        raise _io_error() from None


def _io_error() -> Failure:
    return Failure("INTERNAL_ERROR", "Caught exception: VDI_IO_ERROR: [ Device I/O errors ]")


@http_handler("GET", "/export_raw_vdi")
def export_raw_vdi(request: HttpRequest) -> None:
    call, db = request.call, request.call.db
    vdi = _vdi(db, request)
    _check_format(request)
    with _attached(call, vdi, "RO"):
        size, name = db.get("VDI", vdi, "virtual_size"), volumes.content_name(db, vdi)
        headers = {
            "Content-Type": _STREAM,
            "Content-Disposition": f'attachment; filename="{db.get("VDI", vdi, "uuid")}.raw"',
            "task-id": call.task,
        }
        request.respond(200, headers, _reported(call, store_of(db).pieces(name, size), size))


def _reported(call: Call, pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    done = 0
    for piece in pieces:
        yield piece
        done += len(piece)
        call.progress(done / size)


def _vdi(db: Database, request: HttpRequest) -> Ref:
    """The VDI that the request names, by reference or uuid."""
    named = request.query.get("vdi", "")
    vdi = named if db.exists("VDI", named) else db.by_uuid("VDI", named)
    if vdi is None:
        raise Failure("HANDLE_INVALID", "VDI", named)
    return vdi


def _check_format(request: HttpRequest) -> None:
    wanted = request.query.get("format", "raw")
    if wanted.lower() != "raw":
        raise Failure("INTERNAL_ERROR", f"Unknown format {wanted}")


@contextmanager
def _attached(call: Call, vdi: Ref, mode: str) -> Iterator[None]:
    """The VDI, attached to the control domain of the master meanwhile, so that nobody else writes or destroys it."""
    db = call.db
    with db.lock:
        check_attached(db, db.get("VDI", vdi, "SR"))
        vbd = db.create(
            "VBD",
            VM=_control_domain(db),
            VDI=vdi,
            userdevice=f"transfer-{uuid.uuid4()}",
            mode=mode,
            type="Disk",
            empty=False,
            unpluggable=True,
        )
        refusal = device_rules.sharing_refusal(db, vbd, vdi)
        if refusal is not None:
            vm_devices.destroy_vbd(db, vbd)
            raise refusal
        vm_devices.attach_vbd(db, vbd)
    try:
        yield
    finally:
        with db.lock:
            vm_devices.destroy_vbd(db, vbd)


def _control_domain(db: Database) -> Ref:
    (pool,) = db.refs("pool")
    (domain,) = db.find("VM", is_control_domain=True, resident_on=db.get("pool", pool, "master"))
    return domain
