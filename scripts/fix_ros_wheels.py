"""Repair the ROS 2 wheels from PyPI inside a virtual environment.

Some of their exported `.cmake` files name the Python of the machine that built the wheels
(`/opt/python/cp311-cp311/...`), and `rosidl_generate_interfaces` fails on the missing folders. This rewrites every such
path to the environment's own include and site-packages folders. Run it with the environment's Python; running it again
changes nothing.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

BUILD_HOST_PATH = re.compile(r"/opt/python/[^/\s;\"]+/(?P<kind>include/python[\d.]+|lib/python[\d.]+/site-packages)")


def repair(text: str, include: str, site_packages: str) -> str:
    """`text` with the build host's include and site-packages folders replaced by the ones given."""
    return BUILD_HOST_PATH.sub(lambda match: include if match["kind"].startswith("include") else site_packages, text)


def repair_prefix(prefix: Path, include: str, site_packages: str) -> int:
    """Repair all `.cmake` files under `prefix/share` in place; returns how many were changed."""
    changed = 0
    for path in sorted(prefix.glob("share/**/*.cmake")):
        old = path.read_text(encoding="utf-8")
        new = repair(old, include, site_packages)
        if new != old:
            path.write_text(new, encoding="utf-8")
            changed += 1
    return changed


if __name__ == "__main__":
    if sys.prefix == sys.base_prefix:
        sys.exit(f"{sys.executable} is not in a virtual environment: run this with the environment's own Python")
    count = repair_prefix(Path(sys.prefix), sysconfig.get_path("include"), sysconfig.get_path("purelib"))
    print(f"{count} CMake file(s) repaired under {sys.prefix}/share")
