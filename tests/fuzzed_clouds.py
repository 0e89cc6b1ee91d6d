"""PointCloud2 messages with everything wrong that can be: of fields, offsets, types, sizes, byte order and values.

Each message begins as a small cloud of a table with a box on it, and is spoiled in one to four ways by a generator with
a seed, so that any of them can be made again from its number alone.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from table_scenes import box, look, table

UINT32 = 2**32 - 1


@dataclass
class Field:
    """Stands for sensor_msgs/PointField."""

    name: str
    offset: int
    datatype: int = 7
    count: int = 1


@dataclass
class Cloud:
    """Stands for sensor_msgs/PointCloud2; everything in it is in the range of the message's types."""

    height: int
    width: int
    fields: list[Field]
    is_bigendian: bool
    point_step: int
    row_step: int
    data: bytes
    is_dense: bool = False
    header: object = field(default=None)


def good_cloud(step: int = 8) -> Cloud:
    """The cloud that all others are made from: every `step`-th row and column of a view."""
    points = look([table(), box((0.15, 0.12, 0.2), (0.0, 0.0, 0.0))]).cloud.points[::step, ::step]
    height, width = points.shape[:2]
    fields = [Field(name, 4 * axis) for axis, name in enumerate("xyz")]
    return Cloud(height, width, fields, False, 16, 16 * width, _padded(points).tobytes())


def _padded(points: np.ndarray) -> np.ndarray:
    padded = np.zeros((*points.shape[:2], 4), np.float32)
    padded[..., :3] = points
    return padded


def fuzzed_cloud(good: Cloud, number: int) -> Cloud:
    """Message of a number, always the same."""
    rng = np.random.default_rng(number)
    cloud = replace(good, fields=[replace(one) for one in good.fields])
    for spoil in rng.choice(np.array(SPOILERS, dtype=object), size=int(rng.integers(1, 5)), replace=False):
        spoil(cloud, rng)
    return cloud


def _any_size(rng: np.random.Generator) -> int:
    """A number that a size may hold: small, around powers of two, or absurd."""
    kind = rng.integers(4)
    if kind == 0:
        return int(rng.integers(0, 40))
    if kind == 1:
        return int(np.clip(2 ** int(rng.integers(0, 33)) + rng.integers(-1, 2), 0, UINT32))
    if kind == 2:
        return int(rng.integers(0, UINT32, endpoint=True))
    return int(rng.integers(0, 4000))


def _spoil_field_names(cloud: Cloud, rng: np.random.Generator) -> None:
    one = cloud.fields[int(rng.integers(len(cloud.fields)))] if cloud.fields else Field("x", 0)
    one.name = str(rng.choice(["", "X", "x", "y", "z", "rgb", "x\0", "ünicode", "i" * 300]))


def _spoil_field_list(cloud: Cloud, rng: np.random.Generator) -> None:
    kind = rng.integers(4)
    if kind == 0:
        cloud.fields = []
    elif kind == 1 and cloud.fields:
        del cloud.fields[int(rng.integers(len(cloud.fields)))]
    elif kind == 2 and cloud.fields:
        cloud.fields.append(replace(cloud.fields[0]))
    else:
        cloud.fields = [Field(f"f{index}", index) for index in range(200)] + cloud.fields


def _spoil_offsets(cloud: Cloud, rng: np.random.Generator) -> None:
    for one in cloud.fields:
        if rng.random() < 0.5:
            one.offset = _any_size(rng)


def _spoil_types(cloud: Cloud, rng: np.random.Generator) -> None:
    for one in cloud.fields:
        if rng.random() < 0.5:
            one.datatype = int(rng.integers(0, 256))
        if rng.random() < 0.2:
            one.datatype = 8
        if rng.random() < 0.2:
            one.count = _any_size(rng)


def _spoil_sizes(cloud: Cloud, rng: np.random.Generator) -> None:
    name = str(rng.choice(["height", "width", "point_step", "row_step"]))
    setattr(cloud, name, _any_size(rng))


def _spoil_shape(cloud: Cloud, rng: np.random.Generator) -> None:
    kind = rng.integers(3)
    if kind == 0:  # unorganized
        cloud.height, cloud.width, cloud.row_step = 1, cloud.height * cloud.width, cloud.point_step * cloud.width
    elif kind == 1:
        cloud.height, cloud.width = cloud.width, cloud.height
    else:
        cloud.height, cloud.width = int(rng.integers(0, 3)), int(rng.integers(0, 3))


def _spoil_byte_order(cloud: Cloud, rng: np.random.Generator) -> None:
    cloud.is_bigendian = not cloud.is_bigendian
    if rng.random() < 0.5:
        numbers = np.frombuffer(cloud.data[: len(cloud.data) // 4 * 4], "<u4").astype(">u4")
        cloud.data = numbers.tobytes() + cloud.data[len(numbers) * 4 :]


def _spoil_length(cloud: Cloud, rng: np.random.Generator) -> None:
    kind = rng.integers(4)
    if kind == 0:
        cloud.data = b""
    elif kind == 1:
        cloud.data = cloud.data[: int(rng.integers(0, len(cloud.data) + 1))]
    elif kind == 2:
        cloud.data += rng.bytes(int(rng.integers(1, 5000)))
    else:
        cloud.data = cloud.data[int(rng.integers(0, 9)) :]


def _spoil_bytes(cloud: Cloud, rng: np.random.Generator) -> None:
    if rng.random() < 0.3:
        cloud.data = rng.bytes(len(cloud.data))
        return
    changed = np.frombuffer(cloud.data, np.uint8).copy()
    if len(changed):
        where = rng.integers(0, len(changed), size=int(rng.integers(1, len(changed) + 1)))
        changed[where] = rng.integers(0, 256, size=len(where), dtype=np.uint8)
    cloud.data = changed.tobytes()


def _spoil_values(cloud: Cloud, rng: np.random.Generator) -> None:
    value = float(
        rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, 1e-38, 3.4e38, -3.4e38, 1e6, -1e6, 1000.0, 1e-3, 1.0])
    )
    numbers = np.frombuffer(cloud.data[: len(cloud.data) // 4 * 4], "<f4").copy()
    if len(numbers):
        share = float(rng.choice([0.01, 0.5, 0.99, 1.0]))
        numbers[rng.random(len(numbers)) < share] = struct.unpack("<f", struct.pack("<f", np.float32(value)))[0]
    cloud.data = numbers.tobytes()


def _spoil_geometry(cloud: Cloud, rng: np.random.Generator) -> None:
    """All on a point, on a line, in a plane, in a ball, far away, tiny, behind the camera."""
    count = len(cloud.data) // 16
    along = rng.normal(size=(count, 3)).astype(np.float32)
    kind = rng.integers(7)
    if kind == 0:
        along[:] = along[:1]
    elif kind == 1:
        along[:, 1:] = 0.0
    elif kind == 2:
        along[:, 2] = 1.0
    elif kind == 3:
        along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
    elif kind == 4:
        along *= 1e3
    elif kind == 5:
        along *= 1e-6
    else:
        along[:, 2] = -np.abs(along[:, 2])
    numbers = np.zeros((count, 4), np.float32)
    numbers[:, :3] = along
    cloud.data = numbers.tobytes()


SPOILERS: list[Callable[[Cloud, np.random.Generator], None]] = [
    _spoil_field_names,
    _spoil_field_list,
    _spoil_offsets,
    _spoil_types,
    _spoil_sizes,
    _spoil_shape,
    _spoil_byte_order,
    _spoil_length,
    _spoil_bytes,
    _spoil_values,
    _spoil_geometry,
]
