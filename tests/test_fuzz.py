"""Twenty thousand spoiled clouds: no crash, no hang, every refusal with its reason."""

from __future__ import annotations

import time
import warnings
from collections import Counter

import numpy as np
import pytest
from fuzzed_clouds import fuzzed_cloud, good_cloud

from onet_ros import Reconstructor
from onet_ros.live_scene import LiveScene
from onet_ros.reconstructor import ReconstructorSettings, find_objects
from onet_ros.scene import CloudError, PlaneSettings, PointCloud, SegmentationSettings, decode_point_cloud2
from onet_ros.surface import ExtractionSettings

MESSAGES = 20_000
COMPLETED = 400  # of the usable ones that go all the way
LONGEST = 5.0  # seconds for one message, on a busy machine
SETTINGS = ReconstructorSettings(
    plane=PlaneSettings(sample_size=300, fit_size=300, iterations=20, candidates=2),
    segmentation=SegmentationSettings(min_points=20),
    extraction=ExtractionSettings(start_resolution=4, doublings=1, max_triangles=200),
)


@pytest.fixture(scope="module")
def decoded() -> list[PointCloud]:
    """All usable clouds among the spoiled ones, after a check of those that are not."""
    good, usable, refusals, slowest = good_cloud(), [], Counter(), 0.0
    for number in range(MESSAGES):
        message = fuzzed_cloud(good, number)
        started = time.perf_counter()
        try:
            cloud = decode_point_cloud2(message)
        except CloudError as error:
            reason = str(error)
            refusals[reason.split()[0]] += 1
        else:
            assert cloud.points.dtype == np.float32, number
            assert cloud.valid.any(), number
            usable.append(cloud)
        slowest = max(slowest, time.perf_counter() - started)
    assert slowest < LONGEST
    assert len(refusals) > 6  # of all kinds
    assert len(usable) > MESSAGES / 20
    assert len(usable) + refusals.total() == MESSAGES
    return usable


def test_every_spoiled_cloud_is_decoded_or_refused_with_its_reason(decoded):
    assert len(decoded) < MESSAGES


@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_what_can_be_decoded_never_breaks_the_search_for_objects(decoded, every):
    reasons, slowest = Counter(), 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # a division by zero is a fault not noticed
        for number, cloud in enumerate(decoded[::every]):
            started = time.perf_counter()
            try:
                scene = find_objects(cloud, SETTINGS)
            except CloudError as error:
                reasons[str(error).split()[0]] += 1
            else:
                assert (scene.plane is None) == bool(scene.reason), number
                reasons["plane" if scene.plane is not None else "no plane"] += 1
            slowest = max(slowest, time.perf_counter() - started)
    assert slowest < LONGEST
    assert reasons["plane"] > 200 / every
    assert reasons["no plane"] > 200 / every


def test_a_stream_of_them_leaves_a_scene_that_still_works(decoded, octahedron_checkpoint):
    live = LiveScene(Reconstructor.load(octahedron_checkpoint, SETTINGS))
    good = decode_point_cloud2(good_cloud())
    for number, cloud in enumerate(decoded[:COMPLETED]):
        try:
            update = live.update(cloud, number * 10**8)
        except CloudError:
            continue
        for item in update.objects:
            assert item.shape.mesh.is_watertight
            assert np.isfinite(item.shape.mesh.vertices).all()
    live.clear()
    update = live.update(good, 10**12)
    assert len(update.objects) == 1
    assert update.failures == []
