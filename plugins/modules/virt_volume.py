#!/usr/bin/python
# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: virt_volume
short_description: Create, grow, attach, detach, snapshot and remove volumes
version_added: 0.1.0
description:
  - Keeps the virtual disks in storage pools as declared, and the disks that instances have of them, also while these
    run. On XenServer and XCP-ng they are virtual disk images in storage repositories.
  - With O(volumes) many are handled in one task. They share one connection and one read, and are changed side by side;
    those of one instance are attached one after the other, in the order of the task, and so are those made from each
    other. One that fails does not keep the others from being done, but those that change or need the same volume; the
    task fails at the end and names it.
  - Volumes of an instance that is being moved to another host are left alone, and so is a disk that was resized so that
    it can be taken back (M(anyvirt.compute.virt_instance), C(revertible)). To change them is an error then.
author:
  - anyvirt contributors (@anyvirt)
extends_documentation_fragment:
  - anyvirt.compute.connection
  - anyvirt.compute.storage
attributes:
  idempotent:
    support: full
    description:
      - A second run finds nothing to change and makes no call that writes.
      - The exception is O(revert_to), which reverts each time.
options:
  name:
    description: The volume's name in its pool, such as V(data) or V(data.qcow2).
    type: str
  volumes:
    description:
      - Many volumes. Each entry takes all the options of a single one.
      - Options given beside O(volumes) are the defaults for all entries. An option of an entry takes the place of the
        whole shared one; they are not merged.
      - One volume can be there several times to be attached to, or detached from, several instances.
    type: list
    elements: dict
    suboptions:
      name:
        description: The volume's name in its pool.
        type: str
        required: true
      state: &state
        description:
          - What the volume should be. When it is not given, V(present).
          - V(present) creates it when it is not there, and grows it when it is smaller than O(size). Where it is
            attached is left alone.
          - V(attached) also makes it a disk of O(instance), at once when the instance runs, and for its next starts
            too. A volume that is not there is created when O(size) or O(source) is given.
          - V(detached) takes it away from O(instance), or from all instances when none is named, at once and for good.
            The volume stays as it is, whatever else the task says of it.
          - V(absent) deletes it, with its snapshots. A volume that is in use, or that others lean on, is not deleted;
            the error says by whom. See O(detach_first) and O(delete_children).
        type: str
        choices: [present, absent, attached, detached]
      pool: &pool
        description: The storage pool that it is in. When it is not given, the hypervisor's default one.
        type: str
      size: &size
        description:
          - What a guest sees of it, such as V(10G) or V(512M), in units of 1024. A new volume needs it, or O(source).
          - A volume grows while it is used, where the hypervisor can tell its guest. A smaller size than it has is an
            error, unless O(allow_shrink) is true.
          - Pools that only make certain sizes round it up, which is no difference at the next run.
        type: str
      allow_shrink: &allow_shrink
        description: Let the volume shrink, while no instance has it. What is beyond its new end is lost. When it is not
          given, V(false).
        type: bool
      format: &format
        description: How it is stored. When it is not given, what the pool or the source has. It stays as it is once the
          volume exists.
        type: str
        choices: [qcow2, raw, vhd]
      source: &source
        description:
          - What a new volume begins with. One that exists is not looked at for it.
          - One of C(volume), C(image), C(path) and C(url) is needed.
        type: dict
        suboptions:
          volume:
            description: Another volume, in C(pool) or else the new one's own pool.
            type: str
          snapshot:
            description: That volume as it was when this snapshot of it was taken.
            type: str
          image:
            description: An image of the image cache; see M(anyvirt.compute.virt_image).
            type: str
          path:
            description: A file where the module runs, which is uploaded.
            type: str
          url:
            description: An address of http or https, which is fetched where the module runs, and uploaded.
            type: str
          pool:
            description: Where C(volume) or C(image) is, when not in the new volume's own pool.
            type: str
          copy_on_write:
            description:
              - Whether the new volume only keeps what differs from its source, which takes no time and no room to
                make. Its source cannot be deleted then.
              - When it is not given, V(true) for an image and V(false) for a volume.
            type: bool
          checksum:
            description:
              - Of the file, as C(ALGORITHM:HEX), or C(ALGORITHM:URL) with the address of a file of checksums.
              - With another checksum nothing is kept.
            type: str
          decompress:
            description: Whether a file compressed with gzip, xz, bzip2 or zstd is unpacked. When it is not given,
              V(true).
            type: bool
          username:
            description: User name for C(url).
            type: str
          password:
            description: Password for C(url). It is never part of a result or log.
            type: str
          headers:
            description: More headers for the request. They are never part of a result or log.
            type: dict
          validate_certs:
            description: Whether the TLS certificate of C(url) is verified. When it is not given, V(true).
            type: bool
          ca_path:
            description: File with the certificates of the authorities to trust for C(url).
            type: str
          timeout:
            description: Seconds of silence after which a transfer counts as broken. When they are not given, 30.
            type: float
      preallocation: &preallocation
        description:
          - How much room a new volume takes at once. V(off) is none, V(metadata) only what its format needs.
            V(falloc) sets all of its room aside, V(full) also writes it.
          - It only matters when the volume is made.
        type: str
        choices: ["off", metadata, falloc, full]
      shareable: &shareable
        description: Whether several instances may write to it at once. Their guests need a file system, or another
          program, that is made for that.
        type: bool
      encryption: &encryption
        description:
          - Encrypt a new volume with LUKS, or open one that is, when it is attached.
          - The passphrase is never part of a result or log.
        type: dict
        suboptions:
          passphrase:
            description: What opens the volume.
            type: str
          cipher:
            description: The cipher of a new volume, such as V(aes-256). When it is not given, the hypervisor's default.
            type: str
      metadata: &metadata
        description:
          - Keys and values of your own, kept with the volume. Values are texts.
          - They are merged with those that it has. A value of V(null) removes its key.
        type: dict
      snapshots: &snapshots
        description:
          - Snapshots of the volume, each a name, or a dictionary with C(name) and C(state) (V(present) or V(absent)).
          - Those that are not there are taken, of the volume as it is when everything else about it is done. Those that
            are there stay as they are, and those that are not mentioned too.
        type: list
        elements: raw
      revert_to: &revert_to
        description:
          - Go back to this snapshot, each time the task runs. What is in the volume now is lost.
          - No active instance may have the volume.
        type: str
      instance: &instance
        description: The instance that the volume is attached to or detached from.
        type: str
      device: &device
        description:
          - Its name in the guest's order, such as V(vdb). When it is not given, the next free one. A name that is taken
            is an error.
          - With O(state=detached), only detach it where it has this name.
        type: str
      kind: &kind
        description:
          - Whether it is a V(disk) or the medium in a V(cdrom) drive. When it is not given, V(disk).
          - A medium goes into the drive named with O(device), in place of what is there, or into the first empty drive.
            Where there is none, the instance gets a new drive.
        type: str
        choices: [disk, cdrom]
      bus: &bus
        description: How the disk is connected. When it is not given, what the hypervisor's other disks have.
        type: str
        choices: [virtio, scsi, sata, ide, usb, xen]
      read_only: &read_only
        description: Whether the guest can only read. Several instances may have a volume that all of them only read.
        type: bool
      cache: &cache
        description: How the host caches it.
        type: str
        choices: [none, writeback, writethrough, directsync, unsafe]
      discard: &discard
        description: What becomes of blocks that the guest gives back.
        type: str
        choices: [unmap, ignore]
      serial: &serial
        description: Its serial number, as the guest sees it.
        type: str
      boot_order: &boot_order
        description: Its place among the devices that the guest boots from, from 1.
        type: int
      limits: &limits
        description:
          - What the guest may ask of it each second. They can be changed while it is attached. V(0) takes a limit away,
            and limits that are not mentioned stay.
          - A total stands for reading and writing together, and takes the place of the other two.
        type: dict
        suboptions:
          total_bytes:
            description: Bytes read and written, such as V(100M).
            type: str
          read_bytes:
            description: Bytes read.
            type: str
          write_bytes:
            description: Bytes written.
            type: str
          total_iops:
            description: Operations, of reading and writing.
            type: int
          read_iops:
            description: Operations of reading.
            type: int
          write_iops:
            description: Operations of writing.
            type: int
      eject: &eject
        description: With O(state=detached) and O(kind=cdrom), take out the medium and leave the drive. When it is not
          given, V(false), and the drive goes too.
        type: bool
      detach_timeout: &detach_timeout
        description: Seconds that a running guest gets to let go of the disk. Then the task fails, and the disk is
          attached as before. When they are not given, 60.
        type: float
      detach_first: &detach_first
        description: With O(state=absent), detach the volume from the instances that have it. When it is not given,
          V(false).
        type: bool
      delete_children: &delete_children
        description: With O(state=absent), also delete the copy-on-write volumes that lean on it, and those that lean on
          them. When it is not given, V(false).
        type: bool
      override_lock: &override_lock
        description: Change disks of an instance although it is locked. When it is not given, V(false).
        type: bool
  state: *state
  pool: *pool
  size: *size
  allow_shrink: *allow_shrink
  format: *format
  source: *source
  preallocation: *preallocation
  shareable: *shareable
  encryption: *encryption
  metadata: *metadata
  snapshots: *snapshots
  revert_to: *revert_to
  instance: *instance
  device: *device
  kind: *kind
  bus: *bus
  read_only: *read_only
  cache: *cache
  discard: *discard
  serial: *serial
  boot_order: *boot_order
  limits: *limits
  eject: *eject
  detach_timeout: *detach_timeout
  detach_first: *detach_first
  delete_children: *delete_children
  override_lock: *override_lock
