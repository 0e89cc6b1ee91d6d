"""Networks that observe pictures and voxel grids: sizes of the paper, what they refuse, and that they can learn."""

from __future__ import annotations

import itertools

import pytest
import torch

from onet_ros.networks import (
    Checkpoint,
    ImageObservation,
    Observation,
    OccupancyNetwork,
    VoxelObservation,
    load_checkpoint,
    save_checkpoint,
)
from onet_ros.networks.picture import REACH
from onet_ros.networks.planes import BOX_CENTRE, CameraView, PixelProjection
from onet_ros.networks.voxel_decoder import sample_pyramid
from onet_ros.networks.voxel_encoder import VoxelCode
from onet_ros.scene.picture import VIEW_CENTRE, VIEW_REACH

SMALL = {
    "resnet_cbn": ({"code_size": 8, "width": 8, "image_size": 32}, {"code_size": 8, "hidden_size": 16}),
    "image_plane": ({"channels": 8, "image_size": 32}, {"channels": 8, "hidden_size": 8, "blocks": 2}),
    "voxels_cbn": ({"code_size": 8, "width": 4, "resolution": 16}, {"code_size": 8, "hidden_size": 16}),
    "voxel_pyramid": ({"width": 4, "channels": 8}, {"channels": 8, "hidden_size": 8, "blocks": 2}),
}


def observation(architecture, batch=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    if architecture.startswith("voxel"):
        r = 16 if architecture == "voxels_cbn" else 32
        return VoxelObservation(torch.randint(3, (batch, r, r, r), generator=g) / 2.0)
    viewpoint = torch.tensor([[4.0, 0.0, 3.0]]).expand(batch, 3)
    return ImageObservation(torch.rand(batch, 4, 32, 32, generator=g), viewpoint)


def network(architecture):
    torch.manual_seed(0)
    net = OccupancyNetwork(architecture, *SMALL[architecture])
    with torch.no_grad():  # away from the zero-initialised start, so that the input matters
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net.eval()


def parameters(module):
    return sum(p.numel() for p in module.parameters())


class TestSizesOfThePaper:
    def test_resnet_18_has_its_published_parameters_and_those_added_here(self):
        """torchvision's ResNet-18 has 11,689,512, of which 513,000 are for the thousand classes of ImageNet."""
        encoder = OccupancyNetwork("resnet_cbn", {}, {"code_size": 256}).encoder
        added = 4 * 64 * 49 + (512 * 256 + 256)  # the mask, three for the rays, the code
        assert parameters(encoder) == 11_689_512 - 513_000 + added

    def test_the_voxel_encoder_has_five_convolutions_and_a_linear_layer(self):
        encoder = OccupancyNetwork("voxels_cbn", {}, {"code_size": 256}).encoder
        widths = (1, 32, 64, 128, 256, 512)
        convolutions = sum(27 * a * b + b for a, b in itertools.pairwise(widths))
        assert parameters(encoder) == convolutions + 512 * 2**3 * 256 + 256 == 5_750_848

    def test_the_decoder_of_a_code_of_256(self):
        decoder = OccupancyNetwork("voxels_cbn", {}, {"code_size": 256}).decoder
        conditioning = 11 * 2 * (256 * 256 + 256)
        assert parameters(decoder) == 659_201 + conditioning == 2_106_625


@pytest.mark.parametrize("architecture", SMALL)
class TestEveryArchitecture:
    def test_logits_have_one_value_per_query(self, architecture):
        assert network(architecture)(observation(architecture), torch.rand(2, 11, 3) - 0.5).shape == (2, 11)

    def test_what_is_observed_matters(self, architecture):
        net, queries = network(architecture), torch.rand(2, 11, 3) - 0.5
        a, b = (net(observation(architecture, seed=seed), queries) for seed in (0, 1))
        assert (a - b).abs().max() > 1e-4

    def test_objects_of_a_batch_do_not_mix(self, architecture):
        net, seen, queries = network(architecture), observation(architecture), torch.rand(2, 11, 3) - 0.5
        first = type(seen)(*(getattr(seen, name)[:1] for name in seen.__dataclass_fields__))
        torch.testing.assert_close(net(seen, queries)[:1], net(first, queries[:1]), rtol=1e-4, atol=1e-5)

    def test_every_weight_learns(self, architecture):
        net = network(architecture).train()
        net(observation(architecture, batch=4), torch.rand(4, 64, 3) - 0.5).square().mean().backward()
        silent = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        # A bias before a batch norm is subtracted again and cannot learn.
        assert [n for n in silent if "norm" not in n and not n.endswith("bias")] == []

    def test_it_can_learn_one_shape_by_heart(self, architecture):
        torch.manual_seed(0)
        net = OccupancyNetwork(architecture, *SMALL[architecture]).train()
        queries = torch.rand(2, 256, 3) - 0.5
        labels = queries.norm(dim=2) < 0.35
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
        for _ in range(120):
            optimizer.zero_grad()
            logits = net(observation(architecture), queries)
            torch.nn.functional.binary_cross_entropy_with_logits(logits, labels.float()).backward()
            optimizer.step()
        assert ((logits > 0) == labels).float().mean() > 0.95

    def test_it_comes_back_from_a_checkpoint(self, architecture, tmp_path):
        net, queries = network(architecture), torch.rand(2, 11, 3) - 0.5
        save_checkpoint(tmp_path, Checkpoint(net, 0, 0.4))
        loaded = load_checkpoint(tmp_path)
        assert (loaded.observation_points, loaded.network.observes) == (0, net.observes)
        seen = observation(architecture)
        torch.testing.assert_close(loaded.network(seen, queries), net(seen, queries))

    def test_another_kind_of_observation_is_refused(self, architecture):
        points = Observation(torch.zeros(1, 5, 3), torch.zeros(1, 0, 3), torch.zeros(1, 3), torch.ones(1))
        with pytest.raises(ValueError, match=r"observes (image|voxels): expected \w+Observation, got Observation"):
            network(architecture).encode(points)

    def test_it_has_no_cameras_frame(self, architecture):
        with pytest.raises(ValueError, match=f"'camera' is not for architecture '{architecture}'"):
            OccupancyNetwork(architecture, *SMALL[architecture], frame="camera")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ImageObservation(torch.zeros(2, 3, 8, 8), torch.zeros(2, 3)), r"\(B, 4, S, S\), got \(2, 3, 8, 8\)"),
        (lambda: ImageObservation(torch.zeros(2, 4, 8, 9), torch.zeros(2, 3)), r"\(2, 4, 8, 9\)"),
        (lambda: ImageObservation(torch.full((1, 4, 8, 8), 255.0), torch.zeros(1, 3)), "from 0 to 1, got 255 to 255"),
        (lambda: ImageObservation(torch.full((1, 4, 8, 8), torch.nan), torch.zeros(1, 3)), "nan"),
        (lambda: ImageObservation(torch.zeros(2, 4, 8, 8), torch.zeros(3, 3)), r"viewpoint of shape \(2, 3\)"),
        (lambda: VoxelObservation(torch.zeros(2, 8, 8, 9)), r"\(B, R, R, R\), got \(2, 8, 8, 9\)"),
        (lambda: VoxelObservation(torch.full((1, 8, 8, 8), -1.0)), "from 0 to 1, got -1 to -1"),
    ],
)
def test_observations_that_are_none_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("architecture", "seen", "message"),
    [
        ("resnet_cbn", ImageObservation(torch.zeros(1, 4, 48, 48), torch.ones(1, 3)), r"32 x 32 px, got \(48, 48\)"),
        ("image_plane", ImageObservation(torch.zeros(1, 4, 48, 48), torch.ones(1, 3)), r"32 x 32 px, got \(48, 48\)"),
        ("voxels_cbn", VoxelObservation(torch.zeros(1, 32, 32, 32)), r"16 x 16 x 16 voxels, got \(32, 32, 32\)"),
        ("voxel_pyramid", VoxelObservation(torch.zeros(1, 16, 16, 16)), r"32 x 32 x 32 voxels, got \(16, 16, 16\)"),
    ],
)
def test_observations_of_another_size_are_refused(architecture, seen, message):
    with pytest.raises(ValueError, match=message):
        network(architecture).encode(seen)


