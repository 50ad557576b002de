import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.utils.generators.test_recognition import SIZE, picture, read
from utils.images.image_files import ImageError, read_image
from utils.images.placement import letterbox


@pytest.mark.parametrize(("height", "width"), [(24, 20), (48, 40), (60, 20), (13, 50), (7, 5), (25, 20), (1, 90)])
def test_read_face_letterboxes_as_images_does(tmp_path, height, width):
    picture(1, height, width).save(tmp_path / "a.png")
    expected, _ = letterbox(read_image(tmp_path / "a.png"), SIZE)
    difference = np.abs(read(tmp_path / "a.png") - expected)
    assert difference.max() <= 3 and difference.mean() < 0.3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("endian", ["<", ">"])
def test_read_face_turns_by_exif(tmp_path, orientation, endian):
    exif = Image.Exif()
    exif.endian = endian
    exif[0x0110] = "camera"
    exif[0x0112] = orientation
    picture(2).save(tmp_path / "a.jpg", exif=exif.tobytes())
    expected = read_image(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read(tmp_path / "a.jpg", expected.shape[:2]), expected)


def other_formats():
    photo = picture(3)
    alpha = Image.fromarray(np.linspace(0, 255, 480).reshape(24, 20).astype(np.uint8))
    transparent = photo.copy()
    transparent.putalpha(alpha)
    grey16 = Image.fromarray(np.linspace(0, 65535, 480).reshape(24, 20).astype(np.uint16))
    return {
        "rgb.jpg": photo,
        "grey.jpg": photo.convert("L"),
        "cmyk.jpg": photo.convert("CMYK"),
        "rgb.png": photo,
        "grey.png": photo.convert("L"),
        "palette.png": photo.convert("P"),
        "alpha.png": transparent,
        "sixteen.png": grey16,
        "bit.png": photo.convert("1"),
        "a.bmp": photo,
        "a.gif": photo.convert("P"),
        "a.pgm": photo.convert("L"),
        "a.webp": photo,
        "a.tif": photo,
    }


@pytest.mark.parametrize("name", other_formats())
def test_read_face_takes_what_read_image_takes(tmp_path, name):
    other_formats()[name].save(tmp_path / name)
    np.testing.assert_array_equal(read(tmp_path / name), read_image(tmp_path / name))


@pytest.mark.parametrize("content", [b"", b"\xff", b"no image at all", None])
def test_read_face_fails_on_what_is_no_image(tmp_path, content):
    if content is not None:
        (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises((tf.errors.OpError, ImageError)):
        read(tmp_path / "a.jpg")
