# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection with a pool: sessions, the master, certificates, silence, tasks and events."""

from __future__ import annotations

import socket
import threading
import time
import xmlrpc.client
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.driver import XenApiDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.errors import code_of
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.transport import HttpRefused
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    HypervisorError,
    HypervisorUnavailable,
    InvalidInput,
    PermissionDenied,
    TimeoutExpired,
)
from lab.xenapi.server import XenApiServer

if TYPE_CHECKING:
    from contract.platforms.xenapi import XenApiPlatform

pytestmark = pytest.mark.on("xenapi")


def driver_for(server: XenApiServer, **changed: Any) -> XenApiDriver:
    options = {"uri": server.uri, "username": server.username, "password": server.password, **changed}
    return XenApiDriver(ConnectionOptions(**options))


def sessions(server: XenApiServer) -> int:
    return len(server.db.refs("session"))


@pytest.fixture
def server(platform: XenApiPlatform) -> XenApiServer:
    return platform.server


@pytest.fixture
def driver(server: XenApiServer) -> Iterator[XenApiDriver]:
    with driver_for(server) as opened:
        yield opened


@pytest.fixture(scope="module")
def tls_server(host: XenApiPlatform) -> Iterator[XenApiServer]:
    with XenApiServer(tls=True) as started:
        yield started


@pytest.fixture
def template(driver: XenApiDriver) -> str:
    return str(driver.call("VM.get_by_name_label", "Other install media")[0])


# -- logging in and out ---------------------------------------------------------------------------------------------


def test_one_login_and_one_logout(server: XenApiServer):
    with server.calls.recording() as made, driver_for(server) as driver, ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _number: driver.call("VM.get_all")[0], range(40)))) == 1
        assert sessions(server) == 1
    assert sessions(server) == 0
    names = [call.name for call in made]
    assert names.count("session.login_with_password") == names.count("session.logout") == 1


def test_the_session_ends_when_things_go_wrong(server: XenApiServer):
    with pytest.raises(ZeroDivisionError), driver_for(server):
        raise ZeroDivisionError
    assert sessions(server) == 0


def test_leaving_never_fails(server: XenApiServer):
    driver = driver_for(server)
    driver.open()
    server.faults.fail("session.logout")
    driver.close()
    driver.close()


@pytest.mark.parametrize("wrong", [{"password": "wrong"}, {"username": "nobody"}])
def test_a_wrong_password(server: XenApiServer, wrong: dict[str, str]):
    with pytest.raises(
        PermissionDenied, match=r"cannot log in at xenapi\+http://127.0.0.1:\d+: .* user name with this password"
    ) as caught:
        driver_for(server, **wrong).open()
    assert "wrong" not in str(caught.value)
    assert sessions(server) == 0


@pytest.mark.parametrize("missing", ["username", "password"])
def test_no_password(server: XenApiServer, missing: str):
    with pytest.raises(PermissionDenied, match="ANYVIRT_USERNAME and ANYVIRT_PASSWORD"):
        driver_for(server, **{missing: None}).open()


def test_the_user_may_be_part_of_the_uri(server: XenApiServer):
    with driver_for(server, username=None, uri=server.uri.replace("://", f"://{server.username}@")) as driver:
        assert driver.call("pool.get_all")


def test_a_slave_leads_to_the_master(server: XenApiServer):
    with driver_for(server, uri=server.slave_uris[0]) as driver:
        assert driver.api.address.url.rstrip("/") == server.url
        assert driver.call("VM.get_all")
    assert sessions(server) == 0


def test_a_host_that_is_no_longer_the_master(server: XenApiServer, driver: XenApiDriver):
    server.faults.fail("VM.get_all", "HOST_IS_SLAVE", "10.0.0.9")
    assert driver.call("VM.get_all")


def test_an_expired_session_in_the_middle_of_many_threads(server: XenApiServer):
    with server.calls.recording() as made, driver_for(server) as driver:
        at_once = threading.Barrier(8)

        def work(_number: int) -> int:
            done = 0
            for turn in range(20):
                if turn == 10:
                    at_once.wait()
                done += bool(driver.call("VM.get_all_records"))
            return done

        with ThreadPoolExecutor(8) as pool:
            results = pool.map(work, range(8))
            time.sleep(0.05)
            server.expire_sessions()
            assert list(results) == [20] * 8
    names = [call.name for call in made]
    assert names.count("session.login_with_password") == 2
    assert sessions(server) == 0


