# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Downloads: resumed where they break, refused where they lie, and discreet."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.errors import ChecksumMismatch, TransferError, UnsafeImage
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.content import PIECE_BYTES, Hole
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.fetch import FetchOptions, open_content
from lab.hostile import File, HostileServer

DATA = random.Random(4).randbytes(3 * PIECE_BYTES + 12345)
SHA256 = "sha256:" + hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer().running() as running:
        yield running


def fetch(server: HostileServer, path: str = "/image", **over: Any) -> bytes:
    options: dict[str, Any] = {"url": server.url(path), "timeout_s": 5.0, "pause_s": 0.001, **over}
    with open_content(FetchOptions(**options)) as content:
        return b"".join(bytes(part.length) if isinstance(part, Hole) else part for part in content.segments())


# -- connections that break -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("checksum", [None, SHA256], ids=["unverified", "verified"])
@pytest.mark.parametrize("breaks", [[1], [PIECE_BYTES * 2 + 7], [0, 100, 70000, PIECE_BYTES + 1]])
def test_a_broken_connection_is_taken_up_where_it_broke(
    server: HostileServer, breaks: list[int], checksum: str | None
) -> None:
    server.files["/image"] = File(DATA, breaks=list(breaks))
    assert fetch(server, checksum=checksum) == DATA
    assert len(server.seen) == len(breaks) + 1
    assert any((asked or "bytes=0-") != "bytes=0-" for asked in server.ranges_asked()) or breaks == [0]


def test_what_has_no_tag_is_taken_up_by_its_date(server: HostileServer) -> None:
    server.files["/image"] = File(DATA, breaks=[100000], tags=[], modified="Mon, 03 Nov 2025 10:00:00 GMT")
    assert fetch(server) == DATA
    assert server.seen[-1].headers["if-range"] == "Mon, 03 Nov 2025 10:00:00 GMT"


def test_a_weak_tag_does_not_vouch_for_bytes(server: HostileServer) -> None:
    server.files["/image"] = File(DATA, breaks=[100000], tags=['W/"one"'])
    with pytest.raises(TransferError, match="does not tell whether it still has the same"):
        fetch(server)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"tags": ['"one"', '"two"']}, "has something else by now"),
        ({"tags": ['"one"', '"two"'], "ranges": False}, "cannot go on in the middle"),
        ({"tags": []}, "does not tell whether it still has the same"),
        ({"total_in_range": 99}, "changed while it was fetched"),
    ],
)
def test_what_changes_between_two_connections_is_not_mixed(
    server: HostileServer, change: dict[str, Any], complaint: str
) -> None:
    server.files["/image"] = File(DATA, breaks=[100000], **change)
    with pytest.raises(TransferError, match=complaint):
        fetch(server)


def test_a_server_without_ranges_will_do_where_a_tag_or_a_checksum_vouches(server: HostileServer) -> None:
    server.files["/image"] = File(DATA, breaks=[200000, 200000], ranges=False)
    assert fetch(server) == DATA
    server.files["/other"] = File(DATA, breaks=[200000, 200000], ranges=False, tags=[])
    assert fetch(server, "/other", checksum=SHA256) == DATA


def test_what_is_mixed_all_the_same_has_the_wrong_checksum(server: HostileServer) -> None:
    def other(request: BaseHTTPRequestHandler) -> None:
        server.files["/image"] = File(bytes(len(DATA)), tags=[])
        first = len(server.seen) == 1
        server._send(request, File(DATA, breaks=[100000], tags=[]) if first else server.files["/image"])

    server.handlers["/image"] = other
    with pytest.raises(ChecksumMismatch):
        fetch(server, checksum=SHA256)


def test_it_is_not_tried_for_ever(server: HostileServer) -> None:
    server.files["/image"] = File(DATA, breaks=[10] * 100)
    with pytest.raises(TransferError, match=r"tried 4 times"):
        fetch(server, retries=3)
    assert len(server.seen) == 4


def test_progress_gives_new_patience(server: HostileServer) -> None:
    server.files["/image"] = File(DATA, breaks=[PIECE_BYTES + 1, PIECE_BYTES + 1, PIECE_BYTES + 1])
    assert fetch(server, retries=1) == DATA


def test_a_server_that_is_busy_is_asked_again(server: HostileServer) -> None:
    server.files["/image"] = File(DATA, statuses=[503, 429, 500])
    assert fetch(server) == DATA


