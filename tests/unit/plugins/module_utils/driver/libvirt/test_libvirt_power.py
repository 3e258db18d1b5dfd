# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Power: the states, what others do at the same time, and what Xen and LXC need besides."""

from __future__ import annotations

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ACPI, AGENT, HARD, SOFT
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt import power
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.errors import (
    AGENT_UNRESPONSIVE,
    INTERNAL_ERROR,
    NO_DOMAIN,
    NO_SUPPORT,
    OPERATION_FAILED,
    OPERATION_INVALID,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.states import PMSUSPENDED, to_power_state
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    HypervisorError,
    InvalidPowerState,
    TimeoutExpired,
    Unsupported,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state

RUNNING, PAUSED, OFF = 1, 3, 5
XEN = "xen+ssh://host/system"


@pytest.mark.parametrize(
    ("code", "saved", "expected"),
    [
        (0, False, power_state.NOSTATE),
        (1, False, power_state.RUNNING),
        (2, False, power_state.BLOCKED),
        (3, False, power_state.PAUSED),
        (4, False, power_state.SHUTDOWN),
        (5, False, power_state.SHUTOFF),
        (5, True, power_state.SUSPENDED),
        (6, False, power_state.CRASHED),
        (6, True, power_state.SUSPENDED),
        (1, True, power_state.RUNNING),
        (PMSUSPENDED, False, power_state.PAUSED),
        (99, False, power_state.NOSTATE),
    ],
)
def test_states(code: int, saved: bool, expected: int):
    assert to_power_state(code, saved) == expected


def test_starting_what_another_has_just_started(stubs):
    domain = stubs.domain(state=stubs.Queue([OFF, RUNNING]), createWithFlags=stubs.Error(OPERATION_INVALID))
    stubs.opened(domain).power_on("web1")
    failing = stubs.domain(state=OFF, createWithFlags=stubs.Error(OPERATION_INVALID))
    with pytest.raises(InvalidPowerState):
        stubs.opened(failing).power_on("web1")


def test_starting_what_was_paused_when_it_was_suspended(stubs):
    domain = stubs.domain(state=stubs.Queue([OFF, PAUSED]), hasManagedSaveImage=1, createWithFlags=0, resume=0)
    stubs.opened(domain).power_on("web1")
    assert domain.called[-1] == "resume"


@pytest.mark.parametrize("code", [OPERATION_INVALID, NO_DOMAIN])
def test_powering_off_what_goes_off_by_itself(stubs, code: int):
    domain = stubs.domain(destroy=stubs.Error(code))
    stubs.opened(domain).force_off("web1")
    assert "destroy" in domain.called


def test_powering_off_a_suspended_one_drops_its_image(stubs):
    domain = stubs.domain(state=OFF, hasManagedSaveImage=1, managedSaveRemove=0)
    stubs.opened(domain).force_off("web1")
    assert domain.called[-1] == "managedSaveRemove"


def test_the_way_to_ask_for_a_shutdown(stubs):
    library = stubs.library
    for uri, method, call in (
        ("qemu:///system", ACPI, ("shutdownFlags", library.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)),
        ("qemu:///system", AGENT, ("shutdownFlags", library.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)),
        ("lxc:///", ACPI, ("shutdownFlags", library.VIR_DOMAIN_SHUTDOWN_SIGNAL)),
        (XEN, ACPI, ("shutdown",)),
    ):
        domain = stubs.domain(shutdownFlags=0, shutdown=0)
        stubs.opened(domain, uri=uri).request_shutdown("web1", method)
        assert domain.calls[-1] == call
    with pytest.raises(Unsupported):
        stubs.opened(stubs.domain(), uri=XEN).request_shutdown("web1", AGENT)


def test_asking_one_that_went_off(stubs):
    domain = stubs.domain(state=OFF, shutdownFlags=stubs.Error(OPERATION_INVALID))
    stubs.opened(domain).request_shutdown("web1", ACPI)
    with pytest.raises(HypervisorError):
        stubs.opened(stubs.domain(shutdownFlags=stubs.Error(INTERNAL_ERROR))).request_shutdown("web1", ACPI)


def test_an_agent_that_is_silent_to_the_end_is_named(stubs):
    domain = stubs.domain(shutdownFlags=stubs.Error(AGENT_UNRESPONSIVE), info=[1, 1024, 1024, 1, 0], autostart=0)
    driver = stubs.opened(domain)
    with pytest.raises(TimeoutExpired, match="its guest agent does not answer") as caught:
        driver.power_off("web1", AGENT, timeout_s=0.2, retry_interval_s=0.05)
    assert caught.value.last_seen == "running"
    assert domain.called.count("shutdownFlags") > 1
    domain.answers["shutdownFlags"] = 0
    with pytest.raises(TimeoutExpired) as caught:
        driver.power_off("web1", AGENT, timeout_s=0.1, retry_interval_s=0.05)
    assert "agent" not in str(caught.value)


@pytest.mark.parametrize(("code", "call"), [(3, "resume"), (PMSUSPENDED, "pMWakeup")])
def test_unpausing(stubs, code: int, call: str):
    domain = stubs.domain(state=code, resume=0, pMWakeup=0)
    stubs.opened(domain).unpause("web1")
    assert domain.called[-1] == call


def test_a_container_that_does_not_stand_still_at_once(stubs):
    busy = stubs.Error(OPERATION_FAILED, "Suspend operation failed", 17)
    domain = stubs.domain(suspend=stubs.Queue([busy, busy, 0]))
    stubs.opened(domain, uri="lxc:///").pause("web1")
    assert domain.called.count("suspend") == 3
    for uri, attempts in (("lxc:///", power.LXC_FREEZE_ATTEMPTS), ("qemu:///system", 1)):
        domain = stubs.domain(suspend=busy)
        with pytest.raises(HypervisorError):
            stubs.opened(domain, uri=uri).pause("web1")
        assert domain.called.count("suspend") == attempts


def test_nothing_to_pause_or_unpause(stubs):
    stubs.opened(stubs.domain(state=PAUSED)).pause("web1")
    stubs.opened(stubs.domain(state=RUNNING)).unpause("web1")
    stubs.opened(stubs.domain(state=RUNNING)).resume("web1")


@pytest.mark.parametrize("verb", ["pause", "unpause", "suspend", "resume", "reboot"])
def test_refused_when_off(stubs, verb: str):
    with pytest.raises(InvalidPowerState, match="'web1': it is shutoff"):
        getattr(stubs.opened(stubs.domain(state=OFF)), verb)("web1")


def test_a_transient_one_is_not_suspended(stubs):
    with pytest.raises(Unsupported, match="transient"):
        stubs.opened(stubs.domain(isPersistent=0)).suspend("web1")


@pytest.mark.parametrize("uri", ["lxc:///", XEN])
def test_a_reset_without_a_button(stubs, uri: str):
    domain = stubs.domain(destroy=0, create=0)
    stubs.opened(domain, uri=uri).reboot("web1", HARD)
    assert domain.called[-2:] == ["destroy", "create"]
    with pytest.raises(Unsupported, match="transient"):
        stubs.opened(stubs.domain(isPersistent=0), uri=uri).reboot("web1", HARD)


def test_a_reset_that_does_not_come_back_says_so(stubs):
    domain = stubs.domain(destroy=0, create=stubs.Error(INTERNAL_ERROR))
    with pytest.raises(HypervisorError) as caught:
        stubs.opened(domain, uri=XEN).reboot("web1", HARD)
    assert caught.value.rolled_back is False
    assert "off now" in caught.value.not_undone[0]


def test_a_reset_on_qemu(stubs):
    domain = stubs.domain(reset=0)
    stubs.opened(domain).reboot("web1", HARD)
    assert ("reset", 0) in domain.calls


def test_a_soft_reboot_ends_with_the_event(stubs):
    callbacks = {}
    domain = stubs.domain(reboot=lambda flags: callbacks[stubs.library.VIR_DOMAIN_EVENT_ID_REBOOT](None, domain, None))

    def register(unused, event, callback, data):
        callbacks[event] = callback
        return len(callbacks)

    stubs.opened(domain, domainEventRegisterAny=register).reboot("web1", SOFT, timeout_s=5)
    assert domain.called.count("reboot") == 1


def test_a_soft_reboot_on_xen_ends_with_another_id(stubs):
    domain = stubs.domain(ID=stubs.Queue([7, 7, 8]), reboot=0)
    stubs.opened(domain, uri=XEN).reboot("web1", SOFT, timeout_s=5)
    assert ("reboot", 0) in domain.calls


def test_a_soft_reboot_that_is_not_heard(stubs):
    with pytest.raises(TimeoutExpired, match="did not reboot"):
        stubs.opened(stubs.domain(reboot=0)).reboot("web1", SOFT, timeout_s=0.1)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power.time, "sleep", lambda seconds: None)


