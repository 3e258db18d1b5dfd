# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands between libvirt-python and libvirt's C library, where every call passes."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from contract.platforms.calls import Call, Calls, Record

# Answered by the client library alone: names and ids of objects in hand, events, clean-up of references.
_LOCAL = re.compile(
    r"vir(?!Connect)\w*?Get(Name|UUID|UUIDString|ID|Key)$|vir\w*(Free|_pointer)$|virEvent|virGet|virInit|virReset"
    r"|virRegister|virConnect(Get(Type|URI)|Is(Alive|Encrypted|Secure)|SetKeepAlive|Close)$|virStreamNew$"
    r"|virConnect(Unr|R)egisterCloseCallback"
)
_READING = re.compile(
    r"vir\w*?(Get|List|Lookup|NumOf|Num|Is|Has|Stats|Compare|Baseline|Open|Addresses|EventRegister|EventDeregister)"
    r"|virStorageVolDownload|virStream(Recv|Finish|Abort|Event)"
)
_INTERNAL_ERROR = 1
_FROM_NONE = 0
_LEVEL_ERROR = 2


def writes(name: str) -> bool:
    """Whether a call changes something at libvirt."""
    return _READING.match(name) is None


class LibvirtCalls(Calls):
    """Replaces libvirt-python's C modules by listeners, once for the whole process."""

    def __init__(self) -> None:
        import libvirt
        import libvirt_qemu

        self._lock = threading.Lock()
        self._record: Record | None = None
        self._fail_at = 0
        self._error = libvirt.libvirtError
        for module, attribute in ((libvirt, "libvirtmod"), (libvirt_qemu, "libvirtmod_qemu")):
            real = getattr(module, attribute)
            if isinstance(real, _Listener):
                real = real.real
            setattr(module, attribute, _Listener(real, self._note))

    @contextmanager
    def recording(self, fail_at: int = 0) -> Iterator[Record]:
        record = Record()
        with self._lock:
            self._record, self._fail_at = record, fail_at
        try:
            yield record
        finally:
            with self._lock:
                self._record = None

    def _note(self, name: str) -> None:
        with self._lock:
            if self._record is None:
                return
            self._record.append(Call(name, writes(name)))
            if len(self._record) != self._fail_at:
                return
        error = self._error(f"call {self._fail_at}, {name}, fails because the test says so")
        text = f"internal error: the test makes {name} fail"
        error.err = (_INTERNAL_ERROR, _FROM_NONE, text, _LEVEL_ERROR, text, None, None, -1, -1)
        raise error


class _Listener:
    """Looks like the C module, and tells of each call before making it."""

    def __init__(self, real: ModuleType, note: Callable[[str], None]) -> None:
        self.real = real
        self._note = note

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.real, name)
        if not callable(found) or _LOCAL.match(name):
            result = found
        else:
            note = self._note

            def result(*arguments: Any, **named: Any) -> Any:
                note(name)
                return found(*arguments, **named)

        setattr(self, name, result)
        return result
