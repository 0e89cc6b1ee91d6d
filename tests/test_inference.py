"""Folded networks give what the plain modules give, for every architecture, precision, batch and order of points."""

from __future__ import annotations

import pytest
import torch

from onet_ros.networks import (
    PRECISIONS,
    AnyObservation,
    ImageObservation,
    InferenceNetwork,
    Observation,
    OccupancyNetwork,
    VoxelObservation,
)
from onet_ros.networks.camera_frame import TurnedCode
from onet_ros.networks.cbn_decoder import CBNDecoder
from onet_ros.networks.cbn_field import CBNField
from onet_ros.networks.folded_local_decoder import FoldedLocalDecoder
from onet_ros.networks.local_decoder import LocalDecoder
from onet_ros.networks.local_field import LocalField

SIZES = {
    "pointnet_cbn": ({"hidden_size": 32, "code_size": 24}, {"code_size": 24, "hidden_size": 40}),
    "pointnet_cbn along the camera's axes": (
        {"hidden_size": 32, "code_size": 24},
        {"code_size": 24, "hidden_size": 40},
        "camera",
    ),
    "local_planes": (
        {"channels": 8, "resolution": 16, "point_size": 8, "planes": "camera+top+side"},
        {"channels": 8, "hidden_size": 12, "blocks": 3},
    ),
    "local_planes for a kernel": (
        {"channels": 16, "resolution": 16, "point_size": 8, "planes": "camera+top+side"},
        {"channels": 16, "hidden_size": 32, "blocks": 3},
    ),
    "local_planes without a camera": (
        {"channels": 8, "resolution": 16, "point_size": 8, "planes": "front+top"},
        {"channels": 8, "hidden_size": 8, "blocks": 2},
    ),
    "resnet_cbn": ({"code_size": 24, "width": 8, "image_size": 32}, {"code_size": 24, "hidden_size": 40}),
    "image_plane": ({"channels": 8, "image_size": 32}, {"channels": 8, "hidden_size": 12, "blocks": 3}),
    "voxels_cbn": ({"code_size": 24, "width": 4, "resolution": 16}, {"code_size": 24, "hidden_size": 40}),
    "voxel_pyramid": (
        {"width": 4, "channels": 8, "resolution": 32},
        {"channels": 8, "hidden_size": 12, "blocks": 2},
    ),
}
# Largest logit error over the logits' standard deviation.
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.05}


def network(name: str) -> OccupancyNetwork:
    """Random weights and random running statistics, so that folding anything wrongly shows."""
    torch.manual_seed(0)
    net = OccupancyNetwork(name.split()[0], *SIZES[name])
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for key, buffer in net.named_buffers():
            if key.endswith("running_mean"):
                buffer.normal_(0.0, 0.3)
            elif key.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)
    return net.eval().requires_grad_(False)


def observation(name: str, batch: int = 3, background: int = 40) -> AnyObservation:
    generator = torch.Generator().manual_seed(1)
    viewpoint = torch.tensor([4.0, 0.0, 3.0]) + torch.rand(batch, 3, generator=generator)
    if name.startswith("voxel"):
        r = SIZES[name][0]["resolution"]
        return VoxelObservation(torch.randint(3, (batch, r, r, r), generator=generator) / 2.0)
    if name in ("resnet_cbn", "image_plane"):
        return ImageObservation(torch.rand(batch, 4, 32, 32, generator=generator), viewpoint)
    return Observation(
        points=torch.rand(batch, 200, 3, generator=generator) - 0.5,
        background=torch.rand(batch, background, 3, generator=generator) - 0.5,
        viewpoint=viewpoint,
        scale=0.1 + 0.1 * torch.rand(batch, generator=generator),
    )


def queries(batch: int = 3, count: int = 700) -> tuple[torch.Tensor, torch.Tensor]:
    """Points in and around the unit box, and the object of each."""
    generator = torch.Generator().manual_seed(2)
    points = 1.6 * torch.rand(batch, count, 3, generator=generator) - torch.tensor([0.8, 0.8, 0.3])
    return points, torch.arange(batch).repeat_interleave(count)


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.dtype == torch.float32
    return ((found - expected).abs().max() / expected.std()).item()


