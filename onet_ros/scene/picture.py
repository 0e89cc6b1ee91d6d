"""One object in a camera's picture: its unit frame without any depth, and its picture as the networks get it.

A mask and the table are enough for a frame. Rays through the mask meet the table in the object's shadow, as cast by a
lamp at the camera; where that begins, the object touches the table, or nearly so, and there a ray has a length in
metres. How tall and how deep the object is, a mask cannot tell: the same outline may be a tall thing or a long one
lying down. One unit lies between the two, so that either fits in `PICTURE_BOX`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from onet_ros.scene.plane import SupportPlane
from onet_ros.scene.unit_frame import UnitFrame

# The box a field is asked in, in the unit frame of a picture: lower and upper corner.
PICTURE_BOX = (np.array([-0.62, -0.54, 0.0]), np.array([0.46, 0.54, 1.04]))
VIEW_CENTRE = np.array([-0.08, 0.0, 0.45])  # where the camera of the crop looks, unit frame
VIEW_REACH = 0.58  # half the width of the crop at that distance, units

MARGIN = 1.1  # one unit over the extent that the mask speaks for
SET_BACK = 0.25  # units from the front of the object's shadow to the origin
TRIM = 0.5  # per cent of the mask's pixels at either end that do not count for its extent
FRONT = 1.0  # per cent of them that may lie before the front, against specks
STEEPEST_COSINE = 0.15  # of the camera's elevation: from straight above a mask says nothing about height
FLATTEST_SINE = 0.03  # of a ray's descent; flatter ones meet the table nowhere near
DEEPEST = 4.0  # most depth of an object over the longer edge of its outline
MIN_MASK_PIXELS = 16
MOST_RAYS = 20_000
FINEST = 8  # most pixels of the picture along the edge of one of the crop


class PictureError(ValueError):
    """A picture, mask or camera that says nothing of an object; the message quotes the value at fault."""


@dataclass(frozen=True, eq=False)
class PictureView:
    """An object in a picture.

    Attributes:
        frame: the object's unit frame; the source frame is the camera's optical frame.
        rays: (N, 3) float64, of the mask's pixels, camera frame, depth 1.
    """

    frame: UnitFrame
    rays: NDArray[np.float64]

    @property
    def viewpoint(self) -> NDArray[np.float64]:
        """(3,) unit frame: where the camera stood."""
        return self.frame.to_unit(np.zeros(3))


def checked_picture(image: ArrayLike, mask: ArrayLike, K: ArrayLike) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A picture (H, W, 3) uint8 RGB and its mask (H, W) bool, if that is what they are.

    Args:
        image: (H, W, 3) uint8 RGB, or (H, W) or (H, W, 1) uint8 grey.
        mask: (H, W), anything but 0 is the object.
        K: (3, 3) intrinsics.

    Raises:
        PictureError: another shape or type, a mask of another size or with next to nothing in it, no intrinsics.
    """
    picture = np.asarray(image)
    if picture.dtype != np.uint8:
        raise PictureError(f"expected an image of 8 bits a channel, got {picture.dtype}")
    if picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 1):
        picture = np.repeat(picture.reshape(*picture.shape[:2], 1), 3, axis=2)
    if picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise PictureError(f"expected an image of shape (H, W, 3) or (H, W), got {picture.shape}")
    inside = np.asarray(mask)
    if inside.shape != picture.shape[:2] or inside.dtype.kind not in "biu":
        raise PictureError(
            f"expected a mask of the image's size {picture.shape[:2]} and of whole numbers, "
            f"got {inside.shape} {inside.dtype}"
        )
    inside = inside != 0
    if inside.sum() < MIN_MASK_PIXELS:
        raise PictureError(f"the mask holds {int(inside.sum())} pixels, at least {MIN_MASK_PIXELS} are needed")
    checked_intrinsics(K)
    return picture, inside


def checked_labels(image: ArrayLike, labels: ArrayLike, K: ArrayLike) -> NDArray[np.int64]:
    """An instance mask (H, W) int64 of a picture, 0 where there is no object.

    Args:
        image, K: as in `checked_picture`.
        labels: (H, W) whole numbers.

    Raises:
        PictureError: as `checked_picture`; no label at all.
    """
    checked_picture(image, np.ones(np.asarray(image).shape[:2], dtype=bool), K)
    numbers = np.asarray(labels)
    size = np.asarray(image).shape[:2]
    if numbers.shape != size or numbers.dtype.kind not in "biu":
        raise PictureError(
            f"expected labels of the image's size {size} and of whole numbers, got {numbers.shape} {numbers.dtype}"
        )
    if not numbers.any():
        raise PictureError(f"empty mask: none of its {numbers.size} pixels belongs to an object")
    return numbers.astype(np.int64)


