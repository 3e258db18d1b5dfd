# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks, as their clients see them."""

from __future__ import annotations

from lab.xenapi.call import Call
from lab.xenapi.database import Ref
from lab.xenapi.registry import message


@message("task.create")
def create(call: Call, label: str, description: str) -> Ref:
    return call.pool.tasks.create(label, description)


@message("task.destroy")
def destroy(call: Call, task: Ref) -> None:
    call.db.destroy("task", task)


@message("task.cancel")
def cancel(call: Call, task: Ref) -> None:
    call.pool.tasks.cancel(task)


@message("task.set_status")
def set_status(call: Call, task: Ref, value: str) -> None:
    call.db.set("task", task, status=value)


@message("task.set_progress")
def set_progress(call: Call, task: Ref, value: float) -> None:
    call.db.set("task", task, progress=value)


@message("task.set_result")
def set_result(call: Call, task: Ref, value: str) -> None:
    call.db.set("task", task, result=value)


@message("task.set_error_info")
def set_error_info(call: Call, task: Ref, value: list[str]) -> None:
    call.db.set("task", task, error_info=value)
