"""Training pictures on a sheet, to look at: what a network is shown, the masks' outlines drawn in."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from onet_ros.learning.image_world import ImageSource, ImageWorldSettings
from onet_ros.learning.pool import SHEET_STREAM, stream_generator
from onet_ros.pictures import contact_sheet

COLUMNS = 10
OUTLINE = (255, 214, 10)  # RGB


@torch.no_grad()
def photograph_sheet(count: int, seed: int, size: int) -> NDArray[np.uint8]:
    """`count` pictures of `size` px (rounded to a multiple of 8), as they come out of the training's pool."""
    source = ImageSource(ImageWorldSettings(image_size=max(16, size // 8 * 8), queries=16))
    generator = stream_generator(seed, SHEET_STREAM, 0)
    tiles: list[NDArray[np.uint8]] = []
    while len(tiles) < count:
        batch = source.draw(source.make(min(32, count), generator, "cpu"), 0, 1, generator)
        images = batch.observation.images.permute(0, 2, 3, 1).numpy()  # type: ignore[union-attr]  # of pictures
        tiles += [_outlined(image) for image in images]
    rows = [tiles[start : min(start + COLUMNS, count)] for start in range(0, count, COLUMNS)]
    return contact_sheet(rows, text_size=10)


def _outlined(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(S, S, 4) in 0 to 1 -> (S, S, 3) with the mask's outline."""
    picture = np.ascontiguousarray(np.round(255.0 * image[..., :3])).astype(np.uint8)
    outlines, _ = cv2.findContours((image[..., 3] > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outlines, -1, OUTLINE, 1)
    return picture
