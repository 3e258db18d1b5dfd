# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""console messages: consoles come and go with the domains of VMs, not by messages."""

from __future__ import annotations

from typing import Any

from lab.xenapi.database import Ref
from lab.xenapi.failures import Failure
from lab.xenapi.registry import Call, message

_REASON = "consoles come and go with the domain of their VM"


@message("console.create")
def create(call: Call, args: dict[str, Any]) -> Ref:
    raise Failure("OPERATION_NOT_ALLOWED", _REASON)


@message("console.destroy")
def destroy(call: Call, console: Ref) -> None:
    raise Failure("OPERATION_NOT_ALLOWED", _REASON)
