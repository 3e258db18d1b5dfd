# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What flows into volumes and out of them: data and holes, in pieces small enough to hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol, Union

PIECE_BYTES = 1 << 20
"""No piece of data is longer."""


class Hole(NamedTuple):
    """So many bytes that were never written, and read as zeros."""

    length: int


Segment = Union[bytes, Hole]
"""Data is never empty, and holes have a length of more than zero."""


class ImageFacts(NamedTuple):
    """What an image says of itself.

    Attributes:
        format: ``raw``, ``qcow2``, ``vhd``, ``iso`` ...
        size_bytes: Of the disk in it; None while that is not known, as for raw data of unknown length.
    """

    format: str
    size_bytes: int | None


class Content(Protocol):
    """Something that a volume is filled with.

    Attributes:
        what: How messages and progress call it; no password is in it.
        facts: From its header, which has been read and found harmless.
        length: Bytes that ``segments`` will yield, holes included; None while it is not known.
    """

    what: str
    facts: ImageFacts
    length: int | None

    def segments(self) -> Iterator[Segment]:
        """All of it, once, in order.

        Raises:
            TransferError: it breaks off, or turns out at its end not to be what it should be (its checksum is wrong):
                then nothing that was made of it may stay.
        """
