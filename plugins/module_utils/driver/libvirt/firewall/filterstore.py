# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Defining, reading and undefining nwfilter definitions over a connection."""

from __future__ import annotations

import time
from collections.abc import Container, Iterable
from typing import TYPE_CHECKING, Any, Callable
from xml.etree.ElementTree import Element

from ....errors import HypervisorError
from ....model.secgroup import Port
from ....undo import Undo, UndoStack
from ..domain_filters import filter_binding
from ..errors import (
    INTERNAL_ERROR,
    NO_DOMAIN,
    NO_NWFILTER,
    NO_NWFILTER_BINDING,
    OPERATION_FAILED,
    OPERATION_INVALID,
    code_of,
    translated,
)
from ..xmltext import from_libvirt
from .filterxml import PREFIX, canonical, to_text

if TYPE_CHECKING:
    import libvirt

_RELEASE_TIMEOUT_S = 3.0
_RELEASE_PAUSE_S = 0.1
_DEFINE_ATTEMPTS = 10
_DEFINE_PAUSE_S = 0.2


class FilterStore:
    """The definitions of a libvirt daemon.

    Args:
        library: The module libvirt.
        conn: An open connection.
    """

    def __init__(self, library: Any, conn: libvirt.virConnect) -> None:
        self.library = library
        self._conn = conn

    def names(self) -> list[str]:
        """Names of all definitions, other people's among them."""
        with translated(self.library, "list the network filters"):
            return sorted(self._conn.listNWFilters())

    def read(self, name: str) -> Element | None:
        """A definition; None when there is none."""
        with translated(self.library, f"read the network filter {name!r}"):
            try:
                return from_libvirt(self._conn.nwfilterLookupByName(name).XMLDesc())
            except self.library.libvirtError as error:
                if code_of(error) == NO_NWFILTER:
                    return None
                raise

    def read_all(self, chosen: Container[str]) -> dict[str, Element]:
        """The definitions with these names, as far as there are any."""
        return self._read([name for name in self.names() if name in chosen])

    def read_ours(self, *prefixes: str) -> dict[str, Element]:
        """Our definitions, or those whose names begin so."""
        return self._read([name for name in self.names() if name.startswith(prefixes or PREFIX)])

    def _read(self, names: Iterable[str]) -> dict[str, Element]:
        """One that goes away meanwhile is left out."""
        present = ((name, self.read(name)) for name in names)
        return {name: root for name, root in present if root is not None}

    def bindings(self) -> dict[str, str]:
        """The host's interfaces that are filtered now, each with the name of its filter."""
        with translated(self.library, "list the filtered interfaces"):
            return {binding.portDev(): binding.filterName() for binding in self._conn.listAllNWFilterBindings()}

    def bind_anew(self, port: Port) -> None:
        """Have libvirt filter an interface from the beginning: that it does so already may be a mistake of its. Nothing
        happens where neither it nor an instance of the port's is known."""
        with translated(self.library, f"filter the interface {port.device}"):
            try:
                binding = self._conn.nwfilterBindingLookupByPortDev(port.device)
                text = binding.XMLDesc()
                binding.delete()
            except self.library.libvirtError as error:
                if code_of(error) != NO_NWFILTER_BINDING:
                    raise
                owner = self._uuid_of(port.instance)
                if owner is None:
                    return
                text = filter_binding(port.instance, owner, port.mac, str(port.device))
            self._conn.nwfilterBindingCreateXML(text, 0)

    def _uuid_of(self, instance: str) -> str | None:
        try:
            return str(self._conn.lookupByName(instance).UUIDString())
        except self.library.libvirtError as error:
            if code_of(error) == NO_DOMAIN:
                return None
            raise

    def define(self, *wanted: Element) -> Undo:
        """Make these definitions, in their order, or replace those of the same names; libvirt then rebuilds the rules
        of every interface that refers to them. What is the same already is not written.

        Returns:
            What puts back the definitions that were there before.
        """
        names = set(self.names())
        with UndoStack() as done:
            for root in wanted:
                name = str(root.get("name"))
                self._replace(root, self.read(name) if name in names else None, done)
        return lambda: done.take_back("the change of network filters")

    def rewrite(self, names: Iterable[str], change: Callable[[Element], Element | None]) -> Undo:
        """Make something else of definitions, each of which is read just before: so little time is left in which what
        others make of it is lost. ``change`` gives None for one that stays."""
        with UndoStack() as done:
            for name in names:
                before = self.read(name)
                wanted = None if before is None else change(before)
                if wanted is not None:
                    self._replace(wanted, before, done)
        return lambda: done.take_back("the change of network filters")

    def _replace(self, root: Element, before: Element | None, done: UndoStack) -> None:
        if before is None or canonical(before) != canonical(root):
            self._write(root, before)
            done.push(f"put back the network filter {root.get('name')}", self._restoring(root, before))

    def undefine(self, names: Iterable[str]) -> Undo:
        """Remove definitions; those that are gone already are ignored.

        Raises:
            HypervisorError: an interface has it, and keeps it.
        """
        present = set(self.names())
        with UndoStack() as done:
            for name in names:
                before = self.read(name) if name in present else None
                if before is not None:
                    self._remove(name)
                    done.push(f"put back the network filter {name}", self._restoring(before, before))
        return lambda: done.take_back("the removal of network filters")

    def _restoring(self, now: Element, before: Element | None) -> Undo:
        def restore() -> None:
            if before is None:
                self._remove(str(now.get("name")))
            else:
                self._write(before, None)

        return restore

    def _write(self, root: Element, before: Element | None) -> None:
        """libvirt takes a redefinition only with the identity that the definition has."""
        if before is not None:
            _take_identity(root, before)
        name = str(root.get("name"))
        with translated(self.library, f"define the network filter {name!r}"):
            try:
                self._define(to_text(root))
            except self.library.libvirtError as error:
                # Somebody else has made one of that name since, or with that identity.
                other = self.read(name) if code_of(error) == OPERATION_FAILED else None
                if other is None or other.findtext("uuid") == root.findtext("uuid"):
                    raise
                _take_identity(root, other)
                self._define(to_text(root))

    def _define(self, text: str) -> None:
        """libvirt fails without a reason, and leaves the definition as it was, when an interface goes away while it
        makes the interface's rules anew."""
        for _attempt in range(_DEFINE_ATTEMPTS - 1):
            try:
                self._conn.nwfilterDefineXML(text)
            except self.library.libvirtError as error:
                if code_of(error) != INTERNAL_ERROR or "cause is unknown" not in str(error):
                    raise
                time.sleep(_DEFINE_PAUSE_S)
            else:
                return
        self._conn.nwfilterDefineXML(text)

    def _remove(self, name: str) -> None:
        """An interface that is just being unplugged holds on to its filter for a moment."""
        deadline = time.monotonic() + _RELEASE_TIMEOUT_S
        with translated(self.library, f"remove the network filter {name!r}"):
            while True:
                try:
                    self._conn.nwfilterLookupByName(name).undefine()
                except self.library.libvirtError as error:
                    if code_of(error) == NO_NWFILTER:
                        return
                    if code_of(error) != OPERATION_INVALID:
                        raise
                    if time.monotonic() > deadline:
                        raise HypervisorError(f"cannot remove the network filter {name!r}: it is in use") from error
                    time.sleep(_RELEASE_PAUSE_S)
                else:
                    return


def _take_identity(root: Element, before: Element) -> None:
    identity = root.find("uuid")
    if identity is not None:
        identity.text = before.findtext("uuid")
