# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Downloads that go on where they broke off."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from typing import Callable
from urllib.error import HTTPError

from ..errors import TransferError
from .content import PIECE_BYTES
from .options import FetchOptions
from .web import Requests, why

_WORTH_ANOTHER_TRY = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_PAUSE_S = 60.0
_SLOWEST_BYTES = 1024
"""Less in ``timeout_s`` seconds is silence: it would never end."""
_LONGEST_PIECE_S = 1.0
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)", re.ASCII)


class _Broken(Exception):
    """The connection broke, or the server could not answer for now; another try may do."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        self.wait_s = wait_s
        super().__init__(reason)


class _Patience:
    """With a server that sends, but so little that it would never end."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._until = time.monotonic() + timeout_s
        self._held = 0

    def came(self, count: int) -> None:
        """So many bytes more. Raises _Broken when they were too few for too long."""
        self._held += count
        now = time.monotonic()
        if now > self._until:
            if self._held < _SLOWEST_BYTES:
                raise _Broken(f"fewer than {_SLOWEST_BYTES} bytes came in {self._timeout_s:g} s")
            self._until, self._held = now + self._timeout_s, 0


class Download:
    """What a URL leads to, read once from the beginning to the end. Use it as a context manager.

    Args:
        verified: The caller verifies a checksum at the end. Then a server that cannot tell whether it still has the
            same content may go on all the same, and it need not stay with https.
        pause: How to wait for so many seconds.
    """

    def __init__(self, options: FetchOptions, verified: bool, pause: Callable[[float], None] = time.sleep) -> None:
        self.what = options.what
        self.length: int | None = None
        self._options = options
        self._url = options.url or ""
        self._verified = verified
        self._pause = pause
        self._requests = Requests(options, downgrade=verified)
        self._response: HTTPResponse | None = None
        self._etag = ""
        self._modified = ""
        self._at = 0
        self._tries = 0
        self._tried_at = 0

    def __enter__(self) -> Download:
        self._connect()
        return self

    def __exit__(self, *failure: object) -> None:
        self._hang_up()

    def pieces(self) -> Iterator[bytes]:
        """All of it.

        Raises:
            TransferError: it broke too often, or became something else in the middle.
        """
        while self.length is None or self._at < self.length:
            try:
                piece = self._read(self._response or self._connect())
            except (OSError, HTTPException) as error:
                self._broke(_Broken(why(error)))
                continue
            except _Broken as error:
                self._broke(error)
                continue
            if not piece:
                return
            self._at += len(piece)
            yield piece

    # -- connecting -------------------------------------------------------------------------------------------------

    def _connect(self) -> HTTPResponse:
        while True:
            try:
                self._response = self._ask()
            except _Broken as error:
                self._broke(error)
            else:
                return self._response

    def _ask(self) -> HTTPResponse:
        """The answer, from ``_at`` on."""
        wanted = {"Range": f"bytes={self._at}-"} if self._at else {}
        validator = self._etag or self._modified
        if wanted and validator:
            wanted["If_Range"] = validator
        try:
            response = self._requests.get(self._url, **wanted)
        except HTTPError as error:
            with error:
                if error.code in _WORTH_ANOTHER_TRY:
                    raise _Broken(why(error), _seconds(error.headers.get("Retry-After"))) from error
                raise self._failure(why(error)) from error
        except (OSError, HTTPException, ValueError) as error:
            if _is_final(error):
                raise self._failure(why(error)) from error
            raise _Broken(why(error)) from error
        try:
            self._begin(response)
        except BaseException:
            response.close()
            raise
        return response

    def _begin(self, response: HTTPResponse) -> None:
        if response.status not in (200, 206):
            raise self._failure(f"the server answers {response.status} {response.reason}")
        etag = response.headers.get("ETag", "")
        etag = "" if etag.startswith("W/") else etag  # means much the same, and not the same bytes
        modified = response.headers.get("Last-Modified", "")
        length = _number(response.headers.get("Content-Length"))
        if self._at == 0:
            if response.status == 206:
                raise self._failure("the server answers with a part of it that nobody asked for")
            self._etag, self._modified, self.length = etag, modified, length
        elif response.status == 206:
            self._check_part(response, etag, modified)
        elif not self._verified and not (self._etag and etag == self._etag):
            # Without Range it comes from the beginning, and nothing says that this is what the first part was of.
            raise self._failure(
                "the connection broke, and the server has something else by now, or cannot go on in the middle; "
                "try again, or give a checksum"
            )
        elif length != self.length:
            raise self._failure(f"it changed while it was fetched: it had {self.length} bytes, and now has {length}")
        else:
            self._skip(response)

    def _check_part(self, response: HTTPResponse, etag: str, modified: str) -> None:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        total = _number(match.group(3)) if match else None
        if match is None or int(match.group(1)) != self._at:
            raise self._failure("the server goes on at another place than it was asked to")
        changed = (etag and self._etag and etag != self._etag) or (
            modified and self._modified and modified != self._modified
        )
        if changed or (total is not None and self.length is not None and total != self.length):
            raise self._failure("it changed while it was fetched; try again")
        if not self._verified and not (self._etag or self._modified):
            raise self._failure(
                "the connection broke, and the server does not tell whether it still has the same; try again, or give "
                "a checksum"
            )
        self.length = self.length if total is None else total

    def _skip(self, response: HTTPResponse) -> None:
        left, patience = self._at, _Patience(self._options.timeout_s)
        try:
            while left:
                skipped = len(response.read1(min(left, PIECE_BYTES)))
                if not skipped:
                    raise _Broken("the connection broke")
                left -= skipped
                patience.came(skipped)
        except (OSError, HTTPException) as error:
            raise _Broken(why(error)) from error

    # -- reading ----------------------------------------------------------------------------------------------------

    def _read(self, response: HTTPResponse) -> bytes:
        """The next piece; a short one rather than one that comes late, since others wait for it. Empty at the end."""
        late, patience = time.monotonic() + _LONGEST_PIECE_S, _Patience(self._options.timeout_s)
        parts: list[bytes] = []
        held = 0
        while held < PIECE_BYTES:
            left = PIECE_BYTES - held if self.length is None else min(PIECE_BYTES - held, self.length - self._at - held)
            try:
                part = response.read1(left) if left else b""
            except (OSError, HTTPException):
                if not held:
                    raise
                self._hang_up()  # the next piece begins with another try
                break
            if not part:
                if left and not held and self.length is not None:
                    raise _Broken(f"the connection ended after {self._at} of {self.length} bytes")
                break
            parts.append(part)
            held += len(part)
            patience.came(len(part))
            if held >= _SLOWEST_BYTES and time.monotonic() > late:
                break
        return b"".join(parts) if len(parts) != 1 else parts[0]

    # -- breaking ---------------------------------------------------------------------------------------------------

    def _broke(self, error: _Broken) -> None:
        """Wait before the next try, unless there were too many."""
        self._hang_up()
        if self._at - self._tried_at >= PIECE_BYTES:
            self._tries = 0
        self._tried_at = self._at
        if self._tries >= self._options.retries:
            tried = f" (tried {self._tries + 1} times)" if self._tries else ""
            raise self._failure(f"{error}{tried}") from error
        self._pause(min(max(self._options.pause_s * 2**self._tries, error.wait_s), _LONGEST_PAUSE_S))
        self._tries += 1

    def _hang_up(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _failure(self, reason: str) -> TransferError:
        return TransferError(f"cannot fetch {self.what}: {reason}")


def _is_final(error: Exception) -> bool:
    """Whether another try would end the same way."""
    import ssl

    reason = getattr(error, "reason", None) or error
    return isinstance(reason, (ssl.SSLCertVerificationError, ValueError)) and not isinstance(reason, ConnectionError)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def _seconds(text: str | None) -> float:
    return float(_number(text) or 0)
