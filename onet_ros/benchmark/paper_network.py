"""The paper's network at full width, with weights that have a surface, and the shape they have it from."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
import trimesh
from torch import Tensor

from onet_ros.networks import Checkpoint, Observation, OccupancyNetwork
from onet_ros.networks.cbn_decoder import CBNDecoder, ConditionalBlock
from onet_ros.surface import ExtractionSettings, extract_mesh, sample_grid_dense

SIZES = {"encoder": {"hidden_size": 512, "code_size": 512}, "decoder": {"code_size": 512, "hidden_size": 256}}
THRESHOLD = 0.2  # the paper's
LOWER, UPPER = np.full(3, -0.55), np.full(3, 0.55)  # the paper's box
POINTS = 300  # that the encoder is given, as in the paper
FREQUENCY = 2.0  # of the random features over the first layer's own
FIT_POINTS, LOGITS_PER_UNIT, RIDGE = 20_000, 20.0, 1e-3


def mug(points: Tensor) -> Tensor:
    """(N, 3) -> (N,) signed distance, about, to a covered mug with a handle, 0.9 high; positive inside."""
    x, y, z = points.unbind(1)
    middle = torch.stack([x + 0.1, y], dim=1).norm(dim=1)
    body = torch.minimum(0.32 - middle, 0.45 - z.abs())
    ring = torch.stack([x - 0.25, z], dim=1).norm(dim=1) - 0.2
    return torch.maximum(body, 0.07 - torch.stack([ring, y], dim=1).norm(dim=1))


def true_mug() -> trimesh.Trimesh:
    """Its surface, at 160 cells along the box's edge."""
    return extract_mesh(sample_grid_dense(mug, LOWER, UPPER, 0.0, ExtractionSettings(160, 0)))


def observation_of_mug(seed: int = 0) -> Observation:
    """Points of its surface."""
    points, _ = trimesh.sample.sample_surface(true_mug(), POINTS, seed=seed)
    return Observation(
        points=torch.as_tensor(np.asarray(points), dtype=torch.float32).unsqueeze(0),
        background=torch.zeros(1, 0, 3),
        viewpoint=torch.tensor([[4.0, 0.0, 3.0]]),
        scale=torch.tensor([0.1]),
    )


def fitted_paper_network(seed: int = 0) -> Checkpoint:
    """The network of the paper's point-cloud configuration (512 / 256) whose field, for `observation_of_mug`, is a mug.

    Random weights, and a last layer that least squares chose so that the logits follow the distance to the mug: the
    network knows nothing, but each answer costs what it costs, and the surface is no simpler than that of a trained
    one.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    network = OccupancyNetwork("pointnet_cbn", SIZES["encoder"], SIZES["decoder"]).eval().requires_grad_(False)
    decoder = cast(CBNDecoder, network.decoder)
    decoder.fc_query.weight.mul_(FREQUENCY)
    decoder.fc_query.bias.normal_(std=FREQUENCY / 4, generator=generator)
    for block in decoder.blocks:
        weight = cast(ConditionalBlock, block).fc_1.weight  # zero at the start of a training
        weight.normal_(std=weight.shape[1] ** -0.5, generator=generator)
    points = 1.1 * (torch.rand(FIT_POINTS, 3, generator=generator) - 0.5)
    features = _last_features(decoder, points, network.encode(observation_of_mug(seed)))
    logits = (LOGITS_PER_UNIT * mug(points)).clamp(-4.0, 4.0) + float(np.log(THRESHOLD / (1 - THRESHOLD)))
    inputs = torch.cat([features, torch.ones_like(features[:, :1])], dim=1).double()
    normal = inputs.T @ inputs + RIDGE * torch.eye(inputs.shape[1], dtype=torch.float64)
    solution = torch.linalg.solve(normal, inputs.T @ logits.double()).float()
    decoder.fc_out.weight.copy_(solution[None, :-1])
    decoder.fc_out.bias.copy_(solution[-1:])
    return Checkpoint(network, POINTS, THRESHOLD)


def _last_features(decoder: CBNDecoder, points: Tensor, code: Tensor) -> Tensor:
    """(N, hidden) what the last layer is given."""
    seen: list[Tensor] = []
    hook = decoder.fc_out.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    decoder(points.unsqueeze(0), code)
    hook.remove()
    return seen[0].squeeze(0)
