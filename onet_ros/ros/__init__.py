"""ROS 2: the node, its parameters, messages and frames; a camera and a collector for the other ends of its topics.

The only room that imports ROS. It re-exports nothing, so that what needs no ROS in it (`node_settings`,
`camera_sources`, `comparison`, `worker`) can be used without.
"""

from onet_ros.idle_threads import soon_idle

soon_idle()  # before the nodes load NumPy and torch