def test_a_session_that_expires_each_time_is_an_error(server: XenApiServer, driver: XenApiDriver):
    server.faults.fail("VM.get_all", "SESSION_INVALID", "OpaqueRef:1", times=2)
    with pytest.raises(PermissionDenied, match="cannot look: the server ended the session"), driver.guard("look"):
        driver.call("VM.get_all")
    assert driver.call("VM.get_all")


def test_a_password_that_was_refused_is_not_tried_again(server: XenApiServer, driver: XenApiDriver):
    """Servers lock accounts."""
    server.expire_sessions()
    server.faults.fail("session.login_with_password", "SESSION_AUTHENTICATION_FAILED", "root", "no", times=None)
    with server.calls.recording() as made, ThreadPoolExecutor(4) as pool:
        for refused in [pool.submit(driver.list_instances) for _number in range(8)]:
            with pytest.raises(PermissionDenied, match="user name with this password"):
                refused.result()
    assert [call.name for call in made].count("session.login_with_password") == 1


def test_a_write_is_made_once_with_a_new_session(server: XenApiServer, driver: XenApiDriver, template: str):
    server.expire_sessions()
    driver.call("VM.clone", template, "one")
    assert len(driver.call("VM.get_by_name_label", "one")) == 1


# -- certificates ---------------------------------------------------------------------------------------------------


def test_a_certificate_that_is_trusted(tls_server: XenApiServer):
    with driver_for(tls_server, ca_path=str(tls_server.ca_file)) as driver:
        assert driver.call("VM.get_all")
    with driver_for(tls_server, ca_path=str(tls_server.ca_file), uri=tls_server.slave_uris[0]) as driver:
        assert driver.call("VM.get_all")
    assert sessions(tls_server) == 0


def test_a_certificate_that_is_not_trusted(tls_server: XenApiServer):
    with pytest.raises(HypervisorUnavailable, match=r"certificate .* ca_path, .* validate_certs"):
        driver_for(tls_server).open()


def test_certificates_that_are_not_verified(tls_server: XenApiServer):
    with driver_for(tls_server, validate_certs=False) as driver:
        assert driver.call("VM.get_all")


def test_a_file_of_certificates_that_is_not_there(tls_server: XenApiServer, tmp_path: Path):
    with pytest.raises(InvalidInput, match=r"ca_path: .*no-such\.pem"):
        driver_for(tls_server, ca_path=str(tmp_path / "no-such.pem")).open()
    (tmp_path / "empty.pem").touch()
    with pytest.raises(InvalidInput, match=r"ca_path: .*empty\.pem"):
        driver_for(tls_server, ca_path=str(tmp_path / "empty.pem")).open()


def test_tls_where_there_is_none(server: XenApiServer):
    with pytest.raises(HypervisorUnavailable, match="no TLS connection with"):
        driver_for(server, uri=server.uri.replace("+http", "")).open()


# -- silence, and what is no server ---------------------------------------------------------------------------------


