# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logging in and out."""

from __future__ import annotations

from lab.xenapi.call import Call
from lab.xenapi.database import Ref
from lab.xenapi.registry import message
from lab.xenapi.sessions import check_password, open_session


@message("session.login_with_password")
def login(call: Call, user: str, password: str, _version: str, originator: str) -> Ref:
    check_password(call.pool, user, password)
    return open_session(call.pool, user, originator)


@message("session.slave_local_login_with_password")
def local_login(call: Call, user: str, password: str) -> Ref:
    check_password(call.pool, user, password)
    return open_session(call.pool, user, "")


@message("session.logout")
@message("session.local_logout")
def logout(call: Call) -> None:
    with call.db.lock:
        call.pool.subscriptions.pop(call.session, None)
        call.db.destroy("session", call.session)


@message("session.change_password")
def change_password(call: Call, old: str, new: str) -> None:
    with call.db.lock:
        user = call.db.get("session", call.session, "auth_user_name")
        check_password(call.pool, user, old)
        call.pool.passwords[user] = new


@message("session.get_all_subject_identifiers")
def external_users(_call: Call) -> list[str]:
    """Who of an external directory is logged in: the pool knows local users only."""
    return []
