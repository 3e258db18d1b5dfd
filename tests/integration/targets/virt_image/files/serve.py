# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serves the files of a folder on loopback until there is a file ``stop`` in it; writes its port into ``port``.

The first answer to each request for something below ``/breaks/`` ends in the middle. Takes the folder as its argument.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

LONGEST_S = 600
BROKEN: set[str] = set()


class Handler(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if not self.path.startswith("/breaks/"):
            super().do_GET()
            return
        with open(os.path.join(self.directory, os.path.basename(self.path)), "rb") as file:
            data = file.read()
        start = 0
        if "Range" in self.headers:
            start = int(self.headers["Range"].partition("=")[2].rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("ETag", f'"{len(data)}"')
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end = len(data) if self.path in BROKEN else len(data) // 2
        BROKEN.add(self.path)
        self.wfile.write(data[start:end])

    def log_message(self, *_words: object) -> None:
        pass


def main() -> None:
    folder = sys.argv[1]
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    server.timeout = 0.2
    with open(os.path.join(folder, "port.new"), "w") as file:
        file.write(str(server.server_address[1]))
    os.rename(os.path.join(folder, "port.new"), os.path.join(folder, "port"))
    until = time.monotonic() + LONGEST_S
    while time.monotonic() < until and not os.path.exists(os.path.join(folder, "stop")):
        server.handle_request()


if __name__ == "__main__":
    main()
