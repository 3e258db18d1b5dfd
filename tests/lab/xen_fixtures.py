# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Xen host as a pytest fixture; load it with ``pytest_plugins = ["lab.xen_fixtures"]``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.xen import XenHost


@pytest.fixture(scope="session")
def xen_host() -> Iterator[XenHost]:
    """One Xen host for the whole run; where it cannot run, the tests fail with what is missing."""
    with XenHost("pytest") as host:
        yield host
