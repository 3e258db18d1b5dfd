# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The consoles of instances."""

from __future__ import annotations

from urllib.parse import urlsplit

from ...errors import NotFound, Unsupported
from ...model.instance import VncConsole
from .capabilities import CAPABILITIES
from .instances import InstancesMixin

_PORTS = {"http": 80, "https": 443}


class ConsoleMixin(InstancesMixin):
    """Where people reach the guest."""

    def get_console_output(self, name: str, max_bytes: int = 65536) -> bytes:
        raise Unsupported(
            f"the {self.name} driver cannot read the console of {name!r}: {CAPABILITIES['console_output'].note}"
        )

    def get_vnc_console(self, name: str) -> VncConsole:
        """As the contract says. The place is one of the host's HTTP server, which speaks VNC after a CONNECT request
        for the URL that names a session, as one of its parameters or in a cookie."""
        ref, _vm = self.lookup_active(name)
        with self.guard(f"read the console of instance {name!r}", name):
            consoles = self.fetch("console", f'field "VM" = "{ref}"')
        for console in consoles.values():
            if console["protocol"] == "rfb" and console["location"]:
                place = urlsplit(console["location"])
                return VncConsole(
                    place.hostname or "", place.port or _PORTS.get(place.scheme, 443), console["location"]
                )
        raise NotFound(f"instance {name!r} has no VNC console")
