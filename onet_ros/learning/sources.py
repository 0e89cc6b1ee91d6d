"""Which samples a network is trained on: what its architecture observes decides."""

from __future__ import annotations

from onet_ros.learning.image_world import ImageSource
from onet_ros.learning.source import PointSource, SampleSource
from onet_ros.learning.training_settings import NetworkSettings, TrainingSettings
from onet_ros.learning.voxel_world import VoxelSource
from onet_ros.networks import OccupancyNetwork
from onet_ros.networks.occupancy_network import observed_by


def source_for(settings: TrainingSettings) -> SampleSource:
    """The source of a run's samples, for training and validation.

    Raises:
        ValueError: an unknown architecture.
    """
    observes = observed_by(settings.network.architecture)
    if observes == "image":
        return ImageSource(settings.pictures)
    if observes == "voxels":
        return VoxelSource(settings.grids)
    return PointSource(settings.world)


def default_source(network: OccupancyNetwork) -> SampleSource:
    """Samples of the world as it is by default, for a network that is there already."""
    return source_for(TrainingSettings(network=NetworkSettings(**network.config)))
