# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.anyvirt.compute.plugins.plugin_utils.watched import WatchedAction


class ActionModule(WatchedAction):
    """Runs the module and shows how far it has come."""
