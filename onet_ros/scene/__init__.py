"""The scene room: clouds, the support plane, the objects on it, recorded captures and the object's unit frame.

Knows points, planes and frames; nothing of networks, fields or ROS.
"""

from onet_ros.scene.captures import Capture, CaptureError, depth_to_points, load_capture
from onet_ros.scene.cloud import CloudError, PointCloud, RegionOfInterest, decode_point_cloud2, depth_noise
from onet_ros.scene.plane import PlaneFit, PlaneSettings, SupportPlane, find_support_plane
from onet_ros.scene.plane_tracker import PlaneTracker
from onet_ros.scene.segmentation import ObjectCluster, SegmentationSettings, clusters_from_labels, segment_objects
from onet_ros.scene.surroundings import Surroundings, background_points, table_beside
from onet_ros.scene.unit_frame import UNIT_BOX, UnitFrame, object_unit_frame

__all__ = [
    "UNIT_BOX",
    "Capture",
    "CaptureError",
    "CloudError",
    "ObjectCluster",
    "PlaneFit",
    "PlaneSettings",
    "PlaneTracker",
    "PointCloud",
    "RegionOfInterest",
    "SegmentationSettings",
    "SupportPlane",
    "Surroundings",
    "UnitFrame",
    "background_points",
    "clusters_from_labels",
    "decode_point_cloud2",
    "depth_noise",
    "depth_to_points",
    "find_support_plane",
    "load_capture",
    "object_unit_frame",
    "segment_objects",
    "table_beside",
]
