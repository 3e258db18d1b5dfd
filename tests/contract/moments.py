# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moments of a migration at which tests do mischief."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.migrationuri import get_migration_driver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.oversight import Oversight
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import MigrationProgress

SENDING = {"sending": 1.0, "half": 40.0, "most": 70.0}
"""So many percent have been sent."""
_BEFORE, _AFTER = "before", "after"
_CALLS = {
    "planned": (_AFTER, "plan_migrations"),
    "begun": (_AFTER, "begin_migration"),
    "preparing": (_BEFORE, "make_arriving_volumes"),
    "accepted": (_AFTER, "accept_instance"),
    "moved": (_AFTER, "migrate_instance"),
    "finishing": (_AFTER, "finish_destination"),
    "finished": (_AFTER, "finish_source"),
}
"""Methods of the driver."""

BEFORE = ("planned", "begun", "preparing", "accepted", "sending", "half", "most")
"""Moments at which the guest runs on the source, in their order."""
AFTER = ("moved", "finishing", "finished")
"""And on the destination."""
MOMENTS = (*BEFORE, *AFTER)


class Once:
    """Something that is done the first time that it comes to it."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.is_done = False
        self._action = action

    def __call__(self) -> None:
        if not self.is_done:
            self.is_done = True
            self._action()


@contextmanager
def at_moment(moment: str, action: Callable[[], object], kind: str = "qemu:///system") -> Iterator[Once]:
    """Do something at this moment of the first migration within the block, while the module waits.

    Args:
        kind: An address of the kind of hypervisor.
    """
    once = Once(action)
    if moment in SENDING:
        with _when_sent(SENDING[moment], once):
            yield once
        return
    when, method = _CALLS[moment]
    owner = get_migration_driver(ConnectionOptions(kind)).__class__
    real = getattr(owner, method)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        if when == _BEFORE:
            once()
        result = real(*arguments, **named)
        if when == _AFTER:
            once()
        return result

    with mock.patch.object(owner, method, wrapped):
        yield once


@contextmanager
def _when_sent(percent: float, once: Once) -> Iterator[None]:
    real = Oversight.heed

    def heed(self: Oversight, progress: MigrationProgress) -> str | None:
        if (progress.percent or 0.0) >= percent:
            once()
        return real(self, progress)

    with mock.patch.object(Oversight, "heed", heed):
        yield
