"""Embeds the main face of each image once; embeddings that a cache holds need no network.

The main face is large and near the centre (`utils.faces.choice.weighted_face`); it is warped by its
landmarks. Where no face is found, the middle of the image is taken for it.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from utils.engine.stopwatch import Stopwatch
from utils.evaluation.embedding_cache import EmbeddingCache
from utils.faces.choice import weighted_face
from utils.faces.detections import Detections
from utils.faces.photo_stream import Photo, cut_faces, detect_faces, face_stream
from utils.files.cache import cache_folder
from utils.files.digests import code_digest, digest, weights_digest
from utils.images.image_files import ImageError, read_image
from utils.weights.location import locate

MIDDLE = 0.5
"""Side of the centre crop that stands for a face that was not found, as a share of the image's
shorter side: on LFW's 250 x 250 pixels, 125."""

_DEFAULT_WEIGHTS = "model_data/arcface_mobilefacenet.weights.h5"
DETECTOR_WEIGHTS = {"retinaface": "model_data/retinaface_mobilenet025.weights.h5", "mtcnn": "model_data"}
"""The wrappers' own default weights, known here without importing a wrapper and with it TensorFlow."""

RECOGNISER_KEYS = ("backbone", "input_shape", "normalization", "letterbox_image", "engine", "precision")
"""Settings of `Facenet` that decide a crop's embedding, besides the weights."""

_SAVE_EVERY = 2000  # images after which the caches are saved; a stopped run loses no more
_HASHING_THREADS = 4
_DETECTION_COLUMNS = 15


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of U images.

    Attributes:
        views: {"image": (U, D) float32, rows of unit length, "mirror": the same of the mirrored
            crops, if asked for}; rows of images that could not be read are NaN.
        faces: (U,) int64, faces found in each image; -1 without a detector, or if it could not be read.
        errors: {index: why the image could not be read}.
    """

    views: Mapping[str, np.ndarray]
    faces: np.ndarray
    errors: Mapping[int, str]

    def added(self) -> np.ndarray:
        """Returns the (U, D) float32 sums of the views' embeddings, not of unit length."""
        return np.sum(list(self.views.values()), axis=0)


