# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PUT /import_raw_vdi and GET /export_raw_vdi."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import os
import ssl
import struct
import threading
import time
from urllib.parse import urlencode, urlsplit

import pytest
import XenAPI

from lab.xenapi.server import XenApiServer
from lab.xenapi.settings import PoolSettings
from lab.xenapi.volumes import content_digest
from lab.xenapi.world_storage import golden_content
from lab.xenapi_objects import MIB, fails, make_disk, make_vdi, make_vm, sr_named, start


class _Client:
    """Requests of a client that is logged in."""

    def __init__(self, server, session):
        self._netloc = urlsplit(server.url).netloc
        self.session = session._session

    def open(self):
        return http.client.HTTPConnection(self._netloc, timeout=10)

    def put(self, vdi, body, headers=None, **query):
        query = {"session_id": self.session, "vdi": vdi, "format": "raw", **query}
        connection = self.open()
        try:
            connection.request("PUT", f"/import_raw_vdi?{urlencode(query)}", body, headers or {})
            return connection.getresponse().status
        finally:
            connection.close()

    def get(self, vdi, headers=None, **query):
        query = {"session_id": self.session, "vdi": vdi, "format": "raw", **query}
        connection = self.open()
        try:
            connection.request("GET", f"/export_raw_vdi?{urlencode(query)}", headers=headers or {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


@pytest.fixture
def client(xenapi_server, xenapi_session):
    return _Client(xenapi_server, xenapi_session)


@pytest.fixture
def vdi(xenapi):
    return make_vdi(xenapi, sr_named(xenapi, "shared"), 6 * MIB)


def _ended(xenapi, task):
    """The task's record when it has ended; it is destroyed."""
    end = time.monotonic() + 5
    while xenapi.task.get_status(task) in ("pending", "cancelling"):
        assert time.monotonic() < end
        time.sleep(0.01)
    record = xenapi.task.get_record(task)
    xenapi.task.destroy(task)
    return record


def test_round_trip(xenapi, client, vdi):
    content = os.urandom(3 * MIB + 12345) + bytes(2 * MIB)
    task = xenapi.task.create("upload", "")
    assert client.put(vdi, content, task_id=task) == 200
    record = _ended(xenapi, task)
    assert (record["status"], record["progress"]) == ("success", 1.0)
    status, exported = client.get(vdi)
    assert status == 200
    assert hashlib.sha256(exported).digest() == hashlib.sha256(content.ljust(6 * MIB, b"\0")).digest()
    assert xenapi.VDI.get_physical_utilisation(vdi) == str(4 * MIB), "zeros take no room"
    assert xenapi.VDI.get_VBDs(vdi) == []


def _chunk(offset, data):
    return struct.pack("<QI", offset, len(data)) + data


def _send_open_ended(client, vdi, body, **query):
    """A body without a length, as one that says itself where it ends is sent."""
    connection = client.open()
    query = {"session_id": client.session, "vdi": vdi, "format": "raw", **query}
    connection.putrequest("PUT", f"/import_raw_vdi?{urlencode(query)}")
    connection.endheaders()
    with contextlib.suppress(OSError):
        connection.send(body)
    status = connection.getresponse().status
    connection.close()
    return status


def test_pieces(xenapi, client, vdi):
    """What no piece says stays as it is."""
    client.put(vdi, b"o" * (6 * MIB))
    task = xenapi.task.create("upload", "")
    body = _chunk(4 * MIB, b"a" * 1024) + _chunk(512, b"b" * 512) + _chunk(0, b"")
    assert _send_open_ended(client, vdi, body, chunked="true", task_id=task) == 200
    assert _ended(xenapi, task)["status"] == "success"
    exported = client.get(vdi)[1]
    assert exported[:1536] == b"o" * 512 + b"b" * 512 + b"o" * 512
    assert exported[4 * MIB : 4 * MIB + 1025] == b"a" * 1024 + b"o"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(_chunk(6 * MIB, b"x" * 512) + _chunk(0, b""), id="behind the end"),
        pytest.param(_chunk(100, b"x" * 512) + _chunk(0, b""), id="no sector's place"),
        pytest.param(_chunk(0, b"x" * 100) + _chunk(0, b""), id="no whole sector"),
    ],
)
def test_bad_pieces(xenapi, client, vdi, body):
    task = xenapi.task.create("upload", "")
    assert _send_open_ended(client, vdi, body, chunked="true", task_id=task) == 200
    record = _ended(xenapi, task)
    assert (record["status"], "VDI_IO_ERROR" in record["error_info"][1]) == ("failure", True)
    assert xenapi.VDI.get_VBDs(vdi) == []


