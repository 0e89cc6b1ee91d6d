"""Maps as octomap_msgs/Octomap carries them: written here by the format's rules, read by the room."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from octrees import OCTREE_MIDDLE, binary_octree, full_octree, octree_of, pruned_octree

from onet_ros.scene import CloudError, decode_octomap

RESOLUTION = 0.02


def message(data: bytes, **others):
    fields = {"binary": True, "id": "OcTree", "resolution": RESOLUTION, **others}
    return SimpleNamespace(**fields, data=np.frombuffer(data, np.int8))


@pytest.fixture(scope="module")
def cells():
    block = np.stack(np.meshgrid(*3 * [np.arange(4)], indexing="ij"), axis=-1).reshape(-1, 3) + OCTREE_MIDDLE
    scattered = np.random.default_rng(0).integers(-300, 300, size=(200, 3)) + OCTREE_MIDDLE
    return np.unique(np.concatenate([block, scattered]), axis=0)


@pytest.mark.parametrize("shape", [octree_of, lambda *cells: pruned_octree(octree_of(*cells))], ids=["whole", "pruned"])
@pytest.mark.parametrize("kind", ["binary", "full", "coloured"])
def test_occupied_cells_lie_where_they_were_put(cells, shape, kind):
    free = cells[:20] + (0, 0, 1000)
    tree = shape(cells, free)
    made = {
        "binary": lambda: message(binary_octree(tree)),
        "full": lambda: message(full_octree(tree), binary=False),
        "coloured": lambda: message(full_octree(tree, b"rgb"), binary=False, id="ColorOcTree"),
    }[kind]()
    cloud = decode_octomap(made)
    assert cloud.cell_size == RESOLUTION
    expected = (cells - OCTREE_MIDDLE + 0.5) * RESOLUTION
    got = cloud.points.reshape(-1, 3)
    order = np.lexsort(np.round(got, 4).T)
    np.testing.assert_allclose(got[order], expected[np.lexsort(np.round(expected, 4).T)], atol=1e-5)


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"id": "SemanticOcTree"}, "type 'SemanticOcTree'"),
        ({"resolution": 0.0}, "resolution 0.0 m"),
        ({"resolution": float("nan")}, "resolution nan m"),
    ],
)
def test_what_is_no_map_of_a_known_kind_is_refused(cells, others, words):
    with pytest.raises(CloudError, match=words):
        decode_octomap(message(binary_octree(octree_of(cells)), **others))


def test_spoiled_data_is_refused(cells):
    data = binary_octree(octree_of(cells))
    for spoiled, words in (
        (b"", "holds no nodes"),
        (data[:-1], "truncated"),
        (data + b"\0\0", "ends at byte"),
        (b"\0\0", "without an occupied cell"),
        (b"\xff\xff" * 40, "deeper than 16 levels"),
        (b"\x02\0", "exceeds the limit"),
    ):
        with pytest.raises(CloudError, match=words):
            decode_octomap(message(spoiled))


def test_random_bytes_are_refused_or_read_but_never_crash():
    random = np.random.default_rng(1)
    for number in range(500):
        data = random.bytes(int(random.integers(1, 400)))
        try:
            decode_octomap(message(data, binary=bool(number % 2)), max_points=10_000)
        except CloudError:
            continue
