"""Point clouds as they come from depth cameras: decoding, validity, region of interest and the noise to expect."""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from onet_ros import columns
from onet_ros.settings import check_settings, setting

MAX_COORDINATE = 1e3
"""Metres: a depth camera's coordinate beyond this is a fault, not a measurement."""

MIN_COORDINATE = 1e-6
"""Metres: a point nearer to the origin is one that drivers write as zero, and its distance would underflow."""

_FLOAT_DATATYPES = {7: "f4", 8: "f8"}
_DATATYPE_NAMES = {1: "INT8", 2: "UINT8", 3: "INT16", 4: "UINT16", 5: "INT32", 6: "UINT32", 7: "FLOAT32", 8: "FLOAT64"}


class CloudError(ValueError):
    """A cloud that cannot be used; the message quotes the value at fault."""


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Points of one depth frame, in the layout of the sensor's image where it has one.

    Attributes:
        points: (H, W, 3) float32, metres, sensor frame; NaN in all three coordinates where a measurement is missing.
            H == 1 for a cloud without image structure.
        cell_size: metres, edge of the cells of a map whose middles the points are; 0 for measured points.
    """

    points: np.ndarray
    cell_size: float = 0.0

    def __post_init__(self) -> None:
        if self.points.ndim != 3 or self.points.shape[2] != 3 or self.points.dtype != np.float32:
            raise CloudError(f"points must be (H, W, 3) float32, got {self.points.shape} {self.points.dtype}")

    @classmethod
    def from_points(cls, points: np.ndarray) -> PointCloud:
        """Check and copy points.

        Args:
            points: (N, 3) or (H, W, 3) numbers, metres. Not finite, (0, 0, 0) or beyond `MAX_COORDINATE` is
                missing.

        Raises:
            CloudError: another shape, not numbers, or no usable point at all.
        """
        given = np.asarray(points)
        if given.dtype.kind not in "fiu":
            raise CloudError(f"points must be real numbers, got dtype {given.dtype}")
        if given.ndim not in (2, 3) or given.shape[-1] != 3:
            raise CloudError(f"points must be (N, 3) or (H, W, 3), got shape {given.shape}")
        if given.size == 0:
            raise CloudError(f"empty cloud: no points in an array of shape {given.shape}")
        with np.errstate(over="ignore", invalid="ignore"):  # a float64 beyond float32 becomes Inf, which is missing
            own = given.reshape((-1, *given.shape[-2:])).astype(np.float32)
        return cls._from_owned(own)

    @classmethod
    def _from_owned(cls, points: np.ndarray) -> PointCloud:
        """Mark what is missing in points (H, W, 3) float32 that nobody else holds."""
        extent = np.abs(points[..., 0])
        for axis in (1, 2):
            np.maximum(extent, np.abs(points[..., axis]), out=extent)  # NaN wins, so one test below sees every fault
        missing = ~((extent > MIN_COORDINATE) & (extent <= MAX_COORDINATE))
        if missing.all():
            zero, absurd = (
                int((extent <= MIN_COORDINATE).sum()),
                int((np.isfinite(extent) & (extent > MAX_COORDINATE)).sum()),
            )
            raise CloudError(
                f"none of the {extent.size} points is usable: {extent.size - zero - absurd} not finite, "
                f"{zero} exactly zero, {absurd} beyond {MAX_COORDINATE:g} m"
            )
        points[missing] = np.nan
        return cls(points)

    @property
    def organized(self) -> bool:
        """True where rows and columns are those of the sensor's image."""
        return bool(self.points.shape[0] > 1)

    @cached_property
    def valid(self) -> np.ndarray:
        """(H, W) bool: True where there is a measurement."""
        return ~np.isnan(self.points[..., 2])

    @property
    def valid_points(self) -> np.ndarray:
        """(N, 3) float32, metres, sensor frame: the measurements, in the order of the flat cloud."""
        return columns.rows(self.points.reshape(-1, 3), self.valid.ravel())


