"""One way to open all kinds of recordings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from onet_ros.recordings.bags import BagRecording
from onet_ros.recordings.recording import RecordedFrame, Recording, RecordingError
from onet_ros.scene import Capture, load_capture

CAPTURE_SUFFIXES = (".npz", ".ply", ".pcd")
BAG_SUFFIXES = (".mcap", ".db3", ".bag")


class CaptureRecording:
    """A capture of one look, as a recording of one frame."""

    fixed_frame = False

    def __init__(self, path: Path) -> None:
        """Raises CaptureError."""
        self._capture: Capture = load_capture(path)

    def __len__(self) -> int:
        return 1

    def frames(self) -> Iterator[RecordedFrame]:
        """The one frame."""
        capture = self._capture
        yield RecordedFrame(0, "", lambda: capture.cloud, lambda: capture.viewpoint, capture.rgb)


def open_recording(path: Path, topic: str = "", target_frame: str = "", max_points: int = 5_000_000) -> Recording:
    """A file, or the folder of a bag, as a recording.

    Args:
        path: .npz, .ply, .pcd; or a bag: a folder with metadata.yaml, .mcap, .db3, or .bag of ROS 1.
        topic: of a bag, the clouds or depth images; empty where there is only one that it can be.
        target_frame: of a bag with /tf, the frame of the results; empty for the camera's own.
        max_points: clouds with more points are refused.

    Raises:
        RecordingError: another kind of file, or nothing usable in it.
        CaptureError: a capture that cannot be read.
    """
    if not path.exists():
        raise RecordingError(f"{path}: no such file or folder")
    if path.is_dir() or path.suffix.lower() in BAG_SUFFIXES:
        return BagRecording(path, topic, target_frame, max_points)
    if path.suffix.lower() in CAPTURE_SUFFIXES:
        if topic or target_frame:
            raise RecordingError(f"{path}: topics and target frames are for bags, and this is a capture")
        return CaptureRecording(path)
    known = ", ".join((*CAPTURE_SUFFIXES, *BAG_SUFFIXES))
    raise RecordingError(f"{path}: a recording ends in {known}, or is the folder of a bag; not in {path.suffix!r}")
