# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: placement
short_description: Say which instance goes to which hypervisor host
version_added: 0.1.0
author:
  - anyvirt contributors (@anyvirt)
description:
  - Given what M(anyvirt.compute.virt_facts) found on each host, says which instances are to be moved, and where to, so
    that hosts become empty (O(drain)) or are used evenly (O(rebalance)), and where new instances (O(instances)) find
    room.
  - It only computes. M(anyvirt.compute.virt_migrate) moves; the role anyvirt.compute.placement does both.
  - Of each resource a host has its total without what is reserved, times a ratio, as in OpenStack's placement service,
    and an instance takes what it was declared with. Disks count where the facts have the subset C(config), or
    O(instances[].disk_gb) says it.
  - Only what has to move is moved, unless O(rebalance) asks for more. The same input always has the same answer.
  - An instance goes to hosts of the same driver, hypervisor and architecture only, and while it runs to none with an
    older hypervisor. What else keeps it from going, M(anyvirt.compute.virt_migrate) finds out.
  - Instances that are locked, suspended, or resized and neither confirmed nor reverted, stay. One whose migration has
    begun goes nowhere else than to where it was going. This is known from the subset C(config).
positional: _input
options:
  _input:
    description:
      - The facts of each host, under its name, with the subsets C(host) and C(instances). With C(cpu) architectures are
        told apart, with C(config) disks, locks and migrations are known,
        with C(security_groups) where a migration goes that was cut short before anything was there.
      - Without C(config), an instance that is off counts with the most memory that it can grow to.
      - What was registered of M(anyvirt.compute.virt_facts) may be given as well.
    type: dict
    required: true
  drain:
    description:
      - Hosts that are to be empty. Shell wildcards are allowed in all names of hosts and instances here.
      - A text in place of a list is names with commas between them.
    type: list
    elements: str
    default: []
  exclude_hosts:
    description:
      - Hosts that take no instances. Those that they have stay there.
    type: list
    elements: str
    default: []
  pinned:
    description:
      - Instances that stay where they are, even on a host that is drained.
    type: list
    elements: str
    default: []
  strategy:
    description:
      - V(spread) takes the least loaded host that can have an instance, V(pack) the fullest.
      - The load of a host is the part in use of the resource that it has least of; see O(load).
    type: str
    choices: [spread, pack]
    default: spread
  rebalance:
    description:
      - Also move instances that need not move. First what is where a hard group, O(instances[].hosts) or the capacity
        forbids it. Then, with O(strategy=spread), from the most loaded hosts to the least loaded ones as long as that
        helps; with O(strategy=pack), away from each host that can be emptied.
    type: bool
    default: false
  tolerance:
    description:
      - Two hosts' loads may differ by so many percent before an instance is moved for it. Of no meaning with
        O(strategy=pack).
    type: float
    default: 10
  max_moves:
    description:
      - With O(rebalance), at most so many instances are moved that need not move. Without it, as many as it takes.
    type: int
  instances:
    description:
      - What is known of instances beyond the facts, and new instances for which a host is looked for. A list, or a
        dictionary by their names.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Its name. One that no host has is new.
        type: str
        required: true
      memory_mb:
        description: Its memory in MiB. Required for a new one, and where the facts do not tell it.
        type: int
      vcpus:
        description: Its virtual processors. Required for a new one, and where the facts do not tell it.
        type: int
      disk_gb:
        description:
          - The room that its disks take, in GiB, in whatever pool. In place of what the facts tell of its disks.
        type: float
      pinned:
        description: It stays where it is.
        type: bool
        default: false
      hosts:
        description: The only hosts that may have it.
        type: list
        elements: str
      refused:
        description: Hosts that would not take it, each with the reason.
        type: dict
  groups:
    description:
      - Instances that are to be on one host, or not.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: A name for reasons.
        type: str
      policy:
        description: Whether they are to be together (V(affinity)) or apart (V(anti_affinity)).
        type: str
        choices: [affinity, anti_affinity]
        required: true
      members:
        description: The instances.
        type: list
        elements: str
        required: true
      hard:
        description:
          - Whether an instance stays rather than go where this would be broken. Otherwise it is only preferred, before
            the load is looked at.
        type: bool
        default: true
      max_per_host:
        description: With O(groups[].policy=anti_affinity), how many of them one host may have.
        type: int
        default: 1
  ratios:
    description:
      - How often a resource may be given away.
    type: dict
    suboptions:
      vcpus:
        description: Virtual processors for each one of the host.
        type: float
        default: 4
      memory:
        description: Memory.
        type: float
        default: 1
      disk:
        description: Room in storage pools.
        type: float
        default: 1
  reserved:
    description:
      - What each host keeps for itself.
    type: dict
    suboptions:
      vcpus:
        description: Processors.
        type: float
        default: 0
      memory_mb:
        description:
          - Memory in MiB. Where the facts show that something else than instances uses more, it is that.
        type: float
        default: 512
      disk_gb:
        description: Room in storage pools in GiB.
        type: float
        default: 0
  overrides:
    description:
      - Other O(ratios) and O(reserved) for some hosts, by their names. The last one that fits counts.
    type: dict
  new:
    description:
      - Whether those of O(instances) that no host has are new ones. With V(false) they are left out, with a warning.
    type: bool
    default: true
  load:
    description:
      - Which resources hosts are compared by.
    type: list
    elements: str
    choices: [vcpus, memory, disk]
    default: [vcpus, memory, disk]
  shared_pools:
    description:
      - Pools that all hosts see. Moving takes no room in them.
    type: list
    elements: str
    default: []
  count_stopped:
    description:
      - Whether instances that are off take memory and processors too, so that they can be started wherever they are.
    type: bool
    default: true
  overhead_mb:
    description:
      - Memory in MiB that a hypervisor needs for each instance beside the instance's own. It counts wherever the memory
        of an instance does, in the answer too.
    type: int
    default: 0
  override_lock:
    description:
      - Whether locked instances may be moved; M(anyvirt.compute.virt_migrate) has to be told the same.
    type: bool
    default: false
  explain:
    description:
      - For an instance that finds no room, at most so many hosts are listed, each with its reason; of more hosts those
        with the most room.
    type: int
    default: 20
