# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong with a pool in our words: the one place that knows XenAPI's error codes."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from xmlrpc.client import Fault

from ...errors import (
    AnyvirtError,
    HypervisorError,
    HypervisorUnavailable,
    InstanceNotFound,
    PermissionDenied,
    TimeoutExpired,
)
from .codes import BY_CODE, MISSING, Rule
from .transport import HttpRefused, TransportError

_REFERENCE = re.compile(r"OpaqueRef:[0-9A-Za-z-]+")
_BACKEND_FAILURE = "SR_BACKEND_FAILURE"
_DENIED = (401, 403)


class _Parameter:
    """A parameter of an error within a message: ``{0:instance}`` is "instance 'web1'", or "the instance" where the
    reference belongs to no name that we know; ``{0:MiB}`` is a number of bytes in MiB; ``{0}`` is the text."""

    def __init__(self, value: str, labels: Mapping[str, str], instance: str | None) -> None:
        self._value = value
        self._labels = labels
        self._instance = instance

    def __format__(self, noun: str) -> str:
        if noun == "MiB" and self._value.isdecimal():
            return f"{int(self._value) >> 20} MiB"
        if noun == "MiB" and not self._value:
            return "?"
        if noun in ("", "MiB"):
            return in_words(self._value, self._labels)
        label = self._labels.get(self._value)
        if label is None and noun == "instance":
            label = self._instance
        return f"the {noun}" if label is None else f"{noun} {label!r}"


def code_of(error: BaseException | None) -> str:
    """The code of a server's failure, also of one of ours that stands for it; empty for anything else."""
    details = details_of(error)
    return details[0] if details else ""


def details_of(error: BaseException | None) -> Sequence[str]:
    """The code and its parameters of a server's failure, also of one of ours that stands for it; empty for anything
    else."""
    if isinstance(error, AnyvirtError):
        error = error.__cause__
    if isinstance(error, Fault) and error.faultCode in _DENIED:
        return ["SESSION_INVALID"]  # how the client package tells it
    details = getattr(error, "details", None)
    return [str(part) for part in details] if isinstance(details, (list, tuple)) else []


def in_words(text: str, labels: Mapping[str, str]) -> str:
    """A text of the server's with names in the place of references, which tell a reader nothing."""
    return _REFERENCE.sub(lambda found: repr(labels[found[0]]) if found[0] in labels else "(unnamed)", text)


def translate(
    error: Exception, what: str, name: str | None = None, labels: Mapping[str, str] | None = None
) -> AnyvirtError | None:
    """Our error for what calls, tasks and HTTP requests raise; None for what is none of these.

    Args:
        what: What was tried, to be read after "cannot".
        name: The instance that it was tried on.
        labels: reference -> name.
    """
    details = details_of(error)
    if details:
        return _failure(details, what, name, labels or {})
    if isinstance(error, TransportError):
        return HypervisorUnavailable(f"cannot {what}: {error}")
    if isinstance(error, Fault):
        return HypervisorError(f"cannot {what}: {in_words(error.faultString, labels or {})}")
    if isinstance(error, HttpRefused):
        kind = PermissionDenied if error.status in _DENIED else HypervisorError
        return kind(f"cannot {what}: the server says {error}")
    if isinstance(error, ET.ParseError):
        return HypervisorError(f"cannot {what}: the server's answer cannot be understood ({error})")
    if isinstance(error, OSError):
        return HypervisorError(f"cannot {what}: {error}")
    return None


@contextmanager
def translated(what: str, name: str | None = None, labels: Mapping[str, str] | None = None) -> Iterator[None]:
    """Within the block the failures of calls, tasks and HTTP requests become ours."""
    try:
        yield
    except AnyvirtError:
        raise
    except Exception as error:
        ours = translate(error, what, name, labels)
        if ours is None:
            raise
        raise ours from error


def _failure(details: Sequence[str], what: str, name: str | None, labels: Mapping[str, str]) -> AnyvirtError:
    code, parameters = details[0], details[1:]
    if code in ("HANDLE_INVALID", "UUID_INVALID"):
        return _missing(parameters[0] if parameters else "", what, name)
    rule = BY_CODE.get(code) or (BY_CODE[_BACKEND_FAILURE] if code.startswith(_BACKEND_FAILURE) else None)
    if rule is None:
        told = ", ".join(in_words(parameter, labels) for parameter in parameters)
        return HypervisorError(f"cannot {what}: the server says {code}" + (f" ({told})" if told else ""))
    message = f"cannot {what}: {_filled(rule, parameters, name, labels)}"
    return TimeoutExpired(message, rule.last_seen) if rule.kind is TimeoutExpired else rule.kind(message)


def _filled(rule: Rule, parameters: Sequence[str], name: str | None, labels: Mapping[str, str]) -> str:
    """A rule's message; versions of the server differ in how many parameters they give."""
    padded = [*parameters, *[""] * rule.parameters]
    return rule.message.format(*(_Parameter(value, labels, name) for value in padded)).removesuffix(": ")


def _missing(kind: str, what: str, name: str | None) -> AnyvirtError:
    if kind == "VM" and name is not None:
        return InstanceNotFound(name)
    error, noun = MISSING.get(kind, MISSING[""])
    return error(f"cannot {what}: the {noun or kind} that it is about exists no more")
