"""The families of procedural objects, by name, and how often each is drawn."""

from __future__ import annotations

from collections.abc import Callable

from onet_ros.learning.families import assemblies, blocks, organic, tools, vessels
from onet_ros.learning.solid import Draw, Solid

# name: (family, weight)
FAMILIES: dict[str, tuple[Callable[[Draw], Solid], float]] = {
    "carton": (blocks.carton, 2.0),
    "gable": (blocks.gable, 0.7),
    "prism": (blocks.prism, 0.8),
    "stud_brick": (blocks.stud_brick, 0.8),
    "soap": (blocks.soap, 1.2),
    "device": (blocks.device, 1.0),
    "crate": (blocks.crate, 0.8),
    "can": (vessels.can, 1.5),
    "jar": (vessels.jar, 0.8),
    "bottle": (vessels.bottle, 2.0),
    "cup": (vessels.cup, 2.0),
    "bowl": (vessels.bowl, 1.3),
    "plate": (vessels.plate, 0.7),
    "jug": (vessels.jug, 1.0),
    "pan": (vessels.pan, 0.8),
    "stemware": (vessels.stemware, 0.6),
    "tube": (vessels.tube, 0.7),
    "turned": (vessels.turned, 1.2),
    "screwdriver": (tools.screwdriver, 1.2),
    "hammer": (tools.hammer, 1.0),
    "wrench": (tools.wrench, 0.6),
    "scissors": (tools.scissors, 0.7),
    "clamp": (tools.clamp, 0.8),
    "spoon": (tools.spoon, 0.6),
    "pistol": (tools.pistol, 0.8),
    "round_fruit": (organic.round_fruit, 1.6),
    "long_fruit": (organic.long_fruit, 0.7),
    "blob": (organic.blob, 1.0),
    "toy": (organic.toy, 2.0),
    "twin": (organic.twin, 0.6),
    "animal": (assemblies.animal, 1.2),
    "vehicle": (assemblies.vehicle, 0.8),
    "aeroplane": (assemblies.aeroplane, 0.7),
    "lens_camera": (assemblies.lens_camera, 0.8),
    "headphones": (assemblies.headphones, 0.7),
    "spectacles": (assemblies.spectacles, 0.5),
    "teapot": (assemblies.teapot, 0.9),
    "gamepad": (assemblies.gamepad, 0.6),
    "stapler": (assemblies.stapler, 0.8),
    "squeezed_tube": (assemblies.squeezed_tube, 0.8),
    "lamp": (assemblies.lamp, 0.7),
}
