# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting another image into the place of one that is there.

Images cannot be renamed everywhere, so the old one has to go before the new one can be written. Before it goes, the new
one is fetched into a temporary file where the module runs and verified, and it is known that the pool takes it.
"""

from __future__ import annotations

from ..driver.storage import StorageDriver
from ..errors import AnyvirtError, InsufficientCapacity, InvalidInput
from ..model.storage import ISCSI, LVM, Image
from ..model.units import format_shortage
from ..transfer.fetch import open_content
from ..transfer.options import FetchOptions
from ..transfer.staging import StagedContent
from ..undo import Undo, UndoStack
from .image_fetch import Fetched, fetch_image, look_at_image, require_format
from .image_options import DesiredImage

_THICK_KINDS = (LVM, ISCSI)
"""Kinds of pools in which zeros may take room too."""


class Replacement:
    """The steps of a replacement, in order: ``fetch``, ``remove``, ``write``.

    Attributes:
        removed: The old image was removed by this run.
    """

    def __init__(self, driver: StorageDriver, wanted: DesiredImage, old: Image, options: FetchOptions) -> None:
        self.options = options
        self.removed = False
        self._driver = driver
        self._wanted = wanted
        self._old = old
        self._staged: StagedContent | None = None

    def fetch(self) -> Undo:
        """Have the new image verified in a temporary file."""
        with open_content(self.options, self._driver.progress) as content:
            require_format(content, self._wanted)
            problems = self._driver.check_image(self._wanted.pool, content.facts)
            if problems:
                raise InvalidInput(problems)
            self._staged = StagedContent(content, self.options, self._driver.progress)
        return self._staged.close

    def remove(self) -> Undo:
        """Remove the old image, unless another run has put something into its place meanwhile: that is not ours."""
        if not self._is_there():
            return lambda: None
        self._require_room()
        with UndoStack() as done:
            done.push(f"keep the image {self._old.name} that is there", self._require_there)
            self._delete()
        self.removed = True
        return self._gone

    def write(self) -> Fetched:
        """Put the new image into the pool, or find what another run has put there."""
        staged = self._ready()
        try:
            return fetch_image(self._driver, self._wanted, self.options.what, staged.open)
        finally:
            staged.close()

    def _ready(self) -> StagedContent:
        if self._staged is None:
            raise AnyvirtError("nothing was fetched")
        return self._staged

    def _require_room(self) -> None:
        """Raise InsufficientCapacity when the pool will not have room for the new image without the old one either."""
        staged, key = self._ready(), self._wanted.key
        self._driver.refresh_pool(key.pool)  # some hypervisors know only what was free when they last looked
        pool = self._driver.get_pools()[key.pool]
        if pool.available_bytes is None:
            return
        needed = staged.data_bytes
        if pool.kind in _THICK_KINDS:
            needed = max(staged.length, staged.facts.size_bytes or 0)
        old = self._driver.get_volumes([key]).get(key)
        free = pool.available_bytes + ((old.allocation_bytes or 0) if old is not None else 0)
        if needed <= free:
            return
        raise InsufficientCapacity(
            f"{self._wanted.where}pool: the new image {key} needs {format_shortage(needed, free)} in {key.pool!r} even "
            "without the one that is there, which stays"
        )

    def _delete(self) -> None:
        try:
            self._driver.delete_image(self._wanted.key)
        except AnyvirtError:
            if self._is_there():
                raise  # otherwise only the hypervisor's reply was lost

    def _is_there(self) -> bool:
        """Whether the image of that name is still the old one."""
        now = look_at_image(self._driver, self._wanted.key)
        return now is not None and _identity(now) == _identity(self._old)

    def _require_there(self) -> None:
        if not self._is_there():
            self._gone()

    def _gone(self) -> None:
        raise AnyvirtError("the old image is gone; run the task again to fetch the new one")


def _identity(image: Image) -> tuple[object, ...]:
    return image.claim, image.fetched_s, image.checksum
