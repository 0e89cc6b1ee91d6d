"""Pictures laid out with text: contact sheets, legends, scale bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from onet_ros.pictures.colours import INK, MUTED_INK, Colour, confidence_colours, error_colours
from onet_ros.pictures.rendering import Image

_WHITE = (255, 255, 255)
_LINE_SPACING = 1.35
_LARGE = 1.5  # size of the sheet's title, in text sizes


def contact_sheet(
    rows: Sequence[Sequence[Image | None]],
    column_titles: Sequence[str] = (),
    row_captions: Sequence[str] = (),
    cell_captions: Sequence[Sequence[str]] = (),
    title: str = "",
    subtitle: str = "",
    legends: Sequence[Image] = (),
    text_size: int = 18,
) -> Image:
    """Images in a grid with titles, captions and legends -> (H, W, 3) uint8.

    Args:
        rows: images (h, w, 3) uint8 of any size; None leaves a cell empty. Rows may differ in length.
        column_titles: above the columns.
        row_captions: left of the rows; the first line of each is bold.
        cell_captions: below the images, laid out as `rows`; the first line of each is bold.
        title, subtitle: above everything.
        legends: images from `confidence_legend` and its like, in a line below everything.
        text_size: px of the captions; titles are larger.
    """
    if not any(image is not None for row in rows for image in row):
        raise ValueError(f"a contact sheet needs at least one image, got {len(rows)} rows without any")
    gap = round(0.9 * text_size)
    columns = max(len(row) for row in rows)
    widths = [max((_extent(row, c, axis=1) for row in rows), default=0) for c in range(columns)]
    heights = [max((_extent(row, c, axis=0) for c in range(columns)), default=0) for row in rows]
    captions = [list(cell_captions[r]) if r < len(cell_captions) else [] for r in range(len(rows))]
    caption_heights = [
        max((_text_height(text, text_size) + gap for text in line if text), default=0) for line in captions
    ]
    caption_width = max((_text_width(text, text_size) for text in row_captions), default=0)

    left = 2 * gap + (caption_width + gap if caption_width else 0)
    top = (
        2 * gap
        + (round(2.2 * text_size) if title else 0)
        + (_text_height(subtitle, text_size) + gap if subtitle else 0)
    )
    first_row = top + (round(1.2 * text_size) + gap if any(column_titles) else 0)
    legends_width = sum(legend.shape[1] for legend in legends) + 3 * gap * max(len(legends) - 1, 0)
    texts_width = max(_text_width(title, round(_LARGE * text_size)), _text_width(subtitle, text_size))
    width = 2 * gap + max(left + sum(widths) + gap * (columns - 1), 2 * gap + max(legends_width, texts_width))
    legends_top = first_row + sum(heights) + sum(caption_heights) + gap * len(rows)
    height = legends_top + max((legend.shape[0] + 2 * gap for legend in legends), default=gap)

    canvas = PillowImage.new("RGB", (width, height), _WHITE)
    draw_text(canvas, (2 * gap, 2 * gap), title, round(_LARGE * text_size))
    draw_text(canvas, (2 * gap, 2 * gap + (round(2.2 * text_size) if title else 0)), subtitle, text_size, bold_lines=0)
    lefts = [left + sum(widths[:c]) + gap * c for c in range(columns)]
    for x, column_width, text in zip(lefts, widths, column_titles, strict=False):
        size = round(1.1 * text_size)
        draw_text(canvas, (x + (column_width - _text_width(text, size)) // 2, top), text, size)
    y = first_row
    for r, row in enumerate(rows):
        if r < len(row_captions):
            middle = y + (heights[r] - _text_height(row_captions[r], text_size)) // 2
            draw_text(canvas, (2 * gap, middle), row_captions[r], text_size)
        for c, image in enumerate(row):
            if image is not None:
                corner = (lefts[c] + (widths[c] - image.shape[1]) // 2, y + (heights[r] - image.shape[0]) // 2)
                _paste_rounded(canvas, image, corner, radius=gap // 2)
        for x, text in zip(lefts, captions[r], strict=False):
            draw_text(canvas, (x, y + heights[r] + gap // 2), text, text_size)
        y += heights[r] + caption_heights[r] + gap
    x = (width - legends_width) // 2
    for legend in legends:
        canvas.paste(PillowImage.fromarray(legend), (x, legends_top))
        x += legend.shape[1] + 3 * gap
    return np.array(canvas)


def confidence_legend(text_size: int = 18) -> Image:
    """A bar from guessed to seen."""
    ramp = confidence_colours(np.linspace(0, 1, 12 * text_size))
    return _ramp_legend(ramp, "guessed", "seen by the camera", text_size)


def error_legend(maximum: float, text_size: int = 18) -> Image:
    """A bar from 0 mm to `maximum` metres."""
    ramp = error_colours(np.linspace(0, maximum, 12 * text_size), maximum)
    return _ramp_legend(ramp, "0 mm", f"{1000 * maximum:g} mm and more", text_size)


def colour_legend(names: Mapping[str, Colour], text_size: int = 18) -> Image:
    """A dot and a name for each colour."""
    steps = [round(_text_width(name, text_size, bold=False) + 2.9 * text_size) for name in names]
    canvas = PillowImage.new("RGB", (sum(steps) - round(1.5 * text_size), round(1.6 * text_size)), _WHITE)
    x, middle = 0, canvas.height // 2
    for (name, colour), step in zip(names.items(), steps, strict=True):
        dot = np.full((text_size, text_size, 3), _rgb(colour), dtype=np.uint8)
        _paste_rounded(canvas, dot, (x, middle - text_size // 2), radius=text_size // 2)
        _draw_beside(canvas, (x + round(1.4 * text_size), middle), name, text_size)
        x += step
    return np.array(canvas)


def add_scale_bar(image: Image, pixels_per_metre: float, text_size: int = 15) -> Image:
    """The image with a bar of 1, 2 or 5 x 10^k mm, at most a third of its width, in the lower left corner."""
    if not pixels_per_metre > 0:
        raise ValueError(f"pixels_per_metre must be positive, got {pixels_per_metre!r}")
    longest = 0.33 * image.shape[1] / pixels_per_metre
    decade = 10.0 ** np.floor(np.log10(longest))
    length = max(step * decade for step in (1, 2, 5) if step * decade <= longest)
    canvas = PillowImage.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    margin, thickness = round(0.8 * text_size), max(2, text_size // 5)
    x, y = margin, image.shape[0] - margin
    draw.rectangle((x, y - thickness, x + round(length * pixels_per_metre), y), fill=_rgb(INK))
    label = f"{1000 * length:g} mm" if length < 1 else f"{length:g} m"
    draw.text((x, y - 2 * thickness), label, fill=_rgb(INK), font=_font(text_size), anchor="ls")
    return np.array(canvas)


def save_picture(path: str | Path, image: Image, colours: int | None = None) -> Path:
    """Write (H, W, 3) uint8 RGB as PNG or JPEG, by the path's ending; folders are made. Returns the path.

    `colours`: for PNG, reduce the picture to so many (at most 256), which shrinks the file; None keeps all.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"a picture is (H, W, 3) uint8, got shape {image.shape}, {image.dtype}")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = PillowImage.fromarray(image)
    if colours is not None:
        picture = picture.quantize(colours, dither=PillowImage.Dither.NONE)
    picture.save(path, quality=92, optimize=True)
    return path