seealso:
  - module: anyvirt.compute.virt_pool
  - module: anyvirt.compute.virt_image
  - module: anyvirt.compute.virt_instance
"""

EXAMPLES = r"""
- name: A machine to attach volumes to
  anyvirt.compute.virt_instance:
    uri: fake:///var/tmp/anyvirt-example
    name: db1
    memory_mb: 1024
    state: running

- name: A volume of 10 GiB, attached while the machine runs
  anyvirt.compute.virt_volume:
    uri: fake:///var/tmp/anyvirt-example
    name: db1-data
    size: 10G
    instance: db1
    state: attached
  register: data

- name: Say what the guest calls it
  ansible.builtin.debug:
    msg: "{{ data.volume.device }}"

- name: More room, and no more than 200 operations a second
  anyvirt.compute.virt_volume:
    uri: fake:///var/tmp/anyvirt-example
    name: db1-data
    size: 20G
    instance: db1
    limits:
      total_iops: 200
    state: attached

- name: Three volumes, of which one is special
  anyvirt.compute.virt_volume:
    uri: fake:///var/tmp/anyvirt-example
    size: 5G
    instance: db1
    state: attached
    volumes:
      - name: db1-log
      - name: db1-index
      - name: db1-archive
        size: 100G
        metadata:
          backup: weekly