def test_pieces_without_an_end(xenapi, client, vdi):
    task = xenapi.task.create("upload", "")
    connection = client.open()
    query = {"session_id": client.session, "vdi": vdi, "chunked": "true", "task_id": task}
    connection.putrequest("PUT", f"/import_raw_vdi?{urlencode(query)}")
    connection.endheaders()
    connection.send(_chunk(0, b"x" * 512))
    connection.close()
    assert _ended(xenapi, task)["status"] == "failure"
    assert xenapi.VDI.get_VBDs(vdi) == []


def test_vhd_round_trip(xenapi, client, vdi):
    """Blocks that were never written are left out; the image is what others understand."""
    content = bytes(2 * MIB) + os.urandom(2 * MIB)
    client.put(vdi, content)
    status, image = client.get(vdi, format="vhd")
    assert status == 200
    assert image[:8] == image[-512:-504] == b"conectix"
    assert struct.unpack_from(">Q", image, 48) == (6 * MIB,)
    assert len(image) < 2 * MIB + 8192
    other = make_vdi(xenapi, sr_named(xenapi, "shared"), 6 * MIB)
    task = xenapi.task.create("upload", "")
    assert client.put(other, image, format="vhd", task_id=task) == 200
    assert _ended(xenapi, task)["status"] == "success"
    assert client.get(other)[1] == content.ljust(6 * MIB, b"\0")


@pytest.mark.parametrize("damage", ["no image", "footer", "header", "too large"])
def test_bad_vhd_images(xenapi, client, vdi, damage):
    client.put(vdi, b"x" * (6 * MIB))
    image = bytearray(client.get(vdi, format="vhd")[1])
    target = make_vdi(xenapi, sr_named(xenapi, "shared"), 2 * MIB if damage == "too large" else 6 * MIB)
    if damage == "no image":
        image = bytearray(b"x" * 4096)
    elif damage in ("footer", "header"):
        image[40 if damage == "footer" else 512 + 20] ^= 1
    task = xenapi.task.create("upload", "")
    with contextlib.suppress(OSError):
        client.put(target, bytes(image), format="vhd", task_id=task)
    record = _ended(xenapi, task)
    assert (record["status"], "VDI_IO_ERROR" in record["error_info"][1]) == ("failure", True)


def test_uuid_and_password(xenapi, xenapi_server, client, vdi):
    secret = f"{xenapi_server.username}:{xenapi_server.password}"
    basic = {"Authorization": "Basic " + base64.b64encode(secret.encode()).decode()}
    uuid = xenapi.VDI.get_uuid(vdi)
    sessions = len(xenapi.session.get_all_subject_identifiers() or [])
    assert client.put(uuid, b"hello", basic, session_id="") == 200
    status, exported = client.get(uuid, basic, session_id="")
    assert (status, exported[:6], len(exported)) == (200, b"hello\0", 6 * MIB)
    assert len(xenapi.session.get_all_subject_identifiers() or []) == sessions


def test_clone_of_an_import_has_its_content(xenapi, xenapi_server, client, vdi):
    client.put(vdi, b"content")
    digest = content_digest(xenapi_server.db, vdi)
    clone = xenapi.VDI.clone(vdi, {})
    client.put(vdi, b"changed")
    assert content_digest(xenapi_server.db, clone) == digest != content_digest(xenapi_server.db, vdi)


