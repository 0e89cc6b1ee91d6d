"""The networks: sizes of the paper, invariances, and that a step of training reaches every weight."""

from __future__ import annotations

import pytest
import torch

from onet_ros.networks import Observation, OccupancyNetwork
from onet_ros.networks.camera_frame import camera_axes, turned, turned_observation
from onet_ros.networks.planes import BOX_CENTRE

SMALL = {
    "pointnet_cbn": ({"hidden_size": 16, "code_size": 8}, {"code_size": 8, "hidden_size": 16}),
    "local_planes": (
        {"channels": 8, "resolution": 16, "point_size": 8},
        {"channels": 8, "hidden_size": 8, "blocks": 2},
    ),
}


def observation(batch=2, points=50, background=20, seed=0):
    g = torch.Generator().manual_seed(seed)
    return Observation(
        points=torch.rand(batch, points, 3, generator=g) - 0.5,
        background=torch.rand(batch, background, 3, generator=g) - 0.5,
        viewpoint=torch.tensor([[4.0, 0.0, 3.0]]).expand(batch, 3),
        scale=torch.full((batch,), 0.1),
    )


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_default_sizes_are_those_of_the_paper():
    network = OccupancyNetwork("pointnet_cbn", {}, {})
    assert parameters(network.encoder) == 6_825_472
    assert parameters(network.decoder) == 3_548_417


def test_query_point_uses_the_parameters_that_the_paper_says():
    decoder = OccupancyNetwork("pointnet_cbn", {}, {}).decoder
    conditioning = sum(parameters(m.scale) + parameters(m.shift) for m in decoder.modules() if hasattr(m, "shift"))
    assert parameters(decoder) - conditioning == 659_201


def test_an_untrained_conditional_batch_norm_is_a_plain_one():
    decoder = OccupancyNetwork("pointnet_cbn", *SMALL["pointnet_cbn"]).decoder.eval()
    queries = torch.rand(2, 7, 3)
    a, b = decoder(queries, torch.zeros(2, 8)), decoder(queries, torch.randn(2, 8))
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize("architecture", SMALL)
class TestEveryArchitecture:
    def network(self, architecture):
        torch.manual_seed(0)
        network = OccupancyNetwork(architecture, *SMALL[architecture])
        with torch.no_grad():  # away from the zero-initialised start, so that the input matters
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        return network.eval()

    def test_logits_have_one_value_per_query(self, architecture):
        assert self.network(architecture)(observation(), torch.rand(2, 11, 3)).shape == (2, 11)

    def test_the_order_of_the_points_does_not_matter(self, architecture):
        network, seen, queries = self.network(architecture), observation(), torch.rand(2, 11, 3)
        order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
        shuffled = Observation(seen.points[:, order], seen.background, seen.viewpoint, seen.scale)
        torch.testing.assert_close(network(seen, queries), network(shuffled, queries), rtol=1e-4, atol=1e-5)

    def test_objects_of_a_batch_do_not_mix(self, architecture):
        network, seen, queries = self.network(architecture), observation(), torch.rand(2, 11, 3)
        first = Observation(seen.points[:1], seen.background[:1], seen.viewpoint[:1], seen.scale[:1])
        torch.testing.assert_close(network(seen, queries)[:1], network(first, queries[:1]), rtol=1e-4, atol=1e-5)

    def test_queries_of_an_object_do_not_mix(self, architecture):
        network, seen, queries = self.network(architecture), observation(), torch.rand(2, 11, 3)
        code = network.encode(seen)
        torch.testing.assert_close(
            network.decode(queries, code)[:, :4], network.decode(queries[:, :4], code), rtol=1e-4, atol=1e-5
        )

    def test_it_works_without_background(self, architecture):
        assert torch.isfinite(self.network(architecture)(observation(background=0), torch.rand(2, 3, 3))).all()

    def test_every_weight_learns(self, architecture):
        network = self.network(architecture).train()
        loss = network(observation(), torch.rand(2, 64, 3)).square().mean()
        loss.backward()
        silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        # A bias before a batch norm is subtracted again and cannot learn.
        assert [n for n in silent if "norm" not in n and not n.endswith("bias")] == []

    def test_it_can_learn_one_shape_by_heart(self, architecture):
        torch.manual_seed(0)
        network = OccupancyNetwork(architecture, *SMALL[architecture]).train()
        queries = torch.rand(2, 256, 3) - torch.tensor([0.5, 0.5, 0.0])
        labels = (queries - torch.tensor([0.0, 0.0, 0.5])).norm(dim=2) < 0.35
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
        for _ in range(60):
            optimizer.zero_grad()
            logits = network(observation(), queries)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels.float())
            loss.backward()
            optimizer.step()
        assert ((logits > 0) == labels).float().mean() > 0.95


