# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts that the collection keeps with the pool: keys of its other_config, each with the number of its version.

XenAPI can add a key that is not there and take one away, but not change one; and to write the whole map would undo
what others write at the same moment. So a new text gets a key with the next number, and then the older ones go: who
reads sees the old text or the new one, of two writers the second one notices, and what a killed one leaves is what the
next one takes away.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from ...errors import HypervisorError
from ...undo import UndoStack
from .errors import code_of
from .instances import InstancesMixin

_TURNS = 10
"""How often others may be faster before it is given up."""


class Kept(NamedTuple):
    """A text, and the number in its key."""

    number: int
    text: str


def newest(other_config: Mapping[str, str], prefix: str) -> dict[str, Kept]:
    """The texts by their names: what follows after ``prefix`` in the key."""
    found: dict[str, Kept] = {}
    for key, text in other_config.items():
        name, mark, number = key.rpartition("#")
        if mark and number.isdecimal() and name.startswith(prefix):
            kept, name = Kept(int(number), text), name[len(prefix) :]
            found[name] = max(kept, found.get(name, kept))
    return found


def versions(other_config: Mapping[str, str], name: str) -> list[Kept]:
    """All that is kept under a name, prefix included, oldest first."""
    keys = {key: text for key, text in other_config.items() if key.rpartition("#")[0] == name}
    numbers = {key: key.rpartition("#")[2] for key in keys}
    return sorted(Kept(int(numbers[key]), text) for key, text in keys.items() if numbers[key].isdecimal())


class PoolKeysMixin(InstancesMixin):
    """Writing them."""

    def keep(self, name: str, text: str | None, done: UndoStack) -> None:
        """Keep a text under a name, prefix included, or keep none there any more; to be used within ``guard``."""
        ref, pool = self.pool()
        now: Mapping[str, str] = pool["other_config"]
        for _turn in range(_TURNS):
            before = versions(now, name)
            last = before[-1] if before else Kept(0, "")
            stays = bool(before) and last.text == text
            if len(before) == stays and (stays or text is None):
                return
            added = [] if text is None or stays else [Kept(last.number + 1, text)]
            done.push(f"put back {name} in the pool", partial(self._put_back_key, ref, name, before, added))
            if all(self._add_key(ref, name, new) for new in added):
                for old in before[:-1] if stays else before:
                    self._remove_key(ref, name, old)
                return
            added.clear()  # it is another writer's
            now = self.call("pool.get_other_config", ref)
        raise HypervisorError(f"others change {name} in the pool all the time")

    def _put_back_key(self, ref: str, name: str, before: list[Kept], added: list[Kept]) -> None:
        """What others have written since is newer than what we found."""
        with self.guard(f"put back {name} in the pool"):
            now = versions(self.call("pool.get_other_config", ref), name)
            if all(kept in before or kept in added for kept in now):
                for old in before:
                    if old not in now:
                        self._add_key(ref, name, old)
            for new in added:
                if new in now:
                    self._remove_key(ref, name, new)

    def _add_key(self, ref: str, name: str, kept: Kept) -> bool:
        """Whether nobody else has taken this number."""
        try:
            self.call("pool.add_to_other_config", ref, f"{name}#{kept.number}", kept.text)
        except self.api.library.Failure as failure:
            if code_of(failure) != "MAP_DUPLICATE_KEY":
                raise
            return False
        return True

    def _remove_key(self, ref: str, name: str, kept: Kept) -> None:
        self.call("pool.remove_from_other_config", ref, f"{name}#{kept.number}")
