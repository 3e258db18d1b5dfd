#!/usr/bin/python
# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: virt_image
short_description: Fetch images into a storage pool's cache, clean it up, and export volumes into files
version_added: 0.1.0
description:
  - Keeps images in storage pools, from where instances and volumes are made as copy-on-write children at once.
  - An image is fetched once, however many tasks want it at the same time. The others wait until it is there; when the
    one that fetches it dies, another takes over.
  - Nothing is stored in between, except to replace an image with O(force). What comes is verified, unpacked and looked
    at on its way into the pool. It can be used only when it is whole; what turns out wrong is deleted.
  - An image whose header names other files is refused, because a guest could read its host's files with it.
  - With O(images) many are handled in one task, side by side. One that fails does not keep the others from being done;
    the task fails at the end and names it.
author:
  - anyvirt contributors (@anyvirt)
extends_documentation_fragment:
  - anyvirt.compute.connection
attributes:
  check_mode:
    support: full
    description:
      - Returns the very plan that the real run carries out, and changes nothing.
      - Images that are to be fetched are not looked at.
  diff_mode:
    support: full
    description: Shows what the cache knows of each changed image, before and after.
  idempotent:
    support: full
    description:
      - An image that is there is not fetched again, unless O(force) is given without O(checksum).
      - A file that has what is to be exported is not written again, unless O(force) is given.
options:
  name:
    description:
      - The image's name in the cache. That of any volume of the pool for O(state=exported).
      - One of O(name), O(images) and O(older_than) is required.
    type: str
  images:
    description:
      - Many images. Each entry takes all the options of a single one.
      - Options given beside O(images) are the defaults for all entries.
    type: list
    elements: dict
    suboptions:
      name:
        description: The image's name.
        type: str
        required: true
      state: &state
        description:
          - V(present) has the image in the cache, fetched from O(url) or O(path) if it is not there. When it is not
            given, V(present).
          - V(absent) removes it, or with O(older_than) all that are old. An image that volumes or instances still need
            is not removed; the error names them.
          - V(exported) writes it, or any volume, into the file O(dest) as it is stored, leaving out what was never
            written. The file is in its place when it is whole.
        type: str
        choices: [present, absent, exported]
      pool: &pool
        description: The storage pool, or on XenServer and XCP-ng the storage repository. Without it the default one.
        type: str
      url: &url
        description:
          - Where the image comes from, by http or https. A connection that breaks is taken up again where it broke.
          - User and password do not belong into it but into O(url_username) and O(url_password).
          - A redirect to plain http is followed only where a O(checksum) guards what comes.
        type: str
      path: &path
        description: A file or block device that the image comes from, where the module runs.
        type: path
      checksum: &checksum
        description:
          - Checksum of what O(url) or O(path) holds, compressed as it is there, as C(ALGORITHM:HEX) with one of V(md5),
            V(sha1), V(sha256) and V(sha512).
          - Or C(ALGORITHM:URL) of a published list such as C(SHA256SUMS), where the name at the end of O(url) is looked
            up each time.
          - An image that is there and has another one is an error, unless O(force) is given.
        type: str
      format: &format
        description:
          - What the image has to be. Without it any that can be used.
          - It is told by what is in the image, not by its name.
        type: str
        choices: [qcow2, raw, iso, vhd]
      max_size: &max_size
        description:
          - The largest disk that an image may hold, such as V(20G). Images can claim any size, and small files can
            unpack into huge ones.
          - When it is not given, V(2T).
        type: str
      decompress: &decompress
        description:
          - Whether gzip, xz, bzip2 and Zstandard, told by the first bytes, are unpacked. When it is not given, V(true).
          - Zstandard needs Python 3.14, the Python library zstandard or the program zstd where the module runs.
        type: bool
      force: &force
        description:
          - Fetch an image again although one of that name is there. With a O(checksum) only where that differs.
          - Only if nobody needs the old one. It stays until the new one is whole and verified in a temporary file where
            the module runs, and the pool has room for it; then it is removed and the new one written.
          - That needs room for the unpacked image in the folder that the environment variable E(TMPDIR) names where the
            module runs, else in C(/tmp). Several images at once need it all at the same time.
          - With O(state=exported), write the file without looking at what is in it.
        type: bool
      dest: &dest
        description: The file that is written for O(state=exported), where the module runs. Its folder has to be there.
        type: path
      url_username: &url_username
        description: Who to log in as for O(url). Neither it nor the other options for that go to any other host.
        type: str
      url_password: &url_password
        description: The password for O(url_username). It is never part of a result or log.
        type: str
      url_headers: &url_headers
        description: More headers for the requests, such as a token. They are never part of a result or log.
        type: dict
      url_validate_certs: &url_validate_certs
        description: Whether the TLS certificate of O(url) is verified. When it is not given, V(true).
        type: bool
      url_ca_path: &url_ca_path
        description: File with the certificates of the authorities to trust for O(url), instead of the system's own.
        type: path
      url_timeout: &url_timeout
        description: Seconds of silence until a connection counts as broken. When it is not given, V(30).
        type: float
      url_retries: &url_retries
        description:
          - How often a broken connection is tried again without any progress in between, with growing pauses.
          - When it is not given, V(5).
        type: int
      takeover_after: &takeover_after
        description:
          - Seconds after which another task's fetch of the same image counts as dead when it shows no sign of life.
          - When it is not given, V(60).
        type: float
  state: *state
  pool: *pool
  url: *url
  path: *path
  checksum: *checksum
  format: *format
  max_size: *max_size
  decompress: *decompress
  force: *force
  dest: *dest
  url_username: *url_username
  url_password: *url_password
  url_headers: *url_headers
  url_validate_certs: *url_validate_certs
  url_ca_path: *url_ca_path
  url_timeout: *url_timeout
  url_retries: *url_retries
  takeover_after: *takeover_after
  older_than:
    description:
      - With O(state=absent), removes all images of the pool's cache that were fetched longer ago than this, such as
        V(30d), V(2w), V(12h) or a number of seconds, and what interrupted fetches left.
      - Images that volumes or instances still need, or that are just being fetched, are kept, and the result says why.
    type: str
  workers:
    description: How many images are handled at the same time.
    type: int
    default: 8
