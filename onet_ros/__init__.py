"""onet_ros: completed, watertight meshes of unseen objects from one depth cloud.

`Reconstructor` is the one door to the pipeline; see `onet_ros.reconstructor`. Importing this package is cheap: torch
is loaded when the door is first used, so that a process that only needs the ROS messages does not pay for it.
"""

import pkgutil
from typing import TYPE_CHECKING, Any

# The generated ROS messages (onet_ros.msg) live in another folder under the same package name: in the colcon install
# space, also when this code runs from the source tree.
__path__ = pkgutil.extend_path(__path__, __name__)

__version__ = "0.1.0"

if TYPE_CHECKING:
    from onet_ros.reconstructor import Reconstructor

__all__ = ["Reconstructor", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Reconstructor":
        from onet_ros.reconstructor import Reconstructor

        return Reconstructor
    raise AttributeError(f"module 'onet_ros' has no attribute {name!r}")
