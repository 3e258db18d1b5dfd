# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what a new volume begins with out of the option ``source``."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import InvalidInput, Problem
from ..model.storage import VolumeSource
from ..model.units import format_size
from ..transfer.checksum import parse_checksum
from ..transfer.content import Content, ImageFacts, Segment
from ..transfer.headers import ISO, RAW
from ..transfer.options import FetchOptions, url_problem
from ..transfer.sparse import length_of
from .entries import read_headers
from .validate import Reader

_KINDS = ("volume", "image", "path", "url")
_OF_FILES = ("checksum", "decompress")
_OF_URLS = ("username", "password", "headers", "validate_certs", "ca_path", "timeout")


def read_source(reader: Reader) -> tuple[VolumeSource | None, FetchOptions | None]:
    """The option ``source``, and how to open it where it is a path or URL."""
    given = reader.mapping("source")
    if given is None:
        return None, None
    inner = reader.inner("source", given)
    source = VolumeSource(
        volume=inner.name("volume"),
        snapshot=inner.name("snapshot"),
        image=inner.name("image"),
        path=inner.path("path"),
        url=inner.text("url"),
        pool=inner.name("pool"),
        copy_on_write=inner.truth("copy_on_write"),
        checksum=inner.text("checksum"),
    )
    kinds = [kind for kind in _KINDS if inner.given(kind)]
    if not kinds:
        reader.complain("source", f"needs one of {', '.join(_KINDS)}")
        return source, None
    if len(kinds) > 1:
        inner.complain(kinds[1], f"is given beside {kinds[0]}; a volume begins with one of the two")
    else:
        _complain_about_strangers(inner, kinds[0])
    if source.checksum is not None:
        try:
            parse_checksum(source.checksum)
        except ValueError as error:
            inner.complain("checksum", str(error))
    problem = None if source.url is None else url_problem(source.url)
    if problem is not None:
        inner.complain("url", problem)
    return source, _read_fetch(inner, source)


def _complain_about_strangers(reader: Reader, kind: str) -> None:
    """Options that do not go with this kind of source."""
    strange = []
    if kind != "volume":
        strange.append("snapshot")
    if kind not in ("volume", "image"):
        strange += ["pool", "copy_on_write"]
    if kind not in ("path", "url"):
        strange += _OF_FILES
    if kind != "url":
        strange += _OF_URLS
    for option in strange:
        if reader.given(option) and reader.data[option] is not False:
            reader.complain(option, f"makes no sense with {kind}")


def _read_fetch(reader: Reader, source: VolumeSource) -> FetchOptions | None:
    headers = read_headers(reader, "headers")
    username, password = reader.text("username"), reader.text("password")
    validate_certs, ca_path = reader.truth("validate_certs"), reader.path("ca_path")
    timeout_s, decompress = reader.seconds("timeout"), reader.truth("decompress")
    if source.path is None and source.url is None:
        return None
    defaults = FetchOptions()
    return FetchOptions(
        path=source.path,
        url=source.url,
        checksum=source.checksum,
        username=username,
        password=password,
        headers=headers,
        validate_certs=validate_certs is not False,
        ca_path=ca_path,
        timeout_s=timeout_s or defaults.timeout_s,
        decompress=decompress is not False,
    )


class Fitting(Content):
    """Content for a volume of this size, which ends with an error where there is more raw data in it, and not when it
    has filled the pool: small files unpack into huge ones. Other formats say in their header how large they are."""

    def __init__(self, content: Content, size_bytes: int | None, where: str) -> None:
        self.what: str = content.what
        self.facts: ImageFacts = content.facts
        self.length: int | None = content.length
        self._content = content
        self._most = size_bytes if content.facts.format in (RAW, ISO) else None
        self._where = where

    def segments(self) -> Iterator[Segment]:
        total = 0
        for segment in self._content.segments():
            total += length_of(segment)
            if self._most is not None and total > self._most:
                message = f"there is more than {format_size(self._most)} in {self.what}"
                raise InvalidInput([Problem(f"{self._where}size", message)])
            yield segment
