# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A XenAPI server on loopback: a pool of simulated hosts that keeps the published data model's types, errors and rules.

By hand: ``python -m lab.xenapi`` in the folder tests/. In tests: ``XenApiServer`` of ``lab.xenapi.server``.
"""
