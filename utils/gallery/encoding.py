"""Embeds photos of a single person each for a gallery, and says which photos cannot be used."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from utils.faces.choice import largest_face
from utils.faces.embeddings import Embedder, unit_embeddings
from utils.faces.photo_stream import Photo, cut_faces, detect_faces, embed_faces, face_stream
from utils.files.digests import digest
from utils.gallery.folder import FolderPhoto, Known, Plan, Problem, rejection
from utils.gallery.records import DIGEST_BYTES, NO_PHOTO, ROW, Records

_HASHING_THREADS = 4
_CHUNK = 8  # photos that detector and network see at once

Embedded = tuple[Photo, int, Problem | None]
"""A photo, the number of its faces, and why it cannot be used, as `embed_photos` yields them."""


@dataclass
class EncodeReport:
    """What became of the photos.

    Attributes:
        added: number of embeddings made.
        kept: number of embeddings that were there already, including `moved`.
        moved: number of embeddings that were given to another person.
        removed: number of embeddings dropped, as their photos are gone or can no longer be used.
        problems: photos that are not used.
    """

    added: int = 0
    kept: int = 0
    moved: int = 0
    removed: int = 0
    problems: list[Problem] = field(default_factory=list)

    def __str__(self) -> str:
        """Returns one line of counts, then one line for each problem."""
        counts = f"{self.added} photos added, {self.kept} kept"
        counts += f" ({self.moved} of them renamed)" if self.moved else ""
        head = f"{counts}, {self.removed} removed, {len(self.problems)} not used"
        return "\n".join([head, *(f"  {problem}" for problem in self.problems)])


def embed_photos(
    sources: Iterable[str | Path | np.ndarray],
    embedder: Embedder,
    take_largest: bool = False,
    progress: Callable[..., Iterable] | None = None,
) -> Iterator[Embedded]:
    """Embeds the one face of each photo.

    Args:
        sources: paths, or images as `utils.images.image_files.read_image` takes them.
        embedder: detector and network.
        take_largest: use the largest of several faces; otherwise a photo of several faces is a problem.
        progress: wraps the photos, called like `tqdm.tqdm(photos, total=n)`.

    Yields:
        For each source, in order: the photo (without its pixels, so that thousands fit in memory;
        with an embedding unless there is a problem), the number of its faces (-1 if it cannot be
        read) and the problem.
    """
    sources = list(sources)
    cut = partial(_cut, embedder=embedder, take_largest=take_largest)
    photos = face_stream(sources, [cut, partial(embed_faces, embed_crops=embedder.embed_crops)], _CHUNK)
    for number, photo in enumerate(progress(photos, total=len(sources)) if progress else photos):
        source = photo.source if isinstance(photo.source, str | Path) else number
        photo.image = photo.crop = None
        if photo.error:
            yield photo, -1, Problem(source, photo.error.removeprefix(f"{source}: "))
            continue
        faces = 1 if photo.faces is None else len(photo.faces)
        reason = rejection(faces, take_largest)
        yield photo, faces, Problem(source, reason, faces) if reason else None


def _cut(photos: list[Photo], embedder: Embedder, take_largest: bool) -> None:
    """Stage: cuts out the faces that are to be embedded."""
    if embedder.detector is None:
        for photo, crop in zip(photos, embedder.face_crops([photo.image for photo in photos]), strict=True):
            photo.crop = crop
    else:
        detect_faces(photos, embedder.detect_batch)
        usable = [photo for photo in photos if not rejection(len(photo.faces), take_largest)]
        cut_faces(usable, embedder.align, choose=largest_face)


def hash_photos(photos: Sequence[tuple[Path, str]]) -> tuple[list[FolderPhoto], list[Problem]]:
    """Computes the digests of photo files.

    Args:
        photos: (path, person) of each.

    Returns:
        (path, person, digest) of the photos that can be read, and a problem for each of the others.
    """

    def attempt(photo: tuple[Path, str]) -> FolderPhoto | Problem:
        try:
            return *photo, digest(photo[0])
        except OSError as error:
            return Problem(photo[0], f"cannot be read ({error.strerror})")

    with ThreadPoolExecutor(_HASHING_THREADS) as pool:
        results = list(pool.map(attempt, photos))
    problems = [result for result in results if isinstance(result, Problem)]
    return [result for result in results if not isinstance(result, Problem)], problems


def known_photos(records: Records) -> Known:
    """Returns what a gallery holds of the photos of encoded folders."""
    people = [records.names[person] for person in records.rows["person"]]
    embedded = zip(_digests(records.rows), zip(people, records.rows["faces"].tolist(), strict=True), strict=True)
    rejected = {key: (None, faces) for key, faces in records.rejected.items()}
    return {**rejected, **{key: known for key, known in embedded if key != NO_PHOTO}}


def apply_plan(records: Records, plan: Plan, prune: bool) -> Records:
    """Drops the photos that must not stay, and relabels those that are another person's now.

    Args:
        records: of the gallery.
        plan: what `make_plan` returns.
        prune: also drop the photos that are not in the folder.

    Returns:
        The records after that.
    """
    keys = _digests(records.rows)
    moved = [index for index, key in enumerate(keys) if key in plan.moved]
    records = records.given_to([plan.moved[keys[i]] for i in moved], np.array(moved, int))
    mirrored = (key != NO_PHOTO and (prune or key in plan.seen) for key in keys)
    gone = [i for i, mine in enumerate(mirrored) if mine and keys[i] not in plan.kept]
    return records.without(np.array(gone, int))


def photo_rows(done: Sequence[tuple[FolderPhoto, Embedded]]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Returns new photos as `Records.added` takes them.

    Args:
        done: n photos of `Plan.new` and what `embed_photos` yields of them; at least one, none with a problem.

    Returns:
        n names, rows (n,) of dtype `ROW`, embeddings (n, D) float32 of unit length.
    """
    people = [person for (_, person, _), _ in done]
    rows = np.zeros(len(done), ROW)
    keys = b"".join(key for (_, _, key), _ in done)
    rows["digest"] = np.frombuffer(keys, np.uint8).reshape(-1, DIGEST_BYTES)
    rows["faces"] = [faces for _, (_, faces, _) in done]
    return people, rows, unit_embeddings(np.stack([photo.embedding for _, (photo, _, _) in done]))


def _digests(rows: np.ndarray) -> list[bytes]:
    return np.ascontiguousarray(rows["digest"]).view(f"V{DIGEST_BYTES}").ravel().tolist()
