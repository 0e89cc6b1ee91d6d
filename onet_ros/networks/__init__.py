"""Networks: observations of objects to occupancy fields, and the checkpoints that hold them."""

from onet_ros.networks.checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from onet_ros.networks.inference import PRECISIONS, InferenceNetwork, OccupancyField
from onet_ros.networks.observation import Observation
from onet_ros.networks.occupancy_network import OccupancyNetwork

__all__ = [
    "PRECISIONS",
    "Checkpoint",
    "CheckpointError",
    "InferenceNetwork",
    "Observation",
    "OccupancyField",
    "OccupancyNetwork",
    "load_checkpoint",
    "save_checkpoint",
]
