"""Whether a completed mesh can be trusted, and where: checked against what the camera saw, with errors foretold.

    carving       no part of an object in space that was seen to be free, nor in another object
    errors        how far each vertex, and the object as a whole, is expected to lie off the true surface
    consistency   what is left of contradictions, in millimetres
    next_view     from where the camera would see what is guessed
    assessment    all of that in one account

Knows fields, meshes and what the camera saw; nothing of networks, and nothing of ROS.
"""

from onet_ros.trust.assessment import Subject, Trust, assess
from onet_ros.trust.carving import CarvedField, ExclusiveField
from onet_ros.trust.consistency import Consistency, check_consistency
from onet_ros.trust.errors import STEPPED, ErrorModel, ObjectEvidence, VertexEvidence
from onet_ros.trust.next_view import NextView, suggest_view

__all__ = [
    "STEPPED",
    "CarvedField",
    "Consistency",
    "ErrorModel",
    "ExclusiveField",
    "NextView",
    "ObjectEvidence",
    "Subject",
    "Trust",
    "VertexEvidence",
    "assess",
    "check_consistency",
    "suggest_view",
]
