# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""virt_instance: reads what is, compares, plans and applies, for all instances of a task at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..driver.base import ComputeDriver
from ..errors import AnyvirtError, InstanceNotFound, InvalidInput, Problem
from ..model import power_state
from ..model.instance import Instance
from .bulk import carry_out
from .compare import Comparison
from .creation import asked_for, new_disk_options, problems_with_new
from .desired import ABSENT, ENDS_OF_RESIZE, Desired
from .instances import Planner, compared
from .moving import refuse_migrating
from .options import read_desired
from .outcome import add_failure, outcome_of
from .planned import Planned
from .reading import read_instances
from .results import planned_as_dict
from .task import Task
from .views import address_as_dict
from .workers import DEFAULT_WORKERS


def reconcile_instances(task: Task) -> dict[str, Any]:
    """Make the instances as the task wants them; the module's result."""
    driver = task.connect()
    wanted = read_desired(task.params, driver.name)
    _check_syntax(driver, wanted)
    with driver:
        planned = _plan(driver, wanted)
        if not task.check_mode:
            workers = task.params.get("workers") or DEFAULT_WORKERS
            carry_out(planned, min(workers, driver.max_workers or workers))
            _look_again(driver, planned)
        for item in planned:
            for warning in item.warnings:
                task.warn(warning)
        return _result(driver, planned, task)


# -- checking -------------------------------------------------------------------------------------------------------


def _check_syntax(driver: ComputeDriver, wanted: Sequence[Desired]) -> None:
    """What the driver can never do; asks no hypervisor."""
    problems = []
    for item in wanted:
        whole = asked_for(item)
        found = driver.check_parameter_syntax(whole)
        problems += _named_as_options(found, item, driver, new_disk_options(item))
    if problems:
        raise InvalidInput(dict.fromkeys(problems))


def _named_as_options(
    found: Sequence[Problem], item: Desired, driver: ComputeDriver, disk_options: Sequence[str]
) -> list[Problem]:
    """A driver's problems, with the names by which the task's author knows the options."""
    named = []
    for problem in found:
        option = problem.option
        head, _bracket, rest = option.partition("[")
        if head == "nics":
            option = "networks" + option[len(head) :]
        elif head.partition(".")[0] == "hypervisor":
            option = driver.name + option[len("hypervisor") :]
        elif head == "disks" and rest:
            number, _bracket, tail = rest.partition("]")
            if number.isdigit() and int(number) < len(disk_options):
                option = _disk_option(disk_options[int(number)], tail.replace(".size_bytes", ".size"), item)
        named.append(Problem(item.where + option, problem.message))
    return named


def _disk_option(disk: str, tail: str, item: Desired) -> str:
    """The option that is to blame for a disk: its own one, or that which the disk comes from."""
    if disk.startswith("disks["):
        return disk + tail
    if tail == ".pool":
        return "pool"
    return item.root_option if disk == "image" and tail == ".size" and item.root_bytes is not None else disk


# -- planning -------------------------------------------------------------------------------------------------------


def _plan(driver: ComputeDriver, wanted: Sequence[Desired]) -> list[Planned]:
    """A plan for each instance. Those that cannot be done for what the instance is like carry an error instead.

    Raises:
        InvalidInput: the task cannot be right; nothing is done then, for none of the instances.
    """
    current, failed = read_instances(driver, [item.name for item in wanted])
    missing = [item.name for item in wanted if item.name not in current and item.name not in failed]
    remains = driver.find_remains(missing) if missing else set()
    comparisons, problems = _compare(driver, wanted, current, failed)
    if problems:
        raise InvalidInput(problems)
    planner = Planner(driver)
    planned = []
    for item in wanted:
        error = failed.get(item.name)
        if error is None:
            try:
                planned.append(_plan_one(planner, item, current.get(item.name), item.name in remains, comparisons))
                continue
            except AnyvirtError as refusal:
                error = refusal
        now = current.get(item.name)
        planned.append(Planned(item, before=now, after=now, error=error))
    refused = [item.error for item in planned if isinstance(item.error, InvalidInput)]
    if refused:
        raise InvalidInput(problem for error in refused for problem in error.problems)
    return planned


def _compare(
    driver: ComputeDriver,
    wanted: Sequence[Desired],
    current: dict[str, Instance],
    failed: dict[str, AnyvirtError],
) -> tuple[dict[str, Comparison], list[Problem]]:
    """How the existing instances differ, and all that is wrong with what the task wants of them and of new ones."""
    comparisons: dict[str, Comparison] = {}
    problems: list[Problem] = []
    to_check: list[Instance] = []
    disk_options: dict[str, list[str]] = {}
    for item in wanted:
        if item.state in (ABSENT, *ENDS_OF_RESIZE) or item.name in failed:
            continue
        now = current.get(item.name)
        if now is None or now.unfinished:
            problems += problems_with_new(item)
            to_check.append(asked_for(item))
            disk_options[item.name] = new_disk_options(item)
            continue
        try:
            found = comparisons[item.name] = compared(driver, item, now)
        except InvalidInput as error:
            problems += error.problems
            continue
        if found.changes:
            if not found.fields.isdisjoint({"disks", "cloud_init"}):  # which may need new volumes
                for partial in (found.declared, found.desired):
                    partial.pool = item.instance.pool or now.pool
                    partial.pool_path = item.instance.pool_path
            to_check.append(found.declared)
            disk_options[item.name] = _added_disk_options(found)
    if to_check:
        lacking = driver.validate_parameters(to_check)
        for item in wanted:
            if item.name in lacking:
                problems += _named_as_options(lacking[item.name], item, driver, disk_options.get(item.name, ()))
    return comparisons, list(dict.fromkeys(problems))