class CachedEmbedder:
    """Embeds images with a recogniser and a detector that are built when first needed."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        build_recogniser: Callable[[Mapping[str, Any]], Any],
        build_detector: Callable[[Mapping[str, Any]], Any],
    ) -> None:
        """Opens the caches.

        Args:
            settings: those of eval_LFW.py: model_path, the keys of `RECOGNISER_KEYS`, detector and what begins with
                `detector_`, flip (embed each crop's mirror image, too), use_cache, cache_dir and batch_size.
            build_recogniser: settings -> `Facenet` without a detector.
            build_detector: settings -> its detector; not called if `detector` is None: then the images are face crops.

        Raises:
            FileNotFoundError: no weights at a path of the settings.
        """
        self._finds = settings["detector"] is not None
        self._recogniser = cache(partial(build_recogniser, settings))
        self._detector = cache(partial(build_detector, settings))
        self._chunk = settings["batch_size"]
        folder = (settings["cache_dir"] or cache_folder("embeddings")) if settings["use_cache"] else None
        decisive = {"detector": detector_key(settings) if self._finds else None}
        self._found = EmbeddingCache(folder, "detections", decisive, _DETECTION_COLUMNS)
        decisive["recogniser"] = recogniser_key(settings)
        self._embedded = {
            view: EmbeddingCache(folder, "embeddings", {**decisive, "view": view})
            for view in (("image", "mirror") if settings["flip"] else ("image",))
        }
        self._stores = [*self._embedded.values(), *([self._found] if self._finds else [])]

    def embed(self, images: Sequence[Path | bytes], clock: Stopwatch) -> Embeddings:
        """Embeds images, those of equal content once, behind a progress bar.

        Args:
            images: files, or the bytes of encoded images.
            clock: gets the times of the stages hash, build, read, detect, align and embed.

        Returns:
            The embeddings, in the order of the images.

        Raises:
            OSError: a file cannot be opened. (One that opens but is no image is reported in
                `Embeddings.errors`.)
        """
        with clock.stage("hash", len(images)), ThreadPoolExecutor(_HASHING_THREADS) as pool:
            keys = list(pool.map(digest, images))
        known = {key for key in keys if all(key in store for store in self._stores)}
        waiting = {key: image for key, image in zip(keys, images, strict=True) if key not in known}
        failed = self._work(waiting, clock) if waiting else {}
        return self._collect(keys, failed)

    def _work(self, waiting: Mapping[bytes, Path | bytes], clock: Stopwatch) -> dict[bytes, str]:
        """Fills the caches from {digest: image}; returns {digest: reason} of the images that cannot be read."""

        def read(key: bytes) -> np.ndarray:
            with clock.stage("read", 1):
                return read_source(waiting[key])

        stages = [clock.timed("align", self._cut), clock.timed("embed", self._embed)]
        if self._finds:
            stages.insert(0, clock.timed("detect", self._detect))
        with clock.stage("build", 1, "job"):  # here, so that no other stage's time holds it
            self._recogniser()
            if self._finds and any(key not in self._found for key in waiting):
                self._detector()
        failed = {}
        photos = face_stream(waiting, stages, self._chunk, read)
        bar = tqdm(photos, total=len(waiting), unit="image", desc="embedding", smoothing=0.05)
        for count, photo in enumerate(bar, start=1):
            if photo.error:
                failed[photo.source] = photo.error
            if count % _SAVE_EVERY == 0 or count == len(waiting):
                for store in self._stores:
                    store.save()
        return failed

    def _detect(self, photos: list[Photo]) -> None:
        new = [photo for photo in photos if photo.source not in self._found]
        if new:
            detect_faces(new, self._detector().detect_batch)
        for photo in new:
            self._found[photo.source] = photo.faces.to_array()
        for photo in photos:
            photo.faces = Detections.from_array(self._found[photo.source])

    def _cut(self, photos: list[Photo]) -> None:
        recogniser = self._recogniser()
        if self._finds:
            cut_faces(photos, recogniser.align, weighted_face)
        for photo in photos:
            if photo.crop is None:
                face = middle(photo.image) if self._finds else photo.image
                photo.crop = recogniser.face_crops([face])[0]

    def _embed(self, photos: list[Photo]) -> None:
        for view, store in self._embedded.items():
            new = [photo for photo in photos if photo.source not in store]
            crops = [photo.crop if view == "image" else photo.crop[:, ::-1] for photo in new]
            rows = self._recogniser().embed_crops(crops) if crops else []
            for photo, row in zip(new, rows, strict=True):
                store[photo.source] = row[None]

    def _collect(self, keys: list[bytes], failed: Mapping[bytes, str]) -> Embeddings:
        errors = {index: failed[key] for index, key in enumerate(keys) if key in failed}
        good = [index for index in range(len(keys)) if index not in errors]
        views = {}
        for view, store in self._embedded.items():
            rows = np.concatenate([store[keys[index]] for index in good] or [np.empty((0, 0))])
            views[view] = np.full((len(keys), rows.shape[1]), np.nan, np.float32)
            views[view][good] = rows
        faces = np.full(len(keys), -1)
        if self._finds:
            faces[good] = [len(self._found[keys[index]]) for index in good]
        return Embeddings(views, faces, errors)


def recogniser_key(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns all that decides a crop's embedding, as JSON values; FileNotFoundError without weights."""
    return {
        **{key: settings[key] for key in RECOGNISER_KEYS},
        "weights": weights_digest(locate(settings["model_path"], _DEFAULT_WEIGHTS)),
        "code": code_digest(("facenet", "utils.evaluation.embedder")),
    }


def detector_key(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns all that decides the faces found in an image, as JSON values.

    Raises:
        FileNotFoundError: no weights at detector_model_path.
    """
    own = [key for key in settings if key.startswith("detector_") and key != "detector_model_path"]
    return {
        **{key: settings[key] for key in ("detector", "engine", *own)},
        "weights": weights_digest(detector_weights(settings)),
        "code": code_digest(("retinaface", "utils.detection.mtcnn")),
    }


def detector_weights(settings: Mapping[str, Any]) -> str:
    """Returns the path of the weights of a script's detector; downloads published ones that it names."""
    default = DETECTOR_WEIGHTS[settings["detector"]]
    return locate(settings["detector_model_path"] or default, default)


def middle(image: np.ndarray) -> np.ndarray:
    """Returns the square in the middle of an image (H, W, 3) uint8: (s, s, 3), s being `MIDDLE` * min(H, W)."""
    height, width = image.shape[:2]
    side = max(1, round(MIDDLE * min(height, width)))
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def read_source(source: Path | bytes) -> np.ndarray:
    """Returns an image file, or an encoded image, as (H, W, 3) uint8 RGB.

    Raises:
        ImageError: it cannot be read.
    """
    if not isinstance(source, bytes):
        return read_image(source)
    try:
        picture = Image.open(io.BytesIO(source))
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"not an encoded image ({error})") from error
    return read_image(picture)
