"""Networks: observations of objects to occupancy fields, and the checkpoints that hold them."""

from onet_ros.networks.checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from onet_ros.networks.fused_field import FusedField
from onet_ros.networks.inference import (
    AUTO,
    ENGINES,
    PRECISIONS,
    Engine,
    InferenceNetwork,
    OccupancyField,
    best_precision,
    make_engine,
)
from onet_ros.networks.observation import AnyObservation, ImageObservation, Observation, VoxelObservation
from onet_ros.networks.occupancy_network import OccupancyNetwork

__all__ = [
    "AUTO",
    "ENGINES",
    "PRECISIONS",
    "AnyObservation",
    "Checkpoint",
    "CheckpointError",
    "Engine",
    "FusedField",
    "ImageObservation",
    "InferenceNetwork",
    "Observation",
    "OccupancyField",
    "OccupancyNetwork",
    "VoxelObservation",
    "best_precision",
    "load_checkpoint",
    "make_engine",
    "save_checkpoint",
]
