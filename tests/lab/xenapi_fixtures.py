# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures over the XenAPI server, for ``pytest_plugins = ["lab.xenapi_fixtures"]``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import XenAPI

from lab.xenapi.server import XenApiServer


@pytest.fixture(scope="module")
def running_xenapi_server() -> Iterator[XenApiServer]:
    with XenApiServer() as server:
        yield server


@pytest.fixture
def xenapi_server(running_xenapi_server: XenApiServer) -> XenApiServer:
    """A fresh pool of two hosts, over plain HTTP."""
    running_xenapi_server.reset()
    return running_xenapi_server


@pytest.fixture
def xenapi_session(xenapi_server: XenApiServer) -> Any:
    """The XenAPI package's session, logged in to the pool."""
    session = XenAPI.Session(xenapi_server.url)
    session.login_with_password(xenapi_server.username, xenapi_server.password)
    return session


@pytest.fixture
def xenapi(xenapi_session: Any) -> Any:
    """``xenapi.VM.start(...)`` and so on."""
    return xenapi_session.xenapi
