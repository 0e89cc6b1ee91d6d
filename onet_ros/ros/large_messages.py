"""Room for messages of several megabytes between the processes of a machine. Needs no ROS.

Fast DDS, which most ROS 2 distributions come with, hands messages over in shared memory, of which it gives a process
512 kB. A cloud of 6 MB then goes through in a dozen parts that wait for each other; with best effort most clouds are
lost. `config/fastdds.xml` gives a process 16 MB. It is the sender's that counts. Other middleware does not look at it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from onet_ros.resources import data_folder

PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")  # before Fast DDS 3, and since
ROOM = 32 << 20  # bytes of shared memory that must be free; containers have 64 MB unless they are given more


def settings_for_large_messages(
    environment: Mapping[str, str] = os.environ, shared_memory: Path = Path("/dev/shm")
) -> dict[str, str]:
    """Environment variables that give a process more shared memory.

    Args:
        environment: what is set. Whoever chose transports or profiles of his own, or shut ROS in by
            `ROS_LOCALHOST_ONLY` (whose transports a profile would widen), keeps them.
        shared_memory: where it is mounted.

    Returns:
        Variables to set before the process joins a domain; none where they are not wanted, or there is no room.
    """
    own = (*PROFILE_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS")
    if any(environment.get(name) for name in own) or environment.get("ROS_LOCALHOST_ONLY", "0") != "0":
        return {}
    try:
        known = os.statvfs(shared_memory)
        profile = data_folder("config") / "fastdds.xml"
    except (OSError, AttributeError):  # no such folder, or a system that cannot be asked
        return {}
    if known.f_bavail * known.f_frsize < ROOM:
        return {}
    return dict.fromkeys(PROFILE_VARIABLES, str(profile))


def make_room_for_large_messages() -> None:
    """Have this process use those settings; before `rclpy.init`."""
    os.environ.update(settings_for_large_messages())
