"""The recordings room: clouds out of files, for people without ROS at hand.

Captures of one look (.npz, .ply, .pcd) and bags of many (ROS 2 folders, .mcap, .db3; ROS 1 .bag).
"""

from onet_ros.recordings.bags import BagRecording
from onet_ros.recordings.opening import open_recording
from onet_ros.recordings.recording import RecordedFrame, Recording, RecordingError
from onet_ros.recordings.transforms import RecordedTransforms

__all__ = [
    "BagRecording",
    "RecordedFrame",
    "RecordedTransforms",
    "Recording",
    "RecordingError",
    "open_recording",
]
