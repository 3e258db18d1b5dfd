# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a new volume's source on every hypervisor."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import Problem
from ..model.storage import VolumeSource


def source_problems(source: VolumeSource) -> Iterator[Problem]:
    """Parts of a source that do not go together."""
    if source.snapshot is not None and source.volume is None:
        yield Problem("source.snapshot", "needs source.volume, which it is a snapshot of")
    if source.copy_on_write and (source.path is not None or source.url is not None):
        yield Problem("source.copy_on_write", "is for volumes and images; what is uploaded is always whole")