@pytest.mark.parametrize("status", [401, 403, 404, 410, 501])
def test_a_server_that_says_no_is_not_asked_again(server: HostileServer, status: int) -> None:
    server.files["/image"] = File(DATA, statuses=[status])
    with pytest.raises(TransferError, match=str(status)):
        fetch(server)
    assert len(server.seen) == 1


def test_nobody_there(server: HostileServer) -> None:
    with pytest.raises(TransferError, match="refused"):
        fetch(server, url="http://127.0.0.1:1/image", retries=1)


# -- servers that lie -----------------------------------------------------------------------------------------------


def test_less_than_was_said(server: HostileServer) -> None:
    server.files["/image"] = File(DATA, says_length=len(DATA) + 10)
    with pytest.raises(TransferError):
        fetch(server, retries=2)


def test_more_than_was_said_is_not_taken(server: HostileServer) -> None:
    server.files["/image"] = File(DATA, says_length=len(DATA) - 10)
    assert fetch(server) == DATA[:-10]
    with pytest.raises(ChecksumMismatch):
        fetch(server, checksum=SHA256)


def test_endless_data_ends_at_the_limit(server: HostileServer) -> None:
    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        with suppress(OSError):
            while True:
                request.wfile.write(DATA)

    server.handlers["/image"] = endless
    with pytest.raises(UnsafeImage, match="more in it than"):
        fetch(server, max_size_bytes=10 * PIECE_BYTES)


def test_too_much_is_refused_at_once_where_it_is_told(server: HostileServer) -> None:
    server.files["/image"] = File(b"x" * PIECE_BYTES, says_length=1 << 60)
    with pytest.raises(UnsafeImage, match="no more than"):
        fetch(server, max_size_bytes=10 * PIECE_BYTES)


def test_silence_is_no_answer(server: HostileServer) -> None:
    def silent(request: BaseHTTPRequestHandler) -> None:
        request.connection.settimeout(5)
        with suppress(OSError):
            request.connection.recv(1)

    server.handlers["/image"] = silent
    with pytest.raises(TransferError, match="timed out"):
        fetch(server, timeout_s=0.2, retries=1)


def test_drops_are_silence(server: HostileServer) -> None:
    server.files["/image"] = File(DATA, drip_s=0.05)
    with pytest.raises(TransferError, match="fewer than 1024 bytes came in"):
        fetch(server, timeout_s=0.3, retries=1)


def test_nothing_at_all(server: HostileServer) -> None:
    server.files["/image"] = File(b"")
    with pytest.raises(TransferError, match="is empty"):
        fetch(server)


def test_length_that_is_not_told_is_no_error(server: HostileServer) -> None:
    server.files["/image"] = File(DATA, sends_length=False)
    assert fetch(server) == DATA


