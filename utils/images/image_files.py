"""Image files and arrays: reading into RGB uint8, saving, listing, resizing and letterboxing."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from utils.files.atomic_file import replacing

MAX_PIXELS = 178_956_970
"""Largest image that is decoded, in pixels (512 MB as RGB; Pillow's own hard limit)."""

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)

Size = tuple[int, int]
Fill = int | Sequence[int]

_ORIENTATION_TAG = 0x0112
_JPEG_END = b"\xff\xd9"

# What Pillow's decoders raise on damaged bytes, gathered from its plugins.
_DECODER_ERRORS = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    OverflowError,
    RuntimeError,
    struct.error,
    Image.DecompressionBombError,
)


class ImageError(ValueError):
    """An image that cannot be read, used or written; the message names it."""


# EXIF orientation -> the same turn as array views (TIFF 6.0, tag 274).
_TURNS = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


def read_image(source: str | os.PathLike | Image.Image | np.ndarray) -> np.ndarray:
    """Reads any picture as RGB.

    The EXIF orientation is applied. Transparency is laid over white. 16-bit values are divided by
    257, so 65535 becomes 255. An animation gives its current (a file: its first) frame.

    Args:
        source: A path, a Pillow image, or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) in
            RGB order of dtype uint8, uint16 or bool.

    Returns:
        (H, W, 3) uint8, RGB, contiguous. An array that is so already is returned as it is.

    Raises:
        ImageError: The source is missing, a folder, empty, damaged, cut short, not an image, of no
            pixels or of more than `MAX_PIXELS`, or an array of another dtype or shape.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, "array")
    if isinstance(source, Image.Image):
        name = getattr(source, "filename", "") or "Pillow image"
        try:
            return _from_pillow(source, str(name))
        except ImageError:
            raise
        except _DECODER_ERRORS as error:
            raise ImageError(f"{name}: cannot decode the image ({error})") from error
    if isinstance(source, (str, os.PathLike)):
        return _from_file(Path(source))
    raise ImageError(
        f"cannot read an image from {type(source).__name__}: give a path, a Pillow image or an "
        "RGB uint8 array"
    )


def _from_file(path: Path) -> np.ndarray:
    data = _read_bytes(path)
    try:
        with Image.open(io.BytesIO(data)) as image:
            _check_size(image.width, image.height, str(path))
            pixels = _decode_plain_jpeg(data, image)
            return _from_pillow(image, str(path)) if pixels is None else pixels
    except ImageError:
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageError(f"{path}: not an image in a known format") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path}: more than {MAX_PIXELS} pixels; make it smaller") from error
    except _DECODER_ERRORS as error:
        raise ImageError(f"{path}: damaged or incomplete image ({error})") from error


def _read_bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        reason = "is a folder, not an image file" if path.is_dir() else f"cannot be read ({error})"
        raise ImageError(f"{path}: {reason}") from error
    if not data:
        raise ImageError(f"{path}: the file is empty")
    return data


def _decode_plain_jpeg(data: bytes, image: Image.Image) -> np.ndarray | None:
    """Decodes an RGB or grey JPEG with OpenCV, in half the time of Pillow; else None.

    OpenCV 4 fills the missing part of a cut file with grey, so only a file that ends with the
    end-of-image marker is taken; the others go to Pillow, which refuses them if data is missing.
    """
    if image.format != "JPEG" or image.mode not in ("RGB", "L"):
        return None
    if not data.endswith(_JPEG_END):
        return None
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        return None
    return _turn(pixels, _orientation(image))


def _from_pillow(image: Image.Image, name: str) -> np.ndarray:
    _check_size(image.width, image.height, name)
    image.load()
    # Read after load(): the TIFF plugin turns the image itself then, and drops the tag.
    orientation = _orientation(image)
    if image.mode.startswith("I"):
        pixels = _from_array(_sixteen_bits(np.asarray(image), name), name)
    elif image.mode == "F":
        raise ImageError(f"{name}: float pixels; save it as an 8-bit or 16-bit image")
    elif "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        pixels = _over_white(np.asarray(image.convert("RGBA")))
    else:
        pixels = np.array(image.convert("RGB"))
    return _turn(pixels, orientation)


def _sixteen_bits(values: np.ndarray, name: str) -> np.ndarray:
    """Narrows Pillow's 32-bit "I" mode, which holds 16-bit files too, to uint16."""
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(f"{name}: 32-bit pixels; save it as an 8-bit or 16-bit image")
    return values.astype(np.uint16)


def _from_array(array: np.ndarray, name: str) -> np.ndarray:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise ImageError(f"{name}: shape {array.shape}; (H, W), (H, W, 3) or (H, W, 4) expected")
    _check_size(array.shape[1], array.shape[0], name)
    if array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype == np.uint16:
        array = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ImageError(f"{name}: dtype {array.dtype}; uint8 from 0 to 255 expected")
    if channels == 4:
        return _over_white(array)
    if channels == 1:
        array = np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(array)


