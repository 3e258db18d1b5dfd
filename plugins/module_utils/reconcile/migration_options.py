# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what a task wants moved, and how, out of virt_migrate's options, and finds every problem first."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ..driver.base import ALL, NONE, OWN
from ..errors import InvalidInput, Problem
from ..model import migration as words
from ..model.flavor import BUILT_IN
from ..model.instance import Instance
from ..model.migration import MigrationWishes
from .desired import Desired, Shutdown
from .entries import told_once, without_none
from .options import read_shutdown, read_size
from .validate import Reader, problem_with_name

MIGRATED = "migrated"
STATUS = "status"
ABORTED = "aborted"
STATES = (MIGRATED, STATUS, ABORTED)

RESIZE_OPTIONS = ("flavor", "memory_mb", "max_memory_mb", "vcpus", "max_vcpus", "root_gb")

_CONNECTION = ("uri", "username", "password", "validate_certs", "ca_path", "connect_timeout", "call_timeout")
_DESTINATION = ("dest", "dest_username", "dest_password", "dest_validate_certs", "dest_ca_path")
_TASK_WIDE = {
    *("name", "instances", "all", "exclude", "state", "verify_only", "workers"),
    *_CONNECTION,
    *_DESTINATION,
}
_OF_AN_INSTANCE = (
    *("mode", "storage", "pools", "networks", "bandwidth", "parallel", "auto_converge", "post_copy", "compression"),
    *("max_downtime_ms", "timeout_s", "on_timeout", "transport", "manager", "peer_uri", "migrate_uri"),
    *("listen_address", "disks_port", "persist", "undefine_source", "delete_volumes", "override_lock", "shutdown"),
    "resize",
)
_LIVE_ONLY = ("parallel", "auto_converge", "post_copy", "compression", "max_downtime_ms", "disks_port")
_DATA_SCHEMES = ("tcp", "rdma", "unix", "tls", "xenmigr")


@dataclass(frozen=True)
class WantedMove:
    """What a task wants of one instance; ``where`` stands in front of its options' names in messages."""

    name: str
    where: str
    wishes: MigrationWishes
    shutdown: Shutdown = field(default_factory=Shutdown)
    resize: Desired | None = None
    override_lock: bool = False


@dataclass(frozen=True)
class WantedMoves:
    """What a task wants.

    Attributes:
        moves: Of each instance that it names. With ``all`` there are none.
        everything: With ``all``: what it wants of whatever is on the source, but for ``exclude``.
        verify_only: Find out what keeps them from being moved, and move none.
    """

    state: str
    moves: list[WantedMove]
    everything: WantedMove | None = None
    exclude: frozenset[str] = frozenset()
    verify_only: bool = False


def read_moves(params: Mapping[str, Any]) -> WantedMoves:
    """What the task wants.

    Raises:
        InvalidInput: with all that is wrong.
    """
    problems: list[Problem] = []
    reader = Reader(params, "", problems)
    reader.whole("workers", 1, 64)
    state = reader.choice("state", STATES) or MIGRATED
    verify_only = reader.truth("verify_only") or False
    if verify_only and state != MIGRATED:
        reader.complain("verify_only", f"makes no sense with state: {state}, which moves nothing")
    _read_ends(reader)
    moves, everything = _read_instances(reader)
    exclude = _read_exclude(reader, everything is not None)
    _find_twice(moves, problems)
    if problems:
        raise InvalidInput(told_once(problems, _with_dictionaries(params), "instances"))
    return WantedMoves(state, moves, everything, exclude, verify_only)


def _read_ends(reader: Reader) -> None:
    dest = reader.text("dest")
    if not dest:
        if dest is not None or not reader.given("dest"):
            reader.complain("dest", "is missing: the URI of the host that the instances are to be moved to")
    elif dest == reader.data.get("uri"):
        reader.complain("dest", "is the same host as uri")


def _read_instances(reader: Reader) -> tuple[list[WantedMove], WantedMove | None]:
    """By name, as a list, or all."""
    everything = reader.truth("all") or False
    named = [option for option in ("name", "instances") if reader.given(option)]
    if everything and named:
        reader.complain("all", f"means all instances of the source; give it or {named[0]}")
    elif len(named) == 2:
        reader.complain("instances", "is there beside name; give one of them")
    elif not everything and not named:
        reader.complain("name", "is missing: give name, instances, or all: true")
    entries = reader.entries("instances")
    if entries is not None:
        return [_read_entry(reader, number, entry) for number, entry in enumerate(entries)], None
    if everything:
        if reader.given("resize"):
            reader.complain("resize", "makes no sense with all: true; give it to the entries of instances")
        return [], _read_move(reader, "")
    return [_read_move(reader, reader.name("name") or "")], None


