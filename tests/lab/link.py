# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bridge on which lab hosts reach each other and the tests reach them: private addresses, never routed on."""

from __future__ import annotations

from pathlib import Path

from lab.cache import file_lock
from lab.errors import LabError
from lab.locks import try_lock
from lab.proc import run

BRIDGE = "anyvirt-lab0"
_NETWORK = "10.77.0"
_OUTER = f"{_NETWORK}.1/24"
_FIRST_HOST = 10
_SLOTS = 200
# One place for the whole machine, whatever folders its users choose: addresses and interfaces are shared.
_RUN = Path("/run/anyvirt-lab")


def claim_slot(wanted: int | None) -> tuple[int, int]:
    """A free slot (or the wanted one) and the locked file descriptor that keeps it."""
    for slot in range(_SLOTS) if wanted is None else (wanted,):
        descriptor = try_lock(_RUN / f"slot-{slot}.lock")
        if descriptor is not None:
            return slot, descriptor
    raise LabError("no free address for a lab host" if wanted is None else f"lab host index {wanted} is in use")


def address(slot: int) -> str:
    return f"{_NETWORK}.{_FIRST_HOST + slot}"


def plug(slot: int, init_pid: int) -> None:
    """Give the network namespace of init_pid an eth0 with the slot's address."""
    outer = _interface(slot)
    with file_lock(_RUN / "bridge.lock"):
        if not Path("/sys/class/net", BRIDGE).exists():
            run(["ip", "link", "add", BRIDGE, "address", _mac(1), "type", "bridge"])
            run(["ip", "address", "add", _OUTER, "dev", BRIDGE])
            run(["ip", "link", "set", BRIDGE, "up"])
        # The kernel takes down a dead host's namespace in its own time; the slot is ours already.
        run(["ip", "link", "delete", outer], check=False)
        peer = ["peer", "name", "eth0", "address", _mac(_FIRST_HOST + slot), "netns", str(init_pid)]
        run(["ip", "link", "add", outer, "type", "veth", *peer])
        run(["ip", "link", "set", outer, "master", BRIDGE, "up"])
    inside = ["nsenter", "--net", "--target", str(init_pid), "ip"]
    run([*inside, "address", "add", f"{address(slot)}/24", "dev", "eth0"])
    run([*inside, "link", "set", "eth0", "up"])


def unplug(slot: int) -> None:
    """Take the slot's interface away, and the bridge with the last one."""
    with file_lock(_RUN / "bridge.lock"):
        run(["ip", "link", "delete", _interface(slot)], check=False)
        ports = Path("/sys/class/net", BRIDGE, "brif")
        if ports.is_dir() and not any(ports.iterdir()):
            run(["ip", "link", "delete", BRIDGE])


def _mac(number: int) -> str:
    # One MAC for one address, for ever: neighbours remember the last host that had the slot.
    return f"02:00:0a:4d:00:{number:02x}"


def _interface(slot: int) -> str:
    return f"avlab{slot}"
