"""Pictures of results: faces marked in a photo, photos side by side."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from utils.faces.detections import Detections
from utils.images.placement import letterbox, resize
from utils.pictures.fonts import typeset

_COLUMNS = 4, 10  # of a contact sheet, at least and at most
_PAPER = 255  # grey level

Colour = tuple[int, int, int]

GREEN, RED = (40, 200, 90), (225, 60, 50)
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_POINTS = ((255, 70, 70), (255, 220, 0), (255, 60, 255), (0, 220, 255), (90, 140, 255))


def draw_detections(
    image: np.ndarray,
    detections: Detections,
    labels: Sequence[str] | None = None,
    colours: Sequence[Colour] | None = None,
    note: str = "",
) -> np.ndarray:
    """Returns the image with a box, landmarks and a label on each face; the best face lies on top.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        detections: the faces.
        labels: text of each face's label; "" leaves it out, None for all shows the scores. Characters without an
            installed font are spelt in ASCII.
        colours: RGB of each face's box; None makes all green.
        note: one line for the top left corner, on black.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the number of labels or colours is not that of the faces.
    """
    count = len(detections)
    labels = [f"{score:.2f}" for score in detections.scores] if labels is None else labels
    colours = [GREEN] * count if colours is None else colours
    if len(labels) != count or len(colours) != count:
        raise ValueError(f"{count} faces, {len(labels)} labels and {len(colours)} colours")
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    for i in reversed(range(count)):
        box = detections.boxes[i]
        face = max(0.0, min(box[2:] - box[:2]))
        # Lines grow with the image, but stay thin on a small face.
        width = max(1, round(min(max(picture.size) / 400, face / 12)))
        draw.rectangle([*box[:2], *np.maximum(box[:2], box[2:])], outline=colours[i], width=width)
        for point, colour in zip(detections.landmarks[i], _POINTS, strict=True):
            draw.circle(point, min(width, face / 30), fill=colour)
        _draw_label(draw, labels[i], box, picture.size, colours[i])
    _draw_label(draw, note, np.array([0, 0, *picture.size]), picture.size, _BLACK)
    return np.array(picture)


def side_by_side(
    images: Sequence[np.ndarray], caption: str = "", colour: Colour = _BLACK, height: int = 320
) -> np.ndarray:
    """Returns images in a row, scaled to one height, with a caption in a white strip below.

    Args:
        images: at least one (H, W, 3) uint8 RGB.
        caption: one line, shrunk to fit the width; "" leaves the strip out.
        colour: RGB of the caption.
        height: height of the images, in pixels.

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        ValueError: there are no images.
    """
    if not len(images):
        raise ValueError("no images to put side by side")
    scaled = [resize(i, (height, max(1, round(i.shape[1] * height / i.shape[0])))) for i in images]
    gap = max(2, height // 40)
    width = sum(i.shape[1] for i in scaled) + gap * (len(scaled) - 1)
    strip = max(24, height // 8) if caption else 0
    canvas = np.full((height + strip, width, 3), 255, np.uint8)
    left = 0
    for part in scaled:
        canvas[:height, left : left + part.shape[1]] = part
        left += part.shape[1] + gap
    return _draw_caption(canvas, caption, colour, strip) if caption else canvas


def _draw_caption(canvas: np.ndarray, caption: str, colour: Colour, strip: int) -> np.ndarray:
    picture = Image.fromarray(canvas)
    size = strip * 0.6
    text, font = typeset(caption, size)
    length = font.getlength(text)
    if length > 0.96 * picture.width:
        text, font = typeset(caption, int(size * 0.94 * picture.width / length))
    middle = (picture.width / 2, picture.height - strip / 2)
    ImageDraw.Draw(picture).text(middle, text, fill=colour, font=font, anchor="mm")
    return np.array(picture)


def _draw_label(draw: ImageDraw.ImageDraw, text: str, box: np.ndarray, size: tuple[int, int], colour: Colour) -> None:
    """Writes on a plate above the box, or inside the picture; half as high as the face is wide."""
    height = np.clip((box[2] - box[0]) / 2, 10, max(12, max(size) / 45))
    text, font = typeset(text, height)
    if not text:
        return
    left, top, right, bottom = font.getbbox(text, anchor="la")
    pad = max(1, (bottom - top) // 6)
    plate_width, plate_height = right - left + 2 * pad, bottom - top + 2 * pad
    x = float(np.clip(box[0], 0, max(0, size[0] - plate_width)))
    y = float(np.clip(box[1] - plate_height, 0, max(0, size[1] - plate_height)))
    draw.rectangle([x, y, x + plate_width, y + plate_height], fill=colour)
    draw.text((x + pad - left, y + pad - top), text, fill=_WHITE, font=font, anchor="la")


def contact_sheet(images: Sequence[np.ndarray], caption: str = "", side: int = 96) -> np.ndarray:
    """Returns images in rows of equal cells, in their order, with a caption below.

    Args:
        images: at least one (H, W, 3) uint8 RGB; each is scaled into its cell and keeps its ratio.
        caption: one line.
        side: side of a cell, in pixels.

    Returns:
        (h, w, 3) uint8 RGB, with 4 to 10 cells per row: as square as that allows.

    Raises:
        ValueError: there are no images.
    """
    if not len(images):
        raise ValueError("no images for a contact sheet")
    columns = int(np.clip(np.ceil(np.sqrt(len(images))), *_COLUMNS))
    rows = -(-len(images) // columns)
    cells = np.full((rows * columns, side, side, 3), _PAPER, np.uint8)
    cells[: len(images)] = [letterbox(image, (side, side), _PAPER)[0] for image in images]
    cells = cells.reshape(rows, columns, side, side, 3).swapaxes(1, 2)
    page = cells.reshape(rows * side, columns * side, 3)
    return side_by_side([page], caption, height=len(page))