- name: Detach the data
  anyvirt.compute.virt_volume:
    uri: fake:///var/tmp/anyvirt-example
    name: db1-data
    instance: db1
    state: detached

- name: Take a snapshot before the upgrade
  anyvirt.compute.virt_volume:
    uri: fake:///var/tmp/anyvirt-example
    name: db1-data
    snapshots: [before-upgrade]

- name: Go back to it
  anyvirt.compute.virt_volume:
    uri: fake:///var/tmp/anyvirt-example
    name: db1-data
    revert_to: before-upgrade

- name: A child that only keeps what differs
  anyvirt.compute.virt_volume:
    uri: fake:///var/tmp/anyvirt-example
    name: db1-test
    source:
      volume: db1-data
      copy_on_write: true

- name: Delete the volume, and what leans on it
  anyvirt.compute.virt_volume:
    uri: fake:///var/tmp/anyvirt-example
    name: db1-data
    state: absent
    delete_children: true

- name: Delete the others, which the machine still has
  anyvirt.compute.virt_volume:
    uri: fake:///var/tmp/anyvirt-example
    state: absent
    detach_first: true
    volumes: [{name: db1-log}, {name: db1-index}, {name: db1-archive}]

- name: Remove the machine
  anyvirt.compute.virt_instance:
    uri: fake:///var/tmp/anyvirt-example
    name: db1
    state: absent

# A disk image from the web, checked, and attached to a machine; a CD in its drive, and out again:
#
# - anyvirt.compute.virt_volume:
#     uri: qemu:///system
#     name: tools.qcow2
#     pool: vms
#     source:
#       url: https://example.com/images/tools.qcow2.xz
#       checksum: sha256:https://example.com/images/SHA256SUMS
#     instance: web1
#     state: attached
#
# - anyvirt.compute.virt_volume:
#     uri: qemu:///system
#     name: installer.iso
#     pool: isos
#     kind: cdrom
#     instance: web1
#     state: attached
#
# - anyvirt.compute.virt_volume:
#     uri: qemu:///system
#     name: installer.iso
#     pool: isos
#     kind: cdrom
#     eject: true
#     instance: web1
#     state: detached
"""

RETURN = r"""
volumes:
  description: A result for each volume, in the order of the task.
  returned: success, and when volumes failed
  type: list
  elements: dict
  contains:
    name: &name_result
      description: Its name.
      returned: always
      type: str
      sample: db1-data
    pool: &pool_result
      description: The pool that it is in.
      returned: always
      type: str
      sample: default
    changed: &changed_result
      description: Whether anything was done to it, or to the disk that it is.
      returned: always
      type: bool
    device: &device_result
      description: What the instance calls it.
      returned: when it is attached
      type: str
      sample: vdb
    before: &before_result
      description: How it was, in the words of the module's options; null when it did not exist.
      returned: when there was something to do
      type: dict
    after: &after_result
      description:
        - How it is now, or would be in check mode as far as that can be told; null when it does not exist.
        - C(attachments) are the disks that it is, of the instances that the task asks about.
      returned: always
      type: dict
      sample:
        name: db1-data
        pool: default
        size: 10G
        format: qcow2
        attachments:
          - instance: db1
            device: vdb
            bus: virtio
    changes: &changes_result
      description: What changed, each with C(option), C(old) and C(new).
      returned: always
      type: list
      elements: dict
      sample:
        - option: size
          old: 10G
          new: 20G
    steps: &steps_result
      description: The plan's steps, in a line each. In check mode those that would be carried out.
      returned: always
      type: list
      elements: str
      sample: [grow default/db1-data 10G -> 20G]
    size_bytes: &size_result
      description: Its size in bytes.
      returned: when it exists
      type: int
    allocation_bytes: &allocation_result
      description: How much room it takes in its pool, in bytes.
      returned: when the hypervisor tells it
      type: int
    path: &path_result
      description: Where the host has its data.
      returned: when the hypervisor tells it
      type: str
      sample: /var/lib/libvirt/images/db1-data
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
        cause: "volume default/db1-data is in use by instance 'db1' (vdb); detach it first, or have that done with
          detach_first: true"
        step: null
        rolled_back: null
        undone: []
        not_undone: []
