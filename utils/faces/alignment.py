"""Face crops: a five-point similarity warp, or the detected box with a margin."""

import math

import cv2
import numpy as np

from utils.images.placement import resize

ARCFACE_TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)
"""Where ArcFace expects the five landmarks (x, y) in a crop of 112 x 112 pixels (Deng 2019)."""

ARCFACE_TEMPLATE.flags.writeable = False


def similarity_transform(src: np.ndarray, dst: np.ndarray) -> np.ndarray:
    """Returns the least-squares rotation, uniform scale and shift of points (Umeyama 1991).

    In the plane, with points as complex numbers, such a map is z -> a z + b, so that Umeyama's
    answer is the linear fit a = sum(conj(z - mean z) (w - mean w)) / sum(|z - mean z|^2).

    Args:
        src: (..., P, 2) x, y; P at least 2.
        dst: (..., P, 2) where they should go.

    Returns:
        (..., 2, 3) float64 matrices M with dst ~ M @ (x, y, 1). They never mirror.

    Raises:
        ValueError: shapes that differ, values that are not finite, or points that coincide.
    """
    src, dst = np.broadcast_arrays(np.asarray(src, np.float64), np.asarray(dst, np.float64))
    if src.ndim < 2 or src.shape[-1] != 2 or src.shape[-2] < 2:
        raise ValueError(f"points of shape {src.shape}: (..., P, 2) with P > 1 expected")
    if not (np.isfinite(src).all() and np.isfinite(dst).all()):
        raise ValueError("points that are not finite have no similarity transform")
    mean_src, mean_dst = src.mean(axis=-2), dst.mean(axis=-2)
    z = _complex(src - mean_src[..., None, :])
    w = _complex(dst - mean_dst[..., None, :])
    spread = (np.abs(z) ** 2).sum(axis=-1)
    fit = (z.conj() * w).sum(axis=-1)
    # Relative to the coordinates: rounding leaves a little spread between equal points.
    tiny = 1e-12 * (1 + np.abs(src).max(axis=(-2, -1)) ** 2)
    if (spread <= tiny).any() or (np.abs(fit) <= 1e-12 * spread).any():
        raise ValueError("points that coincide have no similarity transform")
    a = fit / spread
    linear = np.stack([a.real, -a.imag, a.imag, a.real], axis=-1).reshape(*a.shape, 2, 2)
    shift = mean_dst[..., None] - linear @ mean_src[..., None]
    return np.concatenate([linear, shift], axis=-1)


def _complex(points: np.ndarray) -> np.ndarray:
    return points[..., 0] + 1j * points[..., 1]


def align(image: np.ndarray, landmarks: np.ndarray, size: int = 112) -> np.ndarray:
    """Returns a face, warped so that its five landmarks fall on the ArcFace template.

    Bilinear. What lies outside the image is black, as in the crops the published ArcFace networks
    were trained on. A face that shrinks by more than two is averaged down by a whole number first,
    since bilinear sampling alone would alias.

    Args:
        image: (H, W, 3) uint8.
        landmarks: (5, 2) x, y in pixels, in the order of `Detections.landmarks`.
        size: side of the square crop in pixels; the template scales with it.

    Returns:
        (size, size, 3) uint8.

    Raises:
        ValueError: landmarks of another shape, not finite, or all at one point.
    """
    landmarks = np.asarray(landmarks, np.float64)
    if landmarks.shape != (5, 2):
        raise ValueError(f"landmarks of shape {landmarks.shape}: (5, 2) expected")
    if size < 1:
        raise ValueError(f"size {size}: at least 1 pixel expected")
    matrix = similarity_transform(landmarks, ARCFACE_TEMPLATE * (size / 112))
    shrink = max(1, int(1 / math.hypot(*matrix[0, :2])))
    left, top, right, bottom = _source_region(matrix, size, shrink, image.shape)
    if right <= left or bottom <= top:
        return np.zeros((size, size, 3), np.uint8)
    region = image[top:bottom, left:right]
    if shrink > 1:
        small = -(-region.shape[0] // shrink), -(-region.shape[1] // shrink)
        region = resize(region, small)
    to_photo = _region_to_photo(region.shape, (left, top, right, bottom))
    matrix = matrix @ np.concatenate([to_photo, [[0, 0, 1]]])
    return cv2.warpAffine(region, matrix, (size, size), flags=cv2.INTER_LINEAR)


def _source_region(matrix: np.ndarray, size: int, shrink: int, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Returns the part of the photo that a crop is made of: left, top, right, bottom.

    OpenCV warps images of up to 32767 pixels a side only; a part of a larger one will do.
    """
    square = np.array([[-1, -1], [size, -1], [size, size], [-1, size]], np.float64)
    inverse = cv2.invertAffineTransform(matrix)
    corners = square @ inverse[:, :2].T + inverse[:, 2]
    low = np.floor(corners.min(axis=0)) - shrink
    high = np.ceil(corners.max(axis=0)) + 1 + shrink
    # Whole blocks of `shrink` pixels: OpenCV averages those fastest.
    high = low + np.ceil((high - low) / shrink) * shrink
    border = np.array([shape[1], shape[0]])
    low, high = np.clip(low, 0, border).astype(int), np.clip(high, 0, border).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _region_to_photo(shape: tuple[int, ...], region: tuple[int, int, int, int]) -> np.ndarray:
    """Returns the (2, 3) map from pixel centres of the resized region to those of the photo."""
    left, top, right, bottom = region
    step_x, step_y = (right - left) / shape[1], (bottom - top) / shape[0]
    return np.array([[step_x, 0, left + step_x / 2 - 0.5], [0, step_y, top + step_y / 2 - 0.5]])


def crop(
    image: np.ndarray, box: np.ndarray, margin: float = 0.0, size: int | tuple[int, int] | None = None
) -> np.ndarray:
    """Returns a box cut out with a margin, as FaceNet's dataset alignment does.

    Args:
        image: (H, W, 3) uint8.
        box: (4,) xyxy, pixels.
        margin: what is added to the width and to the height in all, half at each end, as a fraction
            of the box's longer side. The cut stops at the border of the image.
        size: resizes to this side, or (height, width); the ratio is not kept. None: as cut.

    Returns:
        (h, w, 3) uint8, a copy.

    Raises:
        ValueError: the box is empty, not finite, or outside the image.
    """
    box = np.asarray(box, np.float64)
    if box.shape != (4,) or not np.isfinite(box).all():
        raise ValueError(f"box {box}: four finite numbers x1, y1, x2, y2 expected")
    half = margin * max(box[2] - box[0], box[3] - box[1]) / 2
    height, width = image.shape[:2]
    cut = np.clip(np.rint(box + [-half, -half, half, half]), 0, [width, height, width, height])
    left, top, right, bottom = cut.astype(int)
    if right <= left or bottom <= top:
        raise ValueError(f"box {box.tolist()} has no pixels in an image of {width} x {height}")
    face = image[top:bottom, left:right]
    if size is None:
        return face.copy()
    return resize(face, (size, size) if isinstance(size, int | np.integer) else size)
