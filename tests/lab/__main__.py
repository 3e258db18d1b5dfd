# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab by hand: ``python -m lab up``, ``status``, ``enter NAME``, ``down`` (in the folder tests/)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from lab.errors import LabError
from lab.guest import build_guest
from lab.hosts import LibvirtHost
from lab.lxc import build_lxc_root
from lab.machine import running_machines


def _up(arguments: argparse.Namespace) -> None:
    names = arguments.names or [f"lab{number}" for number in range(1, arguments.hosts + 1)]
    _describe_images()
    for name in names:
        host = LibvirtHost(name, detached=True)
        if not host.machine.is_running:
            host.start()
        _describe(host)


def _down(arguments: argparse.Namespace) -> None:
    for name in arguments.names or _by_hand():
        LibvirtHost(name).stop()
        print(f"{name}: stopped")


def _status(arguments: argparse.Namespace) -> None:
    running = running_machines()
    if not running:
        print("no lab host runs")
    for name in running:
        _describe(LibvirtHost(name))


def _enter(arguments: argparse.Namespace) -> None:
    command = LibvirtHost(arguments.name).machine.enter_command(arguments.command or ["bash"])
    os.execvp(command[0], command)


def _by_hand() -> list[str]:
    return [name for name in running_machines() if LibvirtHost(name).machine.is_detached]


def _describe(host: LibvirtHost) -> None:
    daemon = host.daemon_pid
    print(f"{host.name}: {'by hand' if host.machine.is_detached else 'owned by a test run'}")
    print(f"  libvirtd   {'process ' + str(daemon) if daemon else 'not running'}")
    print(f"  QEMU       {host.uri}")
    print(f"  QEMU, TCP  {host.tcp_uri}")
    print(f"  LXC        {host.lxc_uri}")
    print(f"  files      {host.machine.state} (shared by all: {host.shared})")


def _describe_images() -> None:
    guest = build_guest()
    print("test guest")
    print(f"  kernel     {guest.kernel}\n  initrd     {guest.initrd}\n  cmdline    {guest.cmdline}")
    print(f"  image      {guest.root_image}")
    print(f"  LXC root   {build_lxc_root()}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description="Hypervisor hosts for tests and experiments.")
    commands = parser.add_subparsers(required=True)
    up = commands.add_parser("up", help="start hosts in the background and print how to reach them")
    up.add_argument("names", nargs="*", help="default: lab1, lab2, ...")
    up.add_argument("--hosts", type=int, default=1, help="how many, when no names are given (default: 1)")
    up.set_defaults(action=_up)
    down = commands.add_parser("down", help="stop hosts with everything that runs in them")
    down.add_argument("names", nargs="*", help="default: all that were started by hand")
    down.set_defaults(action=_down)
    status = commands.add_parser("status", help="list the hosts that run")
    status.set_defaults(action=_status)
    enter = commands.add_parser("enter", help="run a program (default: a shell) inside a host")
    enter.add_argument("name")
    enter.add_argument("command", nargs=argparse.REMAINDER)
    enter.set_defaults(action=_enter)
    return parser


def main(argv: Sequence[str]) -> int:
    arguments = _parser().parse_args(argv)
    try:
        arguments.action(arguments)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
