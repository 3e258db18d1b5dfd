# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error of the lab: it always says what is missing and how to get it."""

from __future__ import annotations


class LabError(RuntimeError):
    """The lab cannot give what was asked for."""
