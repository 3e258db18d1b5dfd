# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration files of a lab host's libvirt."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

NETWORK = "lab"
NETWORK_GATEWAY = "192.168.177.1"

# clean-traffic and its parts, as the distribution ships them.
_PACKAGED_FILTERS = Path("/etc/libvirt/nwfilter")
_LIBVIRTD = """\
listen_tls = 0
listen_tcp = 1
auth_tcp = "none"
auth_unix_ro = "none"
auth_unix_rw = "none"
host_uuid = "{uuid}"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""
# Everything runs as root in one mount namespace, so there is no ownership, confinement or cgroup to manage.
_QEMU = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
migration_host = "{address}"
"""
_LXC = 'security_driver = "none"\n'
# dnsmasq would ping an address for three seconds before it gives it away.
_NETWORK_XML = """\
<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <bridge name='virbr-{name}' stp='off' delay='0'/>
  <ip address='{gateway}' netmask='255.255.255.0'>
    <dhcp><range start='192.168.177.50' end='192.168.177.250'/></dhcp>
  </ip>
  <dnsmasq:options><dnsmasq:option value='no-ping'/></dnsmasq:options>
</network>
"""


def write_settings(folder: Path, name: str, address: str) -> None:
    """Fill folder, which stands at /etc/libvirt inside the host."""
    (folder / "libvirtd.conf").write_text(_LIBVIRTD.format(uuid=_uuid("host", name)))
    (folder / "qemu.conf").write_text(_QEMU.format(address=address))
    (folder / "lxc.conf").write_text(_LXC)
    (folder / "virtlogd.conf").write_text('log_outputs = "3:file:/var/log/libvirt/virtlogd.log"\n')
    if _PACKAGED_FILTERS.is_dir():
        shutil.copytree(_PACKAGED_FILTERS, folder / "nwfilter")
    networks = folder / "qemu/networks"
    (networks / "autostart").mkdir(parents=True)
    # The same identity on each host, as an administrator's copy would have.
    network = _NETWORK_XML.format(name=NETWORK, uuid=_uuid("network", NETWORK), gateway=NETWORK_GATEWAY)
    (networks / f"{NETWORK}.xml").write_text(network)
    (networks / "autostart" / f"{NETWORK}.xml").symlink_to(f"/etc/libvirt/qemu/networks/{NETWORK}.xml")


def _uuid(kind: str, name: str) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_URL, f"anyvirt-lab/{kind}/{name}")
