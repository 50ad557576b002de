"""Embeds the main face of each image once; embeddings that a cache holds need no network.

The main face is large and near the centre (`utils.faces.choice.weighted_face`); it is warped by its
landmarks. Where no face is found, the middle of the image is taken for it.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

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

_SAVE_EVERY = 2000  # images; a run that is stopped loses no more
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


class _Source(NamedTuple):
    """An image to work on and the digest that its results are kept under."""

    key: bytes
    image: Path | bytes


class CachedEmbedder:
    """Embeds images with a recogniser and a detector that are built when first needed."""

    def __init__(
        self,
        recogniser: Callable,
        recogniser_key: Mapping,
        detector: Callable | None = None,
        detector_key: Mapping | None = None,
        mirror: bool = False,
        folder: Path | None = None,
        chunk: int = 32,
    ):
        """Opens the caches.

        Args:
            recogniser: () -> object with `embed_crops`, `align` and `face_crops`, as `Facenet` has
                them without a detector; called when it is first needed.
            recogniser_key: JSON values that decide its embeddings.
            detector: () -> object with `detect_batch`, called when it is first needed; None if the
                images are face crops already.
            detector_key: JSON values that decide its detections.
            mirror: embed each crop's mirror image, too.
            folder: of the cache; None keeps nothing on disk.
            chunk: images in work at once.
        """
        self._recogniser = cache(recogniser)
        self._detector = cache(detector) if detector else None
        self._chunk = chunk
        self._found = EmbeddingCache(folder, "detections", {"detector": detector_key}, _DETECTION_COLUMNS)
        decisive = {"detector": detector_key, "recogniser": recogniser_key}
        self._embedded = {
            view: EmbeddingCache(folder, "embeddings", {**decisive, "view": view})
            for view in (("image", "mirror") if mirror else ("image",))
        }

    def embed(
        self,
        images: Sequence[Path | bytes],
        clock: Stopwatch | None = None,
        progress: Callable[..., Iterable] | None = None,
    ) -> Embeddings:
        """Embeds images; those of equal content once.

        Args:
            images: files, or the bytes of encoded images.
            clock: gets the times of the stages hash, build, read, detect, align and embed.
            progress: called as `progress(photos, total=n)` on the stream of the n photos that
                have to be worked on; `tqdm.tqdm` will do.

        Returns:
            The embeddings, in the order of the images.

        Raises:
            OSError: a file cannot be opened. (One that opens but is no image is reported in
                `Embeddings.errors`.)
        """
        clock = clock or Stopwatch()
        with clock.stage("hash", len(images)), ThreadPoolExecutor(_HASHING_THREADS) as pool:
            keys = list(pool.map(digest, images))
        waiting = {key: _Source(key, image) for key, image in zip(keys, images, strict=True) if not self._is_known(key)}
        failed = self._work(list(waiting.values()), clock, progress) if waiting else {}
        return self._collect(keys, failed)

    def _is_known(self, key: bytes) -> bool:
        stores = [*self._embedded.values(), *([self._found] if self._detector else [])]
        return all(key in store for store in stores)

    def _work(
        self, sources: list[_Source], clock: Stopwatch, progress: Callable[..., Iterable] | None
    ) -> dict[bytes, str]:
        """Fills the caches; returns {digest: reason} of the images that cannot be read."""
        failed = {}
        photos: Iterable[Photo] = self._stream(sources, clock)
        if progress:
            photos = progress(photos, total=len(sources))
        for count, photo in enumerate(photos, start=1):
            if photo.error:
                failed[photo.source.key] = photo.error
            if count % _SAVE_EVERY == 0:
                self._save()
        self._save()
        return failed

    def _save(self) -> None:
        for store in (self._found, *self._embedded.values()):
            store.save()

    def _stream(self, sources: list[_Source], clock: Stopwatch) -> Iterator[Photo]:
        def read(source: _Source) -> np.ndarray:
            with clock.stage("read", 1):
                return read_source(source.image)

        stages = [clock.timed("align", self._cut), clock.timed("embed", self._embed)]
        if self._detector:
            stages.insert(0, clock.timed("detect", self._detect))
        with clock.stage("build", 1, "job"):  # here, so that no other stage's time holds it
            self._recogniser()
            if self._detector and any(source.key not in self._found for source in sources):
                self._detector()
        return face_stream(sources, stages, self._chunk, read)

    def _detect(self, photos: list[Photo]) -> None:
        known = [photo for photo in photos if photo.source.key in self._found]
        for photo in known:
            photo.faces = Detections.from_array(self._found[photo.source.key])
        new = [photo for photo in photos if photo.faces is None]
        if new:
            detect_faces(new, self._detector().detect_batch)
        for photo in new:
            self._found[photo.source.key] = photo.faces.to_array()

    def _cut(self, photos: list[Photo]) -> None:
        recogniser = self._recogniser()
        if self._detector:
            cut_faces(photos, recogniser.align, weighted_face)
        for photo in photos:
            if photo.crop is None:
                face = middle(photo.image) if self._detector else photo.image
                photo.crop = recogniser.face_crops([face])[0]

    def _embed(self, photos: list[Photo]) -> None:
        for view, store in self._embedded.items():
            new = [photo for photo in photos if photo.source.key not in store]
            crops = [photo.crop if view == "image" else photo.crop[:, ::-1] for photo in new]
            rows = self._recogniser().embed_crops(crops) if crops else []
            for photo, row in zip(new, rows, strict=True):
                store[photo.source.key] = row[None]

    def _collect(self, keys: list[bytes], failed: Mapping[bytes, str]) -> Embeddings:
        good = [index for index, key in enumerate(keys) if key not in failed]
        views = {}
        for view, store in self._embedded.items():
            rows = np.concatenate([store[keys[index]] for index in good] or [np.empty((0, 0))])
            views[view] = np.full((len(keys), rows.shape[1]), np.nan, np.float32)
            views[view][good] = rows
        faces = np.full(len(keys), -1)
        if self._detector:
            faces[good] = [len(self._found[keys[index]]) for index in good]
        errors = {index: failed[key] for index, key in enumerate(keys) if key in failed}
        return Embeddings(views, faces, errors)


def cached_embedder(
    settings: Mapping[str, Any],
    build_recogniser: Callable[[Mapping[str, Any]], Any],
    build_detector: Callable[[Mapping[str, Any]], Any],
) -> CachedEmbedder:
    """Returns the embedder of a script's settings; its networks are built when first needed.

    Args:
        settings: those of eval_LFW.py: model_path, the keys of `RECOGNISER_KEYS`, detector and what begins with
            `detector_`, flip, use_cache, cache_dir and batch_size.
        build_recogniser: settings -> `Facenet` without a detector.
        build_detector: settings -> its detector; not called if `detector` is None.

    Raises:
        FileNotFoundError: no weights at a path of the settings.
    """
    detector = settings["detector"]
    return CachedEmbedder(
        recogniser=lambda: build_recogniser(settings),
        recogniser_key=recogniser_key(settings),
        detector=(lambda: build_detector(settings)) if detector else None,
        detector_key=detector_key(settings) if detector else None,
        mirror=settings["flip"],
        folder=(settings["cache_dir"] or cache_folder("embeddings")) if settings["use_cache"] else None,
        chunk=settings["batch_size"],
    )


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


def middle(image: np.ndarray, share: float = MIDDLE) -> np.ndarray:
    """Cuts out the square in the middle of an image.

    Args:
        image: (H, W, 3) uint8.
        share: side of the square divided by the image's shorter side, above 0, at most 1.

    Returns:
        (s, s, 3) uint8; s is at least 1.
    """
    height, width = image.shape[:2]
    side = max(1, round(share * min(height, width)))
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
