# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run programs and report their failures with what they printed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lab.errors import LabError


def run(
    argv: Sequence[str | Path], *, check: bool = True, timeout_s: float = 120, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run argv without a shell; with check, a failure is a LabError that quotes its output."""
    command = [str(word) for word in argv]
    environment = dict(os.environ, LC_ALL="C")
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            cwd=cwd,
            env=environment,
            check=False,
        )
    except FileNotFoundError as error:
        raise LabError(f"program not found: {command[0]} (see 'Packages' in tests/lab/README.md)") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"still running after {timeout_s:g} s: {' '.join(command)}") from error
    if check and done.returncode != 0:
        output = (done.stderr or done.stdout).strip()
        raise LabError(f"{' '.join(command)}: exit status {done.returncode}: {output}")
    return done


def require_root_and_programs(*programs: str) -> None:
    """Raise one LabError that names everything the lab lacks on this machine."""
    problems = []
    if os.geteuid() != 0:
        problems.append("the lab needs root (network and mount namespaces)")
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        problems.append(f"programs not found: {', '.join(missing)} (see 'Packages' in tests/lab/README.md)")
    if problems:
        raise LabError("; ".join(problems))
