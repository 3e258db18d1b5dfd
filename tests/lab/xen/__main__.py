# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m lab.xen`: run one Xen host until interrupted, for work by hand."""

from __future__ import annotations

import argparse
import signal

from lab.xen.host import XenHost


def main() -> None:
    parser = argparse.ArgumentParser(description="Run a Xen host until interrupted.")
    parser.add_argument("--name", default="dev")
    parser.add_argument("--memory-mb", type=int, default=2048)
    options = parser.parse_args()
    # So that an ordinary kill ends it as Ctrl-C does, through stop().
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with XenHost(options.name, options.memory_mb) as host:
        print(host.uri, flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("stopping", flush=True)


if __name__ == "__main__":
    main()