def test_chunks_that_break_off(server: HostileServer) -> None:
    def chunked(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.send_header("ETag", '"one"')
        request.end_headers()
        request.wfile.write(b"%x\r\n%s\r\n" % (100000, DATA[:100000]))
        request.wfile.write(b"%x\r\n%s" % (100000, DATA[100000:150000]))
        del server.handlers["/image"]

    server.handlers["/image"] = chunked
    server.files["/image"] = File(DATA)
    assert fetch(server) == DATA
    assert len(server.seen) == 2


# -- redirects and secrets ------------------------------------------------------------------------------------------


def test_a_loop_of_redirects_ends(server: HostileServer) -> None:
    server.redirects = {"/image": "/there", "/there": "/image"}
    with pytest.raises(TransferError, match="redirect"):
        fetch(server, retries=0)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/image", "gopher://127.0.0.1/"])
def test_a_redirect_leads_nowhere_else(server: HostileServer, target: str) -> None:
    server.redirects["/image"] = target
    with pytest.raises(TransferError, match=r"not to http or https|not allowed"):
        fetch(server)


def test_a_redirect_with_a_password_is_not_followed_nor_told(server: HostileServer) -> None:
    server.redirects["/image"] = "http://me:hunter22@localhost/image"
    with pytest.raises(TransferError, match="leads on to http://localhost/image with a user") as caught:
        fetch(server, retries=0)
    assert "hunter22" not in str(caught.value)


def test_secrets_stay_with_their_host(server: HostileServer) -> None:
    with HostileServer().running() as other:
        other.files["/image"] = File(DATA, breaks=[100000])
        server.redirects = {"/image": "/same", "/same": other.url("/image")}
        assert fetch(server, username="me", password="s3cret", headers={"X-Token": "t0ken"}) == DATA
        for request in server.seen:
            assert request.headers["authorization"] == "Basic bWU6czNjcmV0"
            assert request.headers["x-token"] == "t0ken"
        for request in other.seen:
            assert "authorization" not in request.headers
            assert "x-token" not in request.headers
        assert other.ranges_asked() == [None, "bytes=100000-"]


def test_no_message_has_a_secret(server: HostileServer) -> None:
    server.files["/image"] = File(DATA, statuses=[401])
    with pytest.raises(TransferError) as caught:
        fetch(server, "/image?signature=s1gned", username="me", password="s3cret", headers={"X-Token": "t0ken"})
    assert not any(secret in str(caught.value) for secret in ("s3cret", "t0ken", "s1gned"))
    options = FetchOptions(url="http://me:s3cret@host/x?signature=s1gned", password="s3cret", headers={"X": "t0ken"})
    assert options.what == "http://host/x"
    assert "t0ken" not in repr(options)


# -- TLS ------------------------------------------------------------------------------------------------------------


class Secured(NamedTuple):
    """A server with a certificate of an authority that only ``ca_path`` knows."""

    server: HostileServer
    ca_path: str


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    pytest.importorskip("cryptography")
    from lab.xenapi.certificates import make_identity

    identity = make_identity(tmp_path)
    with HostileServer(identity.context).running() as running:
        running.files["/image"] = File(DATA, breaks=[100000])
        yield Secured(running, str(identity.ca_file))


def test_a_certificate_is_verified(secured: Secured) -> None:
    with pytest.raises(TransferError, match="certificate is not to be trusted"):
        fetch(secured.server)
    assert secured.server.seen == []
    assert fetch(secured.server, ca_path=secured.ca_path) == DATA
    assert fetch(secured.server, validate_certs=False) == DATA
    with pytest.raises(TransferError, match="cannot read the certificates"):
        fetch(secured.server, ca_path="/nowhere")


def test_a_redirect_leaves_tls_only_where_a_checksum_guards(secured: Secured, server: HostileServer) -> None:
    server.files["/image"] = File(DATA)
    secured.server.redirects["/image"] = server.url("/image")
    with pytest.raises(TransferError, match="leads on from https to http://"):
        fetch(secured.server, ca_path=secured.ca_path)
    assert server.seen == []
    assert fetch(secured.server, ca_path=secured.ca_path, checksum=SHA256, password="s3cret", username="me") == DATA
    assert "authorization" not in server.seen[0].headers


def test_a_list_of_checksums_never_leaves_tls(secured: Secured, server: HostileServer) -> None:
    server.files["/SHA256SUMS"] = File(f"{SHA256[7:]}  image\n".encode())
    secured.server.redirects["/SHA256SUMS"] = server.url("/SHA256SUMS")
    with pytest.raises(TransferError, match="leads on from https"):
        fetch(secured.server, ca_path=secured.ca_path, checksum=f"sha256:{secured.server.url('/SHA256SUMS')}")


# -- published checksums --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "listing",
    [
        f"{'0' * 64}  other\n{SHA256[7:]}  image\n",
        f"{SHA256[7:]} *./image\n",
        f"SHA256 (image) = {SHA256[7:].upper()}\n",
        f"{SHA256[7:]}\n",
        f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{SHA256[7:]}  image\n-----BEGIN PGP SIGNATURE-----\n",
    ],
    ids=["gnu", "binary", "bsd", "alone", "signed"],
)
def test_a_checksum_is_looked_up(server: HostileServer, listing: str) -> None:
    server.files = {"/image": File(DATA), "/SHA256SUMS": File(listing.encode())}
    assert fetch(server, checksum=f"sha256:{server.url('/SHA256SUMS')}") == DATA


def test_a_list_without_it(server: HostileServer) -> None:
    server.files = {"/image": File(DATA), "/SHA256SUMS": File(f"{SHA256[7:]}  other\n{SHA256[7:]}  third\n".encode())}
    with pytest.raises(TransferError, match="no sha256 checksum of 'image'"):
        fetch(server, checksum=f"sha256:{server.url('/SHA256SUMS')}")


def test_a_list_on_another_host_gets_no_secret(server: HostileServer) -> None:
    with HostileServer().running() as other:
        other.files["/SHA256SUMS"] = File(f"{SHA256[7:]}  image\n".encode())
        server.files["/image"] = File(DATA)
        fetch(server, checksum=f"sha256:{other.url('/SHA256SUMS')}", username="me", password="s3cret")
        assert "authorization" not in other.seen[0].headers
        assert "authorization" in server.seen[0].headers
