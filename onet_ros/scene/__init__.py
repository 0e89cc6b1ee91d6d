"""The scene room: clouds, the support plane, the objects on it, pictures, voxel grids, captures, the unit frame.

Knows points, pixels, planes and frames; nothing of networks, fields or ROS.
"""

from onet_ros.scene.captures import Capture, CaptureError, depth_to_points, load_capture
from onet_ros.scene.cloud import CloudError, PointCloud, RegionOfInterest, decode_point_cloud2, depth_noise
from onet_ros.scene.evidence import SeenRays
from onet_ros.scene.free_space import FreeSpace
from onet_ros.scene.images import DepthImageDecoder, camera_matrix, decode_colours, decode_mask
from onet_ros.scene.octomap import decode_octomap
from onet_ros.scene.picture import (
    PICTURE_BOX,
    PictureError,
    PictureView,
    checked_intrinsics,
    checked_labels,
    checked_picture,
    crop_picture,
    undistorted,
    view_object,
)
from onet_ros.scene.plane import PlaneFit, PlaneSettings, SupportPlane, find_support_plane
from onet_ros.scene.plane_tracker import PlaneTracker
from onet_ros.scene.seen_object import AROUND_POINTS, BACKGROUND_POINTS, OPTICAL_UP, SeenObject
from onet_ros.scene.segmentation import (
    ObjectCluster,
    SegmentationSettings,
    clusters_from_labels,
    masked_objects,
    segment_objects,
)
from onet_ros.scene.stamps import StampOrder
from onet_ros.scene.surroundings import WIDE, Surroundings, background_points, table_beside
from onet_ros.scene.table import TableTop, seen_table
from onet_ros.scene.tracks import NANOSECONDS, Track, TrackingSettings, Tracks
from onet_ros.scene.unit_frame import UNIT_BOX, UnitFrame, object_unit_frame, to_unit_frames
from onet_ros.scene.voxels import GRID_RESOLUTION, OCCUPIED, VoxelError, VoxelGrid, load_voxels

__all__ = [
    "AROUND_POINTS",
    "BACKGROUND_POINTS",
    "GRID_RESOLUTION",
    "NANOSECONDS",
    "OCCUPIED",
    "OPTICAL_UP",
    "PICTURE_BOX",
    "UNIT_BOX",
    "WIDE",
    "Capture",
    "CaptureError",
    "CloudError",
    "DepthImageDecoder",
    "FreeSpace",
    "ObjectCluster",
    "PictureError",
    "PictureView",
    "PlaneFit",
    "PlaneSettings",
    "PlaneTracker",
    "PointCloud",
    "RegionOfInterest",
    "SeenObject",
    "SeenRays",
    "SegmentationSettings",
    "StampOrder",
    "SupportPlane",
    "Surroundings",
    "TableTop",
    "Track",
    "TrackingSettings",
    "Tracks",
    "UnitFrame",
    "VoxelError",
    "VoxelGrid",
    "background_points",
    "camera_matrix",
    "checked_intrinsics",
    "checked_labels",
    "checked_picture",
    "clusters_from_labels",
    "crop_picture",
    "decode_colours",
    "decode_mask",
    "decode_octomap",
    "decode_point_cloud2",
    "depth_noise",
    "depth_to_points",
    "find_support_plane",
    "load_capture",
    "load_voxels",
    "masked_objects",
    "object_unit_frame",
    "seen_table",
    "segment_objects",
    "table_beside",
    "to_unit_frames",
    "undistorted",
    "view_object",
]
