"""Point clouds as the drivers of depth cameras lay them out in sensor_msgs/PointCloud2.

The other direction is `onet_ros.scene.decode_point_cloud2`, which reads them all.
"""

from __future__ import annotations

import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header


@dataclass(frozen=True)
class CloudLayout:
    """How a driver sends points.

    Attributes:
        point_step: bytes of a point, of which x, y, z are the first twelve.
        rgb_offset: where the packed colour lies; None for clouds without colour.
        missing: coordinate of a missing point.
        organized: rows and columns of the image are kept; otherwise missing points are left out.
    """

    point_step: int
    rgb_offset: int | None
    missing: float
    organized: bool = True


LAYOUTS = {
    "realsense": CloudLayout(point_step=20, rgb_offset=16, missing=0.0),
    "realsense_unordered": CloudLayout(point_step=20, rgb_offset=16, missing=0.0, organized=False),
    "realsense_colourless": CloudLayout(point_step=16, rgb_offset=None, missing=0.0),
    "orbbec": CloudLayout(point_step=20, rgb_offset=16, missing=0.0),
    "orbbec_colourless": CloudLayout(point_step=16, rgb_offset=None, missing=0.0),
    "zed": CloudLayout(point_step=16, rgb_offset=12, missing=float("nan")),
    "azure_kinect": CloudLayout(point_step=32, rgb_offset=16, missing=float("nan")),
    "packed": CloudLayout(point_step=12, rgb_offset=None, missing=float("nan")),
}


def to_point_cloud2_msg(
    header: Header, points: NDArray[np.float32], layout: CloudLayout, colours: NDArray[np.uint8] | None = None
) -> PointCloud2:
    """Points -> PointCloud2.

    Args:
        header: the cloud's stamp and frame.
        points: (H, W, 3) metres, NaN where there is no depth.
        colours: (H, W, 3) RGB; black when left out and the layout has colour.
    """
    height, width = points.shape[:2]
    names, offsets = ["x", "y", "z"], [0, 4, 8]
    if layout.rgb_offset is not None:
        names, offsets = [*names, "rgb"], [*offsets, layout.rgb_offset]
    record = np.dtype(
        {"names": names, "formats": ["<f4"] * len(names), "offsets": offsets, "itemsize": layout.point_step}
    )
    records = np.zeros((height, width), dtype=record)
    valid = np.isfinite(points).all(axis=-1)
    for axis, name in enumerate("xyz"):
        records[name] = np.where(valid, points[..., axis], layout.missing)
    if layout.rgb_offset is not None and colours is not None:
        red, green, blue = (colours[..., channel].astype("<u4") for channel in range(3))
        records["rgb"] = (red << 16 | green << 8 | blue).view("<f4")  # as PCL packs it: 0x00RRGGBB in a float
    if not layout.organized:
        records = records[valid][None]
    return PointCloud2(
        header=header,
        height=records.shape[0],
        width=records.shape[1],
        fields=[
            PointField(name=name, offset=offset, datatype=PointField.FLOAT32, count=1)
            for name, offset in zip(names, offsets, strict=True)
        ],
        point_step=layout.point_step,
        row_step=layout.point_step * records.shape[1],
        data=array.array("B", records.tobytes()),
        is_dense=not np.isnan(layout.missing) or bool(valid.all()),
    )
