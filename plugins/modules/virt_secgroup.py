#!/usr/bin/python
# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: virt_secgroup
short_description: Create, change, verify and remove security groups
version_added: 0.1.0
description:
  - Keeps security groups as declared. They are named sets of rules, as EC2 and Nova have them, that say what the
    instances in them get and send. M(anyvirt.compute.virt_instance) puts instances into groups.
  - A changed rule is felt by all instances in the group at once, without a restart.
  - With O(groups) many are handled in one task. One that fails does not keep the others from being done; the task fails
    at the end and names it.
  - A rule can be about the members of a group instead of about a network. Members on other hosts are known from what
    the play's hosts report, see O(members). The playbook C(anyvirt.compute.security_groups) does all of it for a play
    of hypervisors.
author:
  - anyvirt contributors (@anyvirt)
extends_documentation_fragment:
  - anyvirt.compute.connection
attributes:
  check_mode:
    support: full
    description: Returns the very plan that the real run carries out, and changes nothing.
  diff_mode:
    support: full
    description: Shows each changed group before and after, in the words of the module's options, and likewise the
      operator's rules and what is known of the members on other hosts.
  idempotent:
    support: full
    description: A second run finds nothing to change, and makes no call that writes, as long as the members' addresses
      stay the same.
options:
  name:
    description:
      - The group's name. It begins with a letter or digit, and has at most 63 letters, digits, dots, dashes and
        underscores.
    type: str
  groups:
    description:
      - Many groups. Each entry takes all the options of a single one.
      - Options given beside O(groups) are the defaults for all entries.
    type: list
    elements: dict
    suboptions:
      name:
        description: The group's name.
        type: str
        required: true
      state: &state
        description:
          - What the group should be. When it is not given, V(present).
          - V(present) creates it when it is not there, and makes it what the other options say.
          - V(absent) removes it. A group with instances in it, or that rules of other groups name, is not removed;
            groups that name each other can be removed by one task.
          - V(verified) changes nothing. It compares what kernel and hypervisor really have with what was declared
            before, and fails with the kind V(filter_drift) where they differ, unless O(repair) is true. Without a group
            it is about all of the host.
        type: str
        choices: [present, absent, verified]
      description: &description
        description: What people want to know of the group. When it is not given, it stays as it is.
        type: str
      rules: &rules
        description:
          - What is let through. Everything that no rule of any of an instance's groups lets through is dropped; answers
            to what was let through always pass.
          - When it is not given, the rules stay as they are. Rules have no order.
          - A rule without O(rules[].cidr) and O(rules[].group) stands for two, from or to anywhere with IPv4 and with
            IPv6.
        type: list
        elements: dict
        suboptions: &rule_options
          direction: &direction
            description: Whether it is about what the instance gets or about what it sends. When it is not given,
              V(ingress).
            type: str
            choices: [ingress, egress]
          protocol: &protocol
            description: V(tcp), V(udp), V(icmp), V(icmpv6), V(any), or the number of another one. When it is not given,
              V(any).
            type: str
          port: &port
            description: The destination port of V(tcp) or V(udp), or a range such as V(8000-8100). When it is not
              given, all.
            type: str
          icmp_type: &icmp_type
            description: The type of V(icmp) or V(icmpv6). When it is not given, all.
            type: int
          icmp_code: &icmp_code
            description: The code of O(rules[].icmp_type). When it is not given, all.
            type: int
          cidr: &cidr
            description: The other side is in this network, e.g. V(10.0.0.0/8), V(fd00::/8), or a single address.
            type: str
          group:
            description:
              - The other side is a member of this group, on this host or another.
              - The group has to be there, unless O(allow_unknown_groups) is true; it may be the rule's own. The task
                may define it too, in any order, and groups may name each other.
            type: str
          description: &rule_description
            description: What people want to know of the rule. When it is not given, it stays as it is.
            type: str
      purge_rules: &purge_rules
        description:
          - Whether O(rules) are all that the group is to have. When it is not given, V(true).
          - With V(false) they are added to those that are there.
        type: bool
      default_egress: &default_egress
        description:
          - Whether a list of all rules that has none for egress stands for one that lets everything out, as EC2 gives
            it to each new group. When it is not given, V(true).
          - With V(false) nothing is let out but what O(rules) say. Where O(rules) have one for egress this means
            nothing. It means nothing either where O(rules) are added to those of an existing group.
        type: bool
      allow_unknown_groups: &allow_unknown_groups
        description:
          - Whether rules may name groups that are neither defined on the host or by the task nor known to have members
            on other hosts. When it is not given, V(false), since most of them are misspelt.
          - As long as nobody is known to be in such a group, a rule about it lets nothing through.
        type: bool
  state: *state
  description: *description
  rules: *rules
  purge_rules: *purge_rules
  default_egress: *default_egress
  allow_unknown_groups: *allow_unknown_groups
  provider_rules:
    description:
      - The operator's rules, for all filtered instances of the host at once. They win over every group, and are looked
        at in their order. The first that fits a packet decides, and established connections are no exception.
      - It is the whole list that is wanted; an empty one removes all. When it is not given, they stay as they are.
    type: list
    elements: dict
    suboptions:
      action:
        description: What becomes of the packet. When it is not given, V(drop).
        type: str
        choices: [drop, accept]
      direction: *direction
      protocol: *protocol
      port: *port
      icmp_type: *icmp_type
      icmp_code: *icmp_code
      cidr: *cidr
      description:
        description: What people want to know of the rule.
        type: str
  members:
    description:
      - What the hosts of the play report of the members of groups, a dictionary with C(host) and C(members) from each.
        That is what M(anyvirt.compute.virt_facts) returns as C(anyvirt.security_groups), and every result of this
        module has it too.
      - The entry of the task's own host is left out, so that all hosts can be given the same list. Empty entries, of
        hosts that failed, are left out with a warning.
      - What is known of hosts that are not in the list stays, unless O(purge_members) is true.
    type: list
    elements: raw
  purge_members:
    description:
      - Whether hosts that O(members) do not have are forgotten, with all their members. When it is not given, V(false).
      - While O(members) have an empty entry none is forgotten.
    type: bool
  repair:
    description: With O(state=verified), make everything as it was declared, in one transaction. When it is not given,
      V(false).
    type: bool
