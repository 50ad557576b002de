"""Known people and the embeddings of their photos, in one HDF5 file."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from utils.faces.embeddings import Embedder, unit_embeddings
from utils.gallery import encoding, storage
from utils.gallery.encoding import Embedded, EncodeReport, embed_photos, hash_photos
from utils.gallery.folder import FolderPhoto, Plan, clean_name, make_plan, scan
from utils.gallery.index import Calibration, FaceIndex, Identity, Matches
from utils.gallery.records import NAME_BYTES, ROW, Records
from utils.gallery.storage import GalleryError
from utils.weights.cards import differences

_SAVE_EVERY = 1000  # new photos after which `encode` saves the gallery in between


class Gallery:
    """Known people and the embeddings of their photos.

    When a method that changes something returns, the change is on the disk, in a new file that replaces the old one. A
    process that is killed leaves the file as it was before or after the change. Writers of several processes wait for
    each other. A search sees the file as it was at the first search since this object's last change, or `refresh`.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> folder = TemporaryDirectory()
        >>> gallery = Gallery(f"{folder.name}/gallery.h5")
        >>> gallery.add("Ann", [[1.0, 0.0], [0.8, 0.6]])
        >>> gallery.add("Bob", [0.0, 1.0])
        >>> gallery.people()
        {'Ann': 2, 'Bob': 1}
        >>> [face.name for face in gallery.identify([[0.96, 0.28], [-1.0, 0.0]], threshold=1.1)]
        ['Ann', 'unknown']

        With photos and a network, `gallery.encode("gallery", facenet)` adds all photos of a folder, and
        `gallery.identify(facenet.embed("photo.jpg"), facenet.threshold)` names the face of another photo.
    """

    def __init__(self, path: str | os.PathLike, identity: Mapping[str, Any] | None = None, timeout: float = 10.0):
        """Opens a gallery. If there is no file, the gallery is empty, and the first change makes the file.

        Args:
            path: of the HDF5 file.
            identity: of the network whose embeddings will be compared or added, as `Facenet.identity`. None skips the
                check that the gallery's embeddings come from that network.
            timeout: seconds to wait for another process that writes.

        Raises:
            GalleryError: the file is damaged, no gallery, or has embeddings of another network.
        """
        self.path = Path(path)
        self._given = None if identity is None else dict(identity)
        self._timeout = timeout
        self._index: FaceIndex | None = None
        self._summary()

    def __len__(self) -> int:
        """The number of embeddings."""
        return sum(self.people().values())

    def __bool__(self) -> bool:
        """A gallery is true even when it is empty, so `if gallery:` asks whether there is one."""
        return True

    @property
    def identity(self) -> Mapping[str, Any] | None:
        """JSON values that name its network; None if there is no file and none were given."""
        return self._summary()[0]

    def people(self) -> dict[str, int]:
        """Returns the number of embeddings of each person, by name, sorted."""
        return self._summary()[1]

    def refresh(self) -> None:
        """Lets the next search read the file again, with the changes of other processes."""
        self._index = None

    @property
    def index(self) -> FaceIndex:
        """Names and embeddings in memory, which are searched."""
        if self._index is None:
            if not self.path.exists():
                return FaceIndex.empty()
            records = self._records()
            names = np.array([*records.names, None], object)[:-1]
            self._index = FaceIndex(names, records.rows["person"].copy(), records.embeddings)
        return self._index

    def labelled(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the names (N,) objects and embeddings (N, D) float32 of all photos, to train on."""
        return self.index.names[self.index.people], self.index.embeddings

    def search(self, embeddings: ArrayLike, k: int = 1) -> Matches:
        """Finds the k nearest embeddings of the gallery, exactly, as `FaceIndex.search`."""
        return self.index.search(embeddings, k)

    def identify(self, embeddings: ArrayLike, threshold: float, scoring: str = "nearest") -> list[Identity]:
        """Names faces, or calls them `UNKNOWN`, as `FaceIndex.identify`."""
        return self.index.identify(embeddings, threshold, scoring)

    def calibrate(self, far: float = 0.01, scoring: str = "nearest") -> Calibration:
        """Measures the threshold that a share `far` of strangers passes, as `FaceIndex.calibrate`."""
        return self.index.calibrate(far, scoring)

    def add(self, person: str, embeddings: ArrayLike) -> None:
        """Adds embeddings to a person, who may be new.

        Args:
            person: name.
            embeddings: (n, D) or (D,) floats of any length, scaled to unit length here; n at least 1.

        Raises:
            ValueError: the name or the embeddings cannot be used.
            GalleryError: the gallery cannot be written, or has embeddings of another length.
        """
        person = clean_name(person, NAME_BYTES)
        unit = unit_embeddings(np.atleast_2d(embeddings))
        if not len(unit):
            raise ValueError(f"{person}: no embeddings to add")
        rows = np.zeros(len(unit), ROW)
        rows["faces"] = 1
        with self._writing():
            records = self._records()
            self._save(records, self._added(records, [person] * len(rows), rows, unit))

    def add_photos(
        self, person: str, photos: Sequence[str | Path | np.ndarray], embedder: Embedder, take_largest: bool = False
    ) -> EncodeReport:
        """Adds photos of a person from anywhere; `encode` leaves them alone.

        Args:
            person: name.
            photos: paths or images (H, W, 3) uint8 RGB.
            embedder: detector and network, as `Facenet`.
            take_largest: use the largest of several faces; otherwise a photo of several faces is not used.

        Returns:
            The number of photos added, and a problem for each photo that was not used.

        Raises:
            ValueError: the name cannot be used.
            GalleryError: as for `add`, or the embeddings are of another network.
        """
        person = clean_name(person, NAME_BYTES)
        with self._embeddings_of(embedder):
            done = list(embed_photos(photos, embedder, take_largest))
            good = [photo.embedding for photo, _, problem in done if not problem]
            if good:
                self.add(person, np.stack(good))
        return EncodeReport(added=len(good), problems=[p for _, _, p in done if p])

    def remove(self, person: str) -> int:
        """Removes a person and returns how many embeddings that person had; they are not in the new file.

        Raises:
            GalleryError: nobody is called so, or the gallery cannot be written.
        """
        with self._writing():
            records = self._records(must_exist=True)
            positions = self._positions(records, person)
            self._save(records, records.without(positions))
        return len(positions)

    def rename(self, old: str, new: str) -> None:
        """Renames a person; if there is somebody called `new`, the two become one.

        `encode` names the photos of its folder by the folder again: rename them there, too.

        Raises:
            GalleryError: nobody is called `old`, or the gallery cannot be written.
            ValueError: `new` cannot be a name.
        """
        new = clean_name(new, NAME_BYTES)
        with self._writing():
            records = self._records(must_exist=True)
            positions = self._positions(records, old)
            self._save(records, records.given_to([new] * len(positions), positions))

    def encode(
        self,
        folder: str | os.PathLike,
        embedder: Embedder,
        take_largest: bool = False,
        prune: bool = True,
        retry: bool = False,
        progress: Callable[..., Iterable] | None = None,
    ) -> EncodeReport:
        """Makes the gallery hold the photos of a folder, laid out as `utils.gallery.folder` describes.

        Photos are recognised by their content: only new or changed ones are embedded, those that were renamed or went
        to another person are relabelled, and those that are gone are dropped. What was added by `add` stays.

        Args:
            folder: of the photos.
            embedder: detector and network, as `Facenet`.
            take_largest: use the largest of several faces; otherwise a photo of several faces is not used.
            prune: drop the photos that are gone. False lets several folders be encoded one after the other.
            retry: look again at photos that could not be used before.
            progress: wraps the stream of new photos, called like `tqdm.tqdm(photos, total=n)`.

        Returns:
            What became of the photos; `problems` has each one that is not used.

        Raises:
            ImageError: there is no such folder.
            ValueError: the folder has no photos.
            GalleryError: the gallery cannot be written, or its embeddings are of another network.
        """
        photos, misnamed = scan(folder)
        with self._embeddings_of(embedder), self._writing():
            hashed, unreadable = hash_photos(photos)
            records = self._records()
            plan = make_plan(hashed, encoding.known_photos(records), take_largest, retry)
            plan.problems.extend(misnamed + unreadable)
            if not prune:
                plan.rejected.update({key: n for key, n in records.rejected.items() if key not in plan.seen})
            done = embed_photos([path for path, _, _ in plan.new], embedder, take_largest, progress)
            report = self._carry_out(records, plan, done, prune)
        report.problems = sorted(plan.problems, key=lambda problem: str(problem.source))
        return report

    def _carry_out(self, records: Records, plan: Plan, embedded: Iterable[Embedded], prune: bool) -> EncodeReport:
        """Applies a plan and adds its new photos, saving after every `_SAVE_EVERY` of them."""
        planned = encoding.apply_plan(records, plan, prune)
        report = EncodeReport(kept=len(plan.kept), moved=len(plan.moved), removed=len(records.rows) - len(planned.rows))
        pairs = zip(plan.new, embedded, strict=True)
        saved, batch = records, list(islice(pairs, _SAVE_EVERY))
        while True:
            if good := _usable(batch, plan):
                planned = self._added(planned, *encoding.photo_rows(good))
                report.added += len(good)
            planned = planned.with_rejected(plan.rejected)
            self._save(saved, planned)
            saved = planned
            if not (batch := list(islice(pairs, _SAVE_EVERY))):
                return report

    def _summary(self) -> tuple[Mapping[str, Any] | None, dict[str, int]]:
        """Returns the network's identity and the number of embeddings of each person."""
        if not self.path.exists():
            return self._given, {}
        identity, people = storage.read_people(self.path)
        self._check_identity(identity, self._given)
        return identity, people

    def _records(self, must_exist: bool = False) -> Records:
        """Reads the file, or returns empty records if there is none and none must be."""
        if not self.path.exists():
            if must_exist:
                raise GalleryError(f"{self.path}: there is no such gallery")
            return Records(self._given or {})
        records = storage.read(self.path)
        self._check_identity(records.identity, self._given)
        return records

    def _added(self, records: Records, people: Sequence[str], rows: np.ndarray, embeddings: np.ndarray) -> Records:
        """Adds embeddings as `Records.added`, after a check of their length."""
        there, here = records.embeddings.shape[1], embeddings.shape[1]
        if there not in (0, here):
            raise GalleryError(f"{self.path}: holds embeddings of length {there}, got {here}")
        return records.added(people, rows, embeddings)

    def _positions(self, records: Records, person: str) -> np.ndarray:
        positions = records.of(person)
        if not len(positions):
            raise GalleryError(f"{self.path}: nobody is called {person!r}")
        return positions

    def _save(self, before: Records, after: Records) -> None:
        """Writes records that have changed; rejected photos alone make no new file."""
        if after is not before and (len(after.rows) or self.path.exists()):
            storage.write(self.path, after)

    def _check_identity(self, stored: Mapping[str, Any] | None, given: Mapping[str, Any] | None) -> None:
        if stored is not None and given is not None and (text := differences(stored, given)):
            raise GalleryError(
                f"{self.path}: its embeddings are of another network ({text}); use that network, "
                "or encode the photos into a new gallery"
            )

    @contextlib.contextmanager
    def _embeddings_of(self, embedder: Embedder) -> Iterator[None]:
        """Takes the embedder's identity for the one that was given, after comparing them."""
        self._check_identity(self.identity, embedder.identity)
        before, self._given = self._given, dict(embedder.identity)
        try:
            yield
        finally:
            self._given = before

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Keeps other writers out, and lets the next search read the file again."""
        try:
            with storage.writing(self.path, self._timeout):
                yield
        finally:
            self._index = None


def _usable(batch: Sequence[tuple[FolderPhoto, Embedded]], plan: Plan) -> list[tuple[FolderPhoto, Embedded]]:
    """Returns the photos without a problem; the problems of the others are entered into the plan."""
    for (_, _, key), (_, faces, problem) in batch:
        if problem:
            plan.problems.append(problem)
            if faces >= 0:
                plan.rejected[key] = faces
    return [pair for pair in batch if pair[1][2] is None]