def _read_entry(reader: Reader, number: int, entry: Any) -> WantedMove:
    """One of the list: a name, or a dictionary whose options take the place of the task's."""
    given = entry if isinstance(entry, Mapping) else {"name": entry}
    shared = {key: value for key, value in without_none(reader.data).items() if key not in _TASK_WIDE}
    inner = reader.inner("instances", {**shared, **without_none(given)}, number)
    if isinstance(entry, Mapping):
        Reader(entry, inner.where, reader.problems).only_known(("name", *_OF_AN_INSTANCE))
    name = inner.name("name")
    if name is None and not inner.given("name"):
        inner.complain("name", "is missing")
    return _read_move(inner, name or "")


def _with_dictionaries(params: Mapping[str, Any]) -> dict[str, Any]:
    """The same, with names of instances written as dictionaries: an option that all of them share is told once."""
    entries = params.get("instances")
    if not isinstance(entries, list):
        return {**params, "instances": None}
    return {**params, "instances": [entry if isinstance(entry, Mapping) else {"name": entry} for entry in entries]}


def _read_exclude(reader: Reader, everything: bool) -> frozenset[str]:
    entries = reader.entries("exclude")
    if entries and not everything:
        reader.complain("exclude", "makes no sense without all: true")
    for number, name in enumerate(entries or ()):
        problem = problem_with_name(str(name))
        if problem:
            reader.complain(f"exclude[{number}]", problem)
    return frozenset(str(name) for name in entries or ())


def _find_twice(moves: Collection[WantedMove], problems: list[Problem]) -> None:
    names: dict[str, str] = {}
    for move in moves:
        if move.name and move.name in names:
            problems.append(Problem(f"{move.where}name", f"{move.name!r} is the name of {names[move.name]} too"))
        names.setdefault(move.name, move.where.rstrip(".") or "name")


def _read_move(reader: Reader, name: str) -> WantedMove:
    wishes = _read_wishes(reader)
    _check_together(reader, wishes)
    shutdown = read_shutdown(reader)
    if shutdown.given and wishes.mode == words.LIVE:
        reader.complain("shutdown", "makes no sense with mode: live, which stops nothing")
    return WantedMove(
        name, reader.where, wishes, shutdown, _read_resize(reader, name, wishes), reader.truth("override_lock") or False
    )


def _read_wishes(reader: Reader) -> MigrationWishes:
    usual = MigrationWishes()

    def yes_or(option: str, otherwise: bool) -> bool:
        given = reader.truth(option)
        return otherwise if given is None else given

    return MigrationWishes(
        mode=reader.choice("mode", words.MODES) or usual.mode,
        storage=reader.choice("storage", words.STORAGE) or usual.storage,
        pools=_read_names(reader, "pools"),
        networks=_read_names(reader, "networks"),
        bandwidth_mib_s=reader.whole("bandwidth", 1, 1024 * 1024),
        parallel=reader.whole("parallel", 2, 255),
        auto_converge=yes_or("auto_converge", usual.auto_converge),
        post_copy=yes_or("post_copy", usual.post_copy),
        compression=yes_or("compression", usual.compression),
        max_downtime_ms=reader.whole("max_downtime_ms", 1, 2_000_000),
        timeout_s=reader.seconds("timeout_s"),
        on_timeout=reader.choice("on_timeout", words.ON_TIMEOUT) or usual.on_timeout,
        transport=reader.choice("transport", words.TRANSPORTS) or usual.transport,
        manager=reader.choice("manager", words.MANAGERS) or usual.manager,
        peer_uri=_read_uri(reader, "peer_uri"),
        migrate_uri=_read_uri(reader, "migrate_uri"),
        listen_address=_read_address(reader),
        disks_port=reader.whole("disks_port", 1, 65535),
        persist=yes_or("persist", usual.persist),
        undefine_source=yes_or("undefine_source", usual.undefine_source),
        delete_volumes=reader.choice("delete_volumes", (OWN, ALL, NONE)) or usual.delete_volumes,
    )


