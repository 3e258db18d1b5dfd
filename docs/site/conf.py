# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of the documentation site (make docs): the guides beside this folder, and the plugins' reference."""

from __future__ import annotations

project = "anyvirt.compute"
copyright = "anyvirt contributors"  # noqa: A001  (the name that Sphinx reads)
title = html_title = html_short_title = project

extensions = ["myst_parser", "sphinx_antsibull_ext"]
myst_heading_anchors = 3
# The guides link to files of the repository, and the reference to Ansible's own manual: the site has neither.
suppress_warnings = ["myst.xref_missing", "ref.ref"]

pygments_style = "ansible"
highlight_language = "YAML+Jinja"
html_theme = "sphinx_ansible_theme"
html_show_sphinx = False
html_use_index = False
html_copy_source = False
default_role = "any"