seealso:
  - module: anyvirt.compute.virt_instance
  - module: anyvirt.compute.virt_volume
  - module: anyvirt.compute.virt_pool
"""

EXAMPLES = r"""
- name: Have Debian's image in the default pool, verified against the list that Debian publishes
  anyvirt.compute.virt_image:
    uri: qemu:///system
    name: debian-13.qcow2
    url: https://cloud.debian.org/images/cloud/trixie/latest/debian-13-genericcloud-amd64.qcow2
    checksum: sha512:https://cloud.debian.org/images/cloud/trixie/latest/SHA512SUMS
    format: qcow2

- name: A machine from it, which takes no copy
  anyvirt.compute.virt_instance:
    uri: qemu:///system
    name: web1
    image: debian-13.qcow2
    root_gb: 20
    memory_mb: 2048
    vcpus: 2
    state: running

- name: Two images, one of them compressed and behind a password
  anyvirt.compute.virt_image:
    uri: qemu:///system
    pool: images
    images:
      - name: appliance.qcow2
        url: https://files.example.com/appliance.qcow2.xz
        checksum: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
        url_username: reader
        url_password: "{{ files_password }}"
        max_size: 40G
      - name: installer.iso
        path: /srv/isos/installer.iso

- name: Remove what nobody needs and was fetched a month ago or before
  anyvirt.compute.virt_image:
    uri: qemu:///system
    pool: images
    state: absent
    older_than: 30d

- name: Keep a copy of a volume as a sparse file
  anyvirt.compute.virt_image:
    uri: qemu:///system
    name: database1-vdb.qcow2
    state: exported
    dest: /srv/backup/database1-vdb.qcow2
  register: backup

- name: Say what is in it
  ansible.builtin.debug:
    msg: "{{ backup.image.file_bytes }} bytes of {{ backup.image.format }}, SHA-256 {{ backup.image.sha256 }}"