notes:
  - What a task does not mention is left alone.
  - Everything wrong with a task is found first and reported at once, each problem with the name of its option, before
    anything is changed.
  - When a step fails, the steps before it are undone, and the error says so. A run that was killed is mended by
    running it again.
  - Every task with groups or O(members) also gives the host's own rules about members the addresses that these have
    now.
seealso:
  - module: anyvirt.compute.virt_instance
  - module: anyvirt.compute.virt_facts
"""

EXAMPLES = r"""
- name: Let web requests in, and everything out
  anyvirt.compute.virt_secgroup:
    uri: fake:///var/tmp/anyvirt-example
    name: web
    description: What answers requests from everywhere
    rules:
      - protocol: tcp
        port: 443
      - protocol: tcp
        port: 8000-8100
        cidr: 10.0.0.0/8
        description: the operators' consoles
      - protocol: icmp
        icmp_type: 8

- name: Databases that only web servers reach, and that reach nobody but their kind
  anyvirt.compute.virt_secgroup:
    uri: fake:///var/tmp/anyvirt-example
    groups:
      - name: web
      - name: db
        rules:
          - protocol: tcp
            port: 5432
            group: web
          - protocol: tcp
            port: 5432
            group: db
          - direction: egress
            group: db

- name: One more rule beside those that are there
  anyvirt.compute.virt_secgroup:
    uri: fake:///var/tmp/anyvirt-example
    name: web
    purge_rules: false
    rules:
      - protocol: tcp
        port: 22
        cidr: 192.0.2.7/32

- name: Whatever the groups say, no mail leaves this host
  anyvirt.compute.virt_secgroup:
    uri: fake:///var/tmp/anyvirt-example
    provider_rules:
      - direction: egress
        protocol: tcp
        port: 25
        action: drop

- name: See whether the filters are really there
  anyvirt.compute.virt_secgroup:
    uri: fake:///var/tmp/anyvirt-example
    state: verified

- name: Make them as they were declared, if somebody has flushed them
  anyvirt.compute.virt_secgroup:
    uri: fake:///var/tmp/anyvirt-example
    state: verified
    repair: true

- name: Remove both, which name each other
  anyvirt.compute.virt_secgroup:
    uri: fake:///var/tmp/anyvirt-example
    groups:
      - name: web
      - name: db
    state: absent

# In a play of several hypervisors, whose instances are members of each other's groups:
#
# - anyvirt.compute.virt_facts:
#     gather_subset: [security_groups]
# - anyvirt.compute.virt_secgroup:
#     groups: "{{ security_groups }}"
#     members: >-
#       {{ ansible_play_hosts | map('extract', hostvars)
#          | map(attribute='ansible_facts.anyvirt.security_groups', default={}) | list }}
"""

RETURN = r"""
groups:
  description: A result for each group, in the order of the task.
  returned: success, and when groups failed
  type: list
  elements: dict
  contains:
    name: &name_result
      description: Its name.
      returned: always
      type: str
      sample: web
    changed: &changed_result
      description: Whether anything was done to it.
      returned: always
      type: bool
    before: &before_result
      description: How it was, in the words of the module's options; null when it did not exist.
      returned: when there was something to do
      type: dict
    after: &after_result
      description: How it is now, or would be in check mode; null when it does not exist. Rules that stand for two are
        told as two.
      returned: always
      type: dict
      sample:
        name: web
        state: present
        rules:
          - direction: ingress
            protocol: tcp
            port: 443
            cidr: "::/0"
          - direction: ingress
            protocol: tcp
            port: 443
            cidr: 0.0.0.0/0
    changes: &changes_result
      description: What changed, each with C(option), C(old) and C(new). Of rules, C(old) has those that are taken away
        and C(new) those that are added.
      returned: always
      type: list
      elements: dict
      sample:
        - option: description
          old: ""
          new: What answers requests from everywhere
    steps: &steps_result
      description: The plan's steps, in a line each. In check mode those that would be carried out.
      returned: always
      type: list
      elements: str
      sample: ["change the security group web: add 1 rule"]
    msg: &msg_result
      description: Why it failed.
      returned: when it failed
      type: str
    error: &error_result
      description:
        - What failed, for C(rescue), with C(kind), C(cause), C(step), C(rolled_back), C(undone) and C(not_undone), and
          C(problems) for wrong input.
        - Beside those that M(anyvirt.compute.virt_instance) has, C(kind) can be V(security_group_in_use),
          V(security_group_not_found) and V(filter_drift).
      returned: failure
      type: dict
      sample:
        kind: security_group_in_use
        cause: "the security group 'web' is in use: in it are the instances web1; take them out first"
        step: null
        rolled_back: null
        undone: []
        not_undone: []
