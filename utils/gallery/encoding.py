"""Embeds the photos of a gallery, one person each, and says which cannot be used."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from utils.faces.choice import largest_face
from utils.faces.detections import Detections
from utils.faces.photo_stream import Photo, cut_faces, detect_faces, embed_faces, face_stream
from utils.files.digests import digest
from utils.gallery.folder import Known, Plan, Problem, rejection
from utils.gallery.nearest import normalized
from utils.gallery.storage import DIGEST_BYTES, NO_PHOTO, ROW, GalleryFile

_HASHING_THREADS = 4


class Embedder(Protocol):
    """Detector and recognition network, as `Facenet`.

    Attributes:
        identity: JSON values that decide its embeddings, see `utils.weights.model_identity`.
        detector: None if photos are face crops already; then `face_crops` cuts them, else
            `detect_batch` and `align` do.
    """

    identity: Mapping[str, Any]
    detector: str | None

    def detect_batch(self, images: Sequence) -> list[Detections]:
        """All faces of each image."""

    def align(self, image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """The crop of the face with these landmarks."""

    def face_crops(self, images: Sequence) -> list[np.ndarray]:
        """The crops of images that show nothing but a face."""

    def embed_crops(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """(N, D) float32, unit length."""


@dataclass
class EncodeReport:
    """What became of the photos.

    Attributes:
        added: embeddings made.
        kept: embeddings that were there already; among them `moved`.
        moved: embeddings that got another name.
        removed: embeddings dropped, as their photos are gone.
        problems: photos that are not used.
    """

    added: int = 0
    kept: int = 0
    moved: int = 0
    removed: int = 0
    problems: list[Problem] = field(default_factory=list)

    def __str__(self) -> str:
        """One line, then one for each problem."""
        counts = f"{self.added} photos added, {self.kept} kept"
        counts += f" ({self.moved} of them renamed)" if self.moved else ""
        head = f"{counts}, {self.removed} removed, {len(self.problems)} not used"
        return "\n".join([head, *(f"  {problem}" for problem in self.problems)])


def embed_photos(
    sources: Iterable[Path | np.ndarray],
    embedder: Embedder,
    take_largest: bool = False,
    chunk: int = 8,
    progress: Callable[..., Iterable] | None = None,
) -> Iterator[tuple[Photo, int, Problem | None]]:
    """Embeds the one face of each photo.

    Args:
        sources: paths, or images as `utils.images.image_files.read_image` takes them.
        embedder: detector and network.
        take_largest: of several faces use the largest; else such a photo is a problem.
        chunk: photos in work at once.
        progress: wraps the photos, as `tqdm.tqdm(photos, total=n)`.

    Yields:
        For each source, in order: the photo (without its pixels, so that thousands can be kept;
        with an embedding unless there is a problem), the number of its faces (-1 if it cannot be
        read) and the problem.
    """
    sources = list(sources)
    photos = face_stream(sources, _stages(embedder, take_largest), chunk)
    photos = progress(photos, total=len(sources)) if progress else photos
    for number, photo in enumerate(photos):
        source = photo.source if isinstance(photo.source, str | Path) else number
        photo.image = photo.crop = None
        if photo.error:
            yield photo, -1, Problem(source, photo.error.removeprefix(f"{source}: "))
            continue
        faces = 1 if photo.faces is None else len(photo.faces)
        reason = rejection(faces, take_largest)
        yield photo, faces, Problem(source, reason, faces) if reason else None


def _stages(embedder: Embedder, take_largest: bool) -> list[Callable[[list[Photo]], None]]:
    embed = partial(embed_faces, embed_crops=embedder.embed_crops)
    if embedder.detector is None:
        return [partial(_cut_whole, face_crops=embedder.face_crops), embed]
    detect = partial(detect_faces, detect_batch=embedder.detect_batch)
    return [detect, partial(_cut_usable, align=embedder.align, take_largest=take_largest), embed]


def _cut_whole(photos: list[Photo], face_crops: Callable) -> None:
    for photo, crop in zip(photos, face_crops([photo.image for photo in photos]), strict=True):
        photo.crop = crop


def _cut_usable(photos: list[Photo], align: Callable, take_largest: bool) -> None:
    usable = [photo for photo in photos if not rejection(len(photo.faces), take_largest)]
    cut_faces(usable, align, choose=largest_face)


def hash_photos(
    photos: Sequence[tuple[Path, str]],
) -> tuple[list[tuple[Path, str]], list[bytes], list[Problem]]:
    """Names the content of photos.

    Args:
        photos: (path, person) of each.

    Returns:
        Those that can be read, their digests, and a problem for each of the others.
    """

    def attempt(photo: tuple[Path, str]) -> bytes | Problem:
        try:
            return digest(photo[0])
        except OSError as error:
            return Problem(photo[0], f"cannot be read ({error.strerror})")

    with ThreadPoolExecutor(_HASHING_THREADS) as pool:
        results = list(pool.map(attempt, photos))
    problems = [result for result in results if isinstance(result, Problem)]
    good = [pair for pair in zip(photos, results, strict=True) if isinstance(pair[1], bytes)]
    return [photo for photo, _ in good], [result for _, result in good], problems


def known_photos(file: GalleryFile) -> Known:
    """What a gallery holds of the photos of encoded folders."""
    names, rows = file.names(), file.rows()
    records = zip(_digests(rows), rows["person"].tolist(), rows["faces"].tolist(), strict=True)
    found = [record for record in records if record[0] != NO_PHOTO]
    people = {key: names[person] for key, person, _ in found}
    return Known(people, {key: faces for key, _, faces in found}, file.rejected())


def save_plan(file: GalleryFile, plan: Plan, prune: bool) -> int:
    """Drops the photos that must not stay, and relabels those that are another's now.

    Args:
        file: open for changes.
        plan: what `make_plan` says.
        prune: drop the photos that are not in the folder, too.

    Returns:
        The number of embeddings dropped.
    """
    keys = _digests(file.rows())
    moved = [index for index, key in enumerate(keys) if key in plan.moved]
    if moved:
        people = file.ids([plan.moved[keys[index]] for index in moved])
        file.set_people(np.array(moved), people)
    mirrored = (key != NO_PHOTO and (prune or key in plan.seen) for key in keys)
    gone = [i for i, mine in enumerate(mirrored) if mine and keys[i] not in plan.kept]
    file.delete(np.array(gone, int))
    return len(gone)


def save_photos(file: GalleryFile, done: Sequence[tuple[tuple, tuple]]) -> None:
    """Adds new photos.

    Args:
        file: open for changes.
        done: pairs of an entry of `Plan.new` and what `embed_photos` yields of it, of photos
            without a problem.
    """
    if not done:
        return
    people = [person for (_, person, _), _ in done]
    rows = np.zeros(len(done), ROW)
    keys = b"".join(key for (_, _, key), _ in done)
    rows["digest"] = np.frombuffer(keys, np.uint8).reshape(-1, DIGEST_BYTES)
    rows["faces"] = [faces for _, (_, faces, _) in done]
    file.add(people, rows, normalized(np.stack([photo.embedding for _, (photo, _, _) in done])))


def _digests(rows: np.ndarray) -> list[bytes]:
    return np.ascontiguousarray(rows["digest"]).view(f"V{DIGEST_BYTES}").ravel().tolist()
