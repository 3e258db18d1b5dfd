# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One life of the pool, from a fresh world until the server stops or is reset."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from lab.xenapi.database import Database
from lab.xenapi.faults import Faults
from lab.xenapi.tasks import Tasks
from lab.xenapi.world import build_world

if TYPE_CHECKING:
    from lab.xenapi.settings import PoolSettings

log = logging.getLogger("lab.xenapi")


class Pool:
    """The database, what it describes, and who may log in."""

    def __init__(self, settings: PoolSettings, faults: Faults | None = None) -> None:
        self.settings = settings
        self.faults = faults or Faults()
        self.db = Database()
        self.stopping = threading.Event()
        self.tasks = Tasks(self.db)
        self.passwords = {settings.username: settings.password}
        # What event.register subscribed a session to, and the generation up to which it has seen events.
        self.subscriptions: dict[str, tuple[set[str], int]] = {}
        self.world = build_world(self.db, settings)

    def close(self) -> None:
        """End what runs: sleeping calls, event.from, the world's guests."""
        self.stopping.set()
        self.tasks.cancel_all()
        with self.db.changed:
            self.db.changed.notify_all()
        self.world.close()
