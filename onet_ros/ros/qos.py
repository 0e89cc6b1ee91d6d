"""Quality of service of all topics that the node publishes; what it listens to, see `adaptive_subscription`."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

# Reliable publishers match reliable and best-effort subscribers. Of the objects only the newest message counts, and who
# comes late is told it at once. Markers and collision objects are sent again when somebody new listens.
OBJECTS_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
MARKERS_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
COLLISION_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
DIAGNOSTICS_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
