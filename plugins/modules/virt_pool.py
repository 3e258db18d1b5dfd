#!/usr/bin/python
# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: virt_pool
short_description: Create, start, stop and remove storage pools
version_added: 0.1.0
description:
  - Keeps the places where volumes and images are as declared, such as folders, file systems, volume groups, and
    exports of NFS and iSCSI servers. They are storage pools in libvirt's words, storage repositories in XenServer's.
  - With O(pools) many are handled in one task. One that fails does not keep the others from being done; the task fails
    at the end and names it.
author:
  - anyvirt contributors (@anyvirt)
extends_documentation_fragment:
  - anyvirt.compute.connection
  - anyvirt.compute.storage
attributes:
  idempotent:
    support: full
    description: A second run finds nothing to change, and makes no call that writes. O(refresh) is carried out each
      time, and is no change.
options:
  name:
    description: The pool's name.
    type: str
  pools:
    description:
      - Many pools. Each entry takes all the options of a single one.
      - Options given beside O(pools) are the defaults for all entries.
    type: list
    elements: dict
    suboptions:
      name:
        description: The pool's name.
        type: str
        required: true
      state: &state
        description:
          - What the pool should be. When it is not given, V(present).
          - V(present) creates it when it is not there, and otherwise leaves it active or inactive as it is.
          - V(running) also starts it, so that it can be used. V(stopped) stops it, and all that is in it stays.
          - V(absent) removes it. What it is made of stays, unless O(delete_data) is true.
          - A pool in which an active instance has a disk cannot be stopped, and one in which any instance has a disk
            cannot be removed; neither one from or to which a migration copies disks.
        type: str
        choices: [present, running, stopped, absent]
      kind: &kind
        description:
          - What it is made of. A new pool needs it. What works is a matter of the hypervisor.
          - V(dir) is a folder, V(fs) a file system on a device, V(lvm) a volume group, V(nfs) an export of an NFS
            server, V(iscsi) the disks of an iSCSI target.
          - V(ext) is a file system that XenServer makes on a device. V(iso) is a folder or NFS export with images of
            CDs.
        type: str
        choices: [dir, fs, lvm, nfs, iscsi, ext, iso]
      path: &path
        description: The folder of V(dir) or V(iso), or where V(fs) or V(nfs) is mounted on the host.
        type: str
      devices: &devices
        description: Block devices that it is made of, as absolute paths on the host.
        type: list
        elements: str
      fs_type: &fs_type
        description: Which file system V(fs) has, or gets when its device is empty. V(auto) is the one that is there.
        type: str
      server: &server
        description: Name or address of the server of V(nfs) or V(iscsi), or of V(iso) on NFS.
        type: str
      export: &export
        description: The folder that the NFS server exports.
        type: str
      target: &target
        description: The IQN of the iSCSI target.
        type: str
      port: &port
        description: The server's port, when it is not the usual one.
        type: int
      volume_group: &volume_group
        description: Name of the volume group of V(lvm), when it is not the pool's.
        type: str
      shared: &shared
        description: Whether all hosts of a XenServer pool see it. When it is not given, that follows from O(kind).
        type: bool
      autostart: &autostart
        description: Whether it is started with the host.
        type: bool
      refresh: &refresh
        description: Look again at what is in it, for volumes that others have made or changed. When it is not given,
          V(false).
        type: bool
      overwrite: &overwrite
        description:
          - Whether O(devices) that hold something already may be overwritten when the pool is made. When it is not
            given, V(false), and such a device is an error.
          - XenServer does not tell what else than storage repositories is on a device or an iSCSI LUN. Each new pool of
            V(ext), V(lvm) or V(iscsi) needs it there, unless it takes a repository that is there already.
        type: bool
      delete_data: &delete_data
        description: With V(absent), remove what it is made of too (the folder, the volume group). It has to be empty.
          When it is not given, V(false).
        type: bool
  state: *state
  kind: *kind
  path: *path
  devices: *devices
  fs_type: *fs_type
  server: *server
  export: *export
  target: *target
  port: *port
  volume_group: *volume_group
  shared: *shared
  autostart: *autostart
  refresh: *refresh
  overwrite: *overwrite
  delete_data: *delete_data
seealso:
  - module: anyvirt.compute.virt_volume
  - module: anyvirt.compute.virt_image
"""

EXAMPLES = r"""
- name: A pool in a folder, started now and with the host
  anyvirt.compute.virt_pool:
    uri: fake:///var/tmp/anyvirt-example
    name: vms
    kind: dir
    path: /srv/vms
    autostart: true
    state: running

