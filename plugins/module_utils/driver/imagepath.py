# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images as hypervisors know them that keep them in files of their host: by their paths, or by their names in an image
cache."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import Problem
from ..model.instance import Instance


def image_path_problems(instance: Instance) -> Iterator[Problem]:
    """What is wrong with an instance's images where each is the path of a file, or has a name without slashes."""
    images = [("image", instance.image)]
    images += [
        (f"disks[{number}].image", disk.image)
        for number, disk in enumerate(instance.disks or [])
        if disk.image != instance.image
    ]
    for option, image in images:
        if image is not None and not is_path(image) and "/" in image:
            yield Problem(
                option,
                f"has to be an absolute path on the hypervisor's host, or the name of an image in a pool's cache, not "
                f"{image!r}",
            )


def is_path(image: str) -> bool:
    """Whether an image is named by the path of its file, and not by its name in an image cache."""
    return image.startswith("/")