def draw_text(canvas: PillowImage.Image, corner: tuple[int, int], text: str, size: int, bold_lines: int = 1) -> None:
    """Lines of text below and right of `corner`, the first `bold_lines` of them bold and darker."""
    draw = ImageDraw.Draw(canvas)
    for number, line in enumerate(text.split("\n") if text else ()):
        bold = number < bold_lines
        position = (corner[0], corner[1] + round(_LINE_SPACING * size * number))
        draw.text(position, line, fill=_rgb(INK if bold else MUTED_INK), font=_font(size, bold), anchor="la")


@lru_cache(maxsize=32)
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which Matplotlib brings along, so that pictures look the same everywhere."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(mpl.get_data_path(), "fonts", "ttf", name)), max(size, 6))


def _rgb(colour: Colour) -> tuple[int, int, int]:
    red, green, blue = (round(255 * value) for value in colour)
    return red, green, blue


def _extent(row: Sequence[Image | None], column: int, axis: int) -> int:
    image = row[column] if column < len(row) else None
    return 0 if image is None else image.shape[axis]


def _text_width(text: str, size: int, bold: bool = True) -> int:
    return max(int(np.ceil(_font(size, bold).getlength(line))) for line in text.split("\n"))


def _text_height(text: str, size: int) -> int:
    return round(_LINE_SPACING * size * len(text.split("\n")))


def _draw_beside(canvas: PillowImage.Image, point: tuple[int, int], text: str, size: int) -> None:
    ImageDraw.Draw(canvas).text(point, text, fill=_rgb(MUTED_INK), font=_font(size), anchor="lm")


def _paste_rounded(canvas: PillowImage.Image, image: Image, corner: tuple[int, int], radius: int) -> None:
    height, width = image.shape[:2]
    factor = 4  # drawn larger and shrunk, for a smooth rim
    mask = PillowImage.new("L", (width * factor, height * factor), 0)
    box = (0, 0, width * factor - 1, height * factor - 1)
    ImageDraw.Draw(mask).rounded_rectangle(box, radius=radius * factor, fill=255)
    canvas.paste(PillowImage.fromarray(image), corner, mask.resize((width, height), PillowImage.Resampling.LANCZOS))


def _ramp_legend(ramp: NDArray[np.float64], low: str, high: str, text_size: int) -> Image:
    left, right = (_text_width(text, text_size, bold=False) + text_size // 2 for text in (low, high))
    canvas = PillowImage.new("RGB", (left + len(ramp) + right, round(1.6 * text_size)), _WHITE)
    middle = canvas.height // 2
    bar = np.repeat(np.round(255 * ramp).astype(np.uint8)[None], text_size, axis=0)
    _paste_rounded(canvas, bar, (left, middle - text_size // 2), radius=text_size // 3)
    _draw_beside(canvas, (0, middle), low, text_size)
    _draw_beside(canvas, (left + len(ramp) + text_size // 2, middle), high, text_size)
    return np.array(canvas)
