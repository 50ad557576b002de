"""Embeds the subject of many images, each once: what a cache holds needs no network.

The subject is the face nearest the centre, weighted with its size (`face_stream.central_face`),
warped by its landmarks. Where no face is found, the middle of the image is taken for it.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from utils.engine.stopwatch import Stopwatch
from utils.evaluation.embedding_cache import EmbeddingCache
from utils.faces.detections import Detections
from utils.faces.photo_stream import Photo, cut_faces, detect_faces, face_stream
from utils.files.digests import digest
from utils.images.image_files import ImageError, read_image

MIDDLE = 0.5
"""Side of the centre crop that stands for a face that was not found, as a share of the image's
shorter side: on LFW's 250 x 250 pixels, 125."""

_SAVE_EVERY = 2000  # images; a run that is stopped loses no more
_HASHING_THREADS = 4
_DETECTION_COLUMNS = 15


@dataclass(frozen=True)
class Embeddings:
    """What is known of U images.

    Attributes:
        views: {"image": (U, D) float32, rows of unit length, "mirror": the same of the mirrored
            crops, if asked for}; rows of images that could not be read are NaN.
        faces: (U,) faces found in each image; -1 without a detector, or if it could not be read.
        errors: {index: why the image could not be read}.
    """

    views: Mapping[str, np.ndarray]
    faces: np.ndarray
    errors: Mapping[int, str]


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
                them without a detector.
            recogniser_key: JSON values that decide its embeddings.
            detector: () -> object with `detect_batch`; None if the images are face crops already.
            detector_key: JSON values that decide its detections.
            mirror: embed each crop's mirror image, too.
            folder: of the cache; None for none.
            chunk: images in work at once.
        """
        self._recogniser = cache(recogniser)
        self._detector = cache(detector) if detector else None
        self._chunk = chunk
        self._found = EmbeddingCache(
            folder, "detections", {"detector": detector_key}, _DETECTION_COLUMNS
        )
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
        waiting = {
            key: _Source(key, image)
            for key, image in zip(keys, images, strict=True)
            if not self._is_known(key)
        }
        failed = self._work(list(waiting.values()), clock, progress) if waiting else {}
        return self._collect(keys, failed)

    def _is_known(self, key: bytes) -> bool:
        stores = [*self._embedded.values(), *([self._found] if self._detector else [])]
        return all(key in store for store in stores)

    def _work(self, sources: list[_Source], clock: Stopwatch, progress) -> dict[bytes, str]:
        """Fills the caches; returns {digest: reason} of the images that cannot be read."""
        failed = {}
        photos = self._stream(sources, clock)
        photos = progress(photos, total=len(sources)) if progress else photos
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
            cut_faces(photos, recogniser.align)
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


def middle(image: np.ndarray, share: float = MIDDLE) -> np.ndarray:
    """Cuts out the square in the middle of an image.

    Args:
        image: (H, W, 3) uint8.
        share: of its side in the image's shorter side, above 0, at most 1.

    Returns:
        (s, s, 3) uint8; s is at least 1.
    """
    height, width = image.shape[:2]
    side = max(1, round(share * min(height, width)))
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def read_source(source: Path | bytes) -> np.ndarray:
    """Reads an image file, or an encoded image; (H, W, 3) uint8 RGB.

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