volume:
  description: The result for O(name), with the same keys.
  returned: when O(name) is given
  type: dict
  contains:
    name: *name_result
    pool: *pool_result
    changed: *changed_result
    device: *device_result
    before: *before_result
    after: *after_result
    changes: *changes_result
    steps: *steps_result
    size_bytes: *size_result
    allocation_bytes: *allocation_result
    path: *path_result
    msg: *msg_result
    error: *error_result
error: *error_result
"""

from ansible_collections.anyvirt.compute.plugins.module_utils.module import run_module
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.storage import get_storage_driver
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.volume_options import read_volumes
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.volumes import reconcile_volumes

Option = dict[str, object]

TEXT: Option = {"type": "str"}
WHOLE: Option = {"type": "int"}
NUMBER: Option = {"type": "float"}
TRUTH: Option = {"type": "bool"}
SECRET: Option = {"type": "str", "no_log": True}


def choice(*choices: str) -> Option:
    return {"type": "str", "choices": list(choices)}


def group(**options: Option) -> Option:
    return {"type": "dict", "options": options}


VOLUME_OPTIONS: dict[str, Option] = {
    "state": choice("present", "absent", "attached", "detached"),
    "pool": TEXT,
    "size": TEXT,
    "allow_shrink": TRUTH,
    "format": choice("qcow2", "raw", "vhd"),
    "source": group(
        volume=TEXT,
        snapshot=TEXT,
        image=TEXT,
        path=TEXT,
        url=TEXT,
        pool=TEXT,
        copy_on_write=TRUTH,
        checksum=TEXT,
        decompress=TRUTH,
        username=TEXT,
        password=SECRET,
        headers={"type": "dict", "no_log": True},
        validate_certs=TRUTH,
        ca_path=TEXT,
        timeout=NUMBER,
    ),
    "preallocation": choice("off", "metadata", "falloc", "full"),
    "shareable": TRUTH,
    "encryption": group(passphrase=SECRET, cipher=TEXT),
    "metadata": {"type": "dict"},
    "snapshots": {"type": "list", "elements": "raw"},
    "revert_to": TEXT,
    "instance": TEXT,
    "device": TEXT,
    "kind": choice("disk", "cdrom"),
    "bus": choice("virtio", "scsi", "sata", "ide", "usb", "xen"),
    "read_only": TRUTH,
    "cache": choice("none", "writeback", "writethrough", "directsync", "unsafe"),
    "discard": choice("unmap", "ignore"),
    "serial": TEXT,
    "boot_order": WHOLE,
    "limits": group(
        total_bytes=TEXT,
        read_bytes=TEXT,
        write_bytes=TEXT,
        total_iops=WHOLE,
        read_iops=WHOLE,
        write_iops=WHOLE,
    ),
    "eject": TRUTH,
    "detach_timeout": NUMBER,
    "detach_first": TRUTH,
    "delete_children": TRUTH,
    "override_lock": TRUTH,
}

ARGUMENT_SPEC: dict[str, Option] = {
    "name": TEXT,
    "volumes": {
        "type": "list",
        "elements": "dict",
        "options": {"name": {"type": "str", "required": True}, **VOLUME_OPTIONS},
    },
    "workers": {"type": "int", "default": 8},
    **VOLUME_OPTIONS,
}


def main() -> None:
    run_module(
        ARGUMENT_SPEC,
        reconcile_volumes,
        read_volumes,
        get_storage_driver,
        mutually_exclusive=[("name", "volumes")],
        required_one_of=[("name", "volumes")],
    )


if __name__ == "__main__":
    main()