def test_a_xen_guest_that_boots_is_saved_in_the_end(stubs, quick):
    failures = [stubs.Error(INTERNAL_ERROR), stubs.Error(INTERNAL_ERROR), 0]
    domain = stubs.domain(managedSave=stubs.Queue(failures), managedSaveRemove=0)
    stubs.opened(domain, uri=XEN).suspend("web1")
    saving = [name for name in domain.called if name.startswith("managed")]
    assert saving == ["managedSave", "managedSaveRemove", "managedSave", "managedSaveRemove", "managedSave"]


def test_a_paused_xen_guest_runs_while_it_is_saved_and_is_paused_again_when_it_fails(stubs, quick):
    domain = stubs.domain(state=PAUSED, resume=0, managedSave=0)
    stubs.opened(domain, uri=XEN).suspend("web1")
    assert domain.called[-2:] == ["resume", "managedSave"]
    refused = stubs.Error(NO_SUPPORT)
    domain = stubs.domain(state=PAUSED, resume=0, suspend=0, managedSave=refused, managedSaveRemove=refused)
    with pytest.raises(Unsupported):
        stubs.opened(domain, uri=XEN).suspend("web1")
    assert domain.called[-1] == "suspend"


def test_saving_a_xen_guest_is_given_up(stubs, quick, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(power, "XEN_SAVE_S", 0.0)
    domain = stubs.domain(managedSave=stubs.Error(INTERNAL_ERROR), managedSaveRemove=0)
    with pytest.raises(HypervisorError):
        stubs.opened(domain, uri=XEN).suspend("web1")
    assert domain.called[-1] == "managedSaveRemove"