def undistorted(
    image: NDArray[np.uint8], labels: NDArray[np.integer], K: ArrayLike, distortion: ArrayLike, model: str = "plumb_bob"
) -> tuple[NDArray[np.uint8], NDArray[np.integer]]:
    """Picture and instance mask as a camera without lens distortion and with the same intrinsics takes them.

    Args:
        image: (H, W, 3) or (H, W) uint8; labels: (H, W) whole numbers, which are not interpolated.
        K: (3, 3) pixels.
        distortion: (4,), (5,) or (8,) coefficients k1, k2, p1, p2[, k3[, k4, k5, k6]] for "plumb_bob" and
            "rational_polynomial"; (4,) k1 to k4 for "equidistant". None at all, or zeros: there is nothing to do.
        model: of the distortion, by the name that camera drivers give it.

    Raises:
        PictureError: an unknown model, or another number of coefficients.
    """
    intrinsics = checked_intrinsics(K)
    given = np.asarray(distortion, dtype=np.float64).ravel()
    if not given.any():
        return image, labels
    counts = {"plumb_bob": (4, 5), "rational_polynomial": (8,), "equidistant": (4,)}
    if model not in counts:
        raise PictureError(f"unknown distortion model {model!r}; known are {', '.join(counts)}")
    if len(given) not in counts[model] or not np.isfinite(given).all():
        raise PictureError(
            f"distortion model {model!r} takes {counts[model]} finite coefficients, got {given.tolist()}"
        )
    size = (image.shape[1], image.shape[0])
    initialise = cv2.fisheye.initUndistortRectifyMap if model == "equidistant" else cv2.initUndistortRectifyMap
    across, along = initialise(intrinsics, given, np.eye(3), intrinsics, size, cv2.CV_32FC1)
    straight = cv2.remap(image, across, along, cv2.INTER_LINEAR)
    # 32 bits hold any label; remap takes them as floats, exact up to 2^24.
    numbers = cv2.remap(labels.astype(np.float32), across, along, cv2.INTER_NEAREST)
    return np.asarray(straight, dtype=np.uint8), np.asarray(numbers).astype(labels.dtype)


def checked_intrinsics(K: ArrayLike | None) -> NDArray[np.float64]:
    """K (3, 3) float64 of a pinhole camera.

    Raises:
        PictureError: there are none (None, or zeros, as an uncalibrated camera sends), or they are impossible.
    """
    if K is None:
        raise PictureError("no intrinsics: an object's size and place cannot be told from pixels alone")
    intrinsics = np.asarray(K, dtype=np.float64)
    if intrinsics.shape != (3, 3) or not np.isfinite(intrinsics).all():
        raise PictureError(f"intrinsics must be 3 x 3 finite numbers, got {intrinsics.tolist()}")
    if not (np.diag(intrinsics) > 0).all():
        raise PictureError(f"no intrinsics: focal lengths must be positive, got {np.diag(intrinsics)[:2].tolist()}")
    return intrinsics


def view_object(mask: NDArray[np.bool_], K: ArrayLike, plane: SupportPlane) -> PictureView:
    """An object's unit frame by its mask in a picture and the table it stands on.

    Args:
        mask: (H, W) bool.
        K: (3, 3) pixels; integer pixel = pixel centre.
        plane: in the camera's optical frame.

    Raises:
        PictureError: too few pixels, no intrinsics, or a mask that the plane does not lie behind.
    """
    if mask.sum() < MIN_MASK_PIXELS:
        raise PictureError(f"the mask holds {int(mask.sum())} pixels, at least {MIN_MASK_PIXELS} are needed")
    row, column = np.nonzero(mask)
    if len(row) > MOST_RAYS:
        chosen = np.linspace(0, len(row) - 1, MOST_RAYS).astype(np.int64)
        row, column = row[chosen], column[chosen]
    pixels = np.stack([column, row, np.ones_like(row)], axis=1)
    rays = pixels @ np.linalg.inv(checked_intrinsics(K)).T
    return PictureView(picture_frame(rays, plane), rays)


