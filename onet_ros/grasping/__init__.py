"""Grasp candidates for parallel-jaw grippers, sampled on completed meshes. Knows meshes; nothing of networks or ROS."""

from onet_ros.grasping.gripper import GraspSettings, Gripper
from onet_ros.grasping.sampler import Grasp, GraspScene, sample_grasps

__all__ = ["Grasp", "GraspScene", "GraspSettings", "Gripper", "sample_grasps"]
