#!/usr/bin/env bash
# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# converge-twice.sh LOG PLAYBOOK: runs a playbook on this machine twice; the second run must change nothing.
set -euo pipefail

log=$1
playbook=$2
mkdir -p "$(dirname "${log}")"
for run in first second; do
    echo "--- ${playbook}, ${run} run"
    ansible-playbook -i localhost, "${playbook}" | tee "${log}"
done
if ! grep -qE 'changed=0 ' "${log}"; then
    echo "${playbook} is not idempotent: its second run changed something." >&2
    exit 1
fi