def test_known_image(xenapi, client):
    image = xenapi.VDI.get_by_name_label("golden-image")[0]
    assert client.get(image) == (200, golden_content())


def test_nobody_is_logged_in(xenapi, client, vdi):
    assert client.put(vdi, b"x", session_id="OpaqueRef:none") == 401
    assert client.get(vdi, session_id="OpaqueRef:none")[0] == 401
    wrong = {"Authorization": "Basic " + base64.b64encode(b"root:guessed").decode()}
    assert client.put(vdi, b"x", wrong, session_id="") == 401


def test_too_much_is_told_by_the_task(xenapi, client, vdi):
    task = xenapi.task.create("upload", "")
    with contextlib.suppress(OSError):  # the server closes the connection in the middle of the body
        assert client.put(vdi, bytes(1024) + b"x" * (6 * MIB), task_id=task) == 200
    record = _ended(xenapi, task)
    assert record["status"] == "failure"
    assert record["error_info"][0] == "INTERNAL_ERROR"
    assert "VDI_IO_ERROR" in record["error_info"][1]
    assert xenapi.VDI.get_VBDs(vdi) == []


@pytest.fixture
def refused(xenapi, client):
    """The HTTP status and the task's error of an import."""

    def put(vdi, **query):
        task = xenapi.task.create("upload", "")
        status = client.put(vdi, b"x" * 1000, task_id=task, **query)
        return status, _ended(xenapi, task)["error_info"]

    return put


def test_in_use(xenapi, refused, vdi):
    vm = make_vm(xenapi)
    make_disk(xenapi, vm, vdi)
    start(xenapi, vm)
    assert refused(vdi) == (500, ["VDI_IN_USE", vdi, "attach"])
    assert len(xenapi.VDI.get_VBDs(vdi)) == 1


def test_read_only(xenapi, refused, vdi):
    xenapi.VDI.set_read_only(vdi, True)
    assert refused(vdi) == (500, ["VDI_READONLY", vdi])


def test_unknown_vdi_and_format(refused, vdi):
    assert refused("OpaqueRef:none") == (500, ["HANDLE_INVALID", "VDI", "OpaqueRef:none"])
    assert refused(vdi, format="qcow2") == (404, ["INTERNAL_ERROR", "Unknown format qcow2"])
    assert refused(vdi, format="vhd", chunked="true") == (404, ["INTERNAL_ERROR", "Cannot handle chunked VHD"])


def test_unplugged_sr(xenapi, refused, vdi):
    sr = xenapi.VDI.get_SR(vdi)
    for pbd in xenapi.SR.get_PBDs(sr):
        xenapi.PBD.unplug(pbd)
    assert refused(vdi) == (500, ["SR_HAS_NO_PBDS", sr])


def test_while_it_is_written_nobody_else_has_it(xenapi, client, vdi):
    task = xenapi.task.create("upload", "")
    connection = client.open()
    connection.putrequest(
        "PUT", f"/import_raw_vdi?{urlencode({'session_id': client.session, 'vdi': vdi, 'task_id': task})}"
    )
    connection.putheader("Content-Length", str(4 * MIB))
    connection.endheaders()
    connection.send(bytes(2 * MIB))
    _wait(lambda: xenapi.task.get_progress(task) == 0.5)
    (vbd,) = xenapi.VDI.get_VBDs(vdi)
    assert xenapi.VM.get_is_control_domain(xenapi.VBD.get_VM(vbd)) is True
    assert fails(xenapi.VDI.destroy, vdi) == ["VDI_IN_USE", vdi, "destroy"]
    connection.close()
    record = _ended(xenapi, task)
    assert record["status"] == "failure"
    assert xenapi.VDI.get_VBDs(vdi) == []


