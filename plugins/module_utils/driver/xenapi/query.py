# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The language in which get_all_records_where is told which records are wanted."""

from __future__ import annotations

from collections.abc import Collection

REF = "_ref"
"""The field that holds a record's own reference."""

MOST = 50
"""Where more values than this are asked for, reading all records is cheaper: the server looks at each record for each
value."""


def any_of(field: str, values: Collection[str]) -> str | None:
    """The condition that ``field`` has one of ``values``; None where it cannot be written or is not worth it, and all
    records are to be read instead.

    The language has no way to write a text with a quotation mark in it, and none to compare whole maps or sets.

    Args:
        field: As the server's database calls it: ``VM``, ``_ref``, and ``name__label`` for name_label.
    """
    if not values or len(values) > MOST or any('"' in value or "\\" in value for value in values):
        return None
    return " or ".join(f'field "{field}" = "{value}"' for value in sorted(set(values)))
