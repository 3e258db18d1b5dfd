# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options by which all modules reach a hypervisor."""

from __future__ import annotations


class ModuleDocFragment:
    """Documented once, for every module."""

    DOCUMENTATION = r"""
options:
  uri:
    description:
      - Which hypervisor, on which host.
      - V(fake:///var/tmp/lab) is the fake hypervisor in that folder. V(qemu:///system), V(qemu+ssh://root@host/system),
        V(lxc:///system) and V(xen:///system) go through libvirt.
      - V(xenapi://root@host) is the pool of a XenServer or XCP-ng host, over HTTPS. Any host of the pool will do, since
        its master is asked. V(xenapi://root@host?host=xen2) means one host of the pool. V(xenapi+http://) does without
        encryption.
      - Without it the environment variable E(ANYVIRT_URI), then E(LIBVIRT_DEFAULT_URI), is taken where the module runs.
        There is no other default, and a task that finds no URI fails.
      - A user name may be part of it, a password must not; it belongs in O(password).
      - Can be given once for a whole play, with C(module_defaults) and the action group C(anyvirt.compute.virt).
    type: str
  username:
    description:
      - Who to log in as, for hypervisors that ask.
      - Without it the environment variable E(ANYVIRT_USERNAME) is taken where the module runs, then the user name that
        is part of O(uri).
    type: str
  password:
    description:
      - The password for O(username). It is never part of a result or log.
      - Without it the environment variable E(ANYVIRT_PASSWORD) is taken where the module runs.
    type: str
  validate_certs:
    description: Whether TLS certificates are verified. Only turn it off on networks that you trust wholly.
    type: bool
    default: true
  ca_path:
    description: File with the certificates of the authorities to trust, instead of the system's own.
    type: path
  connect_timeout:
    description: Seconds until a connection that nobody answers is an error.
    type: float
    default: 10.0
  call_timeout:
    description: Seconds until a call that the hypervisor leaves unanswered is an error.
    type: float
    default: 60.0
"""
