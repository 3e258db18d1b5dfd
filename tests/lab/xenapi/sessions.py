# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may call: passwords and sessions."""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from lab.xenapi.failures import Failure

if TYPE_CHECKING:
    from lab.xenapi.database import Ref
    from lab.xenapi.pool import Pool

_ACTIVITY_NOTED_EVERY = timedelta(minutes=1)


def check_password(pool: Pool, user: str, password: str) -> None:
    """SESSION_AUTHENTICATION_FAILED unless that is the user's password."""
    expected = pool.passwords.get(user)
    if expected is None or not hmac.compare_digest(expected.encode(), password.encode()):
        raise Failure("SESSION_AUTHENTICATION_FAILED", user, "Authentication failure")


def open_session(pool: Pool, user: str, originator: str) -> Ref:
    """A new session of this user."""
    with pool.db.lock:
        return pool.db.create(
            "session",
            this_host=pool.db.get("pool", pool.db.refs("pool")[0], "master"),
            last_active=_now(),
            validation_time=_now(),
            auth_user_name=user,
            originator=originator,
            is_local_superuser=True,
        )


def check_session(pool: Pool, session: Ref) -> None:
    """SESSION_INVALID unless the session is logged in."""
    with pool.db.lock:
        if not pool.db.exists("session", session):
            raise Failure("SESSION_INVALID", session)
        if _now() - pool.db.get("session", session, "last_active") > _ACTIVITY_NOTED_EVERY:
            pool.db.set("session", session, last_active=_now())


def _now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)