seealso:
  - module: anyvirt.compute.virt_facts
  - module: anyvirt.compute.virt_migrate
"""

EXAMPLES = r"""
- name: Ask all hypervisors of the play what they have
  anyvirt.compute.virt_facts:
    uri: "{{ hypervisor_uri }}"
    gather_subset: [host, cpu, instances, config]
  register: asked

- name: Say where the instances of node3 would go
  ansible.builtin.debug:
    msg: "{{ (facts | anyvirt.compute.placement(drain=['node3'])).summary }}"
  vars:
    facts: "{{ dict(ansible_play_hosts | zip(ansible_play_hosts | map('extract', hostvars, 'asked'))) }}"
  run_once: true

- name: Find hosts for three database servers, each on another one, and not where web servers are if it can be avoided
  ansible.builtin.set_fact:
    plan: "{{ facts | anyvirt.compute.placement(instances=wanted, groups=apart, strategy='pack') }}"
  vars:
    facts: "{{ dict(ansible_play_hosts | zip(ansible_play_hosts | map('extract', hostvars, 'asked'))) }}"
    wanted:
      db1: {memory_mb: 8192, vcpus: 4, disk_gb: 200}
      db2: {memory_mb: 8192, vcpus: 4, disk_gb: 200}
      db3: {memory_mb: 8192, vcpus: 4, disk_gb: 200, hosts: ["rack2-*"]}
    apart:
      - name: databases
        policy: anti_affinity
        members: ["db*"]
      - name: noisy
        policy: anti_affinity
        members: ["db*", "web*"]
        hard: false
  run_once: true

- name: Fail when one of them finds no host
  ansible.builtin.assert:
    that: plan.complete
    fail_msg: "{{ plan.summary }}"
  run_once: true

- name: Say which ten moves would even out the load most, on hosts where processors may be given away eight times
  ansible.builtin.debug:
    msg: "{{ (facts | anyvirt.compute.placement(rebalance=true, max_moves=10, ratios={'vcpus': 8})).moves }}"
  vars:
    facts: "{{ dict(ansible_play_hosts | zip(ansible_play_hosts | map('extract', hostvars, 'asked'))) }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: The plan.
  type: dict
  contains:
    moves:
      description: The moves, sorted by waves and hosts.
      type: list
      elements: dict
      sample:
        - instance: web1
          source: node3
          destination: node1
          wave: 1
          active: true
          vcpus: 2
          memory_mb: 4096
    new:
      description: The same for new instances; their C(source) is null.
      type: list
      elements: dict
    routes:
      description: The moves, those together that go from one host to the same other one in a wave.
      type: list
      elements: dict
      sample:
        - wave: 1
          source: node3
          destination: node1
          instances: [web1, web2]
    waves:
      description:
        - How many waves there are. All moves of a wave fit beside each other, while the room that they leave is not
          free yet; the next wave may need it.
      type: int
    stays:
      description:
        - Instances that were to go and do not.
        - C(why) says it in one line, C(hosts) for each host; C(by_wish) tells those that are pinned, locked, or cannot
          be moved now whatever room there is, and those that hard affinity binds to them.
      type: list
      elements: dict
      sample:
        - instance: db1
          source: node3
          by_wish: false
          why: "none of 2 hosts takes it: 1 with too little memory (8192 MiB needed), 1 with others of the
            anti-affinity group databases"
          hosts:
            node1: "memory: needs 8192 MiB, 4096 MiB left"
            node2: has db2 of the anti-affinity group databases
            node3: is to be empty
    complete:
      description: Whether there are none.
      type: bool
    hosts:
      description:
        - For each host its capacity as it is counted here, and what instances take of it before and after the moves.
        - C(load) is 1 when the resource that it has least of is used up, and null where the host may have no instances
          but has some.
      type: dict
      sample:
        node1:
          open: true
          capacity: {vcpus: 64, memory_mb: 65024}
          before: {instances: 3, load: 0.25, vcpus: 6, memory_mb: 16384}
          after: {instances: 4, load: 0.315, vcpus: 8, memory_mb: 20480}
    summary:
      description: Who goes where, and who stays and why, in lines for people.
      type: list
      elements: str
      sample: ["web1: node3 -> node1", "db1: stays on node3: is pinned"]
    warnings:
      description: Names of hosts and instances that fit none, as in groups, O(pinned) and O(exclude_hosts).
      type: list
      elements: str
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.anyvirt.compute.plugins.plugin_utils.placement.answer import place
from ansible_collections.anyvirt.compute.plugins.plugin_utils.placement.reading import BadInput


def placement(hosts: Any, **options: Any) -> dict[str, Any]:
    """See DOCUMENTATION."""
    try:
        return place(hosts, options)
    except BadInput as error:
        raise AnsibleFilterError(f"placement: {error}") from error


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"placement": placement}
