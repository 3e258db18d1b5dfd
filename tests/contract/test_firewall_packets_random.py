# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets by chance: the oracle, a second judge and real packets agree about all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.oracle import would_accept
from contract.ec2_rules import passes
from contract.firewall_engines import Firewall
from contract.packet_chance import Chance
from contract.packet_parties import PORTS
from contract.packet_sending import Case, Step

SEED = 5_2026
POLICIES, PACKETS = 100, 50
REAL_PACKETS = 40


def test_the_oracle_agrees_with_ec2():
    """Thousands of packets, against policies as different as they."""
    verdicts = {True: 0, False: 0}
    for number in range(POLICIES):
        seed = f"{SEED}-{number}"
        chance = Chance(seed)
        policy = chance.policy()
        for _packet in range(PACKETS):
            packet = chance.any_packet()
            expected = passes(policy, packet)
            assert would_accept(policy, packet) is expected, f"seed {seed}: {packet} and {policy}"
            verdicts[expected] += 1
    assert min(verdicts.values()) > POLICIES * PACKETS // 10, verdicts


@pytest.mark.on("libvirt")
def test_real_packets_agree(firewall: Firewall):
    """A sample of them, sent for real; only first packets, whose state is what it is. No other test of this file
    needs the policy that was there before."""
    before = firewall.policy
    for number in range(2 if firewall.quick else 1):
        seed = f"{SEED}-real-{number}"
        print(f"seed {seed}")
        chance = Chance(seed)
        policy = firewall.supported(chance.policy())
        others = tuple(port for port in PORTS if port.learns)
        firewall.load(replace(policy, ports=policy.ports + others, groups={**before.groups, **policy.groups}))
        cases = []
        for index in range(REAL_PACKETS):
            sender, receiver = chance.parties()
            packet = chance.new_packet(sender, receiver)
            cases.append(Case(f"seed {seed}, {index}: {packet}", (Step(packet, sender, receiver),)))
        assert firewall.disagreements(cases) == []
