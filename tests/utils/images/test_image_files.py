import io

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from tests.shared import need
from utils.images import image_files
from utils.images.image_files import ImageError, list_images, read_image, save_image


def photo(height=40, width=60):
    """A smooth picture, which JPEG keeps nearly unchanged."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 4, y * 5, 128 + x - y], axis=-1).clip(0, 255).astype(np.uint8)


def jpeg(picture, **options):
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", **{"quality": 95, **options})
    return buffer.getvalue()


def noise_jpeg(size=(96, 128), **options):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    return jpeg(Image.fromarray(pixels), **options)


def assert_rgb(image, shape):
    assert image.dtype == np.uint8 and image.shape == shape and image.flags.c_contiguous


@pytest.mark.parametrize("name", ["a.jpg", "with space.jpg", "Ünïcødé 李明.jpg", "no_suffix"])
@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_any_path(tmp_path, name, kind):
    path = tmp_path / name
    path.write_bytes(jpeg(Image.fromarray(photo())))
    image = read_image(kind(path))
    assert_rgb(image, (40, 60, 3))
    assert np.abs(image.astype(int) - photo()).mean() < 2


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"progressive": True}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_reads_as_pillow_does(tmp_path, mode, options):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(Image.fromarray(photo()).convert(mode), **options))
    expected = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert np.abs(read_image(path) - expected).max() <= 2


def test_real_photo_reads_as_pillow_does():
    path = need("data/wider/0_Parade_marchingband_1_149.jpg")
    expected = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert np.abs(read_image(path) - expected).max() <= 1


def test_adobe_cmyk_is_not_a_negative(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(path, quality=95)
    assert b"Adobe" in path.read_bytes()
    assert np.abs(read_image(path)[4, 4].astype(int) - [255, 0, 0]).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_orientation(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    picture = Image.fromarray(photo())
    picture.save(path, exif=exif, **({"quality": 95} if suffix == ".jpg" else {}))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB")).astype(int)
    assert (40 if orientation < 5 else 60) == expected.shape[0]
    for source in (path, Image.open(path)):
        image = read_image(source)
        assert_rgb(image, expected.shape)
        assert np.abs(image - expected).max() <= 2


def test_phone_photo_on_its_side(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[[9, 0, 0], [0, 9, 0]]], np.uint8)).save(path, exif=exif)
    assert read_image(path).tolist() == [[[9, 0, 0]], [[0, 9, 0]]]


def test_damaged_exif_is_ignored(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(Image.fromarray(photo()), exif=b"Exif\0\0MM\0*\xff\xff\xff"))
    assert_rgb(read_image(path), (40, 60, 3))


def palette(transparency=None):
    picture = Image.new("P", (2, 1))
    picture.putpalette([200, 10, 20, 1, 2, 3])
    picture.putpixel((1, 0), 1)
    return picture, {} if transparency is None else {"transparency": transparency}


def with_alpha(mode, colour):
    return Image.new(mode, (2, 1), colour), {}


def from_pixels(array):
    return Image.fromarray(array), {}


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (with_alpha("1", 1), [255, 255, 255]),
        (with_alpha("L", 77), [77, 77, 77]),
        (with_alpha("RGBA", (10, 20, 30, 255)), [10, 20, 30]),
        (with_alpha("RGBA", (10, 20, 30, 0)), [255, 255, 255]),
        (with_alpha("RGBA", (0, 100, 255, 51)), [204, 224, 255]),
        (with_alpha("LA", (0, 51)), [204, 204, 204]),
        (palette(), [200, 10, 20]),
        (palette(transparency=0), [255, 255, 255]),
        ((Image.new("RGB", (2, 1), (1, 2, 3)), {"transparency": (1, 2, 3)}), [255, 255, 255]),
        (from_pixels(np.full((1, 2), 257 * 99, np.uint16)), [99, 99, 99]),
        (from_pixels(np.full((1, 2), 65535, np.uint16)), [255, 255, 255]),
        (from_pixels(np.full((1, 2), 300, np.uint16)), [1, 1, 1]),
    ],
)
def test_png_modes(tmp_path, picture, expected):
    path = tmp_path / "a.png"
    picture[0].save(path, **picture[1])
    for source in (path, Image.open(path)):
        image = read_image(source)
        assert_rgb(image, (1, 2, 3))
        assert image[0, 0].tolist() == expected


def test_sixteen_bit_pgm_and_rgb_png(tmp_path):
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 2 1 65535\n" + np.array([257 * 40, 65535], ">u2").tobytes())
    assert read_image(path)[0].tolist() == [[40] * 3, [255] * 3]
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.full((2, 2, 3), (257 * 3, 257 * 2, 257), np.uint16))
    assert read_image(path)[0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("suffix", ["bmp", "gif", "ppm", "tif", "webp"])
def test_other_formats(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (5, 4), (0, 0, 255)).save(path)
    image = read_image(path)
    assert_rgb(image, (4, 5, 3))
    assert np.abs(image.astype(int) - [0, 0, 255]).max() < 5


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.full((2, 3), 7, np.uint8), 7),
        (np.full((2, 3, 1), 7, np.uint8), 7),
        (np.full((2, 3, 3), 7, np.uint8), 7),
        (np.full((2, 3, 4), 255, np.uint8), 255),
        (np.full((2, 3, 4), [0, 0, 0, 0], np.uint8), 255),
        (np.full((2, 3), 65535, np.uint16), 255),
        (np.full((2, 3, 3), 257 * 5, np.uint16), 5),
        (np.ones((2, 3), bool), 255),
        (np.full((3, 2, 3), 7, np.uint8).swapaxes(0, 1), 7),
    ],
)
def test_arrays(array, expected):
    image = read_image(array)
    assert_rgb(image, (2, 3, 3))
    assert (image == expected).all()


def test_rgb_array_is_not_copied():
    image = photo()
    assert read_image(image) is image


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((2, 3, 3)), "uint8"),
        (np.zeros((2, 3, 3), np.int64), "uint8"),
        (np.zeros((2, 3, 2), np.uint8), "shape"),
        (np.zeros((1, 2, 3, 3), np.uint8), "shape"),
        (np.zeros(4, np.uint8), "shape"),
        (np.zeros((0, 3, 3), np.uint8), "no pixels"),
        (Image.new("RGB", (0, 5)), "no pixels"),
        (Image.new("F", (2, 2)), "float"),
        (Image.fromarray(np.full((2, 2), 70000, np.int32)), "32-bit"),
        (None, "NoneType"),
        ([1, 2], "list"),
    ],
)
def test_bad_sources(source, message):
    with pytest.raises(ImageError, match=message):
        read_image(source)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"this is a page, not a photo", "not an image"),
        (b"\xff\xd8\xff\xe0", "not an image|damaged"),
        (noise_jpeg()[:-200], "damaged or incomplete"),
        (noise_jpeg()[:4000], "damaged or incomplete"),
        (noise_jpeg()[:400], "damaged or incomplete|not an image"),
        (noise_jpeg(progressive=True)[:4000], "damaged or incomplete"),
    ],
)
def test_bad_files(tmp_path, data, message):
    path = tmp_path / "bad ü.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=message) as error:
        read_image(path)
    assert "bad ü.jpg" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", ["png", "gif", "tif", "webp", "bmp"])
def test_other_truncated_files(tmp_path, suffix):
    whole, cut = tmp_path / f"whole.{suffix}", tmp_path / f"cut.{suffix}"
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(whole)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(ImageError, match=f"cut.{suffix}"):
        read_image(cut)


def test_cut_file_with_a_whole_thumbnail(tmp_path):
    data = noise_jpeg(exif=b"Exif\0\0" + noise_jpeg((16, 16)))
    path = tmp_path / "a.jpg"
    path.write_bytes(data[:5000])
    with pytest.raises(ImageError, match="incomplete"):
        read_image(path)


def test_bytes_after_the_end_do_no_harm(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(Image.fromarray(photo())) + b"\0\0 appended by a camera")
    assert_rgb(read_image(path), (40, 60, 3))


def test_missing_and_folder(tmp_path):
    with pytest.raises(ImageError, match="nowhere.jpg: no such file"):
        read_image(tmp_path / "nowhere.jpg")
    with pytest.raises(ImageError, match="folder"):
        read_image(tmp_path)
    with pytest.raises(ImageError):
        read_image("null\0byte.jpg")


def test_too_many_pixels(tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    Image.new("1", (100, 100)).save(path)
    monkeypatch.setattr(image_files, "MAX_PIXELS", 9999)
    for source in (path, np.zeros((100, 100), np.uint8), Image.open(path)):
        with pytest.raises(ImageError, match="9999 pixels"):
            read_image(source)


def test_bomb_that_pillow_refuses(tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    Image.new("1", (100, 100)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)
    with pytest.raises(ImageError, match="bomb.png: more than"):
        read_image(path)


@pytest.mark.parametrize("size", [(1, 1), (20000, 10), (10, 20000)])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_odd_sizes(tmp_path, size, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", size).save(path)
    assert_rgb(read_image(path), (size[1], size[0], 3))


def test_no_profile_is_applied(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = tmp_path / "a.png"
    Image.new("RGB", (2, 2), (1, 2, 3)).save(path, icc_profile=profile)
    assert read_image(path)[0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("name", ["new/folder/ä.png", "new/a.JPG", "b.jpeg"])
def test_save_and_read(tmp_path, name):
    path = tmp_path / name
    save_image(path, photo())
    image = read_image(path).astype(int)
    assert np.abs(image - photo()).mean() < (1e-9 if name.endswith("png") else 2)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_save_errors_leave_nothing(tmp_path):
    with pytest.raises(ImageError, match="use .jpg"):
        save_image(tmp_path / "a.bmp", photo())
    with pytest.raises(ImageError, match="uint8"):
        save_image(tmp_path / "a.png", photo() / 255)
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(ImageError, match="taken.png: cannot be written"):
        save_image(tmp_path / "taken.png", photo())
    assert [p.name for p in tmp_path.iterdir()] == ["taken.png"]


def test_list_images(tmp_path):
    for name in ["b/2.JPG", "b/1.png", "a/x.jpeg", "a/notes.txt", ".x.jpg", ".trash/y.jpg", "z.pgm"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [p.relative_to(tmp_path).as_posix() for p in list_images(str(tmp_path))]
    assert found == ["a/x.jpeg", "b/1.png", "b/2.JPG", "z.pgm"]
    (tmp_path / "none").mkdir()
    assert list_images(tmp_path / "none") == []
    with pytest.raises(ImageError, match="no such folder"):
        list_images(tmp_path / "gone")
