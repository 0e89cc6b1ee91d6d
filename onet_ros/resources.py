"""Where the weights, the configuration and the launch files lie, however the package was installed.

The source tree keeps `config/`, `launch/` and `models/` beside the package; pip and colcon install them to
`<prefix>/share/onet_ros`, with the package itself somewhere below `<prefix>`.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parent


MODELS = {"points": "default", "image": "image", "voxels": "voxels"}  # by what they observe


def default_model_path() -> Path:
    """Folder of the weights that come with the package; raises FileNotFoundError like `data_folder`."""
    return model_path("points")


def model_path(observes: str) -> Path:
    """Folder of the weights that come with the package for points, an image or voxels; raises as `data_folder`."""
    return data_folder("models") / MODELS[observes]


def data_folder(name: str, package: Path = PACKAGE) -> Path:
    """The folder `name` ("config", "launch" or "models") that belongs to this installation.

    Args:
        name: which folder.
        package: folder of the Python package `onet_ros`.

    Raises:
        FileNotFoundError: it is in none of the places an installation puts it; the message names them.
    """
    if (package.parent / "package.xml").is_file():
        candidates = [package.parent / name]
    else:
        candidates = [prefix / "share" / "onet_ros" / name for prefix in package.parents]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"no folder {name!r} of onet_ros: looked for {', '.join(map(str, candidates))}")