def decode_point_cloud2(message: Any, max_points: int = 5_000_000) -> PointCloud:
    """The points of a sensor_msgs/PointCloud2, whatever the driver's layout.

    x, y and z are found by name and read through strided views of the message's bytes, so padding between and after the
    fields, points and rows, other fields, unaligned offsets and either byte order all cost nothing.

    Args:
        message: anything with height, width, fields (each with name, offset, datatype, count), is_bigendian,
            point_step, row_step and data (a buffer of bytes). It is only read.
        max_points: clouds with more points are refused before anything is allocated.

    Raises:
        CloudError: a malformed, oversized or empty cloud, or one without a usable point; quotes the value at fault.
    """
    height, width = _size(message.height, "height"), _size(message.width, "width")
    point_step, row_step = _size(message.point_step, "point_step"), _size(message.row_step, "row_step")
    if height * width == 0:
        raise CloudError(f"empty cloud: height {height} x width {width} holds no points")
    if height * width > max_points:
        raise CloudError(f"cloud of {height} x {width} = {height * width} points exceeds the limit of {max_points}")
    elements = _coordinates(message.fields, point_step, ">" if message.is_bigendian else "<")
    if row_step < width * point_step:
        raise CloudError(f"row_step {row_step} is less than width {width} x point_step {point_step}")
    data = _as_bytes(message.data)
    if data.size < height * row_step:
        raise CloudError(
            f"data holds {data.size} bytes, height {height} x row_step {row_step} = {height * row_step} expected"
        )
    points = np.empty((height, width, 3), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # a float64 beyond float32 becomes Inf, which is missing
        for axis, (element, offset) in enumerate(elements):
            points[..., axis] = np.ndarray((height, width), element, data, offset, strides=(row_step, point_step))
    return PointCloud._from_owned(points)


def _size(value: Any, name: str) -> int:
    """`value` as a non-negative integer."""
    try:
        number = operator.index(value)
    except TypeError:
        raise CloudError(f"{name} must be an integer, got {value!r}") from None
    if number < 0:
        raise CloudError(f"{name} must not be negative, got {number}")
    return number


def _coordinates(fields: Any, point_step: int, byte_order: str) -> list[tuple[np.dtype, int]]:
    """Type and offset of x, y and z in a point of `point_step` bytes."""
    coordinates = []
    for name in "xyz":
        found = [field for field in fields if field.name == name]
        if len(found) != 1:
            names = ", ".join(str(field.name) for field in fields) or "none"
            raise CloudError(f"{'no' if not found else 'more than one'} field {name!r} among the fields: {names}")
        field = found[0]
        if field.datatype not in _FLOAT_DATATYPES:
            known = _DATATYPE_NAMES.get(field.datatype, "unknown")
            raise CloudError(f"field {name!r} must be FLOAT32 (7) or FLOAT64 (8), got {known} ({field.datatype!r})")
        if field.count not in (0, 1):  # 0 is what some old drivers write for 1
            raise CloudError(f"field {name!r} must have count 1, got {field.count!r}")
        element = np.dtype(byte_order + _FLOAT_DATATYPES[field.datatype])
        offset = _size(field.offset, f"offset of field {name!r}")
        if offset + element.itemsize > point_step:
            raise CloudError(
                f"field {name!r} at offset {offset} with {element.itemsize} bytes ends past point_step {point_step}"
            )
        coordinates.append((element, offset))
    return coordinates


def _as_bytes(data: Any) -> np.ndarray:
    """(B,) uint8 view of a contiguous buffer."""
    if isinstance(data, (bytes, bytearray)) and not data:
        return np.empty(0, np.uint8)
    try:
        return np.frombuffer(data, np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        raise CloudError(f"data must be a contiguous buffer of bytes, got {type(data).__name__}: {error}") from None


def depth_noise(distance: np.ndarray) -> np.ndarray:
    """Standard deviation, metres, of the depth that a consumer camera measures at `distance` (any shape), metres.

    Nguyen, Izadi and Lovell, "Modeling Kinect sensor noise for improved 3D reconstruction and tracking", 3DIMPVT 2012,
    the axial noise at small incidence. Short-baseline stereo (RealSense D4xx) is of the same size within 1.5 m.
    """
    return 0.0012 + 0.0019 * np.square(distance - 0.4)


@dataclass(frozen=True)
class RegionOfInterest:
    """The part of space that is looked at: a box in the planning frame and a distance from the sensor."""

    minimum: tuple[float, ...] = setting(
        (-MAX_COORDINATE,) * 3,
        "Lower corner x, y, z of the box in the planning frame; points outside are ignored",
        unit="m",
        minimum=-MAX_COORDINATE,
        maximum=MAX_COORDINATE,
    )
    maximum: tuple[float, ...] = setting(
        (MAX_COORDINATE,) * 3,
        "Upper corner x, y, z of the box in the planning frame; points outside are ignored",
        unit="m",
        minimum=-MAX_COORDINATE,
        maximum=MAX_COORDINATE,
    )
    max_range: float = setting(
        1.5, "Points farther than this from the sensor are ignored", unit="m", minimum=0.05, maximum=MAX_COORDINATE
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if len(self.minimum) != 3 or len(self.maximum) != 3:
            raise ValueError(f"minimum and maximum must have 3 numbers each, got {self.minimum} and {self.maximum}")
        if any(low >= high for low, high in zip(self.minimum, self.maximum, strict=True)):
            raise ValueError(f"minimum must be below maximum on every axis, got {self.minimum} and {self.maximum}")

    def contains(self, point: ArrayLike) -> bool:
        """Whether a point (3,), metres, the box's frame, lies in the box."""
        place = np.asarray(point, dtype=np.float64)
        return bool(((place >= self.minimum) & (place <= self.maximum)).all())

    def crop(
        self, cloud: PointCloud, T_region_cloud: ArrayLike | None = None, viewpoint: ArrayLike = (0.0, 0.0, 0.0)
    ) -> PointCloud:
        """The cloud with everything outside the region missing; its layout stays as it is.

        Args:
            T_region_cloud: (4, 4), from the cloud's frame to the frame of the box; the same frame when None.
            viewpoint: (3,) metres, the cloud's frame: where the sensor stood.

        Raises:
            CloudError: no point is inside; quotes the region and where the points are.
        """
        points = cloud.points
        rays = points - np.asarray(viewpoint, dtype=np.float32)
        with np.errstate(invalid="ignore"):  # NaN compares false: what is missing stays missing
            inside = np.einsum("hwc,hwc->hw", rays, rays) <= self.max_range**2
            if any(abs(bound) < MAX_COORDINATE for bound in (*self.minimum, *self.maximum)):
                placed = points
                if T_region_cloud is not None:
                    transform = np.asarray(T_region_cloud, dtype=np.float32)
                    placed = points @ transform[:3, :3].T + transform[:3, 3]
                for axis in range(3):
                    inside &= (placed[..., axis] >= self.minimum[axis]) & (placed[..., axis] <= self.maximum[axis])
        if not inside.any():
            seen = cloud.valid_points
            low, high = (np.round(end.astype(float), 3).tolist() for end in (seen.min(axis=0), seen.max(axis=0)))
            raise CloudError(
                f"no point inside the region of interest {self.minimum} to {self.maximum}, max_range {self.max_range}: "
                f"the {len(seen)} points span {low} to {high} in their frame"
            )
        if np.array_equal(inside, cloud.valid):
            return cloud
        return replace(cloud, points=np.where(inside[..., None], points, np.float32(np.nan)))
