"""Many photos, read and worked on in chunks: threads decode ahead while the networks run.

A job is a list of stages, functions of a list of photos that fill in what they find:

    stages = [
        partial(detect_faces, detect_batch=retinaface.detect_batch),
        partial(cut_faces, align=facenet.align),
        partial(embed_faces, embed_crops=facenet.embed_crops),
    ]
    for photo in face_stream(paths, stages):
        print(photo.source, photo.error or photo.embedding)

Only a few chunks are in memory at a time, however many photos there are.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.faces.choice import central_face
from utils.images.image_files import ImageError, read_image


@dataclass
class Photo:
    """What is known of one photo; stages fill in the rest.

    Attributes:
        source: where it came from, as given: a path, an index.
        image: (H, W, 3) uint8 RGB; None if it cannot be read.
        error: why it cannot be read, else empty.
        faces: `Detections` of all faces found; None before detection.
        crop: the face that was chosen, as the recognition network wants it; None if there is none.
        embedding: (D,) float32 of the crop.
    """

    source: Any
    # Any, not `| None`: a stage relies on what the stages before it have filled in, which no type tells.
    image: Any = None
    error: str = ""
    faces: Any = None
    crop: Any = None
    embedding: Any = None


Stage = Callable[[list[Photo]], None]


def face_stream(
    sources: Iterable,
    stages: Sequence[Stage],
    chunk: int = 32,
    read: Callable[[Any], np.ndarray] = read_image,
    threads: int = 2,
) -> Iterator[Photo]:
    """Reads photos and puts them through the stages, a chunk at a time.

    Args:
        sources: what `read` takes.
        stages: called in turn with the photos of a chunk that could be read; never with none.
        chunk: photos that a stage sees at once.
        read: source -> (H, W, 3) uint8 RGB; raises ImageError. Called in several threads.
        threads: that read.

    Yields:
        One Photo a source, in their order.
    """
    photos = read_ahead(sources, read, threads, ahead=2 * chunk)
    while group := list(itertools.islice(photos, chunk)):
        readable = [photo for photo in group if photo.image is not None]
        if readable:
            for stage in stages:
                stage(readable)
        yield from group


def read_ahead(
    sources: Iterable, read: Callable[[Any], np.ndarray] = read_image, threads: int = 2, ahead: int = 64
) -> Iterator[Photo]:
    """Yields a Photo of each source, in order, while threads read up to `ahead` more."""

    def load(source: Any) -> Photo:
        try:
            return Photo(source, read(source))
        except ImageError as error:
            return Photo(source, error=str(error))

    waiting: deque = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for source in sources:
                waiting.append(pool.submit(load, source))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # The consumer may stop early; what nobody will see need not be read.
            for future in waiting:
                future.cancel()


def detect_faces(photos: list[Photo], detect_batch: Callable) -> None:
    """Stage: finds the faces of the photos whose `faces` are not known yet.

    Args:
        photos: the chunk.
        detect_batch: list of images -> list of Detections; not called without images.
    """
    unknown = [photo for photo in photos if photo.faces is None]
    if unknown:
        found = detect_batch([photo.image for photo in unknown])
        for photo, faces in zip(unknown, found, strict=True):
            photo.faces = faces


def cut_faces(photos: list[Photo], align: Callable, choose: Callable | None = None) -> None:
    """Stage: cuts out one face of each photo that has any.

    Args:
        photos: the chunk, with faces.
        align: (image, landmarks (5, 2)) -> crop.
        choose: (Detections of at least one face, (height, width)) -> index of the one to take;
            None takes `central_face`.
    """
    choose = choose or central_face
    for photo in photos:
        if photo.faces:
            index = choose(photo.faces, photo.image.shape[:2])
            photo.crop = align(photo.image, photo.faces.landmarks[index])


def embed_faces(photos: list[Photo], embed_crops: Callable) -> None:
    """Stage: embeds the crops.

    Args:
        photos: the chunk; those without a crop are passed over.
        embed_crops: list of crops -> (N, D); not called without crops.
    """
    with_crop = [photo for photo in photos if photo.crop is not None]
    if with_crop:
        embeddings = embed_crops([photo.crop for photo in with_crop])
        for photo, embedding in zip(with_crop, embeddings, strict=True):
            photo.embedding = embedding
