"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from onet_ros.networks import Checkpoint, OccupancyNetwork, save_checkpoint

REPOSITORY = Path(__file__).resolve().parent.parent
OCTAHEDRON_RADIUS = 0.4  # in units of the unit frame


@pytest.fixture(scope="session")
def dev_data() -> Path:
    """Folder of the development data set (real captures, scanned objects); the test skips where it is absent."""
    folder = Path(os.environ.get("ONET_DATA", REPOSITORY.parent / "shared" / "data" / "dev"))
    if not (folder / "views.npz").is_file():
        pytest.skip(f"no evaluation data in {folder} (set ONET_DATA to the folder that holds views.npz)")
    return folder


@pytest.fixture(scope="session")
def octahedron_checkpoint(tmp_path_factory) -> Path:
    """Checkpoint of an analytic network: whatever was seen, it completes to an octahedron that stands on the table.

    |x| + |y| + |z - OCTAHEDRON_RADIUS| <= OCTAHEDRON_RADIUS in the object's unit frame.
    """
    sizes = {"hidden_size": 6, "code_size": 4}
    network = OccupancyNetwork("pointnet_cbn", encoder=dict(sizes), decoder=dict(sizes))
    decoder = network.decoder
    with torch.no_grad():
        # Features +-x, +-y, +-(z - radius). The blocks start as identities, so the last ReLU takes absolute values.
        decoder.fc_query.weight.copy_(torch.cat([torch.eye(3), -torch.eye(3)]))
        decoder.fc_query.bias.copy_(torch.tensor([0.0, 0.0, -OCTAHEDRON_RADIUS, 0.0, 0.0, OCTAHEDRON_RADIUS]))
        for block in decoder.blocks:
            block.fc_1.bias.zero_()
        decoder.fc_out.weight.fill_(-20.0)
        decoder.fc_out.bias.fill_(20.0 * OCTAHEDRON_RADIUS)
    folder = tmp_path_factory.mktemp("octahedron")
    save_checkpoint(folder, Checkpoint(network.eval(), observation_points=32, threshold=0.5))
    return folder
