# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server by hand: ``python -m lab.xenapi`` (in the folder tests/) serves until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from lab.xenapi.server import XenApiServer
from lab.xenapi.settings import PoolSettings


def _parser() -> argparse.ArgumentParser:
    defaults = PoolSettings()
    parser = argparse.ArgumentParser(prog="python -m lab.xenapi", description="A XenAPI pool on loopback.")
    parser.add_argument("--hosts", type=int, default=defaults.hosts, help="default: %(default)s")
    parser.add_argument("--vms", type=int, default=defaults.extra_vms, help="halted VMs to fill the pool with")
    parser.add_argument("--user", default=defaults.username, help="who may log in (default: %(default)s)")
    parser.add_argument("--tls", action="store_true", help="HTTPS, with a certificate made for this run")
    parser.add_argument("--port", type=int, default=0, help="the master's (default: any that is free)")
    return parser


def main(argv: Sequence[str]) -> int:
    arguments = _parser().parse_args(argv)
    settings = PoolSettings(hosts=arguments.hosts, extra_vms=arguments.vms, username=arguments.user)
    with XenApiServer(settings, tls=arguments.tls, port=arguments.port) as server:
        print(f"uri       {server.uri}")
        for uri in server.slave_uris:
            print(f"slave     {uri}")
        print(f"username  {server.username}\npassword  {server.password}")
        if arguments.tls:
            print(f"ca_path   {server.ca_file}")
        print("Ctrl-C ends it.", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    return 0


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    sys.exit(main(sys.argv[1:]))
