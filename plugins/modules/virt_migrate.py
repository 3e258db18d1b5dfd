#!/usr/bin/python
# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: virt_migrate
short_description: Move virtual machines and containers from host to host, running or not
version_added: 0.1.0
description:
  - Moves instances from the host O(uri) to the host O(dest), live or cold. It finds out on both hosts where an instance
    is, and does what is left to do. One that is on the destination already is not touched.
  - Everything that keeps an instance from being moved is found first and reported at once, before anything is changed.
    O(verify_only) and check mode tell just that, and the plan.
  - When something fails, or the play is interrupted, before the instance has arrived, all is taken back; the instance
    is on the source as before and nothing of it is on the destination. After that there is only forward.
  - A run that was killed at any point is mended by running it again. Both hosts keep a note of the migration with the
    instance from its beginning to its end. An instance is never started on one host while the other may run it; where
    nothing tells which of two is right, neither is touched and the task fails.
  - With O(instances) or O(all) many are moved in one task. One that cannot be moved, or fails, does not keep the others
    from being moved; the task fails at the end and names it. Once one of the hosts is gone, no more are begun.
  - The module talks to both hosts, so it runs on a machine that reaches both. See the collection's guide to migration
    for ports, certificates and what each hypervisor can do.
author:
  - anyvirt contributors (@anyvirt)
extends_documentation_fragment:
  - anyvirt.compute.connection
attributes:
  check_mode:
    support: full
    description: Returns the very plan that the real run carries out, and all problems, and changes nothing. What can
      only be found out with a test file on the storage is a warning.
  diff_mode:
    support: full
    description: Shows each instance that is moved before and after, in the words of M(anyvirt.compute.virt_instance),
      with its host.
  idempotent:
    support: full
    description: A second run finds nothing to change, and makes no call that writes on either host.
