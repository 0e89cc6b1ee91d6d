"""Decoding PointCloud2 in every layout, refusing what is malformed, and cropping."""

from __future__ import annotations

import array
import copy
from types import SimpleNamespace

import numpy as np
import pytest

from onet_ros.scene import CloudError, PointCloud, RegionOfInterest, decode_point_cloud2, depth_noise

FLOAT32, FLOAT64, UINT8, INT32 = 7, 8, 2, 5


def image_points(height=6, width=8):
    """(H, W, 3) float32 points that all differ, none of them zero."""
    return (np.arange(height * width * 3, dtype=np.float32).reshape(height, width, 3) + 1) / 100


def message(points, offsets=(0, 4, 8), formats="fff", point_step=12, row_padding=0, bigendian=False, rgb_offset=None):
    """A PointCloud2 as a driver would send it; bytes between the fields are filled with garbage."""
    height, width = points.shape[:2]
    row_step = width * point_step + row_padding
    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, (height, row_step), dtype=np.uint8)
    order = ">" if bigendian else "<"
    cells = data[:, : width * point_step].reshape(height, width, point_step)
    fields = []
    for axis, (name, offset, kind) in enumerate(zip("xyz", offsets, formats, strict=True)):
        raw = np.ascontiguousarray(points[..., axis].astype(f"{order}{kind}")).view(np.uint8).reshape(height, width, -1)
        cells[..., offset : offset + raw.shape[-1]] = raw
        fields.append(field(name, offset, FLOAT32 if kind == "f" else FLOAT64))
    if rgb_offset is not None:
        fields.append(field("rgb", rgb_offset, FLOAT32))
    data[:, : width * point_step] = cells.reshape(height, -1)
    return SimpleNamespace(
        height=height,
        width=width,
        fields=fields,
        is_bigendian=bigendian,
        point_step=point_step,
        row_step=row_step,
        data=array.array("B", data.tobytes()),
    )


def field(name, offset, datatype=FLOAT32, count=1):
    return SimpleNamespace(name=name, offset=offset, datatype=datatype, count=count)


LAYOUTS = {
    "packed": {},
    "realsense_with_colour": {"point_step": 20, "rgb_offset": 16},
    "orbbec_without_colour": {"point_step": 16},
    "zed": {"point_step": 16, "rgb_offset": 12},
    "azure_kinect_with_colour": {"point_step": 32, "rgb_offset": 16},
    "float64": {"formats": "ddd", "offsets": (0, 8, 16), "point_step": 24},
    "mixed_types": {"formats": "fdf", "offsets": (0, 4, 12), "point_step": 16},
    "unaligned": {"offsets": (1, 6, 13), "point_step": 19},
    "z_first": {"offsets": (8, 4, 0)},
    "padded_rows": {"point_step": 16, "row_padding": 7},
}


@pytest.mark.parametrize("bigendian", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_points_back_exactly(layout, bigendian):
    points = image_points()
    cloud = decode_point_cloud2(message(points, bigendian=bigendian, **LAYOUTS[layout]))
    np.testing.assert_array_equal(cloud.points, points)
    assert cloud.points.dtype == np.float32
    assert cloud.organized
    assert cloud.valid.all()


@pytest.mark.parametrize("container", [bytes, bytearray, memoryview, lambda data: np.frombuffer(data, np.uint8)])
def test_any_buffer_of_bytes_is_read_without_being_changed(container):
    points = image_points()
    points[2, 3] = 0.0  # marking it as missing must happen in the copy
    sent = message(points)
    raw = sent.data.tobytes()
    sent.data = container(raw)
    cloud = decode_point_cloud2(sent)
    assert bytes(sent.data) == raw
    assert np.isnan(cloud.points[2, 3]).all()
    cloud.points[0, 0] = 7.0  # and what comes out is the caller's own
    assert bytes(sent.data) == raw


@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf, 0.0, 2000.0])
def test_missing_points_become_nan_and_only_they(missing):
    points = image_points()
    points[1, 1] = missing
    points[4, 2, 1] = missing  # one bad coordinate is enough, but for 0, which is a place like any other
    cloud = decode_point_cloud2(message(points))
    expected = np.ones((6, 8), bool)
    expected[1, 1] = False
    expected[4, 2] = missing == 0.0
    np.testing.assert_array_equal(cloud.valid, expected)
    np.testing.assert_array_equal(np.isnan(cloud.points).all(axis=-1), ~expected)
    assert len(cloud.valid_points) == expected.sum()


def test_float64_beyond_float32_is_missing_without_a_warning(recwarn):
    points = image_points().astype(np.float64)
    points[0, 0, 0] = 1e300
    cloud = decode_point_cloud2(message(points, **LAYOUTS["float64"]))
    assert not cloud.valid[0, 0]
    assert not recwarn.list


def test_one_row_is_not_organized():
    assert not decode_point_cloud2(message(image_points(1, 20))).organized


