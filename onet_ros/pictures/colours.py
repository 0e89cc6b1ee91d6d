"""Colours and colour maps of the pictures, chosen to stay apart for colour-blind readers."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Colour = tuple[float, float, float]  # sRGB in 0..1


def _hex(code: str) -> Colour:
    red, green, blue = (int(code[start : start + 2], 16) / 255.0 for start in (0, 2, 4))
    return red, green, blue


PAPER = _hex("f7f7f5")  # background and ground
INK = _hex("22272b")
MUTED_INK = _hex("6b737a")
CLAY = _hex("c4c2bc")  # a mesh without anything to say
TRUTH = _hex("b4b8bc")
SEEN = _hex("3b8fc4")  # blue and orange: the pair that all common colour deficiencies keep apart
GUESSED = _hex("e59a2c")

# Objects of one picture: neighbours in the list differ in hue and in lightness.
_OBJECT_CODES = "4e93c7 e8a33d 4fae8b d8694a 9b86c9 c9b23c 6fb6d9 cf7fa8 7d9b4e a98263"
OBJECT_PALETTE: tuple[Colour, ...] = tuple(_hex(code) for code in _OBJECT_CODES.split())
# Light to dark, monotone in luminance, so that it survives grey print (the idea of ColorBrewer's YlOrRd).
_ERROR_STOPS = np.array([_hex(code) for code in ("f4ecd4", "f7cf85", "f09a45", "d95a36", "a52242", "5c1240")])


def confidence_colours(confidence: ArrayLike) -> NDArray[np.float64]:
    """(N,) 0 = guessed .. 1 = seen -> (N, 3) sRGB, from `GUESSED` to `SEEN`; mixed in linear light."""
    weight = np.clip(np.asarray(confidence, dtype=np.float64), 0.0, 1.0)[..., None]
    mixed = (1.0 - weight) * linear_from_srgb(GUESSED) + weight * linear_from_srgb(SEEN)
    return srgb_from_linear(mixed) / 255.0


def error_colours(error: ArrayLike, maximum: float) -> NDArray[np.float64]:
    """(N,) metres -> (N, 3) sRGB, light for 0 to dark for `maximum` metres and more."""
    if not maximum > 0:
        raise ValueError(f"the largest error of the scale must be positive, got {maximum!r} m")
    position = np.clip(np.abs(np.asarray(error, dtype=np.float64)) / maximum, 0.0, 1.0)
    stops = np.linspace(0.0, 1.0, len(_ERROR_STOPS))
    return np.stack([np.interp(position, stops, _ERROR_STOPS[:, channel]) for channel in range(3)], axis=-1)


def unit_colours(colours: ArrayLike) -> NDArray[np.float64]:
    """uint8 to 0..1; other numbers must be in 0..1 already, or ValueError."""
    values = np.asarray(colours)
    unit = values / 255.0 if values.dtype == np.uint8 else values.astype(np.float64)
    if unit.size and not (unit.min() >= 0 and unit.max() <= 1):
        raise ValueError(f"colours must be uint8, or in 0..1: got {values.dtype} in {unit.min():g}..{unit.max():g}")
    return unit


def linear_from_srgb(colours: ArrayLike) -> NDArray[np.float64]:
    """sRGB in 0..1 -> linear light, IEC 61966-2-1."""
    values = np.asarray(colours, dtype=np.float64)
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def srgb_from_linear(light: ArrayLike) -> NDArray[np.uint8]:
    """Linear light in 0..1 -> sRGB uint8, IEC 61966-2-1."""
    values = np.clip(np.asarray(light, dtype=np.float64), 0.0, 1.0)
    encoded = np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)
    return np.round(255.0 * encoded).astype(np.uint8)