def _over_white(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[..., 3:].astype(np.uint32)
    blend = rgba[..., :3] * alpha + 255 * (255 - alpha)
    return ((blend + 127) // 255).astype(np.uint8)


def _check_size(width: int, height: int, name: str) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{name}: the image has no pixels ({width} x {height})")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name}: {width} x {height} is more than {MAX_PIXELS} pixels; make it smaller"
        )


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) where there is none or the EXIF block is damaged."""
    try:
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except _DECODER_ERRORS:
        return 1


def _turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    turn = _TURNS.get(orientation)
    return np.ascontiguousarray(turn(pixels) if turn else pixels)


def save_image(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes an image as JPEG (.jpg, .jpeg; quality 95) or PNG (.png); makes the folder.

    The file appears whole or not at all: it is written beside its place and then renamed.

    Args:
        path: Where to write.
        image: As for `read_image`.

    Raises:
        ImageError: The ending is another one, or the image or folder cannot be written.
    """
    path = Path(path)
    formats = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
    if path.suffix.lower() not in formats:
        raise ImageError(f"{path}: cannot save as '{path.suffix}'; use .jpg, .jpeg or .png")
    picture = Image.fromarray(read_image(image))
    try:
        with replacing(path) as temporary:
            picture.save(temporary, format=formats[path.suffix.lower()], quality=95)
    except OSError as error:
        raise ImageError(f"{path}: cannot be written ({error})") from error


def list_images(folder: str | os.PathLike) -> list[Path]:
    """Finds the image files below a folder by their endings (`IMAGE_SUFFIXES`, any case).

    Args:
        folder: Searched with its subfolders; hidden files and folders (".name") are skipped.

    Returns:
        Sorted paths, each starting with `folder`.

    Raises:
        ImageError: There is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder")
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(parent, name)
            for name in files
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
        ]
    return sorted(found)


def resize(image: np.ndarray, size: Size) -> np.ndarray:
    """Resizes to an exact size, without aliasing.

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


def _resize_bicubic(image: np.ndarray, size: Size) -> np.ndarray:
    picture = Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC)
    return np.asarray(picture)


def _resize_linear(image: np.ndarray, size: Size) -> np.ndarray:
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)


_RESAMPLERS = {"bicubic": _resize_bicubic, "linear": _resize_linear, "auto": resize}


def _resample(image: np.ndarray, size: Size, resample: str) -> np.ndarray:
    if resample not in _RESAMPLERS:
        raise ValueError(f"resample '{resample}': choose from {', '.join(_RESAMPLERS)}")
    if size == image.shape[:2]:
        return image
    return _RESAMPLERS[resample](image, size)


@dataclass(frozen=True)
class Letterbox:
    """How an image was placed on a canvas: scaled, then moved by (left, top) pixels."""

    scale_x: float = 1.0
    scale_y: float = 1.0
    left: float = 0.0
    top: float = 0.0

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Maps points of the original image onto the canvas.

        Args:
            points: (..., 2K) in pixels, x and y in turn on the last axis: points (..., 2), xyxy
                boxes (..., 4) or flat landmarks (..., 10).

        Returns:
            float32 of the same shape.
        """
        pairs, shape = self._pairs(points)
        return (pairs * self._scale + self._offset).astype(np.float32).reshape(shape)

    def invert(self, points: np.ndarray) -> np.ndarray:
        """Maps points of the canvas back to the original image; shapes as in `apply`."""
        pairs, shape = self._pairs(points)
        return ((pairs - self._offset) / self._scale).astype(np.float32).reshape(shape)

    @property
    def _scale(self) -> np.ndarray:
        return np.array([self.scale_x, self.scale_y])

    @property
    def _offset(self) -> np.ndarray:
        return np.array([self.left, self.top])

    @staticmethod
    def _pairs(points: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
        points = np.asarray(points, np.float64)
        return points.reshape(-1, 2), points.shape


def _fitted(shape: Sequence[int], size: Size) -> Size:
    """The largest (height, width) within `size` of the ratio of `shape`, at least one pixel.

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
        fill: Colour of the bars, a grey level or RGB, 0 to 255.
        resample: "bicubic" (Pillow's, antialiased: FaceNet and ArcFace), "linear" (OpenCV's, not
            antialiased: RetinaFace) or "auto" (as `resize`).

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


def fit_within(
    image: np.ndarray, limit: int | Size, resample: str = "linear", enlarge: bool = True
) -> tuple[np.ndarray, Letterbox]:
    """Resizes with the ratio kept to the largest size within a limit: a letterbox without bars.

    Args:
        image: (H, W, 3) uint8.
        limit: Longest side, or (height, width), in pixels.
        resample: As for `letterbox`.
        enlarge: Whether a smaller image grows to the limit too; else it is returned as it is.

    Returns:
        The image (h, w, 3) uint8 and the `Letterbox` (left and top are 0) to map points.
    """
    size = (limit, limit) if np.ndim(limit) == 0 else limit
    inner = _fitted(image.shape, size)
    if not enlarge and max(inner[0] / image.shape[0], inner[1] / image.shape[1]) > 1:
        inner = image.shape[:2]
    return _resample(image, inner, resample), _placement(image, inner, 0, 0)


def _placement(image: np.ndarray, inner: Size, left: int, top: int) -> Letterbox:
    return Letterbox(inner[1] / image.shape[1], inner[0] / image.shape[0], left, top)


def pad_to_multiple(
    image: np.ndarray, multiple: int = 32, fill: Fill = 128, top: int = 0, left: int = 0
) -> np.ndarray:
    """Pads until both sides are multiples; with top and left 0, points stay valid.

    Args:
        image: (H, W, 3) uint8.
        multiple: In pixels.
        fill: Colour of the padding, a grey level or RGB, 0 to 255.
        top: Rows of padding above; what is missing after that goes below.
        left: Columns of padding on the left; what is missing after that goes to the right.

    Returns:
        The padded image, uint8; the image itself when nothing is missing.
    """
    height, width = image.shape[0] + top, image.shape[1] + left
    bottom, right = -height % multiple, -width % multiple
    if not (top or left or bottom or right):
        return image
    colour = (fill,) * 3 if np.ndim(fill) == 0 else tuple(fill)
    return cv2.copyMakeBorder(
        image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(*colour, 0)
    )
