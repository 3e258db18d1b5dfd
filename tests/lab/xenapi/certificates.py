# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A certificate authority and a server certificate for loopback, made anew for each server."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple

from lab.authority import Authority


class Identity(NamedTuple):
    context: ssl.SSLContext  # for the server's sockets
    ca_file: Path  # what clients verify it with


def make_identity(folder: Path) -> Identity:
    """Write a new CA certificate, and a server's certificate and key signed by it, to ``folder``."""
    authority = Authority("XenAPI lab authority")
    issued = authority.issue(["localhost"], ["127.0.0.1", "::1"])
    ca_file = folder / "ca.pem"
    ca_file.write_bytes(authority.certificate)
    both = folder / "server.pem"
    both.touch(mode=0o600)
    both.write_bytes(issued.key + issued.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return Identity(context, ca_file)
