# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pool messages: what a client asks the pool as a whole."""

from __future__ import annotations

from lab.xenapi.database import Ref
from lab.xenapi.failures import Failure
from lab.xenapi.registry import Call, message


@message("pool.sync_database")
def sync_database(call: Call) -> None:
    """The database is one for all hosts."""


@message("pool.get_license_state")
def get_license_state(call: Call, pool: Ref) -> dict[str, str]:
    return {"edition": "free", "expiry": "never"}


@message("pool.has_extension")
def has_extension(call: Call, pool: Ref, name: str) -> bool:
    return False


@message("pool.set_igmp_snooping_enabled")
def set_igmp_snooping_enabled(call: Call, pool: Ref, value: bool) -> None:
    call.db.set("pool", pool, igmp_snooping_enabled=value)


@message("pool.add_to_guest_agent_config")
def add_to_guest_agent_config(call: Call, pool: Ref, key: str, value: str) -> None:
    with call.db.lock:
        config = call.db.get("pool", pool, "guest_agent_config")
        if key in config:
            raise Failure("MAP_DUPLICATE_KEY", "pool", "guest_agent_config", pool, key)
        call.db.set("pool", pool, guest_agent_config={**config, key: value})


@message("pool.remove_from_guest_agent_config")
def remove_from_guest_agent_config(call: Call, pool: Ref, key: str) -> None:
    with call.db.lock:
        config = call.db.get("pool", pool, "guest_agent_config")
        config.pop(key, None)
        call.db.set("pool", pool, guest_agent_config=config)


@message("pool.disable_ha")
def disable_ha(call: Call) -> None:
    raise Failure("HA_NOT_ENABLED")


@message("pool.retrieve_wlb_configuration")
def retrieve_wlb_configuration(call: Call) -> dict[str, str]:
    raise Failure("WLB_NOT_INITIALIZED")


@message("pool.retrieve_wlb_recommendations")
def retrieve_wlb_recommendations(call: Call) -> dict[Ref, list[str]]:
    raise Failure("WLB_NOT_INITIALIZED")
