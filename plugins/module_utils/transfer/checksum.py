# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checksums: how tasks write them, where distributions publish them, and how they are computed."""

from __future__ import annotations

import hashlib
import posixpath
import queue
import re
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

from ..errors import TransferError
from .content import Hole, Segment
from .options import url_problem
from .sparse import ZEROS

SHA256 = "sha256"
_HEX_DIGITS = {"md5": 32, "sha1": 40, SHA256: 64, "sha512": 128}
ALGORITHMS = tuple(_HEX_DIGITS)

_GNU_LINE = re.compile(r"\\?([0-9A-Fa-f]+)[ \t]+\*?(.+)", re.ASCII)
_BSD_LINE = re.compile(r"([A-Za-z0-9]+) ?\((.+)\) ?= ?([0-9A-Fa-f]+)", re.ASCII)
_SOLE_LINE = re.compile(r"[0-9A-Fa-f]+", re.ASCII)


Part = TypeVar("Part", bound=Segment)


class Checksum(NamedTuple):
    """A checksum that is known, or (with ``url``) where it is to be looked up."""

    algorithm: str
    hex: str = ""
    url: str = ""

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex or self.url}"


def parse_checksum(text: str) -> Checksum:
    """What ``ALGORITHM:HEX`` or ``ALGORITHM:URL`` means.

    Raises:
        ValueError: it means nothing; the message says what is wrong.
    """
    algorithm, colon, value = text.strip().partition(":")
    algorithm = algorithm.strip().lower()
    value = value.strip()
    if not colon or algorithm not in ALGORITHMS:
        raise ValueError(f"has to be ALGORITHM:HEX or ALGORITHM:URL, with one of {', '.join(ALGORITHMS)}")
    if value.lower().startswith(("http:", "https:")):
        problem = url_problem(value)
        if problem is not None:
            raise ValueError(f"its URL {problem}")
        return Checksum(algorithm, url=value)
    if not _SOLE_LINE.fullmatch(value):
        raise ValueError(f"{value!r} is neither a hexadecimal number nor the http or https URL of a file of checksums")
    if len(value) != _HEX_DIGITS[algorithm]:
        raise ValueError(f"a {algorithm} checksum has {_HEX_DIGITS[algorithm]} hexadecimal digits, not {len(value)}")
    return Checksum(algorithm, value.lower())


def find_checksum(listing: str, algorithm: str, name: str) -> str:
    """The checksum of the file ``name`` in a published list such as SHA256SUMS, as hexadecimal digits.

    Raises:
        TransferError: it is not there, or there are two.
    """
    digits = _HEX_DIGITS[algorithm]
    lines = [line.strip() for line in listing.splitlines() if line.strip()]
    if len(lines) == 1 and _SOLE_LINE.fullmatch(lines[0]) and len(lines[0]) == digits:
        return lines[0].lower()
    found = {value.lower() for value, file in _listed(lines, algorithm) if len(value) == digits and file == name}
    if not found:
        raise TransferError(f"there is no {algorithm} checksum of {name!r} in it")
    if len(found) > 1:
        raise TransferError(f"there are several {algorithm} checksums of {name!r} in it")
    return found.pop()


def _listed(lines: list[str], algorithm: str) -> list[tuple[str, str]]:
    entries = []
    for line in lines:
        bsd = _BSD_LINE.fullmatch(line)
        gnu = _GNU_LINE.fullmatch(line)
        if bsd and bsd.group(1).lower() == algorithm:
            entries.append((bsd.group(3), posixpath.basename(bsd.group(2))))
        elif gnu:
            entries.append((gnu.group(1), posixpath.basename(gnu.group(2))))
    return entries


def name_in(url: str) -> str:
    """Under which name a list of checksums has what ``url`` leads to."""
    return posixpath.basename(unquote(urlsplit(url).path))


class Digest:
    """Computes a checksum in a thread of its own, beside whoever moves the data. Use it as a context manager."""

    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self._hash = hashlib.new(algorithm, usedforsecurity=False)
        self._waiting: queue.Queue[Segment | None] = queue.Queue(maxsize=4)  # bounds the memory that it holds
        self._thread = threading.Thread(target=self._work, name=f"{algorithm} of a transfer", daemon=True)

    def add(self, segment: Segment) -> None:
        """So goes the data on."""
        self._waiting.put(segment)

    def watch(self, parts: Iterator[Part]) -> Iterator[Part]:
        """The same parts, each added as it passes."""
        for part in parts:
            self.add(part)
            yield part

    def end(self) -> str:
        """The checksum of all that was added, as hexadecimal digits; nothing more can be added."""
        self._stop()
        return self._hash.hexdigest()

    def _work(self) -> None:
        while True:
            segment = self._waiting.get()
            if segment is None:
                return
            if isinstance(segment, Hole):
                left = segment.length
                while left:
                    self._hash.update(ZEROS if left >= len(ZEROS) else ZEROS[:left])
                    left -= min(left, len(ZEROS))
            else:
                self._hash.update(segment)

    def _stop(self) -> None:
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()

    def __enter__(self) -> Digest:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
