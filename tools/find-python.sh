#!/usr/bin/env bash
# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# find-python.sh OLDEST [NEWEST]: prints a real interpreter of these versions that can make virtual environments.
# Version managers leave wrappers on PATH that fail for versions which are not selected, so each candidate is run.
set -euo pipefail

oldest=${1:-3.10}
newest=${2:-4.0}
probe="
import sys
oldest, newest = (tuple(int(part) for part in text.split('.')) for text in ('${oldest}', '${newest}'))
if not oldest <= sys.version_info[:2] <= newest:
    sys.exit(1)
import ensurepip, venv
print(getattr(sys, '_base_executable', '') or sys.executable)
"

if [ -n "${PYTHON:-}" ] && [ "$#" -lt 2 ]; then
    candidates=("${PYTHON}")
else
    candidates=(python3 python3.13 python3.12 python3.11 python3.10 "python${oldest}")
    candidates+=("${PYENV_ROOT:-${HOME}/.pyenv}"/versions/*/bin/python3)
fi

for candidate in "${candidates[@]}"; do
    if found=$("${candidate}" -c "${probe}" 2>/dev/null) && [ -n "${found}" ]; then
        echo "${found}"
        exit 0
    fi
done

{
    echo "No Python ${oldest} or later with the venv and ensurepip modules was found."
    echo "Debian and Ubuntu keep them in a package of their own: apt-get install python3-venv"
    echo "Another interpreter is chosen with: make PYTHON=/path/to/python3 ..."
} >&2
exit 1
