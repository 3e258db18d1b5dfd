# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetching an image once, however many want it at the same time, and though some of them die on the way.

Whoever reserves the image's name first fetches it, and shows signs of life meanwhile. The others wait until it is
there, or until the signs stop; then one of them takes over. There is nobody to arbitrate but the hypervisor.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Callable, NamedTuple

from ..driver.storage import StorageDriver
from ..errors import AlreadyExists, AnyvirtError, ImageNotFound, TransferError
from ..model.storage import Image, Volume, VolumeKey
from ..transfer.content import Content, ImageFacts, Segment
from ..transfer.fetch import OpenContent
from ..transfer.headers import ISO, RAW
from ..undo import UndoStack
from .image_options import DesiredImage

Opening = Callable[[], AbstractContextManager[OpenContent]]

_BEATS = 6
"""Signs of life in the time after which a fetch without any counts as dead."""

_LONGEST_LOOK_S = 1.0


class Fetched(NamedTuple):
    """An image that is there now; ``by_us``: and was not before this process fetched it."""

    image: Image
    by_us: bool


def fetch_image(driver: StorageDriver, wanted: DesiredImage, source: str, opening: Opening) -> Fetched:
    """Have the image in its pool's cache.

    Args:
        source: Where it comes from, without anything secret.
        opening: Opens what it is filled with; called once for each attempt.

    Raises:
        TransferError and its kin: it cannot be had, or is not what it should be; nothing of it is left.
        AlreadyExists: there is a volume of that name which is no image.
        PoolNotFound, InsufficientCapacity: as they say.
    """
    while True:
        image = _fetch_first(driver, wanted, source, opening)
        if image is not None:
            return Fetched(image, by_us=True)
        image = _wait_for_another(driver, wanted)
        if image is not None:
            return Fetched(image, by_us=False)


def is_dead(driver: StorageDriver, image: Image, patience_s: float) -> bool:
    """Whether an unfinished image is one whose fetch shows no sign of life for so many seconds; True as well when it is
    gone. Returns as soon as there is a sign, or it is finished."""
    until = time.monotonic() + patience_s
    while True:
        now = look_at_image(driver, image.key)
        if now is None:
            return True
        if now.complete or (now.claim, now.beat) != (image.claim, image.beat):
            return False
        if time.monotonic() >= until:
            return True
        _pause(patience_s)


# -- the one who fetches --------------------------------------------------------------------------------------------


def _fetch_first(driver: StorageDriver, wanted: DesiredImage, source: str, opening: Opening) -> Image | None:
    """The image, fetched; None where another is there already."""
    claim = f"{socket.gethostname()}:{os.getpid()}:{os.urandom(8).hex()}"
    image = Image(wanted.name, wanted.pool, source=source, claim=claim, fetched_s=time.time())
    with UndoStack() as done:
        # Before it is reserved: a reservation whose reply is lost is ours all the same.
        done.push(f"delete what has come of the image {image.name}", lambda: driver.delete_image(image.key, claim))
        try:
            driver.reserve_image(image)
        except AlreadyExists:
            return None
        return _fetch(driver, image, wanted, opening)


def _fetch(driver: StorageDriver, image: Image, wanted: DesiredImage, opening: Opening) -> Image:
    with _SignsOfLife(driver, image, wanted.takeover_s / _BEATS) as signs:
        with opening() as content:
            require_format(content, wanted)
            written = driver.write_image(image, _Watched(content, signs))
            _require_end(content)
        signs.require()
    whole = replace(
        image,
        format=content.facts.format,
        size_bytes=content.facts.size_bytes or written,
        file_bytes=written,
        checksum=f"sha256:{content.sha256}",
        source_checksum=content.checksum,
        fetched_s=time.time(),
        beat=signs.beat,
    )
    finished = replace(whole, claim="")
    try:
        driver.finish_image(whole)
    except AnyvirtError:
        if not _is_there(driver, finished):
            raise
    return finished