def _check_together(reader: Reader, wishes: MigrationWishes) -> None:
    """What makes no sense side by side."""
    if wishes.mode == words.COLD:
        for option in _LIVE_ONLY:
            if reader.given(option) and reader.data[option] is not False:
                reader.complain(option, "makes no sense with mode: cold, which moves no running guest")
        if wishes.on_timeout in (words.PAUSE, words.POST_COPY):
            reader.complain("on_timeout", f"{wishes.on_timeout} makes no sense with mode: cold; use abort or continue")
        if not wishes.persist:
            reader.complain("persist", "has to be true with mode: cold: what is off exists by its definition only")
    if reader.given("on_timeout") and not reader.given("timeout_s"):
        reader.complain("on_timeout", "needs timeout_s, which says after how long")
    if wishes.on_timeout == words.POST_COPY and not wishes.post_copy:
        reader.complain("on_timeout", "post_copy needs post_copy: true, with which the migration is prepared for it")
    if wishes.transport == words.TUNNELLED and wishes.manager != words.SOURCE:
        reader.complain("transport", "tunnelled needs manager: source; it goes through that connection of the daemons")
    if wishes.transport == words.TUNNELLED:
        for option in ("migrate_uri", "listen_address", "disks_port", "parallel", "post_copy"):
            if reader.given(option) and reader.data[option] is not False:
                reader.complain(option, "makes no sense with transport: tunnelled")
    if wishes.peer_uri is not None and wishes.manager != words.SOURCE:
        reader.complain("peer_uri", "needs manager: source; with manager: client the source does not call dest")
    if not wishes.undefine_source and reader.given("delete_volumes") and wishes.delete_volumes != NONE:
        reader.complain("delete_volumes", "makes no sense with undefine_source: false, which keeps the volumes too")


def _read_names(reader: Reader, option: str) -> dict[str, str]:
    """What is called otherwise on the destination."""
    names: dict[str, str] = {}
    for here, there in (reader.mapping(option) or {}).items():
        inner = reader.inner(option, {str(here): there})
        problem = problem_with_name(str(here))
        if problem:
            inner.complain(str(here), problem)
            continue
        found = inner.name(str(here))
        if found is not None:
            names[str(here)] = found
        elif there is None:
            inner.complain(str(here), "is missing: what it is called on the destination")
    return names


def _read_uri(reader: Reader, option: str) -> str | None:
    text = reader.text(option)
    if text is None:
        return None
    try:
        parts = urlsplit(text)
        has_port = parts.port is not None
    except ValueError as error:
        reader.complain(option, f"{text!r} cannot be understood: {error}")
        return None
    if parts.password:
        reader.complain(option, "must not have a password in it")
    elif option == "migrate_uri" and parts.scheme not in _DATA_SCHEMES:
        reader.complain(option, f"has to be like tcp://10.0.0.2 or tcp://10.0.0.2:49152, not {text!r}")
    elif not parts.scheme or not (parts.netloc or parts.path):
        reader.complain(option, f"has to be a URI, not {text!r}")
    elif any(character.isspace() or not character.isprintable() for character in text):
        reader.complain(option, f"must not have spaces or unprintable characters in it: {text!r}")
    elif option == "migrate_uri" and has_port and parts.hostname is None:
        reader.complain(option, f"{text!r} has a port and no host")
    else:
        return text
    return None


def _read_address(reader: Reader) -> str | None:
    text = reader.text("listen_address")
    if text is None:
        return None
    import ipaddress  # takes long to import, and few tasks need it

    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        reader.complain("listen_address", f"has to be an IP address of the destination, not {text!r}")
        return None


def _read_resize(reader: Reader, name: str, wishes: MigrationWishes) -> Desired | None:
    """The size that it is to have there."""
    given = reader.mapping("resize")
    if given is None:
        return None
    inner = reader.inner("resize", without_none(given))
    inner.only_known(RESIZE_OPTIONS)
    if wishes.mode != words.COLD:
        reader.complain("resize", "needs mode: cold; a running guest keeps its size on its way")
    if not inner.data:
        reader.complain("resize", f"is empty; give one of {', '.join(RESIZE_OPTIONS)}")
    wanted = Desired(inner.where, Instance(name))
    read_size(inner, wanted, BUILT_IN)
    wanted.swap_option, wanted.swap_bytes = "", 0  # an instance that exists keeps its swap disk
    return wanted
