#!/usr/bin/python
# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: virt_facts
short_description: Capacity of a hypervisor host and the instances on it, as facts
version_added: 0.1.0
description:
  - Reports what a hypervisor host has, what of it is taken, and which instances there are, in the same terms for every
    hypervisor.
  - The subsets that V(all) stands for cost the same number of hypervisor calls however many instances there are, where
    the hypervisor has bulk calls. libvirt's LXC and Xen drivers have none for counters and cost a call for each one.
  - Of a pool of XenServer or XCP-ng all instances are reported; with C(?host=NAME) in the URI those that are on that
    host, or that can start nowhere else.
  - It can be named in the setting C(FACTS_MODULES), so that C(gather_facts) reports the capacity along with the rest;
    the connection is then given by the environment or by C(module_defaults).
author:
  - anyvirt contributors (@anyvirt)
extends_documentation_fragment:
  - anyvirt.compute.connection
attributes:
  check_mode:
    support: full
    description: Can run in check mode and reports the same, since it changes nothing.
  diff_mode:
    support: N/A
    description: Changes nothing, so there is nothing to compare.
  facts:
    support: full
    description: Returns C(ansible_facts).
options:
  gather_subset:
    description:
      - What to report.
      - V(host) is the capacity and what is left of it, V(cpu) the processor, V(instances) the state and size of each
        instance, V(stats) adds the running instances' counters to them. V(all) is these four.
      - V(config) adds each instance's configuration and known addresses. libvirt has no bulk call for that, so it costs
        two or three calls for each instance and has to be asked for by name.
      - V(security_groups) is which addresses the members of security groups have on this host, for
        M(anyvirt.compute.virt_secgroup) on other hosts. It costs as much as V(config) for the active instances.
      - A V(!) in front takes a subset out; with nothing but exclusions all others are reported.
    type: list
    elements: str
    default: [all]
  names:
    description:
      - Report only these instances. The wildcards V(*), V(?) and V([abc]) work as in a shell.
      - A name that fits no instance is no error; the list is shorter then.
    type: list
    elements: str
    default: []
  query:
    description:
      - A JMESPath expression over the facts; its value is returned as RV(query).
      - Needs the Python library jmespath where the module runs.
    type: str
requirements:
  - jmespath for O(query)
seealso:
  - module: anyvirt.compute.virt_instance
"""

EXAMPLES = r"""
- name: Ask what the host has left
  anyvirt.compute.virt_facts:
    uri: fake:///var/tmp/anyvirt-example
    gather_subset: [host]

- name: Say it
  ansible.builtin.debug:
    msg: "{{ anyvirt.host.memory_mb_free }} MiB of memory are free on {{ anyvirt.host.hostname }}"

- name: List the running web servers
  anyvirt.compute.virt_facts:
    uri: fake:///var/tmp/anyvirt-example
    gather_subset: [instances]
    names: ["web*"]
    query: "instances[?state == 'running'].name"
  register: running

- name: Read all about one instance
  anyvirt.compute.virt_facts:
    uri: fake:///var/tmp/anyvirt-example
    gather_subset: [config]
    names: [web1]

- name: Read which addresses the members of security groups have here
  anyvirt.compute.virt_facts:
    uri: fake:///var/tmp/anyvirt-example
    gather_subset: [security_groups]

