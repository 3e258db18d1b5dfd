# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests need running: a guest that boots in seconds and hypervisor hosts of their own.

Import it with ``tests/`` on ``sys.path``: ``from lab.hosts import LibvirtHost``.
"""