def _is_there(driver: StorageDriver, image: Image) -> bool:
    """Whether just this image is there, though the hypervisor's reply to that was lost."""
    try:
        found = look_at_image(driver, image.key)
    except AnyvirtError:
        return False
    return found is not None and found.complete and found.fetched_s == image.fetched_s


def is_format(found: str, wanted: DesiredImage) -> bool:
    """Whether an image of this format is what is asked for; a CD's is raw data too."""
    return wanted.format in (None, found) or (wanted.format, found) == (RAW, ISO)


def require_format(content: OpenContent, wanted: DesiredImage) -> None:
    """Raise TransferError when the content has another format than is asked for."""
    found = content.facts.format
    if not is_format(found, wanted):
        raise TransferError(f"{wanted.where}format: {content.what} is {found}, not {wanted.format}")


def _require_end(content: OpenContent) -> None:
    """What is verified at the end of the content is verified, even where the driver stopped at its known length."""
    if any(True for _more in content.segments()) or content.sha256 is None:
        raise TransferError(f"{content.what} was not taken whole")


class _SignsOfLife:
    """Shows while the block runs that a fetch goes on."""

    def __init__(self, driver: StorageDriver, image: Image, interval_s: float) -> None:
        self.beat = image.beat
        self._driver = driver
        self._image = image
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._lost: AnyvirtError | None = None
        self._thread = threading.Thread(target=self._run, name=f"signs of life of {image.name}", daemon=True)

    def require(self) -> None:
        """Raise when another has taken over."""
        if self._lost is not None:
            raise TransferError(
                f"another run has taken over the fetch of {self._image.name!r}, since this one showed no sign of life"
            ) from self._lost

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                self._driver.beat_image(replace(self._image, beat=self.beat + 1))
                self.beat += 1
            except ImageNotFound as error:
                self._lost = error
                return
            except AnyvirtError:
                pass  # it may be heard next time; if not, the fetch itself will fail

    def __enter__(self) -> _SignsOfLife:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stop.set()
        self._thread.join()


class _Watched(Content):
    """The same content, which ends with an error once another has taken over."""

    def __init__(self, content: OpenContent, signs: _SignsOfLife) -> None:
        self.what: str = content.what
        self.facts: ImageFacts = content.facts
        self.length: int | None = content.length
        self._content = content
        self._signs = signs

    def segments(self) -> Iterator[Segment]:
        for segment in self._content.segments():
            self._signs.require()
            yield segment


# -- the others -----------------------------------------------------------------------------------------------------


def _wait_for_another(driver: StorageDriver, wanted: DesiredImage) -> Image | None:
    """The image that another has fetched; None when its name is free again, and there is another chance."""
    seen = look_at_image(driver, wanted.key)
    if seen is None:
        require_no_volume(wanted, driver.get_volumes([wanted.key]).get(wanted.key))
    while seen is not None and not seen.complete:
        if is_dead(driver, seen, wanted.takeover_s):
            driver.delete_image(wanted.key, seen.claim)
            return None
        seen = look_at_image(driver, wanted.key)
    return seen


def require_no_volume(wanted: DesiredImage, volume: Volume | None) -> None:
    """Raise AlreadyExists where the name is a volume's. An image of which nothing was seen a moment ago may have been
    reserved since by somebody else, and is none."""
    if volume is not None and not volume.is_image:
        raise AlreadyExists(
            f"{wanted.where}name: {wanted.name!r} is a volume in the pool {wanted.pool!r}, and no image of its cache; "
            "give another name"
        )


def look_at_image(driver: StorageDriver, key: VolumeKey) -> Image | None:
    """The image as it is now, finished or not; None when there is none."""
    return driver.get_images([key.pool]).get(key)


def _pause(patience_s: float) -> None:
    time.sleep(min(_LONGEST_LOOK_S, patience_s / _BEATS / 2))
