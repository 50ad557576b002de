"""Places an image in a network's input: resizing, letterbox, padding, and the way back."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

Size = tuple[int, int]
Fill = int | Sequence[int]


def resize(image: np.ndarray, size: Size) -> np.ndarray:
    """Returns an image resized to an exact size, without aliasing.

    A side that shrinks is averaged over pixel areas, then a side that grows is interpolated with
    cubics (both by OpenCV).

    Args:
        image: (H, W, 3) uint8.
        size: (height, width) in pixels.

    Returns:
        (height, width, 3) uint8; the image itself when it has that size.
    """
    height, width = _positive(size)
    shrunk = (min(height, image.shape[0]), min(width, image.shape[1]))
    if shrunk != image.shape[:2]:
        image = cv2.resize(image, shrunk[::-1], interpolation=cv2.INTER_AREA)
    if (height, width) != shrunk:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    return image


def _positive(size: Size) -> Size:
    height, width = int(size[0]), int(size[1])
    if height < 1 or width < 1:
        raise ValueError(f"size {tuple(size)}: (height, width) of at least 1 pixel expected")
    return height, width


def _resample(image: np.ndarray, size: Size, resample: str) -> np.ndarray:
    if resample not in ("bicubic", "linear"):
        raise ValueError(f"resample '{resample}': choose from bicubic, linear")
    if size == image.shape[:2]:
        return image
    if resample == "bicubic":
        return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC))
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)


@dataclass(frozen=True)
class Letterbox:
    """How an image was placed on a canvas: scaled, then moved by (left, top) pixels."""

    scale_x: float = 1.0
    scale_y: float = 1.0
    left: float = 0.0
    top: float = 0.0

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Returns points of the original image on the canvas.

        Args:
            points: (..., 2K) in pixels, x and y in turn on the last axis: points (..., 2), xyxy
                boxes (..., 4) or flat landmarks (..., 10).

        Returns:
            float32 of the same shape.
        """
        pairs = np.reshape(points, (-1, 2)) * [self.scale_x, self.scale_y] + [self.left, self.top]
        return pairs.astype(np.float32).reshape(np.shape(points))

    def invert(self, points: np.ndarray) -> np.ndarray:
        """Returns points of the canvas in the original image; shapes as in `apply`."""
        pairs = (np.reshape(points, (-1, 2)) - [self.left, self.top]) / [self.scale_x, self.scale_y]
        return pairs.astype(np.float32).reshape(np.shape(points))


def _fitted(shape: Sequence[int], size: Size) -> Size:
    """Returns the largest (height, width) within `size` of the ratio of `shape`, at least one pixel.

    Whole-number arithmetic of floor(side * scale): floating point loses a pixel on some sizes.
    """
    height, width = _positive(size)
    if shape[1] * height >= shape[0] * width:
        return max(1, shape[0] * width // shape[1]), width
    return height, max(1, shape[1] * height // shape[0])


def letterbox(
    image: np.ndarray, size: Size, fill: Fill = 128, resample: str = "bicubic"
) -> tuple[np.ndarray, Letterbox]:
    """Resizes with the ratio kept and centres the result on a canvas.

    Args:
        image: (H, W, 3) uint8.
        size: (height, width) of the canvas in pixels.
        fill: colour of the bars, a grey level or RGB, 0 to 255.
        resample: "bicubic" (Pillow's, antialiased: FaceNet and ArcFace) or "linear" (OpenCV's, not antialiased:
            RetinaFace).

    Returns:
        The canvas (height, width, 3) uint8 and the `Letterbox` that maps points onto it and back.
    """
    height, width = _positive(size)
    inner = _fitted(image.shape, size)
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[...] = fill
    canvas[top : top + inner[0], left : left + inner[1]] = _resample(image, inner, resample)
    return canvas, _placement(image, inner, left, top)


def fit_within(image: np.ndarray, limit: int | Size, enlarge: bool = True) -> tuple[np.ndarray, Letterbox]:
    """Resizes linearly with the ratio kept to the largest size within a limit: a letterbox without bars.

    Args:
        image: (H, W, 3) uint8.
        limit: longest side, or (height, width), in pixels.
        enlarge: whether a smaller image grows to the limit too; else it is returned as it is.

    Returns:
        The image (h, w, 3) uint8 and the `Letterbox` (left and top are 0) to map points.
    """
    size = (limit, limit) if isinstance(limit, int | np.integer) else limit
    inner = _fitted(image.shape, size)
    if not enlarge and max(inner[0] / image.shape[0], inner[1] / image.shape[1]) > 1:
        inner = image.shape[:2]
    return _resample(image, inner, "linear"), _placement(image, inner, 0, 0)


def _placement(image: np.ndarray, inner: Size, left: int, top: int) -> Letterbox:
    return Letterbox(inner[1] / image.shape[1], inner[0] / image.shape[0], left, top)


def pad_to_multiple(image: np.ndarray, multiple: int = 32, fill: Fill = 128, top: int = 0, left: int = 0) -> np.ndarray:
    """Pads until both sides are multiples; with top and left 0, points stay valid.

    Args:
        image: (H, W, 3) uint8.
        multiple: in pixels.
        fill: colour of the padding, a grey level or RGB, 0 to 255.
        top: rows of padding above; what is missing after that goes below.
        left: columns of padding on the left; what is missing after that goes to the right.

    Returns:
        The padded image, uint8; the image itself when nothing is missing.
    """
    height, width = image.shape[0] + top, image.shape[1] + left
    bottom, right = -height % multiple, -width % multiple
    if not (top or left or bottom or right):
        return image
    colour = (fill,) * 3 if isinstance(fill, int | np.integer) else tuple(fill)
    return cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(*colour, 0))
