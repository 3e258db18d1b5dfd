# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests over http and https that send no secret anywhere but where it belongs."""

from __future__ import annotations

import ssl
from base64 import b64encode
from http.client import HTTPMessage, HTTPResponse
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from ..errors import TransferError
from .options import FetchOptions, without_secrets

_USER_AGENT = "anyvirt.compute"
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Requests:
    """Requests with the credentials of ``options``, which only the host of ``options.url`` ever gets.

    Args:
        downgrade: Whether a redirect may lead from https to http, where anybody can change what is sent. Mirrors do
            that; it is harmless only for what is verified by a checksum.
    """

    def __init__(self, options: FetchOptions, downgrade: bool = False) -> None:
        self._options = options
        self._home = origin(options.url or "")
        self._opener = OpenerDirector()
        for handler in (
            ProxyHandler(),
            HTTPHandler(),
            HTTPSHandler(context=_tls(options)),
            HTTPDefaultErrorHandler(),
            HTTPErrorProcessor(),
            _Redirects(self._secrets_for, downgrade),
        ):
            self._opener.add_handler(handler)

    def get(self, url: str, **headers: str) -> HTTPResponse:
        """The answer, whose body is still to be read.

        Args:
            headers: More headers, with an underscore for each hyphen.

        Raises:
            OSError, HTTPException: there is no answer, or it says that it cannot be had (HTTPError).
        """
        request = Request(url, headers={"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"})  # noqa: S310
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        for name, value in self._secrets_for(url).items():
            request.add_unredirected_header(name, value)
        response: HTTPResponse = self._opener.open(request, timeout=self._options.timeout_s)
        return response

    def _secrets_for(self, url: str) -> dict[str, str]:
        """Whatever the user gives may be a secret, so all of it is for one host."""
        options = self._options
        if origin(url) != self._home:
            return {}
        secrets = dict(options.headers)
        if options.username is not None:
            login = f"{options.username}:{options.password or ''}".encode()
            secrets["Authorization"] = f"Basic {b64encode(login).decode()}"
        return secrets


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Who answers for a URL: scheme, host and port."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)


def _tls(options: FetchOptions) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.ca_path)
    except (OSError, ssl.SSLError) as error:
        raise TransferError(f"cannot read the certificates in {options.ca_path!r}: {error}") from error
    if not options.validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _Redirects(HTTPRedirectHandler):
    """Follows a few redirects to other http and https addresses."""

    def __init__(self, secrets_for: Any, downgrade: bool) -> None:
        self._secrets_for = secrets_for
        self._downgrade = downgrade

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme not in _DEFAULT_PORTS:
            raise TransferError(
                f"{without_secrets(req.full_url)} leads on to {new.scheme or 'nothing'}, not to http or https"
            )
        if "@" in new.netloc:
            raise TransferError(
                f"{without_secrets(req.full_url)} leads on to {without_secrets(newurl)} with a user or password in the "
                "address, which is not followed; ask for that one, with the options for user and password"
            )
        if old.scheme == "https" and new.scheme == "http" and not self._downgrade:
            raise TransferError(
                f"{without_secrets(req.full_url)} leads on from https to {without_secrets(newurl)}, where "
                "anybody on the way can change it; give a checksum, or a URL that stays with https"
            )
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None:
            for name, value in self._secrets_for(newurl).items():
                request.add_unredirected_header(name, value)
        return request


def why(error: Exception) -> str:
    """An error of a request in words."""
    if isinstance(error, HTTPError):
        hint = {401: "; is the user name or password wrong or missing?", 407: "; the proxy wants a password"}
        return f"the server answers {error.code} {error.reason}{hint.get(error.code, '')}"
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its TLS certificate is not to be trusted: {reason.verify_message}"
    return str(reason) or type(reason).__name__
