# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules for storage have in common."""

from __future__ import annotations


class ModuleDocFragment:
    """Documented once, for every module about storage."""

    DOCUMENTATION = r"""
options:
  workers:
    description: How many objects are changed at the same time. Those that have to do with each other are changed one
      after the other.
    type: int
    default: 8
attributes:
  check_mode:
    support: full
    description: Returns the very plan that the real run carries out, and changes nothing.
  diff_mode:
    support: full
    description: Shows each changed object before and after, in the words of the module's options.
notes:
  - What a task does not mention is left alone.
  - Everything wrong with a task is found first and reported at once, each problem with the name of its option, before
    anything is changed.
  - When a step fails, the steps before it are undone, and the error says so. A run that was killed is mended by
    running it again.
"""