def test_count_zero_is_read_as_one():
    sent = message(image_points())
    sent.fields[0].count = 0
    assert decode_point_cloud2(sent).valid.all()


def change(**values):
    return lambda sent: [setattr(sent, name, value) for name, value in values.items()]


def change_field(index, **values):
    return lambda sent: [setattr(sent.fields[index], name, value) for name, value in values.items()]


MALFORMED = {
    "no fields": (change(fields=[]), "no field 'x' among the fields: none"),
    "no z": (lambda sent: sent.fields.pop(2), "no field 'z' among the fields: x, y"),
    "two x": (lambda sent: sent.fields.append(field("x", 0)), "more than one field 'x'"),
    "x of integers": (change_field(0, datatype=INT32), r"'x' must be FLOAT32 .* got INT32 \(5\)"),
    "unknown type": (change_field(1, datatype=99), r"'y' .* got unknown \(99\)"),
    "count 3": (change_field(0, count=3), "'x' must have count 1, got 3"),
    "offset past the point": (change_field(2, offset=9), "'z' at offset 9 with 4 bytes ends past point_step 12"),
    "float64 past the point": (
        change_field(2, datatype=FLOAT64),
        "'z' at offset 8 with 8 bytes ends past point_step 12",
    ),
    "negative offset": (change_field(0, offset=-4), "offset of field 'x' must not be negative, got -4"),
    "offset no number": (change_field(0, offset="4"), "offset of field 'x' must be an integer, got '4'"),
    "point_step too small": (change(point_step=4), "'y' at offset 4 with 4 bytes ends past point_step 4"),
    "point_step zero": (change(point_step=0), "past point_step 0"),
    "point_step too large": (change(point_step=13), "row_step 96 is less than width 8 x point_step 13"),
    "row_step too small": (change(row_step=95), "row_step 95 is less than width 8 x point_step 12"),
    "row_step too large": (change(row_step=97), "data holds 576 bytes, height 6 x row_step 97 = 582 expected"),
    "truncated": (lambda sent: sent.data.pop(), "data holds 575 bytes, height 6 x row_step 96 = 576 expected"),
    "no data": (change(data=b""), "data holds 0 bytes"),
    "data no buffer": (change(data=[1, 2, 3]), "data must be a contiguous buffer of bytes, got list"),
    "no points": (change(width=0, row_step=0), "empty cloud: height 6 x width 0"),
    "no rows": (change(height=0, data=b""), "empty cloud: height 0 x width 8"),
    "negative width": (change(width=-8), "width must not be negative, got -8"),
    "fractional height": (change(height=6.5), "height must be an integer, got 6.5"),
    "absurd size": (change(height=2**31, width=2**31), "exceeds the limit of 5000000"),
    "ten million points": (
        change(height=2500, width=4000),
        "2500 x 4000 = 10000000 points exceeds the limit of 5000000",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_cloud_is_refused_with_the_value_at_fault(case):
    spoil, reason = MALFORMED[case]
    sent = message(image_points())
    spoil(sent)
    with pytest.raises(CloudError, match=reason):
        decode_point_cloud2(sent)


def test_cloud_without_a_usable_point_says_what_they_are():
    points = np.full((2, 10, 3), np.nan, np.float32)
    points[0, :4] = 0.0
    points[1, 0] = 5000.0
    with pytest.raises(
        CloudError, match="none of the 20 points is usable: 15 not finite, 4 exactly zero, 1 beyond 1000 m"
    ):
        decode_point_cloud2(message(points))


def test_random_messages_are_decoded_or_refused_and_nothing_else():
    rng = np.random.default_rng(1)
    good = message(image_points(), point_step=16)
    outcomes = {"decoded": 0, "refused": 0}
    for _ in range(3000):
        sent = copy.deepcopy(good)
        for _ in range(rng.integers(0, 3)):
            name = rng.choice(["height", "width", "point_step", "row_step", "is_bigendian", "field", "data"])
            small = int(rng.choice([0, 1, 2, 3, 4, 7, 8, 12, 15, 16, 17, 96, 2**31 - 1, 2**32 - 1]))
            if name == "field":
                attribute = rng.choice(["offset", "datatype", "count"])
                setattr(sent.fields[rng.integers(3)], attribute, small)
            elif name == "data":
                sent.data = rng.bytes(int(rng.integers(0, 1000)))
            else:
                setattr(sent, name, small)
        try:
            cloud = decode_point_cloud2(sent)
        except CloudError:
            outcomes["refused"] += 1
        else:
            outcomes["decoded"] += 1
            assert cloud.points.shape == (sent.height, sent.width, 3)
            assert (np.abs(cloud.valid_points) <= 1000).all()
    assert min(outcomes.values()) > 300, outcomes


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name not in ("mixed_types", "padded_rows")])
def test_sensor_msgs_py_reads_the_same(layout):
    reader = pytest.importorskip("sensor_msgs_py.point_cloud2", reason="sensor_msgs_py comes with a full ROS install")
    from sensor_msgs.msg import PointCloud2, PointField

    sent = message(image_points(), **LAYOUTS[layout])
    ros_message = PointCloud2(
        height=sent.height,
        width=sent.width,
        fields=[PointField(name=f.name, offset=f.offset, datatype=f.datatype, count=f.count) for f in sent.fields],
        is_bigendian=sent.is_bigendian,
        point_step=sent.point_step,
        row_step=sent.row_step,
        data=sent.data,
    )
    expected = reader.read_points_numpy(ros_message, ["x", "y", "z"]).reshape(sent.height, sent.width, 3)
    np.testing.assert_array_equal(decode_point_cloud2(ros_message).points, expected)