- name: Two pools, on a volume group and on an NFS server
  anyvirt.compute.virt_pool:
    uri: fake:///var/tmp/anyvirt-example
    state: running
    pools:
      - name: fast
        kind: lvm
        devices: [/dev/nvme1n1]
      - name: archive
        kind: nfs
        server: nas.example.com
        export: /volumes/archive
        path: /mnt/archive

- name: See files that another tool has put there
  anyvirt.compute.virt_pool:
    uri: fake:///var/tmp/anyvirt-example
    name: vms
    refresh: true

- name: Forget the pool, and keep the folder
  anyvirt.compute.virt_pool:
    uri: fake:///var/tmp/anyvirt-example
    name: vms
    state: absent

# A storage repository of XenServer or XCP-ng, on a disk of the host:
#
# - anyvirt.compute.virt_pool:
#     uri: xenapi://pool-master.example.com?host=xen2
#     name: Second disk
#     kind: ext
#     devices: [/dev/sdb]
#     state: running
"""

RETURN = r"""
pools:
  description: A result for each pool, in the order of the task.
  returned: success, and when pools failed
  type: list
  elements: dict
  contains:
    name: &name_result
      description: Its name.
      returned: always
      type: str
      sample: vms
    changed: &changed_result
      description: Whether anything was done to it.
      returned: always
      type: bool
    before: &before_result
      description: How it was, in the words of the module's options; null when it did not exist.
      returned: when there was something to do
      type: dict
    after: &after_result
      description: How it is now, or would be in check mode as far as that can be told; null when it does not exist.
      returned: always
      type: dict
      sample:
        name: vms
        state: running
        kind: dir
        path: /srv/vms
        autostart: true
    changes: &changes_result
      description: What changed, each with C(option), C(old) and C(new).
      returned: always
      type: list
      elements: dict
      sample:
        - option: state
          old: stopped
          new: running
    steps: &steps_result
      description: The plan's steps, in a line each. In check mode those that would be carried out.
      returned: always
      type: list
      elements: str
      sample: [start the pool vms]
    capacity_bytes: &capacity_result
      description: How much it can hold, in bytes.
      returned: when the hypervisor tells it
      type: int
    used_bytes: &used_result
      description: How much of it is taken, in bytes.
      returned: when the hypervisor tells it
      type: int
    available_bytes: &available_result
      description: How much of it is free, in bytes.
      returned: when the hypervisor tells it
      type: int
    msg: &msg_result
      description: Why it failed.
      returned: when it failed
      type: str
    error: &error_result
      description:
        - What failed, for C(rescue), with C(kind), C(cause), C(step), C(rolled_back), C(undone) and C(not_undone), and
          C(problems) for wrong input.
        - See M(anyvirt.compute.virt_instance) for what each of them means.
      returned: failure
      type: dict
      sample:
        kind: volume_in_use
        cause: "in the pool 'vms' are disks of web1; detach or remove these first"
        step: null
        rolled_back: null
        undone: []
        not_undone: []
pool:
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
    capacity_bytes: *capacity_result
    used_bytes: *used_result
    available_bytes: *available_result
    msg: *msg_result
    error: *error_result
error: *error_result
"""

from ansible_collections.anyvirt.compute.plugins.module_utils.module import run_module
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.pool_options import read_pools
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.pools import reconcile_pools
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.storage import get_storage_driver

Option = dict[str, object]

TEXT: Option = {"type": "str"}
TRUTH: Option = {"type": "bool"}

POOL_OPTIONS: dict[str, Option] = {
    "state": {"type": "str", "choices": ["present", "running", "stopped", "absent"]},
    "kind": {"type": "str", "choices": ["dir", "fs", "lvm", "nfs", "iscsi", "ext", "iso"]},
    "path": TEXT,
    "devices": {"type": "list", "elements": "str"},
    "fs_type": TEXT,
    "server": TEXT,
    "export": TEXT,
    "target": TEXT,
    "port": {"type": "int"},
    "volume_group": TEXT,
    "shared": TRUTH,
    "autostart": TRUTH,
    "refresh": TRUTH,
    "overwrite": TRUTH,
    "delete_data": TRUTH,
}

ARGUMENT_SPEC: dict[str, Option] = {
    "name": TEXT,
    "pools": {
        "type": "list",
        "elements": "dict",
        "options": {"name": {"type": "str", "required": True}, **POOL_OPTIONS},
    },
    "workers": {"type": "int", "default": 8},
    **POOL_OPTIONS,
}


def main() -> None:
    run_module(
        ARGUMENT_SPEC,
        reconcile_pools,
        read_pools,
        get_storage_driver,
        mutually_exclusive=[("name", "pools")],
        required_one_of=[("name", "pools")],
    )


if __name__ == "__main__":
    main()
