# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt's domain states as Nova's power states."""

from __future__ import annotations

from ...model import power_state

# virDomainState; the numbers are part of libvirt's ABI.
PMSUSPENDED = 7
_STATES = {
    0: power_state.NOSTATE,
    1: power_state.RUNNING,
    2: power_state.BLOCKED,
    3: power_state.PAUSED,
    4: power_state.SHUTDOWN,
    5: power_state.SHUTOFF,
    6: power_state.CRASHED,
    # Suspended by the guest itself (ACPI S3): its memory is still held, and it is woken, not started.
    PMSUSPENDED: power_state.PAUSED,
}


def to_power_state(domain_state: int, saved: bool = False) -> int:
    """The power state of a domain.

    Args:
        domain_state: A virDomainState.
        saved: There is a managed save image; a domain that is off is SUSPENDED then, since starting it resumes it.
    """
    state = _STATES.get(domain_state, power_state.NOSTATE)
    if saved and state in power_state.OFF:
        return power_state.SUSPENDED
    return state
