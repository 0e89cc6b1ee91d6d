"""Pictures without a display or a GPU: shaded meshes and clouds, contact sheets, legends."""

from onet_ros.pictures.colours import (
    CLAY,
    GUESSED,
    OBJECT_PALETTE,
    SEEN,
    TRUTH,
    confidence_colours,
    error_colours,
)
from onet_ros.pictures.comparisons import Comparison, comparison_row, comparison_sheet, surface_distances
from onet_ros.pictures.curves import save_reliability_diagram, save_training_curves
from onet_ros.pictures.reconstructions import (
    CAPTURE_COLUMNS,
    Stage,
    capture_row,
    reconstruction_picture,
    shape_picture,
    shape_sheet,
)
from onet_ros.pictures.rendering import Image, render_mesh, render_points
from onet_ros.pictures.sheets import (
    add_scale_bar,
    colour_legend,
    confidence_legend,
    contact_sheet,
    error_legend,
    save_picture,
)
from onet_ros.pictures.view import View

__all__ = [
    "CAPTURE_COLUMNS",
    "CLAY",
    "GUESSED",
    "OBJECT_PALETTE",
    "SEEN",
    "TRUTH",
    "Comparison",
    "Image",
    "Stage",
    "View",
    "add_scale_bar",
    "capture_row",
    "colour_legend",
    "comparison_row",
    "comparison_sheet",
    "confidence_colours",
    "confidence_legend",
    "contact_sheet",
    "error_colours",
    "error_legend",
    "reconstruction_picture",
    "render_mesh",
    "render_points",
    "save_picture",
    "save_reliability_diagram",
    "save_training_curves",
    "shape_picture",
    "shape_sheet",
    "surface_distances",
]
