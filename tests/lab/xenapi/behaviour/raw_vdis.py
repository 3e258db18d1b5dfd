# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PUT /import_raw_vdi and GET /export_raw_vdi: the contents of VDIs, raw or as VHD images.

A raw import with ``chunked`` in the query or among the cookies is a row of pieces: eight bytes with the place, four
with the length, both little-endian, and the data; one of length 0 at place 0 is the end. What no piece says stays as it
is.
"""

from __future__ import annotations

import http.cookies
import struct
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from lab.xenapi import device_rules, vhd, vm_devices, volumes
from lab.xenapi.database import Database, Ref
from lab.xenapi.failures import Failure, HttpFailure
from lab.xenapi.httprequest import HttpRequest
from lab.xenapi.registry import Call, http_handler
from lab.xenapi.srs import check_attached, check_room, is_visible
from lab.xenapi.vdi_store import BLOCK, store_of

RAW, VHD = "raw", "vhd"
_STREAM = "application/octet-stream"
_TYPES = {RAW: _STREAM, VHD: "application/vhd"}
_SECTOR = 512
_CHUNK = struct.Struct("<QI")


@http_handler("PUT", "/import_raw_vdi")
def import_raw_vdi(request: HttpRequest) -> None:
    """Write the body into a VDI, from its start on.

    As in a real pool the answer "200 OK" is sent before the body is read: whether all went well is to be seen in the
    task alone. The connection is closed afterwards.
    """
    call = request.call
    vdi = _vdi(call.db, request)
    if _is_sent_elsewhere(request, vdi):
        return
    image_format, chunked = _format_of(request), _is_chunked(request)
    if image_format != RAW and chunked:
        raise HttpFailure(404, "INTERNAL_ERROR", f"Cannot handle chunked {image_format.upper()}")
    if request.headers.get("Transfer-Encoding"):
        raise HttpFailure(404, "INTERNAL_ERROR", f"Cannot handle encoding: {request.headers['Transfer-Encoding']}")
    if image_format == RAW and not chunked and request.headers.get("Content-Length") is None:
        raise Failure("IMPORT_ERROR", "the request does not say how long its body is")
    with _attached(call, vdi, "RW", _host(request)):
        request.respond(200, {"Content-Type": _STREAM, "task-id": call.task})
        if chunked:
            _receive_pieces(request, vdi, _chunks(request))
        elif image_format == VHD:
            _receive_pieces(request, vdi, _vhd_pieces(request))
        else:
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


def _receive_pieces(request: HttpRequest, vdi: Ref, pieces: Iterator[tuple[int, bytes]]) -> None:
    call, db = request.call, request.call.db
    size = db.get("VDI", vdi, "virtual_size")
    for offset, data in pieces:
        # The device below is written to directly, in whole sectors.
        if offset + len(data) > size or offset % _SECTOR or len(data) % _SECTOR:
            raise _io_error()
        _write(db, vdi, offset, data)
        call.progress((offset + len(data)) / size)
        call.sleep(0)


def _chunks(request: HttpRequest) -> Iterator[tuple[int, bytes]]:
    while True:
        offset, length = _CHUNK.unpack(request.read(_CHUNK.size))
        if offset == length == 0:
            return
        for start in range(0, length, BLOCK):
            yield offset + start, request.read(min(BLOCK, length - start))


def _vhd_pieces(request: HttpRequest) -> Iterator[tuple[int, bytes]]:
    try:
        yield from vhd.pieces(request.read)
    except vhd.BadImage:
        raise _io_error() from None


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
    if _is_sent_elsewhere(request, vdi):
        return
    image_format = _format_of(request)
    with _attached(call, vdi, "RO", _host(request)):
        size, name = db.get("VDI", vdi, "virtual_size"), volumes.content_name(db, vdi)
        headers = {
            "Content-Type": _TYPES[image_format],
            "Content-Disposition": f'attachment; filename="{db.get("VDI", vdi, "uuid")}.{image_format}"',
            "task-id": call.task,
        }
        store = store_of(db)
        if image_format == RAW:
            body, total = store.pieces(name, size), size
        else:
            written = store.written(name)
            body = vhd.image(size, written, lambda number: store.read(name, number * BLOCK, BLOCK))
            total = vhd.length(size, len(written))
        request.respond(200, headers, _reported(call, body, total))


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


def _format_of(request: HttpRequest) -> str:
    wanted = request.query.get("format", RAW).lower()
    if wanted not in _TYPES:
        raise HttpFailure(404, "INTERNAL_ERROR", f"Unknown format {wanted}")
    return wanted


def _is_chunked(request: HttpRequest) -> bool:
    return "chunked" in request.query or "chunked" in http.cookies.SimpleCookie(request.headers.get("Cookie", ""))


def _host(request: HttpRequest) -> Ref:
    """The host that was asked."""
    return request.call.db.refs("host")[request.host_number]


def _is_sent_elsewhere(request: HttpRequest, vdi: Ref) -> bool:
    """Send the client to a host that has the VDI at hand, where the one that was asked has not."""
    db = request.call.db
    sr = db.get("VDI", vdi, "SR")
    check_attached(db, sr)
    if is_visible(db, sr, _host(request)):
        return False
    request.redirect(next(db.get("host", host, "address") for host in db.refs("host") if is_visible(db, sr, host)))
    return True


@contextmanager
def _attached(call: Call, vdi: Ref, mode: str, host: Ref) -> Iterator[None]:
    """The VDI, attached to the control domain of a host meanwhile, so that nobody else writes or destroys it."""
    db = call.db
    with db.lock:
        check_attached(db, db.get("VDI", vdi, "SR"))
        vbd = db.create(
            "VBD",
            VM=_control_domain(db, host),
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


def _control_domain(db: Database, host: Ref) -> Ref:
    (domain,) = db.find("VM", is_control_domain=True, resident_on=host)
    return domain