def _wait(done):
    end = time.monotonic() + 5
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_cancelled_import(xenapi, client, vdi):
    task = xenapi.task.create("upload", "")
    connection = client.open()
    connection.putrequest(
        "PUT", f"/import_raw_vdi?{urlencode({'session_id': client.session, 'vdi': vdi, 'task_id': task})}"
    )
    connection.putheader("Content-Length", str(6 * MIB))
    connection.endheaders()
    connection.send(bytes(2 * MIB))
    _wait(lambda: xenapi.task.get_progress(task) > 0)
    xenapi.task.cancel(task)
    with contextlib.suppress(OSError):
        connection.send(bytes(4 * MIB))
    assert _ended(xenapi, task)["status"] == "cancelled"
    connection.close()


def test_two_imports_into_different_vdis_at_once(xenapi, xenapi_server, client):
    sr = sr_named(xenapi, "shared")
    vdis = [make_vdi(xenapi, sr, 6 * MIB) for _number in range(3)]
    contents = [os.urandom(5 * MIB) for _vdi in vdis]
    threads = [threading.Thread(target=client.put, args=pair) for pair in zip(vdis, contents, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for vdi, content in zip(vdis, contents, strict=True):
        assert client.get(vdi)[1][: len(content)] == content


def test_full_thin_sr():
    with XenApiServer(PoolSettings(sr_bytes=12 * MIB)) as server:
        session = XenAPI.Session(server.url)
        session.login_with_password(server.username, server.password)
        xenapi = session.xenapi
        sr = sr_named(xenapi, "shared")
        vdi = make_vdi(xenapi, sr, 64 * MIB)
        task = xenapi.task.create("upload", "")
        with contextlib.suppress(OSError):
            _Client(server, session).put(vdi, b"x" * (16 * MIB), task_id=task)
        record = _ended(xenapi, task)
        assert (record["status"], record["error_info"][0]) == ("failure", "INTERNAL_ERROR")
        assert xenapi.SR.get_physical_utilisation(sr) == xenapi.SR.get_physical_size(sr)
        assert fails(make_vdi, xenapi, sr) == ["SR_FULL", str(8 * MIB), "0"]
        xenapi.VDI.destroy(vdi)
        make_vdi(xenapi, sr)


def test_faults(xenapi, xenapi_server, client, vdi):
    """They are dialled in for handlers as for messages, and their calls are counted."""
    xenapi_server.faults.fail("http:/import_raw_vdi", "INTERNAL_ERROR", "on purpose")
    task = xenapi.task.create("upload", "")
    with xenapi_server.calls.recording() as record:
        assert client.put(vdi, b"x", task_id=task) == 500
    assert [made.name for made in record if made.writes] == ["http:/import_raw_vdi"]
    assert _ended(xenapi, task)["error_info"] == ["INTERNAL_ERROR", "on purpose"]
    xenapi_server.faults.drop("http:/import_raw_vdi", when="before")
    with pytest.raises(http.client.RemoteDisconnected):
        client.put(vdi, b"x")
    assert client.get(vdi)[1][:1] == b"\0"
    xenapi_server.faults.drop("http:/import_raw_vdi", when="after")
    with pytest.raises(http.client.RemoteDisconnected):
        client.put(vdi, b"x")
    assert client.get(vdi)[1][:1] == b"x"


def test_over_tls():
    with XenApiServer(tls=True) as server:
        context = ssl.create_default_context(cafile=str(server.ca_file))
        connection = http.client.HTTPSConnection(urlsplit(server.url).netloc, context=context, timeout=10)
        secret = base64.b64encode(f"{server.username}:{server.password}".encode()).decode()
        (image,) = server.db.find("VDI", name_label="golden-image")
        headers = {"Authorization": f"Basic {secret}"}
        connection.request("GET", f"/export_raw_vdi?{urlencode({'vdi': image})}", headers=headers)
        assert connection.getresponse().read() == golden_content()
        connection.close()