def picture_frame(rays: NDArray[np.float64], plane: SupportPlane) -> UnitFrame:
    """The unit frame of an object of which only the outline is known.

    Args:
        rays: (N, 3) of the mask's pixels, camera frame, any length; the camera is the origin.
        plane: the table, camera frame.

    Raises:
        PictureError: the camera is not above the plane, or no ray comes down to it.
    """
    height = plane.offset
    if not height > 0.0:
        raise PictureError(f"the camera must be above the support plane, its height is {height:.4g} m")
    up = plane.normal
    forward, half = _outline(rays, up)
    towards = _towards_camera(forward, up)
    descent = -(rays @ up) / np.linalg.norm(rays, axis=1)
    meets = descent > FLATTEST_SINE
    if not meets.any():
        raise PictureError(
            f"no ray through the mask comes down to the support plane; the steepest descends by {descent.max():.3f}"
        )
    ground = rays[meets] * (height / -(rays[meets] @ up))[:, None]
    back, front = np.percentile(ground @ towards, [FRONT, 100.0 - FRONT]).tolist()
    foot = front * towards - height * up
    distance = float(foot @ forward)
    width, tall = (2.0 * half * distance).tolist()
    cosine = max(math.sqrt(max(0.0, 1.0 - float(forward @ up) ** 2)), STEEPEST_COSINE)
    longest_lying = min(float(front - back), DEEPEST * max(width, tall))
    either = math.sqrt(tall / cosine * longest_lying)
    scale = MARGIN * max(width, either, 1e-6)
    rotation = np.stack([towards, np.cross(up, towards), up])
    return UnitFrame(rotation=rotation, origin=foot - SET_BACK * scale * towards, scale=scale)


def crop_picture(
    image: NDArray[np.uint8], mask: NDArray[np.bool_], K: ArrayLike, view: PictureView, size: int
) -> NDArray[np.float32]:
    """The picture turned, without the camera's place changing, to look at the unit box, level; with the mask.

    Args:
        image: (H, W, 3) uint8 RGB; mask: (H, W) bool.
        size: S, px along an edge of the crop.

    Returns:
        (4, S, S) float32, 0 to 1. Beyond the picture's edge its border goes on.
    """
    axes, reach = crop_axes(view.viewpoint)
    to_picture = checked_intrinsics(K) @ (axes @ view.frame.rotation).T  # of directions in the crop's camera
    pitch = 2.0 * reach / size
    focal = float(np.sqrt(abs(np.linalg.det(np.asarray(K, dtype=np.float64)[:2, :2]))))
    finer = int(np.clip(np.ceil(pitch * focal), 1, FINEST))
    count, step = size * finer, pitch / finer
    first = step * (0.5 - count / 2)
    from_pixel = np.array([[step, 0.0, first], [0.0, step, first], [0.0, 0.0, 1.0]])
    homography = to_picture @ from_pixel

    def warped(source: NDArray[np.uint8], border: int) -> NDArray[np.float32]:
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        fine = cv2.warpPerspective(source, homography, (count, count), flags=how, borderMode=border)
        return np.asarray(cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA), dtype=np.float32) / 255.0

    colours = warped(np.ascontiguousarray(image), cv2.BORDER_REPLICATE)
    inside = warped(np.where(mask, 255, 0).astype(np.uint8), cv2.BORDER_CONSTANT)
    return np.concatenate([colours.transpose(2, 0, 1), inside[None]]).astype(np.float32)


def crop_axes(viewpoint: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Rows right, down, forward (3, 3), unit frame, of the camera that looks at the box from `viewpoint` (3,), and half
    the width of its picture at distance 1."""
    forward = VIEW_CENTRE - viewpoint
    distance = float(np.linalg.norm(forward))
    forward = forward / distance
    right = np.array([0.0, 1.0, 0.0]) - forward[1] * forward
    right = right / np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward]), VIEW_REACH / distance


def _outline(rays: NDArray[np.float64], up: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit direction (3,) to the middle of the mask as a level camera sees it, and half its width and height (2,) at
    distance 1."""
    forward = rays.mean(axis=0)
    half = np.zeros(2)
    for _ in range(4):  # turning towards the middle moves it a little
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, up)
        if np.linalg.norm(right) < 1e-6:
            right = np.array([1.0, 0.0, 0.0])
        right = right / np.linalg.norm(right)
        down = np.cross(forward, right)
        along = np.stack([rays @ right, rays @ down], axis=1) / np.maximum(rays @ forward, 1e-6)[:, None]
        low, high = np.percentile(along, [TRIM, 100.0 - TRIM], axis=0)
        half = (high - low) / 2.0
        middle = (low + high) / 2.0
        forward = forward + middle[0] * right + middle[1] * down
    return forward / np.linalg.norm(forward), half


def _towards_camera(forward: NDArray[np.float64], up: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) horizontal, from the object to the camera; seen from straight above, to the lower edge of the picture."""
    for direction in (-forward, np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0])):
        horizontal = direction - (direction @ up) * up
        if np.linalg.norm(horizontal) > 1e-3:
            return np.asarray(horizontal / np.linalg.norm(horizontal))
    raise PictureError(f"no horizontal direction: forward {forward.tolist()}, up {up.tolist()}")