"""

RETURN = r"""
image:
  description: What came of the image.
  returned: when O(name) is given
  type: dict
  contains: &contains
    name:
      description: Its name.
      returned: always
      type: str
    pool:
      description: The pool that it is in.
      returned: always
      type: str
    changed:
      description: Whether something was changed. False when another task has fetched it meanwhile.
      returned: always
      type: bool
    steps:
      description: What was done, or in check mode would be done, in words.
      returned: always
      type: list
      elements: str
      sample: ["fetch the image debian-13.qcow2 from https://cloud.debian.org/debian-13-genericcloud-amd64.qcow2"]
    before:
      description: The image before, in the same form as RV(image.after). With O(state=exported), the file.
      returned: when there is something to do
      type: dict
    after:
      description:
        - The image after, as far as it can be told beforehand in check mode. Null when there is none.
        - With O(state=exported), the file, as in RV(image.dest) and so on.
      returned: always
      type: dict
      contains:
        state:
          description: V(present), V(unfinished) while it is being fetched, or V(exported) of a file.
          returned: always
          type: str
        name:
          description: Its name.
          returned: always
          type: str
        pool:
          description: The pool that it is in.
          returned: always
          type: str
        format:
          description: V(qcow2), V(raw), V(iso) or V(vhd), told by what is in it.
          returned: when it is known
          type: str
        size_bytes:
          description: Size of the disk in it.
          returned: when it is known
          type: int
        file_bytes:
          description: Size of the image itself.
          returned: when it is known
          type: int
        source:
          description: Where it was fetched from, without anything secret.
          returned: when it is known
          type: str
        checksum:
          description: SHA-256 of it as it is stored, after C(sha256:).
          returned: when it is known
          type: str
        source_checksum:
          description: What its source was verified against.
          returned: when it was
          type: str
        fetched_s:
          description: When it was fetched, in seconds since 1970.
          returned: when it is known
          type: float
    path:
      description: Where the host has it.
      returned: when it is there and that has a name
      type: str
    kept:
      description: Why it was not removed, in words.
      returned: with O(older_than), of images that are needed
      type: str
    dest:
      description: The file that has it.
      returned: with O(state=exported), once it is written or known to be right
      type: str
    sha256:
      description: SHA-256 of that file.
      returned: as RV(image.dest)
      type: str
    file_bytes:
      description: Size of that file, with what was never written.
      returned: as RV(image.dest)
      type: int
    format:
      description: What the file is.
      returned: as RV(image.dest)
      type: str
    msg:
      description: Why it failed.
      returned: when it failed
      type: str
    error:
      description: The same as RV(error), of this image.
      returned: when it failed
      type: dict
images:
  description: What came of each image.
  returned: always
  type: list
  elements: dict
  contains: *contains
error:
  description:
    - What went wrong, of the first image that failed.
    - RV(error.kind) is C(checksum_mismatch), C(unsafe_image), C(transfer_error), C(volume_in_use), C(already_exists) or
      any other kind that the collection has.
  returned: on failure
  type: dict
  contains:
    kind:
      description: What kind of error.
      returned: always
      type: str
    cause:
      description: It in words.
      returned: always
      type: str
    step:
      description: The step in which it happened; null before the first one.
      returned: always
      type: str
    rolled_back:
      description: Whether everything is as before; null when nothing had been done.
      returned: always
      type: bool
    undone:
      description: What was undone, in words.
      returned: always
      type: list
      elements: str
    not_undone:
      description: What could not be undone, in words.
      returned: always
      type: list
      elements: str
    problems:
      description: What is wrong with the options.
      returned: for the kind C(invalid_input)
      type: list
      elements: dict
"""

from typing import Any

from ansible_collections.anyvirt.compute.plugins.module_utils.module import run_module
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.image_options import read_images
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.images import reconcile_images
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.storage import get_storage_driver

TEXT = {"type": "str"}
TRUTH = {"type": "bool"}
NUMBER = {"type": "float"}
PATH = {"type": "path"}

IMAGE_OPTIONS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["present", "absent", "exported"]},
    "pool": TEXT,
    "url": TEXT,
    "path": PATH,
    "checksum": TEXT,
    "format": {"type": "str", "choices": ["qcow2", "raw", "iso", "vhd"]},
    "max_size": TEXT,
    "decompress": TRUTH,
    "force": TRUTH,
    "dest": PATH,
    "url_username": TEXT,
    "url_password": {"type": "str", "no_log": True},
    "url_headers": {"type": "dict", "no_log": True},
    "url_validate_certs": TRUTH,
    "url_ca_path": PATH,
    "url_timeout": NUMBER,
    "url_retries": {"type": "int"},
    "takeover_after": NUMBER,
}

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "name": TEXT,
    "images": {
        "type": "list",
        "elements": "dict",
        "options": {"name": {"type": "str", "required": True}, **IMAGE_OPTIONS},
    },
    "older_than": TEXT,
    "workers": {"type": "int", "default": 8},
    **IMAGE_OPTIONS,
}


def main() -> None:
    run_module(
        ARGUMENT_SPEC,
        reconcile_images,
        read_images,
        get_driver=get_storage_driver,
        mutually_exclusive=[("name", "images", "older_than")],
        required_one_of=[("name", "images", "older_than")],
    )


if __name__ == "__main__":
    main()