@pytest.mark.parametrize("name", SIZES)
class TestEveryArchitecture:
    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    @pytest.mark.parametrize("background", [0, 40])
    def test_folded_network_equals_the_plain_one(self, name: str, precision: str, background: int):
        net, seen = network(name), observation(name, background=background)
        points, objects = queries()
        folded = InferenceNetwork(net, precision)
        logits = folded.field(folded.encode(seen))(points.flatten(0, 1), objects)
        assert relative_error(logits, net(seen, points).flatten()) < TOLERANCE[precision]

    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    def test_field_of_a_plain_code_equals_the_plain_decoder(self, name: str, precision: str):
        net = network(name)
        code = net.encode(observation(name))
        points, objects = queries()
        logits = InferenceNetwork(net, precision).field(code)(points.flatten(0, 1), objects)
        assert relative_error(logits, net.decode(points, code).flatten()) < TOLERANCE[precision]

    def test_order_of_the_points_does_not_matter(self, name: str):
        folded = InferenceNetwork(network(name))
        field = folded.field(folded.encode(observation(name)))
        points, objects = queries()
        points = points.flatten(0, 1)
        order = torch.randperm(len(points), generator=torch.Generator().manual_seed(3))
        torch.testing.assert_close(
            field(points[order], objects[order]), field(points, objects)[order], rtol=1e-4, atol=1e-4
        )

    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    def test_objects_worked_on_together_give_what_each_gives_alone(self, name: str, precision: str):
        """The way of a GPU, on the CPU."""
        net = network(name)
        code = net.encode(observation(name))
        if isinstance(code, TurnedCode):
            code = code.code
        points, objects = queries()
        order = torch.randperm(len(objects), generator=torch.Generator().manual_seed(3))[:1500]
        points, objects = points.flatten(0, 1)[order], objects[order]
        if isinstance(net.decoder, CBNDecoder):
            alone, together = (CBNField(net.decoder, code, PRECISIONS[precision], way) for way in (False, True))
        elif isinstance(net.decoder, LocalDecoder):
            folded = FoldedLocalDecoder.of(net.decoder)
            alone, together = (LocalField(folded, code, layered) for layered in (False, True))
        else:
            pytest.skip("its field works on all objects together anyway")
        assert relative_error(together(points, objects), alone(points, objects)) < TOLERANCE[precision]
        assert together(points[:0], objects[:0]).shape == (0,)

    def test_more_points_than_fit_into_the_buffers_and_none_at_all(self, name: str):
        net, seen = network(name), observation(name, batch=2)
        points, objects = queries(batch=2, count=23_000)
        folded = InferenceNetwork(net)
        field = folded.field(folded.encode(seen))
        assert relative_error(field(points.flatten(0, 1), objects), net(seen, points).flatten()) < 1e-4
        assert field(points[0, :0], objects[:0]).shape == (0,)

    def test_points_that_require_gradients_get_those_of_the_plain_network(self, name: str):
        net, seen = network(name), observation(name)
        points, objects = queries(count=50)
        folded = InferenceNetwork(net)
        leaf = points.flatten(0, 1).requires_grad_(True)
        folded.field(folded.encode(seen))(leaf, objects).sum().backward()
        plain = points.detach().clone().requires_grad_(True)
        net(seen, plain).sum().backward()
        torch.testing.assert_close(leaf.grad, plain.grad.flatten(0, 1), rtol=1e-3, atol=1e-3)

    def test_folding_leaves_the_network_as_it_was(self, name: str):
        net = network(name)
        before = {key: value.clone() for key, value in net.state_dict().items()}
        folded = InferenceNetwork(net, "bfloat16")
        points, objects = queries(count=10)
        folded.field(folded.encode(observation(name)))(points.flatten(0, 1), objects)
        for key, value in net.state_dict().items():
            assert torch.equal(value, before[key]), key


@pytest.mark.parametrize("name", [name for name in SIZES if name.startswith("local")])
def test_places_that_are_no_numbers_harm_no_others(name: str):
    folded = InferenceNetwork(network(name))
    field = folded.field(folded.encode(observation(name)))
    points, objects = queries()
    points = points.flatten(0, 1)
    spoilt = points.clone()
    spoilt[::7, 0], spoilt[3::7, 2], spoilt[5::7] = torch.nan, torch.inf, 1e30
    others = torch.ones(len(points), dtype=torch.bool)
    others[::7] = others[3::7] = others[5::7] = False
    found = field(spoilt, objects)
    assert found.shape == (len(points),)
    torch.testing.assert_close(found[others], field(points, objects)[others], rtol=1e-4, atol=1e-4)


def test_unknown_precision_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="float32, bfloat16, got 'int8'"):
        InferenceNetwork(network("pointnet_cbn"), "int8")