def _added_disk_options(found: Comparison) -> list[str]:
    return [change.option for change in found.changes if change.field == "disks" and change.old is None]


def _plan_one(
    planner: Planner, item: Desired, now: Instance | None, remains: bool, comparisons: dict[str, Comparison]
) -> Planned:
    if item.state == ABSENT:
        return planner.plan_removal(item, now, remains)
    if now is not None and now.unfinished:
        refuse_migrating(now)
    if item.state in ENDS_OF_RESIZE:
        if now is None or now.unfinished:
            raise InstanceNotFound(item.name)
        return planner.plan_end_of_resize(item, now)
    if now is None or now.unfinished:
        return planner.plan_creation(item, now, remains)
    return planner.plan_change(item, now, comparisons[item.name])


# -- results --------------------------------------------------------------------------------------------------------


def _look_again(driver: ComputeDriver, planned: Sequence[Planned]) -> None:
    """Replace what was foretold by what is, in one read: where guests run, more can come of a plan than it says, and
    the driver names what is added."""
    unsure = [
        item
        for item in planned
        if item.plan and (item.error is not None or _is_felt(item) or _adds(item) or _is_resized(item))
    ]
    if not unsure:
        return
    try:
        seen = driver.get_instances([item.name for item in unsure])
    except AnyvirtError as error:
        for item in unsure:
            item.warnings.append(f"{item.name}: what came of it could not be read: {error}")
            item.after = item.before if item.error is not None else item.after
        return
    for item in unsure:
        item.after = seen.get(item.name)


def _is_felt(item: Planned) -> bool:
    return item.after is not None and item.after.power_state not in power_state.OFF


def _is_resized(item: Planned) -> bool:
    """Whether the driver has noted what it keeps, or forgotten it."""
    return item.before is not None and item.after is not None and item.before.resize != item.after.resize


def _adds(item: Planned) -> bool:
    return item.before is not None and any(change.field in ("disks", "nics") for change, _applied in item.changes)


def _result(driver: ComputeDriver, planned: Sequence[Planned], task: Task) -> dict[str, Any]:
    results = [planned_as_dict(item, driver.name) for item in planned]
    _add_addresses(driver, planned, results)
    if not task.check_mode:
        _add_consoles(driver, planned, results)
    for item, result in zip(planned, results):
        if item.error is not None:
            add_failure(result, item.error, not task.check_mode and _was_changed(item.error, item))
    errors = [item.error for item in planned]
    return outcome_of(results, errors, "instance", task.params.get("instances") is None, task.diff_mode)


def _was_changed(error: AnyvirtError, item: Planned) -> bool:
    """Whether a failed plan left something changed."""
    return error.rolled_back is False or bool(item.removed)


def _add_addresses(driver: ComputeDriver, planned: Sequence[Planned], results: Sequence[dict[str, Any]]) -> None:
    """The addresses known already, of those that run; asked once for all."""
    running = [
        item.name for item in planned if item.after is not None and item.after.power_state in power_state.EXECUTING
    ]
    asked = [name for name in running if not any(item.name == name and item.addresses for item in planned)]
    known: dict[str, Any] = {}
    if asked and driver.supports("addresses"):
        try:
            known = driver.get_addresses(asked)
        except AnyvirtError:
            known = {}  # it is an extra; the task's own work is done
    for item, result in zip(planned, results):
        if item.name in running:
            result["addresses"] = [address_as_dict(address) for address in item.addresses or known.get(item.name, ())]


def _add_consoles(driver: ComputeDriver, planned: Sequence[Planned], results: Sequence[dict[str, Any]]) -> None:
    """Where the VNC consoles listen of instances that this task started, or whose console it mentions."""
    if not driver.supports("vnc_console"):
        return
    for item, result in zip(planned, results):
        after = item.after
        if item.error is not None or after is None or after.power_state not in power_state.ACTIVE:
            continue
        if after.console is None or after.console.vnc is False:
            continue
        if item.started or item.wanted.instance.console is not None:
            try:
                vnc = driver.get_vnc_console(item.name)._asdict()
                result["console"] = {"vnc": {key: value for key, value in vnc.items() if value is not None}}
            except AnyvirtError:
                continue  # it has none, or is gone already