@contextmanager
def listener(answer: bytes) -> Iterator[str]:
    """Somebody who says the same to everybody, and nothing when there is nothing to say."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _address = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        if answer:
            threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"xenapi+http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)


def failure(details: list[str]) -> bytes:
    """An answer that says why there is none."""
    reply = {"Status": "Failure", "ErrorDescription": details}
    text = xmlrpc.client.dumps((reply,), methodresponse=True).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n<html>hi</html>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nIt works",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n<?xml",
        failure([]),
        failure(["HOST_IS_SLAVE"]),
    ],
)
def test_something_else_listens_there(server: XenApiServer, answer: bytes):
    with (
        listener(answer) as uri,
        pytest.raises(HypervisorUnavailable, match=r"cannot log in at xenapi\+http://127\.0\.0\.1:"),
    ):
        driver_for(server, uri=uri).open()


def test_nobody_ever_answers(server: XenApiServer):
    started = time.monotonic()
    with listener(b"") as uri, pytest.raises(HypervisorUnavailable, match=r"did not answer within 0\.5 s"):
        driver_for(server, uri=uri, connect_timeout_s=0.5).open()
    with listener(b"") as uri, pytest.raises(HypervisorUnavailable, match=r"did not answer within 0\.5 s"):
        driver_for(server, uri=uri.replace("+http", ""), connect_timeout_s=0.5).open()
    assert time.monotonic() - started < 3


def test_nobody_is_there(server: XenApiServer):
    for uri in ("xenapi+http://127.0.0.1:1", "xenapi://127.0.0.1:1", "xenapi://[::1]:1"):
        with pytest.raises(HypervisorUnavailable, match="nobody answers at"):
            driver_for(server, uri=uri).open()


def test_a_server_that_freezes(server: XenApiServer, template: str):
    driver = driver_for(server, call_timeout_s=1.0)
    driver.open()
    server.freeze()
    try:
        for ask in (lambda: driver.call("VM.get_all"), lambda: driver.run_task("VM.clone", template, "one")):
            started = time.monotonic()
            with pytest.raises(HypervisorUnavailable, match="did not answer within 1 s"), driver.guard("ask"):
                ask()
            assert time.monotonic() - started < 2
        started = time.monotonic()
        driver.close()
        assert time.monotonic() - started < 2
    finally:
        server.thaw()


def test_a_server_that_freezes_during_a_task(server: XenApiServer, template: str):
    server.faults.hang_task("VM.clone")
    with driver_for(server, call_timeout_s=1.0) as driver:
        task = driver.start_task("VM.clone", template, "one")
        server.freeze()
        try:
            started = time.monotonic()
            with pytest.raises(HypervisorUnavailable), driver.guard("clone"):
                driver.wait_task(task)
            assert time.monotonic() - started < 3
        finally:
            server.thaw()


def test_a_long_task_is_no_silence(server: XenApiServer, template: str):
    server.faults.delay("VM.clone", 2.5)
    with driver_for(server, call_timeout_s=1.0) as driver:
        assert driver.run_task("VM.clone", template, "one") == driver.call("VM.get_by_name_label", "one")[0]


# -- connections that break -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_read_is_made_again(server: XenApiServer, driver: XenApiDriver, when: str):
    server.faults.drop("VM.get_all", when)
    assert driver.call("VM.get_all")


@pytest.mark.parametrize(("when", "there"), [("before", 0), ("after", 1)])
def test_a_write_is_not(server: XenApiServer, driver: XenApiDriver, template: str, when: str, there: int):
    server.faults.drop("VM.clone", when)
    with (
        pytest.raises(HypervisorUnavailable, match=r"cannot clone: the connection with .* broke"),
        driver.guard("clone"),
    ):
        driver.call("VM.clone", template, "one")
    assert len(driver.call("VM.get_by_name_label", "one")) == there


def test_a_server_that_was_started_anew(server: XenApiServer, driver: XenApiDriver, template: str):
    server.stop_listening()
    with pytest.raises(HypervisorUnavailable), driver.guard("look"):
        driver.call("VM.get_all")
    server.listen_again()
    driver.call("VM.clone", template, "one")
    server.stop_listening()
    server.listen_again()
    driver.call("VM.clone", template, "two")


# -- tasks ----------------------------------------------------------------------------------------------------------


def test_a_tasks_result_and_end(server: XenApiServer, driver: XenApiDriver, template: str):
    assert driver.run_task("VM.clone", template, "one") == driver.call("VM.get_by_name_label", "one")[0]
    assert driver.run_task("VM.provision", driver.call("VM.get_by_name_label", "one")[0]) is None
    assert server.db.refs("task") == []


def test_a_tasks_failure(server: XenApiServer, driver: XenApiDriver, template: str):
    driver.labels[template] = "stencil"
    with pytest.raises(HypervisorError, match="cannot start it: instance 'stencil' is a template") as caught:
        with driver.guard("start it"):
            driver.run_task("VM.start", template, False, False)
    assert code_of(caught.value) == "VM_IS_TEMPLATE"
    assert server.db.refs("task") == []


def test_a_task_that_takes_too_long_is_cancelled(server: XenApiServer, driver: XenApiDriver, template: str):
    server.faults.hang_task("VM.clone")
    with pytest.raises(TimeoutExpired, match=r"VM\.clone"), driver.guard("clone"):
        driver.run_task("VM.clone", template, "one", timeout_s=0.3)
    assert server.db.refs("task") == []
    assert driver.call("VM.get_by_name_label", "one") == []


def test_a_task_can_be_waited_for_again(server: XenApiServer, driver: XenApiDriver, template: str):
    server.faults.delay("VM.clone", 0.5)
    task = driver.start_task("VM.clone", template, "one")
    with pytest.raises(TimeoutExpired):
        driver.wait_task(task, 0.1)
    assert driver.wait_task(task, 5.0) == driver.call("VM.get_by_name_label", "one")[0]
    assert server.db.refs("task") == []


def test_cancelling_what_is_over(server: XenApiServer, driver: XenApiDriver, template: str):
    task = driver.start_task("VM.clone", template, "one")
    time.sleep(0.2)
    driver.cancel_task(task)
    driver.cancel_task(task)
    assert server.db.refs("task") == []


def test_many_tasks_are_waited_for_by_one_loop(server: XenApiServer, driver: XenApiDriver, template: str):
    number = 200
    server.faults.delay("VM.clone", 0.05)
    with server.calls.recording() as made, ThreadPoolExecutor(10) as pool:
        refs = list(pool.map(lambda one: driver.run_task("VM.clone", template, f"vm{one}"), range(number)))
    assert len(set(refs)) == number
    names = [call.name for call in made]
    assert names.count("VM.clone") == names.count("task.destroy") == number
    assert not [name for name in names if name.startswith("task.get")]
    assert names.count("event.from") < number / 2
    assert server.db.refs("task") == []


def test_what_goes_on_while_events_break_is_waited_for(server: XenApiServer, driver: XenApiDriver, template: str):
    server.faults.delay("VM.clone", 0.3)
    server.faults.drop("event.from", times=2)
    for name in ("one", "two"):
        assert driver.run_task("VM.clone", template, name) == driver.call("VM.get_by_name_label", name)[0]
    assert server.db.refs("task") == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_events_whose_connection_breaks(server: XenApiServer, driver: XenApiDriver, template: str, when: str):
    server.faults.delay("VM.clone", 0.3)
    server.faults.drop("event.from", when)
    assert driver.run_task("VM.clone", template, "one")


def test_events_that_are_lost(server: XenApiServer, driver: XenApiDriver, template: str):
    driver.run_task("VM.clone", template, "one")
    server.faults.fail("event.from", "EVENTS_LOST")
    server.faults.delay("VM.clone", 0.3)
    assert driver.run_task("VM.clone", template, "two")


def test_a_server_without_events(server: XenApiServer, driver: XenApiDriver, template: str):
    server.faults.fail("event.from", "MESSAGE_METHOD_UNKNOWN", "event.from", times=None)
    server.faults.delay("VM.clone", 0.2)
    for name in ("one", "two"):
        assert driver.run_task("VM.clone", template, name) == driver.call("VM.get_by_name_label", name)[0]
    with pytest.raises(HypervisorError, match="template"), driver.guard("start"):
        driver.run_task("VM.start", template, False, False)
    server.faults.hang_task("VM.clone")
    with pytest.raises(TimeoutExpired), driver.guard("clone"):
        driver.run_task("VM.clone", template, "three", timeout_s=0.3)
    assert server.db.refs("task") == []


def test_a_task_that_somebody_takes_away(server: XenApiServer, driver: XenApiDriver, template: str):
    server.faults.hang_task("VM.clone")
    task = driver.start_task("VM.clone", template, "one")
    driver.call("task.destroy", task.ref)
    with pytest.raises(HypervisorError, match="task"), driver.guard("clone"):
        driver.wait_task(task)


def test_closing_ends_the_loop(server: XenApiServer, template: str):
    before = threading.active_count()
    driver = driver_for(server)
    driver.open()
    driver.run_task("VM.clone", template, "one")
    started = time.monotonic()
    driver.close()
    assert time.monotonic() - started < 1
    assert not [thread for thread in threading.enumerate() if thread.name == "anyvirt-tasks"]
    assert threading.active_count() <= before + 3  # the server's, for connections that just ended


# -- watching -------------------------------------------------------------------------------------------------------


def test_a_watch_wakes_up(server: XenApiServer, driver: XenApiDriver, template: str):
    vm = driver.call("VM.clone", template, "one")
    with driver.watch(["one"]) as watch:
        threading.Timer(0.3, lambda: driver.call("VM.set_name_description", vm, "news")).start()
        started = time.monotonic()
        watch.wait(10.0)
        assert 0.2 < time.monotonic() - started < 2


def test_a_watch_misses_nothing_between_looking_and_waiting(driver: XenApiDriver, template: str):
    vm = driver.call("VM.clone", template, "one")
    with driver.watch(["one"]) as watch:
        driver.call("VM.set_name_description", vm, "news")
        started = time.monotonic()
        watch.wait(10.0)
        assert time.monotonic() - started < 1


def test_a_watch_hears_of_a_guest_that_comes_up(server: XenApiServer, driver: XenApiDriver, template: str):
    vm = driver.call("VM.clone", template, "one")
    with driver.watch(["one"]) as watch:
        metrics = server.db.create("VM_guest_metrics")
        server.db.set("VM", vm, guest_metrics=metrics)
        watch.wait(5.0)
        threading.Timer(0.2, lambda: server.db.set("VM_guest_metrics", metrics, networks={"0/ip": "10.0.0.5"})).start()
        started = time.monotonic()
        watch.wait(10.0)
        assert 0.1 < time.monotonic() - started < 2


def test_a_watch_does_not_listen_to_others(driver: XenApiDriver, template: str):
    driver.call("VM.clone", template, "one")
    other = driver.call("VM.clone", template, "other")
    with driver.watch(["one"]) as watch:
        driver.call("VM.set_name_description", other, "news")
        started = time.monotonic()
        watch.wait(0.4)
        assert time.monotonic() - started > 0.3


def test_a_watch_over_what_is_not_there_yet(driver: XenApiDriver, template: str):
    with driver.watch(["one"]) as watch:
        later = threading.Timer(0.3, lambda: driver.call("VM.clone", template, "one"))
        later.start()
        started = time.monotonic()
        watch.wait(10.0)
        assert 0.2 < time.monotonic() - started < 2
        later.join()


def test_a_watch_whose_events_are_lost(server: XenApiServer, driver: XenApiDriver, template: str):
    driver.call("VM.clone", template, "one")
    with driver.watch(["one"]) as watch:
        server.faults.fail("event.from", "EVENTS_LOST")
        watch.wait(5.0)
        watch.wait(0.1)


# -- HTTP -----------------------------------------------------------------------------------------------------------

MIB = 1 << 20


def new_vdi(driver: XenApiDriver, size: int) -> tuple[str, str]:
    [sr] = driver.call("SR.get_by_name_label", "shared")
    record = {"name_label": "image", "name_description": "", "SR": sr, "virtual_size": str(size), "type": "user"}
    record |= {
        "sharable": False,
        "read_only": False,
        "other_config": {},
        "xenstore_data": {},
        "sm_config": {},
        "tags": [],
    }
    vdi = driver.call("VDI.create", record)
    return vdi, driver.call("VDI.get_uuid", vdi)


def test_an_upload_and_a_download(driver: XenApiDriver):
    _vdi, uuid = new_vdi(driver, 8 * MIB)
    content = bytes(range(256)) * (4 * MIB // 256)
    pieces = [content[start : start + 100_000] for start in range(0, len(content), 100_000)]
    driver.http_request("PUT", "/import_raw_vdi", {"vdi": uuid, "format": "raw"}, lambda: pieces, len(content))
    assert driver.http_request("GET", "/export_raw_vdi", {"vdi": uuid, "format": "raw"})[: len(content)] == content


def test_an_upload_after_the_session_ended(server: XenApiServer, driver: XenApiDriver):
    _vdi, uuid = new_vdi(driver, 8 * MIB)
    server.expire_sessions()
    driver.http_request("PUT", "/import_raw_vdi", {"vdi": uuid, "format": "raw"}, lambda: [b"x" * MIB] * 2, 2 * MIB)
    assert driver.http_request("GET", "/export_raw_vdi", {"vdi": uuid, "format": "raw"})[:2] == b"xx"


def test_an_upload_that_is_refused(driver: XenApiDriver):
    query = {"vdi": "00000000-0000-0000-0000-000000000000", "format": "raw"}
    with pytest.raises(HypervisorError, match="cannot upload it: the server says HTTP") as caught:
        with driver.guard("upload it"):
            driver.http_request("PUT", "/import_raw_vdi", query, lambda: [b"x" * MIB] * 8, 8 * MIB)
    assert isinstance(caught.value.__cause__, HttpRefused)


def test_uploads_that_a_server_does_not_want_over_tls(tls_server: XenApiServer):
    """It says so before it has read all, and hangs up, which TLS has errors of its own for."""

    def upload(driver: XenApiDriver, uuid: str) -> None:
        query = {"vdi": uuid, "format": "raw"}
        driver.http_request("PUT", "/import_raw_vdi", query, lambda: [b"x" * MIB] * 64, 64 * MIB)

    with driver_for(tls_server, ca_path=str(tls_server.ca_file)) as driver:
        with pytest.raises(HypervisorError, match="cannot upload it: the server says HTTP 500"):
            with driver.guard("upload it"):
                upload(driver, "no uuid")
        tls_server.faults.drop("http:/import_raw_vdi")
        with pytest.raises(HypervisorUnavailable, match="broke"), driver.guard("upload it"):
            upload(driver, "no uuid")
        tls_server.expire_sessions()
        _vdi, uuid = new_vdi(driver, 64 * MIB)
        tls_server.expire_sessions()
        upload(driver, uuid)


def test_an_upload_whose_connection_breaks(server: XenApiServer, driver: XenApiDriver):
    _vdi, uuid = new_vdi(driver, 8 * MIB)
    server.faults.drop("http:/import_raw_vdi", "before")
    with pytest.raises(HypervisorUnavailable, match="broke"), driver.guard("upload it"):
        driver.http_request("PUT", "/import_raw_vdi", {"vdi": uuid}, lambda: [b"x" * MIB] * 8, 8 * MIB)
    assert driver.call("VM.get_all")


def test_an_upload_to_a_server_that_falls_silent(server: XenApiServer):
    """It costs its time once, and once more for its task, however much there is to clean up."""
    server.faults.delay("http:/import_raw_vdi", 30.0)

    def body() -> Iterator[bytes]:
        server.freeze()
        yield from [b"x" * MIB] * 64

    try:
        with driver_for(server, call_timeout_s=1.0) as driver:
            _vdi, uuid = new_vdi(driver, 64 * MIB)
            started = time.monotonic()
            with pytest.raises(HypervisorUnavailable, match="did not answer within 1 s"), driver.guard("upload it"):
                driver.upload(uuid, body, 64 * MIB)
            assert time.monotonic() - started < 2.9
    finally:
        server.thaw()


def test_an_upload_of_what_cannot_be_read(driver: XenApiDriver, tmp_path: Path):
    _vdi, uuid = new_vdi(driver, 8 * MIB)

    def body() -> Iterator[bytes]:
        yield b"x" * MIB
        yield (tmp_path / "gone.raw").read_bytes()

    with pytest.raises(HypervisorError, match=r"gone\.raw"), driver.guard("upload it"):
        driver.http_request("PUT", "/import_raw_vdi", {"vdi": uuid}, body, 8 * MIB)


def test_an_upload_that_is_sent_to_another_host(server: XenApiServer, driver: XenApiDriver):
    """A host that cannot reach the volume's repository names one that can, before it has read the body."""
    _vdi, uuid = new_vdi(driver, 8 * MIB)
    query = {"vdi": uuid, "format": "raw"}
    target = f"{server.url}/import_raw_vdi?vdi={uuid}&format=raw&session_id={driver.api.session}"
    begun = []

    def body() -> Iterator[bytes]:
        begun.append(True)
        yield from [b"x" * MIB] * 8

    with listener(f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()) as elsewhere:
        address = elsewhere.partition("//")[2]
        driver.http_request("PUT", "/import_raw_vdi", query, body, 8 * MIB, address)
    assert len(begun) == 2
    assert driver.http_request("GET", "/export_raw_vdi", query)[:2] == b"xx"


def test_hosts_that_send_us_in_a_circle(driver: XenApiDriver):
    with listener(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n") as elsewhere:
        with pytest.raises(HypervisorUnavailable, match="send each other"), driver.guard("look"):
            driver.http_request("GET", "/again", {}, address=elsewhere.partition("//")[2])


def test_another_host_of_the_pool(server: XenApiServer, driver: XenApiDriver):
    slave = server.slave_urls[0].partition("//")[2]
    assert b"<xport>" in driver.http_request("GET", "/rrd_updates", {"start": "0"}, address=slave)
