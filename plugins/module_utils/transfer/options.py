# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be fetched, from where, and how patiently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit


@dataclass(frozen=True)
class FetchOptions:
    """Where content comes from: exactly one of ``path`` and ``url``.

    Attributes:
        path: A file or block device where the module runs.
        url: Of http or https.
        checksum: ``ALGORITHM:HEX`` of what the file or URL holds, compressed as it is there, or ``ALGORITHM:URL`` of a
            published list of checksums in which the name at the end of ``url`` is looked up.
        max_size_bytes: Of the disk in it, and of what is stored of it. None: no limit.
        username, password: For ``url``.
        headers: More headers for the request.
        validate_certs, ca_path: How TLS certificates are verified.
        timeout_s: Seconds of silence until a connection counts as broken.
        retries: How often a broken connection is tried again without any progress in between.
        pause_s: Seconds before the first of these tries; twice as many before each further one.
        decompress: Whether gzip, xz, bzip2 and zstd, which are told by their first bytes, are unpacked.
        with_sha256: Also compute the SHA-256 of what is stored.
    """

    path: str | None = None
    url: str | None = None
    checksum: str | None = None
    max_size_bytes: int | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    validate_certs: bool = True
    ca_path: str | None = None
    timeout_s: float = 30.0
    retries: int = 5
    pause_s: float = 1.0
    decompress: bool = True
    with_sha256: bool = False

    @property
    def what(self) -> str:
        """How messages and records call it: without password, and without a query, which may hold a signature."""
        return without_secrets(self.url) if self.url is not None else str(self.path)


def without_secrets(url: str) -> str:
    """A URL as it may be shown and kept."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def url_problem(url: str) -> str | None:
    """What is wrong with a URL that is to be fetched, in words; None when nothing is."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  (reading it is what checks it)
    except ValueError as error:
        return f"cannot be understood: {error}"
    if parts.scheme == "file":
        return "is a file; give its path with the option path"
    if parts.scheme not in ("http", "https"):
        return "has to begin with http:// or https://"
    if not parts.hostname:
        return "names no host"
    if "@" in parts.netloc:
        return "has a user or password in it; give them with the options for that, where they are kept secret"
    if any(ord(character) <= 32 or ord(character) >= 127 for character in url):
        return "has a space, a control character or a letter that is not ASCII in it; write those as %20 and the like"
    return None
