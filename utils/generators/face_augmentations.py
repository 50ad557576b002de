"""Random changes to face crops, for training recognition.

Everything is stateless TensorFlow that runs inside `tf.data`: the same seed gives the same result.
`augment` draws all its random numbers at once; the functions below it are deterministic. What has
probability 0 is not in the graph, and what is not drawn is not computed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf

from utils.generators import pixel_changes
from utils.generators.pixel_changes import between, sometimes, to_uint8

_DRAWS = (
    *("flip", "crop_x", "crop_y"),
    *("warp", "shift_x", "shift_y", "scale", "rotation"),
    *("colour", "brightness", "contrast", "saturation", "hue", "grey"),
    *("blur", "blur_scale", "jpeg", "jpeg_quality"),
    *("erase", "erase_area", "erase_ratio", "erase_x", "erase_y", "erase_level"),
)


@dataclass(frozen=True)
class Augmentation:
    """Probabilities (0..1) and strengths of the random changes; the default changes nothing.

    Attributes:
        flip: probability of mirroring left and right.
        crop: images are made larger by this fraction and a random part is kept; FaceNet in
            TensorFlow takes 160 of 182 pixels, which is 22 / 160.
        warp: probability of moving, scaling and turning the face.
        shift: largest move, as a fraction of the side.
        scale: largest relative change of size.
        rotation: largest turn, in degrees.
        colour: probability of changing brightness, contrast, saturation and hue.
        brightness: largest change, as a fraction of 255.
        contrast: largest relative change of the distance from the mean brightness.
        saturation: largest relative change of the distance from grey.
        hue: largest turn of the colour circle, in turns.
        grey: probability of no colour at all.
        blur: probability of losing detail: the image is made smaller and larger again.
        blur_scale: range of the side of that smaller image, as a fraction.
        jpeg: probability of compression artefacts.
        jpeg_quality: range, from 1 to 100.
        erase: probability of hiding a rectangle under one grey level.
        erase_area: range of its area, as a fraction.
    """

    flip: float = 0.0
    crop: float = 0.0
    warp: float = 0.0
    shift: float = 0.05
    scale: float = 0.1
    rotation: float = 10.0
    colour: float = 0.0
    brightness: float = 0.15
    contrast: float = 0.3
    saturation: float = 0.3
    hue: float = 0.02
    grey: float = 0.0
    blur: float = 0.0
    blur_scale: tuple[float, float] = (0.25, 0.8)
    jpeg: float = 0.0
    jpeg_quality: tuple[int, int] = (30, 90)
    erase: float = 0.0
    erase_area: tuple[float, float] = (0.02, 0.2)


PRESETS = {
    "none": Augmentation(),
    "light": Augmentation(flip=0.5),
    "strong": Augmentation(flip=0.5, warp=0.5, colour=0.5, grey=0.05, blur=0.2, jpeg=0.2, erase=0.15),
}


def augment(
    image: tf.Tensor, seed: tf.Tensor, settings: Augmentation, size: tuple[int, int] | None = None
) -> tf.Tensor:
    """Returns an image changed at random.

    Args:
        image: (H, W, 3) RGB of static shape, 0..255, uint8 or float.
        seed: (2,) integers.
        settings: what may happen.
        size: (height, width) of the result, at most (H, W); random parts are kept. None: (H, W).

    Returns:
        (height, width, 3) uint8.
    """
    image = to_uint8(image)
    draw = dict(zip(_DRAWS, tf.unstack(tf.random.stateless_uniform([len(_DRAWS)], seed)), strict=True))
    if settings.flip:
        image = sometimes(draw["flip"] < settings.flip, pixel_changes.flip, image)
    if size is not None and tuple(size) != tuple(image.shape[:2]):
        image = pixel_changes.crop(image, size, draw["crop_x"], draw["crop_y"])
    # Only these work on floats; a light preset stays uint8 and costs next to nothing.
    if settings.warp:
        image = _random_warp(_float(image), draw, settings)
    if settings.colour or settings.grey:
        image = _random_colour(_float(image), draw, settings)
    if settings.blur:
        scale = between(settings.blur_scale, draw["blur_scale"])
        image = sometimes(draw["blur"] < settings.blur, lambda x: pixel_changes.blur(x, scale), _float(image))
    if settings.erase:
        image = _random_erase(_float(image), draw, settings)
    image = to_uint8(image)
    if settings.jpeg:
        quality = between(settings.jpeg_quality, draw["jpeg_quality"])
        image = sometimes(draw["jpeg"] < settings.jpeg, lambda x: pixel_changes.compress(x, quality), image)
    return image


def _float(image: tf.Tensor) -> tf.Tensor:
    return tf.cast(image, tf.float32)


def _random_warp(image: tf.Tensor, draw: Mapping[str, tf.Tensor], settings: Augmentation) -> tf.Tensor:
    shift = (_around(0.0, settings.shift, draw["shift_x"]), _around(0.0, settings.shift, draw["shift_y"]))
    scale = _around(1.0, settings.scale, draw["scale"])
    angle = _around(0.0, math.radians(settings.rotation), draw["rotation"])
    return sometimes(draw["warp"] < settings.warp, lambda x: pixel_changes.warp(x, shift, scale, angle), image)


def _random_colour(image: tf.Tensor, draw: Mapping[str, tf.Tensor], settings: Augmentation) -> tf.Tensor:
    # What is off is neutral, so that one matrix serves both draws.
    on = tf.cast(draw["colour"] < settings.colour, tf.float32)
    grey = draw["grey"] < settings.grey
    brightness = on * _around(0.0, 255 * settings.brightness, draw["brightness"])
    contrast = 1 + on * _around(0.0, settings.contrast, draw["contrast"])
    saturation = 1 + on * _around(0.0, settings.saturation, draw["saturation"])
    changes = (brightness, contrast, tf.where(grey, 0.0, saturation), on * _around(0.0, settings.hue, draw["hue"]))
    return sometimes((on > 0) | grey, lambda x: pixel_changes.colour(x, *changes), image)


def _random_erase(image: tf.Tensor, draw: Mapping[str, tf.Tensor], settings: Augmentation) -> tf.Tensor:
    # Random Erasing (Zhong et al., 2020) with a ratio of the sides of 0.3 to 1 / 0.3, log-uniform.
    side = tf.sqrt(between(settings.erase_area, draw["erase_area"]))
    stretch = tf.exp(_around(0.0, -math.log(0.3) / 2, draw["erase_ratio"]))
    extent = (tf.minimum(side * stretch, 1.0), tf.minimum(side / stretch, 1.0))
    corner = (draw["erase_y"] * (1 - extent[0]), draw["erase_x"] * (1 - extent[1]))
    level = 255 * draw["erase_level"]
    return sometimes(draw["erase"] < settings.erase, lambda x: pixel_changes.erase(x, corner, extent, level), image)


def _around(centre: float, distance: float, draw: tf.Tensor) -> tf.Tensor:
    return between((centre - distance, centre + distance), draw)
