# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says which instance goes to which host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .cluster import Builder
from .facts import FactsReader
from .options import read_options
from .plan import make_plan
from .reading import Reader
from .report import report


def place(hosts: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """The plan for hosts of which virt_facts told, as the filter ``placement`` returns it.

    Raises:
        BadInput: with everything that is wrong with facts and options.
    """
    reader = Reader()
    wanted = read_options(reader, options)
    facts = FactsReader(reader, wanted.shared_pools, wanted.override_lock, wanted.overhead_mb).read(hosts)
    reader.finish()
    cluster = Builder(reader, wanted, facts).build()
    reader.finish()
    return report(make_plan(cluster, wanted.wishes), wanted.explain, reader.warnings)
