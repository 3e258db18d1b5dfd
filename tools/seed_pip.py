# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets ansible-test make its virtual environments from the package index alone.

They start without pip, and ansible-test downloads a bootstrap script for it unless its cache in the home folder
(``HOME/.ansible/test/cache``) has one. This puts one there: the pip wheel of the version that this ansible-test asks
for, and a small script that runs pip out of that wheel.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

SCRIPT = '''\
"""Installs what it is asked to with the pip of the wheel beside it."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), {wheel!r}))

from pip._internal.cli.main import main

NOT_FOR_PIP = ("--no-setuptools", "--no-wheel")
sys.exit(main(["install"] + [argument for argument in sys.argv[1:] if argument not in NOT_FOR_PIP]))
'''


def wanted_versions() -> set[str]:
    """The pip versions that the installed ansible-test bootstraps."""
    import ansible_test

    source = Path(next(iter(ansible_test.__path__)), "_internal", "python_requirements.py").read_text(encoding="utf-8")
    return set(re.findall(r"""pip=["'](\d+(?:\.\d+)+)["']""", source))


def seed(cache: Path, version: str) -> None:
    script = cache / f"get_pip_{version.replace('.', '_')}.py"
    if script.exists():
        return
    cache.mkdir(parents=True, exist_ok=True)
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"--dest={cache}", f"pip=={version}"]
    subprocess.run(download, check=True)
    wheel = next(cache.glob(f"pip-{version}-*.whl"))
    script.write_text(SCRIPT.format(wheel=wheel.name), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path, help="the home folder that ansible-test will run with")
    cache = parser.parse_args().home / ".ansible" / "test" / "cache"
    for version in sorted(wanted_versions()):
        seed(cache, version)
    return 0


if __name__ == "__main__":
    sys.exit(main())
