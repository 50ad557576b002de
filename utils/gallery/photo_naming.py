"""People in photos: a gallery of those who are known, faces named by it, strangers in groups.

The naming modes of predict.py. Each is a generator of the lines to print; what else it makes are
files. `settings` is the dict of predict.py, of which a mode takes the keys that it names.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from utils.faces.face_table import records, write_csv, write_json
from utils.faces.photo_stream import Photo, detect_faces, face_stream
from utils.files.unique_names import UniqueNames
from utils.gallery import classifier
from utils.gallery.encoding import Embedder
from utils.gallery.gallery import UNKNOWN, Gallery, GalleryError
from utils.images.image_files import ImageError, list_images
from utils.pictures.drawing import GREEN, RED, draw_detections

Settings = Mapping[str, Any]
Namer = Callable[[np.ndarray], list[dict[str, Any]]]
"""Embeddings (n, D) -> for each the name and, under the name of the measure, how sure it is."""

_CHUNK = 8  # photos in memory at once, of which one of 12 megapixels takes 36 MB


def encode(facenet: Embedder, folder: str | os.PathLike, settings: Settings) -> Iterator[str]:
    """Makes the gallery hold the photos of a folder; see `Gallery.encode`.

    Args:
        facenet: detector and network.
        folder: of the photos, `<person>/<photo>.jpg` or `<person>_1.jpg`.
        settings: gallery_path, take_largest.

    Raises:
        ValueError: no photo of the folder can be used; and as `Gallery.encode`.
    """
    from tqdm import tqdm

    gallery = Gallery(settings["gallery_path"], facenet.identity)
    progress = partial(tqdm, unit="photo")
    report = gallery.encode(folder, facenet, settings["take_largest"], progress=progress)
    yield str(report)
    yield summary(gallery)
    if not report.added + report.kept:
        raise ValueError(f"{folder}: none of its photos can be used")


def recognize(
    facenet: Embedder,
    paths: Iterable[str | os.PathLike],
    settings: Settings,
    save: Callable[[np.ndarray, str], None],
) -> Iterator[str]:
    """Names every face of photos by the gallery.

    Writes recognize.csv and recognize.json, an entry a face: file, face (its number, from 1), box,
    score, name, distance, nearest (who it would be at any distance).

    Args:
        facenet: detector, network and threshold.
        paths: photos and folders of photos.
        settings: gallery_path, scoring, threshold, false_accept_rate, dir_save_path.
        save: called with each picture, (H, W, 3) uint8 RGB, and its name.

    Raises:
        GalleryError: no gallery, or of another network.
        ImageError: one of the photos given cannot be read; those in folders are left out.
        ValueError: no photos, or a threshold that cannot be measured.
    """
    gallery = filled_gallery(settings["gallery_path"], facenet.identity)
    yield summary(gallery)
    threshold, notes = chosen_threshold(gallery, facenet.threshold, settings)
    yield from notes

    def namer(embeddings: np.ndarray) -> list[dict[str, Any]]:
        found = gallery.identify(embeddings, threshold, settings["scoring"])
        return [
            {"name": i.name, "distance": round(i.distance, 5), "nearest": i.nearest} for i in found
        ]

    yield from _name_photos(facenet, paths, namer, "recognize", settings, save)


def classify_train(settings: Settings) -> Iterator[str]:
    """Trains the SVM on the embeddings of the gallery, tests it and writes it.

    Args:
        settings: gallery_path, classifier_path, min_images, train_images.

    Raises:
        GalleryError: no gallery.
        ValueError: fewer than two people with enough photos.
    """
    gallery = filled_gallery(settings["gallery_path"])
    names, embeddings = gallery.labelled()
    enough = classifier.enough_images(names, settings["min_images"])
    people, left = len(set(names)), len(set(names[enough]))
    yield f"{left} of {people} people have {settings['min_images']} photos or more"
    if left < 2:
        raise ValueError(
            f"{gallery.path}: a classifier needs two people with min_images photos or more"
        )
    names, embeddings = names[enough], embeddings[enough]
    most = len(names) if settings["train_images"] is None else settings["train_images"]
    if most < 1:
        raise ValueError(f"train_images {most} must be at least 1")
    train, test = classifier.split(names, most)
    svm = classifier.train(embeddings[train], names[train], gallery.model)
    svm.save(settings["classifier_path"])
    yield f"trained on {len(train)} photos: {settings['classifier_path']}"
    if len(test):
        accuracy = svm.accuracy(embeddings[test], names[test])
        yield f"accuracy on the other {len(test)} photos: {100 * accuracy:.2f} %"
    elif settings["train_images"] is not None:
        yield f"not tested: nobody has more than {most} photos"


def classify(
    facenet: Embedder,
    paths: Iterable[str | os.PathLike],
    settings: Settings,
    save: Callable[[np.ndarray, str], None],
) -> Iterator[str]:
    """Names every face of photos by the SVM, which gives strangers a name, too.

    Writes classify.csv and classify.json, as `recognize` with probability for distance.

    Args:
        facenet: detector and network.
        paths: photos and folders of photos.
        settings: classifier_path, dir_save_path.
        save: called with each picture and its name.

    Raises:
        ClassifierError: no classifier, or of another network.
        ImageError, ValueError: as for `recognize`.
    """
    svm = classifier.FaceClassifier.load(settings["classifier_path"], facenet.identity)
    yield f"{settings['classifier_path']}: {len(svm.names)} people; strangers get a name, too"

    def namer(embeddings: np.ndarray) -> list[dict[str, Any]]:
        return [{"name": name, "probability": round(p, 5)} for name, p in svm.predict(embeddings)]

    yield from _name_photos(facenet, paths, namer, "classify", settings, save)


def summary(gallery: Gallery) -> str:
    """Returns a line: how many photos of how many people."""
    people = gallery.people()
    return f"{gallery.path}: {sum(people.values())} photos of {len(people)} people"


def filled_gallery(path: str | os.PathLike, identity: Mapping[str, Any] | None = None) -> Gallery:
    """Opens a gallery that somebody is in.

    Args:
        path: of the gallery.
        identity: of the network; None takes any.

    Raises:
        GalleryError: nobody is in it, or it is of another network.
    """
    gallery = Gallery(path, identity)
    if not len(gallery):
        raise GalleryError(f"{gallery.path}: nobody is in this gallery; encode photos first")
    return gallery


def chosen_threshold(gallery: Gallery, usual: float, settings: Settings) -> tuple[float, list[str]]:
    """Takes the usual threshold, or measures that of the chosen false-accept rate.

    Args:
        gallery: the people who are known.
        usual: distance, 0 to 2, without a rate.
        settings: false_accept_rate, scoring, threshold (None where the rate decides).

    Returns:
        The threshold, and lines on it and on how well it is known.

    Raises:
        ValueError: threshold is set too, or the gallery is too small.
    """
    lines = []
    if settings["false_accept_rate"] is not None:
        if settings["threshold"] is not None:
            raise ValueError("threshold and false_accept_rate exclude each other; set one to none")
        measured = gallery.calibrate(settings["false_accept_rate"], settings["scoring"])
        usual = measured.threshold
        note = f"threshold {usual:.3f} at {100 * measured.false_accepts:.2f} % of "
        note += f"strangers accepted, {100 * measured.true_accepts:.2f} % of the known recognised"
        lines.append(f"{note} ({measured.note})" if measured.note else note)
    lines.append(f"known below distance {usual:.3f}, {settings['scoring']} of a person's photos")
    return usual, lines


def stream_photos(
    facenet: Embedder, paths: Iterable[str | os.PathLike]
) -> Iterator[tuple[Photo, str]]:
    """All faces of photos, with their embeddings; photos of folders that are broken are left out.

    Yields:
        Each photo, whose `embedding` is (n, D) here, of all its n faces; and a name for its
        picture, without an ending, that no other has.
    """
    if facenet.detector is None:
        raise ValueError("detector none: this mode needs retinaface or mtcnn")
    given = dict.fromkeys(Path(path) for path in paths)
    listed = _listed(list(given))
    stages = [
        partial(detect_faces, detect_batch=facenet.detect_batch),
        partial(_embed_all, facenet=facenet),
    ]
    stream = face_stream([path for path, _ in listed], stages, _CHUNK)
    readable = 0
    for photo, (path, name) in zip(stream, listed, strict=True):
        if not photo.error:
            readable += 1
            yield photo, name
        elif path in given:
            raise ImageError(photo.error)
        else:
            warnings.warn(f"left out: {photo.error}", stacklevel=2)
    if not readable:
        raise ValueError(f"none of the {len(listed)} photos can be read")


def _listed(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """The photos of folders and single ones, each with a unique name for its picture."""
    listed = []
    for path in paths:
        found = list_images(path) if path.is_dir() else [path]
        if not found:
            raise ValueError(f"{path}: no photos in this folder")
        names = [p.relative_to(path).as_posix() for p in found] if path.is_dir() else [path.stem]
        listed += zip(found, names, strict=True)
    unique = UniqueNames()
    return [(path, unique(name)) for path, name in listed]


def _embed_all(photos: list[Photo], facenet: Embedder) -> None:
    """Stage: embeds all faces of the photos, those of a chunk together."""
    crops = [facenet.align(p.image, points) for p in photos for points in p.faces.landmarks]
    embeddings = facenet.embed_crops(crops) if crops else np.zeros((0, 0), np.float32)
    ends = np.cumsum([len(photo.faces) for photo in photos])
    for photo, rows in zip(photos, np.split(embeddings, ends[:-1]), strict=True):
        photo.embedding = rows


def _name_photos(
    facenet: Embedder,
    paths: Iterable[str | os.PathLike],
    namer: Namer,
    mode: str,
    settings: Settings,
    save: Callable[[np.ndarray, str], None],
) -> Iterator[str]:
    """Names the faces of photos, saves a picture of each and a table of all."""
    faces = []
    measure = {"recognize": "distance", "classify": "probability"}[mode]
    for photo, name in stream_photos(facenet, paths):
        answers = namer(photo.embedding) if len(photo.faces) else []
        said = [f"{answer['name']} {answer[measure]:.3f}" for answer in answers]
        yield f"{photo.source}: {', '.join(said) or 'no face found'}"
        save(_picture(photo, answers, measure), f"{name}_{mode}.jpg")
        faces += [face | answer for face, answer in zip(records(photo), answers, strict=True)]
    base = Path(settings["dir_save_path"]) / mode
    write_csv(f"{base}.csv", faces, ["name", measure, *["nearest"] * (mode == "recognize")])
    write_json(f"{base}.json", faces)
    yield f"faces: {len(faces)}, listed in {base}.csv and {base}.json"


def _picture(photo: Photo, answers: Sequence[Mapping[str, Any]], measure: str) -> np.ndarray:
    labels = [f"{answer['name']} {answer[measure]:.2f}" for answer in answers]
    colours = [RED if answer["name"] == UNKNOWN else GREEN for answer in answers]
    return draw_detections(photo.image, photo.faces, labels, colours)
