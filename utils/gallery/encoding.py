"""Embeds photos of a single person each for a gallery, and says which photos cannot be used."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from utils.faces.choice import largest_face
from utils.faces.embeddings import Embedder, unit_embeddings
from utils.faces.photo_stream import Photo, Stage, cut_faces, detect_faces, embed_faces, face_stream
from utils.files.digests import digest
from utils.gallery.folder import Known, NewPhoto, Plan, Problem, rejection
from utils.gallery.records import DIGEST_BYTES, NO_PHOTO, ROW, Records

_HASHING_THREADS = 4

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
    chunk: int = 8,
    progress: Callable[..., Iterable] | None = None,
) -> Iterator[Embedded]:
    """Embeds the one face of each photo.

    Args:
        sources: paths, or images as `utils.images.image_files.read_image` takes them.
        embedder: detector and network.
        take_largest: use the largest of several faces; otherwise a photo of several faces is a problem.
        chunk: photos that detector and network see at once.
        progress: wraps the photos, called like `tqdm.tqdm(photos, total=n)`.

    Yields:
        For each source, in order: the photo (without its pixels, so that thousands fit in memory;
        with an embedding unless there is a problem), the number of its faces (-1 if it cannot be
        read) and the problem.
    """
    sources = list(sources)
    photos: Iterable[Photo] = face_stream(sources, _stages(embedder, take_largest), chunk)
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


def _stages(embedder: Embedder, take_largest: bool) -> list[Stage]:
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


def hash_photos(photos: Sequence[tuple[Path, str]]) -> tuple[list[tuple[Path, str]], list[bytes], list[Problem]]:
    """Computes the digests of photo files.

    Args:
        photos: (path, person) of each.

    Returns:
        The photos that can be read, their digests, and a problem for each of the others.
    """

    def attempt(photo: tuple[Path, str]) -> bytes | Problem:
        try:
            return digest(photo[0])
        except OSError as error:
            return Problem(photo[0], f"cannot be read ({error.strerror})")

    with ThreadPoolExecutor(_HASHING_THREADS) as pool:
        results = list(pool.map(attempt, photos))
    problems = [result for result in results if isinstance(result, Problem)]
    good = [(photo, key) for photo, key in zip(photos, results, strict=True) if isinstance(key, bytes)]
    return [photo for photo, _ in good], [key for _, key in good], problems


def known_photos(records: Records) -> Known:
    """Returns what a gallery holds of the photos of encoded folders."""
    names, rows = records.names, records.rows
    entries = zip(_digests(rows), rows["person"].tolist(), rows["faces"].tolist(), strict=True)
    found = [entry for entry in entries if entry[0] != NO_PHOTO]
    people = {key: names[person] for key, person, _ in found}
    return Known(people, {key: faces for key, _, faces in found}, records.rejected)


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


def photo_rows(done: Sequence[tuple[NewPhoto, Embedded]]) -> tuple[list[str], np.ndarray, np.ndarray]:
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