# With this in ansible.cfg or the environment, gather_facts reports the capacity of each hypervisor host:
#   ANSIBLE_FACTS_MODULES=ansible.builtin.setup,anyvirt.compute.virt_facts
#   ANYVIRT_URI=qemu:///system
"""

RETURN = r"""
ansible_facts:
  description: The facts, under one key.
  returned: success
  type: dict
  contains:
    anyvirt:
      description: What was found.
      returned: success
      type: dict
      contains:
        driver:
          description: Which driver answered.
          returned: success
          type: str
          sample: libvirt
        host:
          description:
            - Capacity of the host. Sizes stand in the names; C(local_gb) counts all active storage pools.
            - C(enabled) is false for hosts of XenServer and XCP-ng that are disabled, as in maintenance mode, and
              take no instances; none of their memory is told as free.
          returned: when O(gather_subset) has V(host)
          type: dict
          sample:
            enabled: true
            hostname: node1
            hypervisor_type: QEMU
            hypervisor_version: 7.2.22
            instances: 12
            local_gb: 931.5
            local_gb_free: 402.25
            local_gb_used: 529.25
            memory_mb: 65536
            memory_mb_free: 20480
            memory_mb_used: 45056
            pools:
              - name: default
                type: dir
                active: true
                total_bytes: 1000190509056
                used_bytes: 568277860352
                available_bytes: 431912648704
            running_instances: 9
            vcpus: 16
            vcpus_used: 22
        cpu:
          description: The processor of the host.
          returned: when O(gather_subset) has V(cpu)
          type: dict
          sample:
            arch: x86_64
            cores: 8
            features: [aes, avx2]
            model: EPYC
            sockets: 1
            threads: 2
            vendor: AMD
        instances:
          description: The instances, sorted by name.
          returned: when O(gather_subset) has V(instances), V(stats) or V(config)
          type: list
          elements: dict
          contains:
            name:
              description: Its name.
              returned: always
              type: str
            state:
              description: Its power state.
              returned: always
              type: str
              sample: running
            memory_mb:
              description: Memory that the guest has now, in MiB; 0 while it is off.
              returned: always
              type: int
            max_memory_mb:
              description: MiB to which it can grow while it runs.
              returned: always
              type: int
            vcpus:
              description: Virtual processors.
              returned: always
              type: int
            cpu_time_ns:
              description:
                - Processor time used since it was started, in nanoseconds. XenServer and XCP-ng tell it of running
                  instances in C(stats) only.
              returned: where it is known
              type: int
            autostart:
              description: Whether it starts with the host.
              returned: always
              type: bool
            persistent:
              description: False when it is gone once it is off.
              returned: always
              type: bool
            stats:
              description: Counters of a running instance.
              returned: when O(gather_subset) has V(stats) and the instance runs
              type: dict
            config:
              description:
                - Its configuration, in the terms of M(anyvirt.compute.virt_instance).
                - C(resize) is there while a resize with C(revertible) is to be confirmed or taken back. It has the old
                  sizes, C(phase) (C(waiting), unless a run was cut short), C(started_s) in seconds since 1970,
                  C(confirm_window_s) where there is one, and what is kept of disks.
                - C(migration) is there while it is being moved with M(anyvirt.compute.virt_migrate), and when that was
                  cut short. It has C(direction) (C(outgoing) or C(incoming)), C(peer), C(mode), C(phase) and
                  C(started_s). C(peer) is the other host's UUID, with libvirt the one that C(virsh capabilities) shows.
                  The phase C(departed) is of a definition that was left behind here, of an instance that lives on
                  C(peer).
              returned: when O(gather_subset) has V(config)
              type: dict
            addresses:
              description: Addresses that the hypervisor knows of.
              returned: when O(gather_subset) has V(config)
              type: list
              elements: dict
        security_groups:
          description: The members of security groups on this host.
          returned: when O(gather_subset) has V(security_groups)
          type: dict
          contains:
            host:
              description: A text that differs between hosts.
              returned: always
              type: str
            members:
              description:
                - Names of groups, each with the addresses of its active members, in CIDR notation.
                - A project is a group too, named C(project:) and its name.
              returned: always
              type: dict
              sample:
                web: [10.0.0.5/32, "2001:db8::5/128"]
                "project:shop": [10.0.0.5/32]
query:
  description: Value of the expression.
  returned: when O(query) is given
  type: raw
"""

from ansible_collections.anyvirt.compute.plugins.module_utils.module import run_module
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.facts import gather_facts

ARGUMENT_SPEC = {
    "gather_subset": {"type": "list", "elements": "str", "default": ["all"]},
    "names": {"type": "list", "elements": "str", "default": []},
    "query": {"type": "str"},
}


def main() -> None:
    run_module(ARGUMENT_SPEC, gather_facts)


if __name__ == "__main__":
    main()
