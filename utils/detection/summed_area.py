"""Averages windows of whole pixels, at a cost that does not grow with the window."""

import cv2
import numpy as np

_INT32_PIXELS = 2**31 // 255  # of a white image whose sum still fits


class SummedArea:
    """The summed-area table of an image (Crow, SIGGRAPH 1984).

    A length of n pixels is resized to m by averaging, for each i of the m, the whole pixels from
    floor(i n / m) to ceil((i + 1) n / m): windows overlap a little, and where m > n pixels repeat.
    """

    def __init__(self, image: np.ndarray):
        """Sums up an image (H, W, 3) uint8."""
        self._size = image.shape[:2]
        fits = image.shape[0] * image.shape[1] <= _INT32_PIXELS
        self._table = cv2.integral(image, sdepth=cv2.CV_32S if fits else cv2.CV_64F)

    def resize(self, size: tuple[int, int]) -> np.ndarray:
        """Returns the image averaged down, or repeated up, to (height, width), as float32, 0 to 255."""
        top, bottom = _windows(self._size[0], size[0])
        left, right = _windows(self._size[1], size[1])
        rows = self._table[bottom]
        rows -= self._table[top]
        sums = rows.take(right, axis=1)
        sums -= rows.take(left, axis=1)
        return _divide(sums, bottom - top, right - left)

    def crop_resize(self, boxes: np.ndarray, side: int) -> np.ndarray:
        """Returns boxes cut out of the image, each averaged to a square; beyond the image it is black.

        Args:
            boxes: (N, 4) int xyxy edges, at least one pixel high and wide, anywhere.
            side: of the squares, pixels.

        Returns:
            (N, side, side, 3) float32, 0 to 255.
        """
        boxes = np.asarray(boxes, np.intp)
        height, width = self._size
        left, right = _windows((boxes[:, 2] - boxes[:, 0])[:, None], side)
        top, bottom = _windows((boxes[:, 3] - boxes[:, 1])[:, None], side)
        lengths = bottom - top, right - left
        left, right = (np.clip(x + boxes[:, :1], 0, width)[:, None, :] for x in (left, right))
        top, bottom = (np.clip(y + boxes[:, 1:2], 0, height)[:, :, None] * (width + 1) for y in (top, bottom))
        corners = self._table.reshape(-1, 3)
        sums = corners.take(bottom + right, axis=0)
        sums -= corners.take(bottom + left, axis=0)
        sums -= corners.take(top + right, axis=0)
        sums += corners.take(top + left, axis=0)
        return _divide(sums, *lengths)


def _windows(length: int | np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns first pixels and ends of the windows that resize `length` (a number or (N, 1)) to `count`."""
    steps = np.arange(count + 1) * length
    return steps[..., :-1] // count, -(-steps[..., 1:] // count)


def _divide(sums: np.ndarray, heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Returns averages from the sums (..., h, w, 3) over windows of heights (..., h) and widths (..., w).

    Two products with long rows: NumPy is slow where it has to broadcast over the three channels.
    """
    averages = sums.astype(np.float32)
    rows = averages.reshape(*averages.shape[:-2], 3 * averages.shape[-2])
    rows *= (1 / heights).astype(np.float32)[..., None]
    rows *= np.repeat(1 / widths, 3, axis=-1).astype(np.float32)[..., None, :]
    return averages