@pytest.mark.parametrize(
    ("architecture", "encoder", "message"),
    [
        ("resnet_cbn", {"image_size": 8}, "at least 32 px, got 8"),
        ("image_plane", {"image_size": 40}, "multiple of 16, got 40"),
        ("voxels_cbn", {"resolution": 20}, "multiple of 16, got 20"),
        ("voxel_pyramid", {"resolution": 16}, "multiple of 32, got 16"),
    ],
)
def test_sizes_that_cannot_be_are_refused(architecture, encoder, message):
    with pytest.raises(ValueError, match=message):
        OccupancyNetwork(architecture, encoder, {})


class TestVoxelPyramid:
    def test_features_are_interpolated_between_the_middles_of_the_cells(self):
        """A level that holds x, y and z of its cells' middles gives back the query, wherever that lies between them."""
        ticks = (torch.arange(8) + 0.5) / 8 - 0.5
        table = torch.cartesian_prod(ticks, ticks, ticks)[None]
        queries = (torch.rand(1, 50, 3) - 0.5) * 7 / 8
        torch.testing.assert_close(sample_pyramid(VoxelCode(table, (8,)), queries), queries, atol=1e-6, rtol=0)

    def test_levels_add_up_and_borders_go_on(self):
        table = torch.cat([torch.full((2, 64, 3), 1.0), torch.full((2, 8, 3), 10.0)], dim=1)
        found = sample_pyramid(VoxelCode(table, (4, 2)), torch.tensor([[[0.9, -0.9, 0.0]], [[0.1, 0.2, 0.3]]]))
        torch.testing.assert_close(found, torch.full((2, 1, 3), 11.0))


class TestCameraPlane:
    """The picture that `scene.picture` cuts out is the camera plane that the networks read."""

    def test_both_rooms_mean_the_same_picture(self):
        torch.testing.assert_close(torch.tensor(VIEW_CENTRE).float(), BOX_CENTRE)
        assert VIEW_REACH == REACH

    def test_the_reach_of_a_view_scales_its_plane(self):
        viewpoint = torch.tensor([[3.0, 0.0, 2.0]])
        points = torch.rand(1, 20, 3) - 0.4
        wide, narrow = (CameraView.looking_at_box(viewpoint, reach).project(points)[0] for reach in (0.8, 0.4))
        torch.testing.assert_close(2.0 * wide, narrow)
        view = CameraView.looking_at_box(viewpoint, 0.4)
        projection = PixelProjection(["camera"], view, 16)
        projected = projection.project(torch.zeros(20, dtype=torch.int64), points[0])
        places, _ = projection.finished(projected, projection.cameras, 16)
        expected = ((narrow[0] + 1.0) * 8.0 - 0.5).clamp(0.0, 15.0)
        torch.testing.assert_close(places, expected, atol=1e-4, rtol=1e-4)