def test_an_unknown_architecture_is_refused_by_name():
    with pytest.raises(ValueError, match=r"'voxel_gan'.*pointnet_cbn"):
        OccupancyNetwork("voxel_gan", {}, {})


def test_sizes_that_an_architecture_does_not_know_are_refused():
    with pytest.raises(ValueError, match="hidden_sise"):
        OccupancyNetwork("pointnet_cbn", {"hidden_sise": 3}, {})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("points", torch.zeros(2, 0, 3), r"\(2, 0, 3\)"),
        ("background", torch.zeros(1, 5, 3), r"\(1, 5, 3\)"),
        ("viewpoint", torch.zeros(2, 2), r"\(2, 2\)"),
        ("scale", torch.zeros(3), r"\(3,\)"),
    ],
)
def test_an_observation_of_the_wrong_shape_is_refused(field, value, message):
    parts = {k: getattr(observation(), k) for k in ("points", "background", "viewpoint", "scale")}
    with pytest.raises(ValueError, match=message):
        Observation(**{**parts, field: value})


class TestCameraFrame:
    """Everything turned about the middle of the unit box leaves such a network as it was; a plain one notices."""

    def network(self, frame):
        torch.manual_seed(0)
        network = OccupancyNetwork("pointnet_cbn", *SMALL["pointnet_cbn"], frame=frame)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        return network.eval()

    def test_it_cannot_tell_a_tilted_world_from_an_upright_one(self):
        seen, queries = observation(), torch.rand(2, 30, 3) - 0.5
        tilt = torch.tensor([[0.8, 0.0, -0.6], [0.0, 1.0, 0.0], [0.6, 0.0, 0.8]]).expand(
            2, 3, 3
        )  # camera higher or lower
        other = turned_observation(seen, tilt)
        blind, plain = self.network("camera"), self.network("unit")
        torch.testing.assert_close(blind(other, turned(queries, tilt)), blind(seen, queries), atol=1e-5, rtol=1e-4)
        assert (plain(other, turned(queries, tilt)) - plain(seen, queries)).abs().max() > 1e-2

    def test_it_is_the_plain_network_along_the_cameras_axes(self):
        seen, queries = observation(), torch.rand(2, 30, 3) - 0.5
        axes = camera_axes(seen)
        expected = self.network("unit")(turned_observation(seen, axes), turned(queries, axes))
        torch.testing.assert_close(self.network("camera")(seen, queries), expected)

    def test_the_camera_looks_along_its_third_axis(self):
        seen = observation()
        viewpoint = turned_observation(seen, camera_axes(seen)).viewpoint - BOX_CENTRE
        torch.testing.assert_close(viewpoint[:, :2], torch.zeros(2, 2), atol=1e-5, rtol=0.0)
        assert (viewpoint[:, 2] < -4.0).all()

    def test_planes_in_the_unit_frame_refuse_it(self):
        with pytest.raises(ValueError, match="'camera' is not for architecture 'local_planes'"):
            OccupancyNetwork("local_planes", *SMALL["local_planes"], frame="camera")
        with pytest.raises(ValueError, match="unknown frame 'world'"):
            OccupancyNetwork("pointnet_cbn", {}, {}, frame="world")
