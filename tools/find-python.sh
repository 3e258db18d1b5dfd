#!/usr/bin/env bash
# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Prints the real interpreter that virtual environments are made from; $1 is the oldest version that will do.
# Version managers leave wrappers on PATH that fail for versions which are not selected, so each candidate is run.
set -euo pipefail

oldest=${1:-3.10}
probe="
import sys
oldest = tuple(int(part) for part in '${oldest}'.split('.'))
if sys.version_info[:2] < oldest:
    sys.exit(1)
import ensurepip, venv
print(getattr(sys, '_base_executable', '') or sys.executable)
"

for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.10}; do
    if found=$("${candidate}" -c "${probe}" 2>/dev/null) && [ -n "${found}" ]; then
        echo "${found}"
        exit 0
    fi
done

{
    echo "No Python ${oldest} or later with the venv and ensurepip modules was found (tried: ${PYTHON:-python3, python3.13 ... python3.10})."
    echo "Debian and Ubuntu keep them in a package of their own: apt-get install python3-venv"
    echo "Another interpreter is chosen with: make PYTHON=/path/to/python3 ..."
} >&2
exit 1