@pytest.mark.parametrize("shape", [(4, 3), (2, 5, 3)])
def test_points_from_an_array_keep_their_layout(shape):
    points = np.arange(np.prod(shape), dtype=np.float64).reshape(shape) + 1
    cloud = PointCloud.from_points(points)
    assert cloud.points.shape == (*((1,) if len(shape) == 2 else ()), *shape)
    assert cloud.organized == (len(shape) == 3)


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (np.zeros((0, 3)), r"empty cloud: .* shape \(0, 3\)"),
        (np.ones((5, 2)), r"got shape \(5, 2\)"),
        (np.array([["a", "b", "c"]]), "must be real numbers, got dtype"),
        (np.zeros((5, 3)), "5 exactly zero"),
    ],
)
def test_array_that_is_no_cloud_is_refused(points, reason):
    with pytest.raises(CloudError, match=reason):
        PointCloud.from_points(points)


def test_crop_keeps_the_layout_and_only_what_is_inside():
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 21), np.linspace(-1, 1, 11), indexing="xy"), axis=-1)
    cloud = PointCloud.from_points(np.concatenate([grid, np.full((11, 21, 1), 0.8)], axis=-1))
    region = RegionOfInterest(minimum=(-0.55, -1.0, 0.0), maximum=(0.55, 0.05, 1.0), max_range=1.0)
    cropped = region.crop(cloud)
    x, y = grid[..., 0], grid[..., 1]
    expected = (np.abs(x) < 0.55) & (y < 0.05) & (x**2 + y**2 + 0.64 <= 1.0 + 1e-6)
    np.testing.assert_array_equal(cropped.valid, expected)
    np.testing.assert_array_equal(cropped.points[expected], cloud.points[expected])
    assert cloud.valid.all()


def test_crop_box_lies_in_its_own_frame_and_range_starts_at_the_viewpoint():
    cloud = PointCloud.from_points(np.array([[[0.0, 0.0, 1.0], [0.0, 0.0, 2.0]], [[0.0, 0.0, 3.0], [0.5, 0.0, 1.0]]]))
    T_region_cloud = np.eye(4)
    T_region_cloud[:3, 3] = [0.0, 0.0, -2.0]
    region = RegionOfInterest(minimum=(-0.1, -0.1, -0.5), maximum=(0.1, 0.1, 1.5), max_range=1.1)
    cropped = region.crop(cloud, T_region_cloud, viewpoint=(0.0, 0.0, 1.0))
    np.testing.assert_array_equal(cropped.valid, [[False, True], [False, False]])


def test_crop_that_leaves_nothing_says_where_the_points_are():
    cloud = PointCloud.from_points(np.array([[0.1, 0.2, 4.0], [0.1, 0.3, 5.0]]))
    with pytest.raises(CloudError, match=r"max_range 1.5: the 2 points span \[0.1, 0.2, 4.0\] to \[0.1, 0.3, 5.0\]"):
        RegionOfInterest().crop(cloud)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"minimum": (0.0, 0.0)}, "3 numbers each"),
        ({"minimum": (1.0, 0.0, 0.0), "maximum": (0.0, 1.0, 1.0)}, "minimum must be below maximum"),
        ({"max_range": -1.0}, r"max_range must be in \[0.05, 1000.0\] m, got -1.0"),
    ],
)
def test_impossible_region_is_refused(values, reason):
    with pytest.raises(ValueError, match=reason):
        RegionOfInterest(**values)


def test_a_region_contains_what_lies_in_it_or_on_its_border():
    region = RegionOfInterest(minimum=(-0.1, 0.0, 0.2), maximum=(0.1, 0.5, 0.3))
    assert region.contains((0.0, 0.2, 0.25))
    assert region.contains((-0.1, 0.5, 0.3))
    for axis in range(3):
        for beyond in (-1.0, 1.0):
            place = np.array([0.0, 0.2, 0.25])
            place[axis] += beyond
            assert not region.contains(place)


def test_noise_of_the_depth_is_that_of_the_paper():
    # Nguyen, Izadi and Lovell 2012, equation 4: 1.2 mm at 0.4 m, and 19 mm at 3.46 m.
    np.testing.assert_allclose(depth_noise(np.array([0.4, 1.4, 3.46])), [0.0012, 0.0031, 0.01899], atol=1e-5)