group:
  description: The result for O(name), with the same keys.
  returned: when O(name) is given
  type: dict
  contains:
    name: *name_result
    changed: *changed_result
    before: *before_result
    after: *after_result
    changes: *changes_result
    steps: *steps_result
    msg: *msg_result
    error: *error_result
provider_rules:
  description: The result for the operator's rules.
  returned: when O(provider_rules) is given
  type: dict
  contains:
    changed: *changed_result
    before:
      description: The rules as they were.
      returned: always
      type: list
      elements: dict
    after:
      description: The rules as they are now, or would be in check mode.
      returned: always
      type: list
      elements: dict
    steps: *steps_result
    msg: *msg_result
    error: *error_result
remote_members:
  description: The result for the addresses of members.
  returned: when groups or O(members) are given, unless with O(state=verified)
  type: dict
  contains:
    changed: *changed_result
    before:
      description: What was known of each host of which something else is reported now, in C(hosts); and in C(stale)
        those groups whose members on this host had other addresses than the rules knew.
      returned: always
      type: dict
    after:
      description: The same as it is now, or would be in check mode.
      returned: always
      type: dict
      sample:
        hosts:
          5e1d7aa2-6a52-4b6e-8a55-0b1dcb8a7f01:
            web: [10.0.0.5/32]
        stale: []
    steps: *steps_result
    msg: *msg_result
    error: *error_result
host:
  description: The identity of this host, for the option O(members) of other hosts' tasks.
  returned: success, and when groups failed
  type: str
members:
  description: The addresses of each group's active members on this host, for the option O(members) of other hosts'
    tasks. The instances of a project are among them as a group named C(project:NAME).
  returned: success, and when groups failed
  type: dict
  sample:
    web: [10.0.0.4/32, "fd00::4/128"]
drift:
  description: What is otherwise than declared, or was before the repair. C(instance) is null for what is nobody's own.
  returned: with O(state=verified)
  type: list
  elements: dict
  sample:
    - instance: web1
      subject: port 52:54:00:12:34:56
      problem: missing
repaired:
  description: Whether that was repaired, or would be in check mode.
  returned: with O(state=verified)
  type: bool
error: *error_result
"""

from ansible_collections.anyvirt.compute.plugins.module_utils.module import run_module
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.firewall import get_firewall_driver
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.secgroup_options import read_firewall
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.secgroups import reconcile_secgroups

Option = dict[str, object]

TEXT: Option = {"type": "str"}
TRUTH: Option = {"type": "bool"}
WHOLE: Option = {"type": "int"}

MATCH_OPTIONS: dict[str, Option] = {
    "direction": {"type": "str", "choices": ["ingress", "egress"]},
    "protocol": TEXT,
    "port": TEXT,
    "icmp_type": WHOLE,
    "icmp_code": WHOLE,
    "cidr": TEXT,
    "description": TEXT,
}

GROUP_OPTIONS: dict[str, Option] = {
    "state": {"type": "str", "choices": ["present", "absent", "verified"]},
    "description": TEXT,
    "rules": {"type": "list", "elements": "dict", "options": {**MATCH_OPTIONS, "group": TEXT}},
    "purge_rules": TRUTH,
    "default_egress": TRUTH,
    "allow_unknown_groups": TRUTH,
}

ARGUMENT_SPEC: dict[str, Option] = {
    "name": TEXT,
    "groups": {
        "type": "list",
        "elements": "dict",
        "options": {"name": {"type": "str", "required": True}, **GROUP_OPTIONS},
    },
    "provider_rules": {
        "type": "list",
        "elements": "dict",
        "options": {"action": {"type": "str", "choices": ["drop", "accept"]}, **MATCH_OPTIONS},
    },
    "members": {"type": "list", "elements": "raw"},
    "purge_members": TRUTH,
    "repair": TRUTH,
    **GROUP_OPTIONS,
}


def main() -> None:
    run_module(
        ARGUMENT_SPEC,
        reconcile_secgroups,
        read_firewall,
        get_firewall_driver,
        mutually_exclusive=[("name", "groups")],
    )


if __name__ == "__main__":
    main()
