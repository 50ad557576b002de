"""People, known by the embeddings of their photos, in one HDF5 file."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from utils.files.file_lock import LockTimeout, lock_file
from utils.gallery.encoding import (
    Embedder,
    EncodeReport,
    embed_photos,
    hash_photos,
    known_photos,
    save_photos,
    save_plan,
)
from utils.gallery.folder import Known, Plan, clean_name, make_plan, scan
from utils.gallery.index import UNKNOWN, Calibration, FaceIndex, Identity, Matches
from utils.gallery.nearest import normalized
from utils.gallery.storage import NAME_BYTES, ROW, GalleryError, GalleryFile, editing, reading
from utils.weights.cards import differences

__all__ = [
    "UNKNOWN",
    "Calibration",
    "EncodeReport",
    "Gallery",
    "GalleryError",
    "Identity",
    "Matches",
]


class Gallery:
    """People and the embeddings of their photos.

    Every change is on disk, whole, when its method returns, and writes only what it touches. A
    process that is killed leaves the file as it was before the change or as it is after it (see
    `utils.files.journalled_file`). Writers of several processes wait for each other. Searching works on
    what the file held at the first search since this object's last change, or `refresh`.

    Example:
        >>> gallery = Gallery("gallery.h5")
        >>> print(gallery.encode("gallery", facenet))
        12 photos added, 0 kept, 0 removed, 0 not used
        >>> gallery.identify(facenet.embed("img/1_001.jpg"), threshold=1.1)
        [Identity(name='Ann', distance=0.71, nearest='Ann')]
    """

    def __init__(
        self,
        path: str | os.PathLike,
        model: Mapping[str, Any] | None = None,
        timeout: float = 10.0,
        engine: str = "numpy",
    ):
        """Opens a gallery; one that is not there is empty, and is made by the first change.

        Args:
            path: of the HDF5 file.
            model: identity of the network (`utils.weights.model_identity`) whose embeddings will be
                compared or added; None to take the caller's word for it.
            timeout: seconds to wait for another process.
            engine: of the search: "numpy" or "faiss", see `utils.gallery.nearest`.

        Raises:
            GalleryError: damaged, no gallery, or its embeddings are of another network.
        """
        self.path = Path(path)
        self._given = None if model is None else dict(model)
        self._timeout, self._engine = timeout, engine
        self._index: FaceIndex | None = None
        with self._reading():
            pass

    def __len__(self) -> int:
        """The number of embeddings."""
        with self._reading() as file:
            return file.count if file else 0

    def __bool__(self) -> bool:
        """True, even of an empty gallery."""
        return True

    @property
    def model(self) -> dict[str, Any] | None:
        """The identity of its network; None if there is no file and none was given."""
        with self._reading() as file:
            return file.model if file else self._given

    def people(self) -> dict[str, int]:
        """The number of embeddings of each person, by name, sorted."""
        with self._reading() as file:
            if not file:
                return {}
            names, rows = file.names(), file.rows()
        counts = np.bincount(rows["person"], minlength=len(names)).tolist()
        return dict(sorted((name, n) for name, n in zip(names, counts, strict=True) if name))

    def refresh(self) -> None:
        """Lets the next search read the file again, with what other processes changed."""
        self._index = None

    @property
    def index(self) -> FaceIndex:
        """What is searched: names, and the embeddings in memory."""
        if self._index is None:
            with self._reading() as file:
                if not file:
                    return FaceIndex.empty()
                names = np.array([*file.names(), None], object)[:-1]
                people = file.rows()["person"].copy()
                self._index = FaceIndex(names, people, file.embeddings(), self._engine)
        return self._index

    def labelled(self) -> tuple[np.ndarray, np.ndarray]:
        """Names (N,) objects and embeddings (N, D) float32 of all photos, to train on."""
        return self.index.names[self.index.people], self.index.embeddings

    def search(self, embeddings: np.ndarray, k: int = 1) -> Matches:
        """Finds the k nearest embeddings of the gallery, exactly: `FaceIndex.search`."""
        return self.index.search(embeddings, k)

    def identify(
        self, embeddings: np.ndarray, threshold: float, scoring: str = "nearest"
    ) -> list[Identity]:
        """Names faces, or calls them `UNKNOWN`: `FaceIndex.identify`."""
        return self.index.identify(embeddings, threshold, scoring)

    def calibrate(self, far: float = 0.01, scoring: str = "nearest", **settings) -> Calibration:
        """Measures the threshold that a share `far` of strangers passes: `FaceIndex.calibrate`."""
        return self.index.calibrate(far, scoring, **settings)

    def add(self, person: str, embeddings: np.ndarray) -> None:
        """Adds embeddings to a person, who may be new.

        Args:
            person: name.
            embeddings: (n, D) or (D,) floats, scaled to unit length here; n at least 1.

        Raises:
            ValueError: bad name or embeddings.
            GalleryError: the gallery cannot be written, or has embeddings of another length.
        """
        person = clean_name(person, NAME_BYTES)
        embeddings = normalized(np.atleast_2d(embeddings))
        if not len(embeddings):
            raise ValueError(f"{person}: no embeddings to add")
        rows = np.zeros(len(embeddings), ROW)
        rows["faces"] = 1
        with self._writing(), self._editing(embeddings.shape[1]) as file:
            file.add([person] * len(rows), rows, embeddings)

    def add_photos(
        self, person: str, photos: Sequence, embedder: Embedder, take_largest: bool = False
    ) -> EncodeReport:
        """Adds a person's photos, from anywhere; `encode` leaves them alone.

        Args:
            person: name.
            photos: paths or images.
            embedder: detector and network, as `Facenet`.
            take_largest: of several faces use the largest; else such a photo is not used.

        Returns:
            What was added, and the photos that were not used.

        Raises:
            ValueError: bad name.
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
        """Removes a person, erases the embeddings and returns how many there were.

        Raises:
            GalleryError: nobody of that name, or the gallery cannot be written.
        """
        with self._writing(), self._editing() as file:
            identifier = self._id_of(file, person)
            indices = np.flatnonzero(file.rows()["person"] == identifier)
            file.delete(indices)
            file.drop_empty_people()
        return len(indices)

    def rename(self, old: str, new: str) -> None:
        """Renames a person; if there is somebody of the new name, the two become one.

        Of photos of an encoded folder the folder has the last word: rename them there, too.

        Raises:
            GalleryError: nobody is called `old`, or the gallery cannot be written.
            ValueError: `new` cannot be a name.
        """
        new = clean_name(new, NAME_BYTES)
        with self._writing(), self._editing() as file:
            identifier, names = self._id_of(file, old), file.names()
            if new not in names:
                file.set_names({identifier: new})
            elif names[identifier] != new:
                indices = np.flatnonzero(file.rows()["person"] == identifier)
                file.set_people(indices, np.full(len(indices), names.index(new)))
                file.drop_empty_people()

    def encode(
        self,
        folder: str | os.PathLike,
        embedder: Embedder,
        take_largest: bool = False,
        prune: bool = True,
        retry: bool = False,
        save_every: int = 1000,
        progress: Callable[..., Iterable] | None = None,
    ) -> EncodeReport:
        """Makes the gallery hold the photos of a folder, laid out as in `utils.gallery.folder`.

        Photos are known by their content: only new or changed ones are embedded, those that were
        renamed or went to another person are relabelled, and those that are gone are dropped. What
        came by `add` stays.

        Args:
            folder: of the photos.
            embedder: detector and network, as `Facenet`.
            take_largest: of several faces use the largest; else such a photo is not used.
            prune: drop the photos that are gone; no: several folders may be encoded in turn.
            retry: look again at photos that could not be used before.
            save_every: new photos after which what is done is saved; each save is a whole change.
            progress: wraps the stream of new photos, as `tqdm.tqdm(photos, total=n)`.

        Returns:
            What became of the photos; `problems` has each one that is not used.

        Raises:
            ImageError: no such folder. ValueError: it has no photos.
            GalleryError: the gallery cannot be written, or its embeddings are of another network.
        """
        photos, misnamed = scan(folder)
        with self._embeddings_of(embedder), self._writing():
            photos, digests, unreadable = hash_photos(photos)
            known = self._known()
            plan = make_plan(photos, digests, known, take_largest, retry)
            plan.problems.extend(misnamed + unreadable)
            if not prune:
                others = known.rejected.items()
                plan.rejected.update((key, n) for key, n in others if key not in plan.seen)
            report = EncodeReport(kept=len(plan.kept), moved=len(plan.moved))
            paths = [path for path, _, _ in plan.new]
            done = zip(
                plan.new,
                embed_photos(paths, embedder, take_largest, progress=progress),
                strict=True,
            )
            self._save(list(islice(done, save_every)), plan, report, prune)
            while batch := list(islice(done, save_every)):
                self._save(batch, plan, report)
        report.problems = sorted(plan.problems, key=lambda problem: str(problem.source))
        return report

    def _save(self, batch, plan: Plan, report: EncodeReport, prune: bool | None = None) -> None:
        """Saves photos that are done; unless `prune` is None, what else the plan wants, too."""
        good = [pair for pair in batch if pair[1][2] is None]
        for (_, _, key), (_, faces, problem) in batch:
            if problem:
                plan.problems.append(problem)
            if problem and faces >= 0:
                plan.rejected[key] = faces
        if not good and not self.path.exists():
            return
        width = len(good[0][1][0].embedding) if good else None
        with self._editing(width) as file:
            report.removed += 0 if prune is None else save_plan(file, plan, prune)
            save_photos(file, good)
            file.set_rejected(plan.rejected)
            file.drop_empty_people()
        report.added += len(good)

    def _known(self) -> Known:
        with self._reading() as file:
            return known_photos(file) if file else Known()

    def _id_of(self, file: GalleryFile, person: str) -> int:
        names = file.names()
        if not person or person not in names:
            raise GalleryError(f"{self.path}: nobody is called {person!r}")
        return names.index(person)

    def _check_model(self, stored: Mapping | None, given: Mapping | None) -> None:
        if stored is None or given is None:
            return
        if text := differences(stored, given):
            raise GalleryError(
                f"{self.path}: its embeddings are of another network ({text}); use that network, "
                "or encode the photos into a new gallery"
            )

    @contextlib.contextmanager
    def _embeddings_of(self, embedder: Embedder) -> Iterator[None]:
        """Takes the embedder's identity for the one that was given, after comparing them."""
        self._check_model(self.model, embedder.identity)
        before, self._given = self._given, dict(embedder.identity)
        try:
            yield
        finally:
            self._given = before

    @contextlib.contextmanager
    def _reading(self) -> Iterator[GalleryFile | None]:
        """Opens the file to read it; gives None if there is none."""
        if not self.path.exists():
            yield None
            return
        with reading(self.path, self._timeout) as file:
            self._check_model(file.model, self._given)
            yield file

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Keeps other writers out."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with lock_file(f"{self.path}.lock", self._timeout):
                yield
        except LockTimeout as error:
            raise GalleryError(f"{self.path}: {error}; try again later") from error
        finally:
            self._index = None

    @contextlib.contextmanager
    def _editing(self, width: int | None = None) -> Iterator[GalleryFile]:
        """Opens the file for changes; makes it if embeddings of some width are to be added."""
        if width is None and not self.path.exists():
            raise GalleryError(f"{self.path}: there is no such gallery")
        with editing(self.path, self._given or {}, width or 0, self._timeout) as file:
            self._check_model(file.model, self._given)
            if width not in (None, file.width):
                raise GalleryError(
                    f"{self.path}: holds embeddings of length {file.width}, got {width}"
                )
            yield file
