# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain data as YAML, for people."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any


def to_yaml(data: Any, indent: str = "") -> str:
    """Plain data as YAML, for people; hosts need not have a YAML library."""
    lines = []
    if isinstance(data, Mapping):
        for key in sorted(data):
            value = data[key]
            if isinstance(value, (Mapping, list)) and value:
                inner = indent + ("  " if isinstance(value, Mapping) else "")
                lines.append(f"{indent}{key}:\n{to_yaml(value, inner)}")
            else:
                lines.append(f"{indent}{key}: {_scalar(value)}\n")
    else:
        for item in data:
            if isinstance(item, (Mapping, list)) and item:
                text = to_yaml(item, indent + "  ")
                lines.append(f"{indent}- {text[len(indent) + 2 :]}")
            else:
                lines.append(f"{indent}- {_scalar(item)}\n")
    return "".join(lines)


def _scalar(value: Any) -> str:
    """JSON is YAML; plain words need no quotes."""
    if isinstance(value, str) and _WORD.fullmatch(value) and value.lower() not in _WORDS_THAT_MEAN_SOMETHING:
        return value
    return json.dumps(value, ensure_ascii=False)


_WORD = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
_WORDS_THAT_MEAN_SOMETHING = ("true", "false", "yes", "no", "on", "off", "y", "n", "null")
