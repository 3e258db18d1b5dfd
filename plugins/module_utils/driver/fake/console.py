# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Consoles: the serial one's log, and where VNC listens."""

from __future__ import annotations

from ...errors import InvalidPowerState, NotFound, Unsupported
from ...model import power_state
from ...model.instance import VncConsole
from .core import FakeCore
from .guest import console_text
from .store import INSTANCES, View

FIRST_VNC_PORT = 5900


class ConsoleMixin(FakeCore):
    """What the guest shows."""

    def get_console_output(self, name: str, max_bytes: int = 65536) -> bytes:
        with self._read("console", name) as view:
            record, seen = self._instance(view, name)
        has = record["running"] or record["config"]
        if not has["console"].get("serial"):
            raise Unsupported(f"instance {name!r} has no serial console that is kept in a log; give it console.serial")
        written = console_text(record["power"], seen).encode()
        return written[max(0, len(written) - max_bytes) :] if max_bytes > 0 else b""

    def get_vnc_console(self, name: str) -> VncConsole:
        with self._read("vnc", name) as view:
            record, seen = self._instance(view, name)
            if seen.state not in power_state.ACTIVE:
                raise InvalidPowerState(
                    f"instance {name!r} is {power_state.name(seen.state)}; only a running one has a VNC console"
                )
            console = record["running"]["console"]
            if not console.get("vnc"):
                raise NotFound(f"instance {name!r} has no VNC console")
            port = console.get("vnc_port") or self._free_port(view, name)
        return VncConsole(console["vnc_listen"], port)

    def _free_port(self, view: View, name: str) -> int:
        """A port that no other instance has, the same one as long as the same instances exist."""
        return FIRST_VNC_PORT + list(view.all(INSTANCES)).index(name)
