"""On a GPU everything is worked out in other ways; what comes out is what the CPU gives."""

from __future__ import annotations

import analytic_fields as fields
import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree
from test_inference import SIZES, TOLERANCE, network, observation, queries, relative_error
from test_surface_batches import boxes, side_by_side

from onet_ros.benchmark.device import procedural_objects
from onet_ros.completion import CompletionSettings, ObjectCompleter
from onet_ros.networks import AUTO, InferenceNetwork, load_checkpoint
from onet_ros.resources import default_model_path
from onet_ros.surface import BatchField, ExtractionSettings, SurfaceError, extract_surfaces, sample_grids_mise

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

SHAPES = (fields.torus(0.3, 0.11), fields.cup(0.06), fields.two_bodies(), fields.gaussians(3))


@pytest.fixture(autouse=True)
def full_float32():
    """Convolutions in float32 as on the CPU: by default cuDNN rounds their factors to ten bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def answered_by_the_cpu(field: BatchField) -> BatchField:
    """The same values for points on the GPU, so that all differences are those of the extraction."""
    return lambda points, objects: field(points.cpu(), objects.cpu()).to(points.device)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", SIZES)
def test_networks_give_what_they_give_on_the_cpu(name: str, precision: str):
    net, told = network(name), observation(name)
    points, objects = queries()
    points = points.flatten(0, 1)
    expected = InferenceNetwork(net).field(InferenceNetwork(net).encode(told))(points, objects)
    folded = InferenceNetwork(net.to("cuda"), precision)
    for _ in range(2):  # the first time an encoder is recorded, the second replayed
        found = folded.field(folded.encode(told.to("cuda")))(points.to("cuda"), objects.to("cuda"))
        assert relative_error(found.cpu(), expected) < 2.0 * TOLERANCE[precision]  # other orders of summation, too


def test_a_replayed_encoder_goes_by_what_it_is_told_and_leaves_earlier_codes_alone():
    folded = InferenceNetwork(network("local_planes").to("cuda"))
    first, second = observation("local_planes").to("cuda"), observation("local_planes").to("cuda")
    second.points.mul_(0.5)
    codes = [folded.encode(told).planes for told in (first, second, first)]
    torch.testing.assert_close(codes[0], codes[2], rtol=1e-4, atol=1e-4)
    assert (codes[0] - codes[1]).abs().max() > 0.01


@pytest.mark.parametrize("seeded", [False, True])
def test_the_same_cells_are_found_and_hold_the_same_values(seeded: bool):
    field, settings = side_by_side(*SHAPES), ExtractionSettings(8, 3)
    seeds = [np.array([[0.3, -0.2, 0.25]])] * len(SHAPES) if seeded else None
    expected = sample_grids_mise(field, *boxes(len(SHAPES)), 0.0, settings, seeds=seeds)
    found = sample_grids_mise(
        answered_by_the_cpu(field), *boxes(len(SHAPES)), 0.0, settings, device="cuda", seeds=seeds
    )
    for number in range(len(SHAPES)):
        own, other = expected[number], found[number]
        assert torch.equal(own.crossed_cells, other.crossed_cells.cpu())
        both = own.asked & other.asked.cpu()
        assert torch.equal(own.samples[both], other.samples.cpu()[both])


def test_meshes_are_closed_and_those_of_the_cpu():
    field, settings = side_by_side(*SHAPES), ExtractionSettings(8, 3, max_triangles=0)
    options = {"coverage": 0.9, "seeds": [np.zeros((0, 3))] * len(SHAPES)}
    expected = extract_surfaces(field, *boxes(len(SHAPES)), 0.0, settings, **options)
    found = extract_surfaces(answered_by_the_cpu(field), *boxes(len(SHAPES)), 0.0, settings, device="cuda", **options)
    for one, other in zip(found, expected, strict=True):
        assert not isinstance(one, SurfaceError), one
        for name in ("mesh", "collision_mesh", "conservative_mesh"):
            mesh = getattr(one, name)
            assert mesh.is_watertight
            assert mesh.is_winding_consistent
            # What the coarse ones make up between corners goes by which corners happen to be known.
            assert mesh.volume == pytest.approx(getattr(other, name).volume, rel=0.05)
        assert len(one.mesh.faces) == len(other.mesh.faces)
        np.testing.assert_allclose(one.mesh.vertices, other.mesh.vertices, rtol=0, atol=1e-5)


def test_an_object_without_a_surface_fails_alone():
    nothing = lambda points: torch.full((len(points),), -1.0)  # noqa: E731
    field = answered_by_the_cpu(side_by_side(SHAPES[0], nothing))
    first, second = extract_surfaces(field, *boxes(2), 0.0, ExtractionSettings(8, 2), device="cuda")
    assert not isinstance(first, SurfaceError)
    assert "none above threshold" in str(second)


@pytest.mark.parametrize("precision", ["float32", AUTO])
def test_the_model_completes_objects_as_on_the_cpu(precision: str):
    seen = procedural_objects(4, 1500)
    settings = CompletionSettings(precision=precision)
    on_cpu, on_gpu = (
        ObjectCompleter(load_checkpoint(default_model_path(), device), settings, ExtractionSettings()).subjects(seen)
        for device in ("cpu", "cuda")
    )
    for expected, found in zip(on_cpu, on_gpu, strict=True):
        assert not isinstance(found, SurfaceError), found
        assert found.mesh.is_watertight
        assert found.conservative_mesh.is_watertight
        size = expected.mesh.extents.max()
        assert _distance(found.mesh, expected.mesh) < 0.01 * size
        assert found.confidence.mean() == pytest.approx(expected.confidence.mean(), abs=0.02)


def _distance(one: trimesh.Trimesh, other: trimesh.Trimesh) -> float:
    """Mean over the vertices of both of the distance to the nearest of the other."""
    there, back = cKDTree(other.vertices).query(one.vertices)[0], cKDTree(one.vertices).query(other.vertices)[0]
    return float(there.mean() + back.mean()) / 2.0
