# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what a task wants of images out of virt_image's options, and finds every problem of every image first."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidInput, Problem
from ..model.storage import VolumeKey
from ..model.units import TIB
from ..transfer.checksum import parse_checksum
from ..transfer.options import FetchOptions, url_problem
from .entries import read_entries, read_headers, told_once
from .validate import Reader

PRESENT = "present"
ABSENT = "absent"
EXPORTED = "exported"

STATES = (PRESENT, ABSENT, EXPORTED)
FORMATS = ("qcow2", "raw", "iso", "vhd")

DEFAULT_MAX_SIZE_BYTES = 2 * TIB
DEFAULT_TAKEOVER_S = 60.0

_TASK_WIDE = {"name", "images", "workers", "older_than"}
_OF_URLS = ("username", "password", "headers", "validate_certs", "ca_path", "timeout", "retries")
_OF_FETCHING = ("path", "url", "checksum", "format", "max_size", "decompress", *(f"url_{name}" for name in _OF_URLS))
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw]?)", re.ASCII)
_AGE_FACTORS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@dataclass
class DesiredImage:
    """What a task wants of one image.

    Attributes:
        where: What stands in front of its options' names in messages.
        pool: Empty for the hypervisor's default one.
        fetch: Where it comes from; None where that is not said.
        format: What it has to turn out to be; None takes any.
        force: Fetch or write it again.
        dest: The file that it is exported to.
        takeover_s: Seconds without any sign of life until another's fetch counts as dead.
    """

    where: str
    name: str
    pool: str = ""
    state: str = PRESENT
    fetch: FetchOptions | None = None
    format: str | None = None
    force: bool = False
    dest: str = ""
    takeover_s: float = DEFAULT_TAKEOVER_S

    @property
    def key(self) -> VolumeKey:
        """The volume that it is in."""
        return VolumeKey(self.pool, self.name)


@dataclass
class CleanUp:
    """What is wanted of a pool's image cache as a whole: that nothing in it that nobody needs is older than this."""

    pool: str
    older_than_s: float
    takeover_s: float = DEFAULT_TAKEOVER_S


def read_images(params: Mapping[str, Any]) -> list[DesiredImage] | CleanUp:
    """What the task wants: an entry for each image, or a clean-up.

    Raises:
        InvalidInput: with all that is wrong.
    """
    problems: list[Problem] = []
    reader = Reader(params, "", problems)
    reader.whole("workers", 1, 64)
    if reader.given("older_than"):
        clean_up = _read_clean_up(reader)
        if problems:
            raise InvalidInput(problems)
        return clean_up
    wanted = [_read_image(entry) for entry in read_entries(params, "images", _TASK_WIDE, problems)]
    _find_duplicates(wanted, problems)
    if problems:
        raise InvalidInput(told_once(problems, params, "images"))
    return wanted


def _read_clean_up(reader: Reader) -> CleanUp:
    if reader.data.get("state") != ABSENT:
        reader.complain("older_than", "only makes sense with state absent")
    for option in ("name", "images", "dest", "force", *_OF_FETCHING):
        if reader.data.get(option) not in (None, False):
            reader.complain(option, "makes no sense beside older_than, which is about all images of a pool")
    return CleanUp(
        reader.name("pool") or "", _read_age(reader) or 0.0, reader.seconds("takeover_after") or DEFAULT_TAKEOVER_S
    )


def _read_age(reader: Reader) -> float | None:
    match = _AGE.fullmatch(str(reader.data["older_than"]).strip())
    if match is None:
        reader.complain("older_than", "has to be a time such as 30d, 2w, 12h, 90m or a number of seconds")
        return None
    return float(match[1]) * _AGE_FACTORS[match[2]]


def _read_image(reader: Reader) -> DesiredImage:
    name = reader.name("name")
    if name is None and not reader.given("name"):
        reader.complain("name", "is missing")
    wanted = DesiredImage(
        reader.where,
        name or "",
        reader.name("pool") or "",
        reader.choice("state", STATES) or PRESENT,
        fetch=_read_fetch(reader),
        format=reader.choice("format", FORMATS),
        force=reader.truth("force") or False,
        dest=_local_path(reader, "dest") or "",
        takeover_s=reader.seconds("takeover_after") or DEFAULT_TAKEOVER_S,
    )
    strange: list[str] = []
    if wanted.state != PRESENT:
        strange += _OF_FETCHING
    if wanted.state != EXPORTED:
        strange.append("dest")
    elif not reader.given("dest"):
        reader.complain("dest", "is missing: the file to write")
    if wanted.state == ABSENT:
        strange.append("force")
    for option in strange:
        if reader.data.get(option) not in (None, False):
            reader.complain(option, f"makes no sense with state {wanted.state}")
    return wanted


def _read_fetch(reader: Reader) -> FetchOptions | None:
    url, path = reader.text("url"), _local_path(reader, "path")
    if reader.given("url") and reader.given("path"):
        reader.complain("path", "is given beside url; an image comes from one of the two")
    problem = None if url is None else url_problem(url)
    if problem is not None:
        reader.complain("url", problem)
    if not reader.given("url"):
        for option in _OF_URLS:
            if reader.given(f"url_{option}"):
                reader.complain(f"url_{option}", "makes no sense without url")
    checksum = reader.text("checksum")
    if checksum is not None:
        try:
            parse_checksum(checksum)
        except ValueError as error:
            reader.complain("checksum", str(error))
    defaults = FetchOptions()
    validate_certs, decompress = reader.truth("url_validate_certs"), reader.truth("decompress")
    retries = reader.whole("url_retries", 0, 1000)
    fetch = FetchOptions(
        path=path,
        url=url,
        checksum=checksum,
        max_size_bytes=reader.size("max_size") or DEFAULT_MAX_SIZE_BYTES,
        username=reader.text("url_username"),
        password=reader.text("url_password"),
        headers=read_headers(reader, "url_headers"),
        validate_certs=validate_certs is not False,
        ca_path=_local_path(reader, "url_ca_path"),
        timeout_s=reader.seconds("url_timeout") or defaults.timeout_s,
        retries=defaults.retries if retries is None else retries,
        decompress=decompress is not False,
        with_sha256=True,
    )
    return fetch if reader.given("url") or reader.given("path") or checksum is not None else None


def _local_path(reader: Reader, option: str) -> str | None:
    """A path where the module runs."""
    value = reader.text(option)
    if value is None:
        return None
    value = os.path.expanduser(value)
    if not value.startswith("/"):
        reader.complain(option, f"has to be an absolute path where the module runs, not {value!r}")
        return None
    return posixpath.normpath(value)


def _find_duplicates(wanted: list[DesiredImage], problems: list[Problem]) -> None:
    seen: dict[VolumeKey, str] = {}
    files: dict[str, str] = {}
    for item in wanted:
        here = item.where.rstrip(".") or "name"
        if item.name and seen.setdefault(item.key, here) != here:
            problems.append(Problem(f"{item.where}name", f"{item.name!r} is the name of {seen[item.key]} too"))
        if item.dest and files.setdefault(item.dest, here) != here:
            problems.append(Problem(f"{item.where}dest", f"{item.dest!r} is what {files[item.dest]} is written to too"))
