"""Reads any picture as RGB uint8, saves pictures, lists image files."""

import contextlib
import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageOps

from utils.files.atomic_file import replacing

ImageSource = str | os.PathLike | Image.Image | np.ndarray

MAX_PIXELS = 178_956_970
"""Largest image that is decoded, in pixels (512 MB as RGB; Pillow's own hard limit)."""

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


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
)


class ImageError(ValueError):
    """An image cannot be read, used or written; the message names it."""


def read_image(source: ImageSource) -> np.ndarray:
    """Returns any picture as RGB.

    The EXIF orientation is applied. Transparency is laid over white. 16-bit values are divided by
    257, so 65535 becomes 255. An animation gives its current (a file: its first) frame.

    Args:
        source: a path, a Pillow image, or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) in
            RGB order of dtype uint8, uint16 or bool.

    Returns:
        (H, W, 3) uint8, RGB, contiguous. An array that is so already is returned as it is.

    Raises:
        ImageError: the source is missing, a folder, empty, damaged, cut short, not an image, of no
            pixels or of more than `MAX_PIXELS`, or an array of another dtype or shape.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, "array")
    if isinstance(source, Image.Image):
        name = str(getattr(source, "filename", "") or "Pillow image")
        with _named_errors(name):
            return _from_pillow(source, name)
    if isinstance(source, (str, os.PathLike)):
        return _from_file(Path(source))
    raise ImageError(
        f"cannot read an image from {type(source).__name__}: give a path, a Pillow image or an RGB uint8 array"
    )


def _from_file(path: Path) -> np.ndarray:
    data = _read_bytes(path)
    with _named_errors(str(path)), Image.open(io.BytesIO(data)) as image:
        _check_size(image.width, image.height, str(path))
        pixels = _decode_plain_jpeg(data, image)
        return _from_pillow(image, str(path)) if pixels is None else pixels


@contextlib.contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """Turns what Pillow raises into an ImageError that names the image."""
    try:
        yield
    except ImageError:
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageError(f"{name}: not an image in a known format") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: more than {MAX_PIXELS} pixels; make it smaller") from error
    except _DECODER_ERRORS as error:
        raise ImageError(f"{name}: damaged or incomplete image ({error})") from error


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
    if image.format != "JPEG" or image.mode not in ("RGB", "L") or not data.endswith(_JPEG_END):
        return None
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)


def _from_pillow(image: Image.Image, name: str) -> np.ndarray:
    _check_size(image.width, image.height, name)
    image.load()
    image = _upright(image)
    if image.mode.startswith("I"):
        return _from_array(_sixteen_bits(np.asarray(image), name), name)
    if image.mode == "F":
        raise ImageError(f"{name}: float pixels; save it as an 8-bit or 16-bit image")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        return _over_white(np.asarray(image.convert("RGBA")))
    return np.array(image.convert("RGB"))


def _sixteen_bits(values: np.ndarray, name: str) -> np.ndarray:
    """Returns values of Pillow's 32-bit mode "I", which holds 16-bit files too, as uint16."""
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
        raise ImageError(f"{name}: {width} x {height} is more than {MAX_PIXELS} pixels; make it smaller")


def _upright(image: Image.Image) -> Image.Image:
    """Returns an image turned as its EXIF block says, if that is not damaged; an upright one as it is."""
    try:
        is_turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        return ImageOps.exif_transpose(image) if is_turned else image
    except _DECODER_ERRORS:
        return image


def save_image(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes an image as JPEG (.jpg, .jpeg; quality 95) or PNG (.png); makes the folder.

    The file appears whole or not at all: it is written beside its place and then renamed.

    Args:
        path: where to write.
        image: as for `read_image`.

    Raises:
        ImageError: the ending is another one, or the image or folder cannot be written.
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
    """Returns the image files below a folder, told by their endings (`IMAGE_SUFFIXES`, any case).

    Args:
        folder: searched with its subfolders; hidden files and folders (".name") are skipped.

    Returns:
        Sorted paths, each starting with `folder`.

    Raises:
        ImageError: there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder")
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(parent, name) for name in files if not name.startswith(".")]
        found += [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]
    return sorted(found)
