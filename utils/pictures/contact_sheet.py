"""Many small pictures on one page."""

from collections.abc import Sequence

import numpy as np

from utils.images.image_files import letterbox
from utils.pictures.drawing import side_by_side

_COLUMNS = 4, 10  # at least, at most
_WHITE = 255


def contact_sheet(images: Sequence[np.ndarray], caption: str = "", side: int = 96) -> np.ndarray:
    """Puts images in rows of equal cells, in their order, with a caption below.

    Args:
        images: at least one (H, W, 3) uint8 RGB; each is scaled into its cell and keeps its ratio.
        caption: one line.
        side: of a cell, in pixels.

    Returns:
        (h, w, 3) uint8 RGB, of 4 to 10 cells a row: as square as that allows.

    Raises:
        ValueError: no images.
    """
    if not len(images):
        raise ValueError("no images for a contact sheet")
    columns = int(np.clip(np.ceil(np.sqrt(len(images))), *_COLUMNS))
    rows = -(-len(images) // columns)
    cells = np.full((rows * columns, side, side, 3), _WHITE, np.uint8)
    cells[: len(images)] = [letterbox(image, (side, side), _WHITE)[0] for image in images]
    cells = cells.reshape(rows, columns, side, side, 3).swapaxes(1, 2)
    page = cells.reshape(rows * side, columns * side, 3)
    return side_by_side([page], caption, height=len(page))