options:
  name:
    description: The instance's name.
    type: str
  instances:
    description:
      - Many instances. Each entry is a name, or a dictionary with C(name) and any of the options O(mode), O(storage),
        O(pools), O(networks), O(bandwidth), O(parallel), O(auto_converge), O(post_copy), O(compression),
        O(max_downtime_ms), O(timeout_s), O(on_timeout), O(transport), O(manager), O(peer_uri), O(migrate_uri),
        O(listen_address), O(disks_port), O(persist), O(undefine_source), O(delete_volumes), O(override_lock),
        O(shutdown) and O(resize).
      - These options beside O(instances) are the defaults for all entries. An option of an entry takes the place of the
        whole shared one; they are not merged.
    type: list
    elements: raw
  all:
    description:
      - All instances of the source, running or not, but for O(exclude). The host is empty afterwards; this is how one
        is drained.
      - The playbook C(anyvirt.compute.drain_host) spreads them over several hosts.
    type: bool
    default: false
  exclude:
    description: With O(all), names of instances that stay. One that the source does not have is told as a warning.
    type: list
    elements: str
  state:
    description:
      - V(migrated) moves them, finishes what an earlier run has begun, or does nothing where they are on the
        destination.
      - V(status) changes nothing, and tells how far each migration is, e.g. one that was started with C(async).
      - V(aborted) ends a migration that goes on, and clears up after one that was cut short. The source has the
        instance as before. Where none goes on it does nothing.
      - With V(aborted), one that had arrived and that the destination does not have any more stays off on the source.
        Ask for that only when it lives nowhere else.
      - V(status) and V(aborted) do without a destination that does not answer. Then only an instance that the source
        runs is taken back; one that it does not run may run there.
    type: str
    choices: [migrated, status, aborted]
    default: migrated
  dest:
    description:
      - The host that the instances are to be on, as a URI like O(uri), and of the same kind.
      - On XenServer and XCP-ng, V(xenapi://root@pool?host=xen2) is a host of the pool, and another pool's URI moves to
        that pool. O(uri) may be the whole pool then.
    type: str
    required: true
  dest_username:
    description: Who to log in as on O(dest). When it is not given, the user name that is part of O(dest), then
      O(username).
    type: str
  dest_password:
    description: The password for it. When it is not given, O(password).
    type: str
  dest_validate_certs:
    description: Whether TLS certificates of O(dest) are verified. When it is not given, as O(validate_certs) says.
    type: bool
  dest_ca_path:
    description: File with the certificates of the authorities to trust for O(dest). When it is not given, O(ca_path).
    type: path
  verify_only:
    description:
      - Find out what keeps the instances from being moved, and move none. The task fails where there is anything, and
        RV(instances[].problems) has all of it.
      - Other than in check mode, short-lived test files may be made in pools, to find out whether storage is shared.
    type: bool
    default: false
  mode:
    description:
      - V(live) moves the running guest. V(cold) stops it as O(shutdown) says, moves it, and starts it on the
        destination where it was active before.
      - V(auto) is V(live) for what is active where its hypervisor can do that, else V(cold); the plan says which.
      - What is off can only be moved V(cold), and stays off.
      - When it is not given, V(auto).
    type: str
    choices: [live, cold, auto]
  storage:
    description:
      - V(shared) leaves all disks where they are; the destination has to see them. V(copy) copies those that are
        written to. V(auto) finds out for each disk whether the destination sees it, by the nature of its pool or with a
        short-lived test file, and copies those that it does not see.
      - Of disks that are copy-on-write children of an image that the destination has in its cache, only the difference
        is copied. CD images are never copied; the destination needs the same.
      - When it is not given, V(auto).
    type: str
    choices: [auto, shared, copy]
  pools:
    description: Where copied volumes go, as a dictionary of pools on the source and on the destination. A pool that is
      not mentioned has the same name on both.
    type: dict
  networks:
    description: The same of networks and bridges.
    type: dict
  bandwidth:
    description:
      - At most so many MiB a second for each instance.
      - libvirt holds each copied disk of a running guest to it by itself, and does not slow down what is fetched after
        a switch to post-copy.
    type: int
  parallel:
    description: Number of connections that carry the memory, from 2.
    type: int
  workers:
    description:
      - How many instances are moved at the same time.
      - They share the network between the hosts, so more than a few at once make each of them slower, and those that
        write much to their memory may not come to an end.
    type: int
    default: 1
  auto_converge:
    description: Whether to slow down a guest that changes its memory faster than it can be sent. When it is not given,
      V(false).
    type: bool
  post_copy:
    description:
      - Whether the migration is prepared for being switched to post-copy, where the guest runs on the destination and
        fetches its memory from the source. Needed for O(on_timeout=post_copy). When it is not given, V(false).
      - After the switch there is no way back. A guest one of whose hosts fails then is lost; where the network between
        them fails, it stands still until the task is run again.
    type: bool
  compression:
    description: Whether memory is compressed on its way. When it is not given, V(false).
    type: bool
  max_downtime_ms:
    description: How long the guest may stand still at the end, in milliseconds. When it is not given, what the
      hypervisor thinks right.
    type: int
  timeout_s:
    description: Seconds until O(on_timeout) is done about a migration that is still going on. When it is not given, it
      may take as long as it likes.
    type: float
  on_timeout:
    description:
      - V(abort) gives it up; the guest runs on the source. V(pause) pauses the guest, so that it comes to an end soon;
        it runs again on the destination. V(post_copy) switches to post-copy. V(continue) says so and goes on.
      - When it is not given, V(abort).
    type: str
    choices: [abort, pause, post_copy, continue]
  transport:
    description:
      - How the guest's memory and disks get from host to host. V(native) is a connection between the hypervisors that
        is not encrypted. V(tls) is the same, encrypted, with the hypervisors' own certificates. V(tunnelled) goes
        through the connection of the management daemons, with its encryption, and is slower; it needs
        O(manager=source).
      - When it is not given, V(native).
    type: str
    choices: [native, tls, tunnelled]
  manager:
    description:
      - Who drives the migration. V(client) is the module, which has to reach both hosts until the end. With V(source)
        the source's daemon connects to the destination's and goes on even when the module is gone.
      - When it is not given, V(client).
    type: str
    choices: [client, source]
  peer_uri:
    description: With O(manager=source), the destination's URI as the source has to call it. When it is not given,
      O(dest).
    type: str
  migrate_uri:
    description: Where the destination takes the data, such as V(tcp://10.0.0.2) in a network of its own, with a port or
      without. When it is not given, the hypervisors find it out.
    type: str
  listen_address:
    description: IP address on which the destination listens for the data. When it is not given, what the hypervisor
      thinks right.
    type: str
  disks_port:
    description: TCP port of the destination for copied disks of running guests. When it is not given, any free one.
    type: int
  persist:
    description: Whether the instance is defined on the destination for good. With V(false), it is gone from there once
      it is off. When it is not given, V(true).
    type: bool
  undefine_source:
    description:
      - Whether the instance is no more defined on the source afterwards. When it is not given, V(true).
      - With V(false) a definition stays there which cannot be started by this collection, and the volumes too. Running
        the task again with V(true) removes it.
    type: bool
  delete_volumes:
    description:
      - Which of those volumes that were copied are deleted on the source afterwards. V(own) are those that were made
        for the instance, V(all) are all of them, V(none) keeps them. Shared volumes always stay.
      - When it is not given, V(own).
    type: str
    choices: [own, all, none]
  override_lock:
    description: Whether to move instances that are locked. When it is not given, V(false).
    type: bool
  shutdown:
    description: How a cold migration stops an instance that is active.
    type: dict
    suboptions:
      method:
        description: V(acpi) presses the power button, V(agent) asks the guest agent, V(forced) takes the power away.
          When it is not given, V(acpi) where the hypervisor can do that, else V(forced).
        type: str
        choices: [acpi, agent, forced]
      timeout:
        description: Seconds that the guest gets. When it is not given, 120.
        type: float
      force_after_timeout:
        description: Whether the power is taken away then, instead of failing. When it is not given, V(false).
        type: bool
  resize:
    description:
      - The size that the instance is to have on the destination, in the words of M(anyvirt.compute.virt_instance).
        Needs O(mode=cold).
      - It is given to it when it has arrived there, before it is started. An instance that is on the destination
        already is not resized.
    type: dict
    suboptions:
      flavor:
        description: The name of a built-in flavor, or a dictionary.
        type: raw
      memory_mb:
        description: Memory in MiB.
        type: int
      max_memory_mb:
        description: MiB to which memory can be changed while the instance runs.
        type: int
      vcpus:
        description: Virtual processors.
        type: int
      max_vcpus:
        description: Number to which virtual processors can be added while the instance runs.
        type: int
      root_gb:
        description: Size of the root disk in GiB. It can only grow.
        type: int
notes:
  - What an interrupt does. A play that is interrupted with Ctrl-C or ended with SIGTERM hands that on to a module on
    the controller; a module on another host notices that its connection is gone, by SIGHUP or by the pipe that nobody
    reads. In each case the migrations that go on are aborted and taken back, and no more are begun. The guests run on
    the source. Those that have arrived meanwhile are finished on the destination. What became of it is in the system's
    log. With C(async), the task is on its own; O(state=aborted) ends it. A module that is killed with SIGKILL, as the
    time limit of C(async) does it, cannot do any of this; run the task again, or with O(state=aborted).
  - While it runs, the terminal shows for each instance how far it is, how much is left, how fast it goes, and how long
    the guest would stand still now.
  - Instances that are filtered by nftables or iptables are moved by a module that runs on the destination, with
    C(delegate_to) and a O(dest) such as V(qemu:///system); only there can their filters be set up before they arrive.
  - Rules of security groups about the members of a group hold for members on both hosts during and after the migration.
    Other hosts learn of it with the playbook C(anyvirt.compute.security_groups).
  - Addresses that a guest has from the source host's own DHCP server are not known on the destination until the guest
    has asked there; declare C(addresses) of its networks with M(anyvirt.compute.virt_instance) where rules are about
    them.
seealso:
  - module: anyvirt.compute.virt_instance
  - module: anyvirt.compute.virt_facts
  - module: anyvirt.compute.virt_secgroup
"""

EXAMPLES = r"""
- name: Move a running instance, with the disks that the other host does not see
  anyvirt.compute.virt_migrate:
    name: web1
    uri: qemu+ssh://root@kvm1/system
    dest: qemu+ssh://root@kvm2/system

- name: See what would keep these from being moved
  anyvirt.compute.virt_migrate:
    instances: [web1, db1]
    dest: qemu+tls://kvm2/system
    verify_only: true

- name: Empty a host before maintenance, two instances at a time
  anyvirt.compute.virt_migrate:
    all: true
    exclude: [monitor]
    uri: qemu+tls://kvm1/system
    dest: qemu+tls://kvm2/system
    workers: 2
    transport: tls
    timeout_s: 1800
    on_timeout: abort

- name: Move a busy database within ten minutes, whatever it costs
  anyvirt.compute.virt_migrate:
    name: db1
    dest: qemu+tls://kvm2/system
    migrate_uri: tcp://10.99.0.2
    auto_converge: true
    post_copy: true
    timeout_s: 600
    on_timeout: post_copy

- name: Move an instance to other storage and give it more memory on the way
  anyvirt.compute.virt_migrate:
    instances:
      - name: batch1
        mode: cold
        storage: copy
        pools:
          fast: archive
        resize:
          memory_mb: 8192
    dest: qemu+tls://kvm3/system

- name: Begin a long migration and look after it later
  anyvirt.compute.virt_migrate:
    name: db2
    dest: qemu+tls://kvm2/system
  async: 7200
  poll: 0

- name: See how far it is
  anyvirt.compute.virt_migrate:
    name: db2
    dest: qemu+tls://kvm2/system
    state: status
  register: migration

- name: Stop it
  anyvirt.compute.virt_migrate:
    name: db2
    dest: qemu+tls://kvm2/system
    state: aborted
  when: migration.instance.status.phase == 'moving'

- name: Move to another host of a XenServer pool
  anyvirt.compute.virt_migrate:
    name: app1
    uri: xenapi://root@pool?host=xen1
    password: "{{ pool_password }}"
    dest: xenapi://root@pool?host=xen2
"""

RETURN = r"""
instances:
  description: The result for each instance, in the task's order, or sorted by name with O(all).
  returned: always, except for wrong input
  type: list
  elements: dict
  contains:
    name: &name_result
      description: The instance's name.
      returned: always
      type: str
      sample: web1
    changed: &changed_result
      description: Whether anything of it was changed on either host.
      returned: always
      type: bool
    from: &from_result
      description: The URI of the host that it was on; null where that is not clear.
      returned: with O(state=migrated)
      type: str
      sample: qemu+tls://kvm1/system
    to: &to_result
      description: The URI of the destination.
      returned: with O(state=migrated)
      type: str
      sample: qemu+tls://kvm2/system
    mode: &mode_result
      description: V(live) or V(cold); null where nothing is to be moved.
      returned: with O(state=migrated)
      type: str
      sample: live
    steps: &steps_result
      description: The plan's steps, in a line each. In check mode those that would be carried out.
      returned: with O(state=migrated) and O(state=aborted)
      type: list
      elements: str
      sample:
        - note on the source that web1 is being moved
        - prepare web1 on the destination
        - move web1 live, and copy vda (10G) to vms/web1.qcow2
        - make web1 an ordinary instance of the destination
        - remove what web1 left on the source
    disks: &disks_result
      description:
        - What becomes of each disk. C(how) is V(shared) for one that stays where it is, V(copy), V(incremental) for one
          of which only the difference from an image is copied, or V(remade) for one that the destination makes anew.
        - C(source) and C(destination) are the volume as C(pool/name), or a path. C(size_bytes) is how much there is to
          copy now, without holes where the hypervisor tells them; a guest that runs may write more meanwhile.
      returned: with O(state=migrated)
      type: list
      elements: dict
      sample:
        - device: vda
          how: copy
          source: vms/web1.qcow2
          destination: vms/web1.qcow2
          size_bytes: 10737418240
    downtime_ms: &downtime_result
      description: How long the guest stood still, in milliseconds. For a cold migration, from when it was asked to stop
        until it was started.
      returned: when it was moved while active, and is known
      type: int
      sample: 41
    total_ms: &total_result
      description: How long moving it took, in milliseconds.
      returned: when it was moved
      type: int
      sample: 3170
    bytes: &bytes_result
      description: How much was sent, in bytes; C(memory_bytes) and C(disk_bytes) of it were memory and disks.
      returned: when it was moved, and the hypervisor tells it
      type: int
      sample: 104857600
    memory_bytes: &memory_bytes_result
      description: How much of RV(instances[].bytes) was memory.
      returned: when it was moved, and the hypervisor tells it
      type: int
    disk_bytes: &disk_bytes_result
      description: How much of RV(instances[].bytes) was disks. Of a live migration some hypervisors count holes too.
      returned: when it was moved, and the hypervisor tells it
      type: int
    iterations: &iterations_result
      description: How often the whole memory was gone through.
      returned: when it was moved live, and the hypervisor tells it
      type: int
    post_copy: &post_copy_result
      description: Whether it was switched to post-copy.
      returned: when it was moved
      type: bool
    problems: &problems_result
      description: Everything that keeps it from being moved, in words.
      returned: with O(state=migrated)
      type: list
      elements: str
      sample: ["there is no active pool 'fast' on the destination; map it with pools or make it"]
    warnings: &warnings_result
      description: What is worth knowing about it. The task's warnings have it too.
      returned: with O(state=migrated)
      type: list
      elements: str
    power_state: &power_state_result
      description: Its power state afterwards; in check mode what it would be.
      returned: with O(state=migrated), when it exists
      type: str
      sample: running
    before: &before_result
      description: The instance before, in the words of M(anyvirt.compute.virt_instance), and C(host), the URI of its
        host.
      returned: with O(state=migrated), when it has steps
      type: dict
    after: &after_result
      description: The same afterwards.
      returned: with O(state=migrated), when it has steps
      type: dict
    removed: &removed_result
      description: What was removed on the hosts on the way, in words.
      returned: when something was
      type: list
      elements: str
    status: &status_result
      description:
        - How far its migration is. C(phase) is V(none) (it is on the source, and nothing goes on), V(moving),
          V(cut_short) (an earlier run has left something, and the source has the instance), V(arrived) (it is on the
          destination, and clearing up is left), V(there), V(missing) or V(unclear), with the reason in C(message).
        - C(source) and C(destination) are what each host has of it, or null. C(record) is what was noted when it began.
          C(progress) is what the hypervisor tells of a migration that goes on, of C(percent), C(total_bytes),
          C(done_bytes), C(left_bytes), C(rate) and C(dirty_rate) in bytes a second, C(iteration),
          C(expected_downtime_ms) and C(elapsed_s).
      returned: with O(state=status)
      type: dict
      sample:
        phase: moving
        source: {host: a6c2, power_state: running}
        destination: {host: 07fe, power_state: paused}
        progress: {phase: memory, percent: 61.5, left_bytes: 41361408, rate: 104857600}
    msg: &msg_result
      description: Why it failed.
      returned: when it failed
      type: str
    error: &error_result
      description:
        - What failed, for C(rescue), with C(kind), C(cause), C(step), C(rolled_back), C(undone) and C(not_undone), and
          C(problems) for wrong input.
        - The kinds of migrations are C(migration_impossible) (it cannot be moved there, and nothing was tried),
          C(migration_failed), C(migration_aborted), C(timeout), C(instance_locked), C(instance_migrating) (a migration
          to or from another host is in the way), C(instance_duplicated) (both hosts have it) and
          C(hypervisor_unavailable).
        - See M(anyvirt.compute.virt_instance) for what each of the keys means.
      returned: failure
      type: dict
      sample:
        kind: timeout
        cause: "the migration of 'db1' was not over after 600 s and was aborted; last seen: memory, 93 %"
        step: move db1 live
        rolled_back: true
        undone: ["undo: prepare db1 on the destination", "undo: note on the source that db1 is being moved"]
        not_undone: []
instance:
  description: The result for O(name), with the same keys.
  returned: when O(name) is given
  type: dict
  contains:
    name: *name_result
    changed: *changed_result
    from: *from_result
    to: *to_result
    mode: *mode_result
    steps: *steps_result
    disks: *disks_result
    downtime_ms: *downtime_result
    total_ms: *total_result
    bytes: *bytes_result
    memory_bytes: *memory_bytes_result
    disk_bytes: *disk_bytes_result
    iterations: *iterations_result
    post_copy: *post_copy_result
    problems: *problems_result
    warnings: *warnings_result
    power_state: *power_state_result
    before: *before_result
    after: *after_result
    removed: *removed_result
    status: *status_result
    msg: *msg_result
    error: *error_result
error: *error_result
"""

from ansible_collections.anyvirt.compute.plugins.module_utils.module import destination_argument_spec, run_module
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.migration_options import read_moves
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.migrations import (
    get_migration_driver,
    migrate_instances,
)

Option = dict[str, object]

TEXT: Option = {"type": "str"}
WHOLE: Option = {"type": "int"}
NUMBER: Option = {"type": "float"}
TRUTH: Option = {"type": "bool"}
NO: Option = {"type": "bool", "default": False}


def choice(*choices: str) -> Option:
    return {"type": "str", "choices": list(choices)}


def group(**options: Option) -> Option:
    return {"type": "dict", "options": options}


ARGUMENT_SPEC: dict[str, Option] = {
    "name": TEXT,
    "instances": {"type": "list", "elements": "raw"},
    "all": NO,
    "exclude": {"type": "list", "elements": "str"},
    "state": {**choice("migrated", "status", "aborted"), "default": "migrated"},
    "verify_only": NO,
    "workers": {"type": "int", "default": 1},
    "mode": choice("live", "cold", "auto"),
    "storage": choice("auto", "shared", "copy"),
    "pools": {"type": "dict"},
    "networks": {"type": "dict"},
    "bandwidth": WHOLE,
    "parallel": WHOLE,
    "auto_converge": TRUTH,
    "post_copy": TRUTH,
    "compression": TRUTH,
    "max_downtime_ms": WHOLE,
    "timeout_s": NUMBER,
    "on_timeout": choice("abort", "pause", "post_copy", "continue"),
    "transport": choice("native", "tls", "tunnelled"),
    "manager": choice("client", "source"),
    "peer_uri": TEXT,
    "migrate_uri": TEXT,
    "listen_address": TEXT,
    "disks_port": WHOLE,
    "persist": TRUTH,
    "undefine_source": TRUTH,
    "delete_volumes": choice("own", "all", "none"),
    "override_lock": TRUTH,
    "shutdown": group(method=choice("acpi", "agent", "forced"), timeout=NUMBER, force_after_timeout=TRUTH),
    "resize": group(
        flavor={"type": "raw"}, memory_mb=WHOLE, max_memory_mb=WHOLE, vcpus=WHOLE, max_vcpus=WHOLE, root_gb=WHOLE
    ),
}


def main() -> None:
    destination = destination_argument_spec()
    destination["dest"]["required"] = True
    run_module(
        {**ARGUMENT_SPEC, **destination},
        migrate_instances,
        read_moves,
        get_migration_driver,
        interruptible=True,
        mutually_exclusive=[("name", "instances")],
    )


if __name__ == "__main__":
    main()
