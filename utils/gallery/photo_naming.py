"""Modes of predict.py that name people: encode a gallery, recognize faces by it, classify them by an SVM.

Each mode is a generator of the lines to print, and writes its results to files. `settings` is the dict of predict.py;
the docstring of a mode lists the keys that it reads.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from utils.faces.embedded_photos import stream_photos
from utils.faces.embeddings import Embedder
from utils.faces.face_table import records, write_csv, write_json
from utils.gallery import classifier
from utils.gallery.gallery import Gallery, GalleryError
from utils.gallery.index import UNKNOWN
from utils.pictures.drawing import GREEN, RED, draw_detections

Paths = Iterable[str | os.PathLike]
Settings = Mapping[str, Any]
Save = Callable[[np.ndarray, str], None]
Namer = Callable[[np.ndarray], list[dict[str, Any]]]
"""Embeddings (n, D) -> for each face its name, and a distance or probability under that key."""


def encode(facenet: Embedder, folder: str | os.PathLike, settings: Settings) -> Iterator[str]:
    """Makes the gallery hold the photos of a folder; see `Gallery.encode`.

    Args:
        facenet: detector and network.
        folder: of the photos, `<person>/<photo>.jpg` or `<person>_1.jpg`.
        settings: gallery_path, take_largest.

    Raises:
        ValueError: no photo of the folder can be used.
        ImageError, GalleryError: as for `Gallery.encode`.
    """
    from tqdm import tqdm

    gallery = Gallery(settings["gallery_path"], facenet.identity)
    progress = partial(tqdm, unit="photo")
    report = gallery.encode(folder, facenet, settings["take_largest"], progress=progress)
    yield str(report)
    yield summary(gallery)
    if not report.added + report.kept:
        raise ValueError(f"{folder}: none of its photos can be used")


def recognize(facenet: Embedder, paths: Paths, settings: Settings, save: Save) -> Iterator[str]:
    """Names every face of photos by the gallery.

    Writes recognize.csv and recognize.json with an entry for each face: file, face (its number, from 1), box, score,
    name, distance, nearest (who it would be at any distance).

    Args:
        facenet: detector, network and threshold.
        paths: photos and folders of photos.
        settings: gallery_path, scoring, threshold, false_accept_rate, dir_save_path.
        save: called with each picture, (H, W, 3) uint8 RGB, and its name.

    Raises:
        GalleryError: there is no gallery, or it is of another network.
        ImageError: one of the photos in `paths` itself cannot be read; those in folders are left out.
        ValueError: there are no photos, or the threshold cannot be measured.
    """
    gallery = filled_gallery(settings["gallery_path"], facenet.identity)
    yield summary(gallery)
    threshold, notes = chosen_threshold(gallery, facenet.threshold, settings)
    yield from notes

    def namer(embeddings: np.ndarray) -> list[dict[str, Any]]:
        found = gallery.identify(embeddings, threshold, settings["scoring"])
        return [{"name": i.name, "distance": round(i.distance, 5), "nearest": i.nearest} for i in found]

    base = Path(settings["dir_save_path"], "recognize")
    yield from _name_photos(facenet, paths, namer, ["name", "distance", "nearest"], base, save)


def classify_train(settings: Settings) -> Iterator[str]:
    """Trains an SVM on the embeddings of the gallery, tests it and writes it to a file.

    Args:
        settings: gallery_path, classifier_path, min_images, train_images.

    Raises:
        GalleryError: there is no gallery.
        ValueError: fewer than two people have enough photos.
    """
    gallery = filled_gallery(settings["gallery_path"])
    names, embeddings = gallery.labelled()
    enough = classifier.enough_images(names, settings["min_images"])
    people, left = len(set(names)), len(set(names[enough]))
    yield f"{left} of {people} people have {settings['min_images']} photos or more"
    if left < 2:
        raise ValueError(f"{gallery.path}: a classifier needs two people with min_images photos or more")
    names, embeddings = names[enough], embeddings[enough]
    most = settings["train_images"] or len(names)
    train, test = classifier.split(names, most)
    svm = classifier.train(embeddings[train], names[train], gallery.identity)
    svm.save(settings["classifier_path"])
    yield f"trained on {len(train)} photos: {settings['classifier_path']}"
    if len(test):
        accuracy = svm.accuracy(embeddings[test], names[test])
        yield f"accuracy on the other {len(test)} photos: {100 * accuracy:.2f} %"
    elif settings["train_images"] is not None:
        yield f"not tested: nobody has more than {most} photos"


def classify(facenet: Embedder, paths: Paths, settings: Settings, save: Save) -> Iterator[str]:
    """Names every face of photos by the SVM, which gives a name to strangers, too.

    Writes classify.csv and classify.json, like those of `recognize`, but with the probability instead of the distance.

    Args:
        facenet: detector and network.
        paths: photos and folders of photos.
        settings: classifier_path, dir_save_path.
        save: called with each picture and its name.

    Raises:
        ClassifierError: there is no classifier, or it is of another network.
        ImageError, ValueError: as for `recognize`.
    """
    svm = classifier.FaceClassifier.load(settings["classifier_path"], facenet.identity)
    yield f"{settings['classifier_path']}: {len(svm.names)} people; strangers get a name, too"

    def namer(embeddings: np.ndarray) -> list[dict[str, Any]]:
        return [{"name": name, "probability": round(p, 5)} for name, p in svm.predict(embeddings)]

    base = Path(settings["dir_save_path"], "classify")
    yield from _name_photos(facenet, paths, namer, ["name", "probability"], base, save)


def summary(gallery: Gallery) -> str:
    """Returns a line that says how many photos of how many people the gallery holds."""
    people = gallery.people()
    return f"{gallery.path}: {sum(people.values())} photos of {len(people)} people"


def filled_gallery(path: str | os.PathLike, identity: Mapping[str, Any] | None = None) -> Gallery:
    """Returns a gallery that is not empty.

    Args:
        path: of the gallery.
        identity: of the network; None takes any.

    Raises:
        GalleryError: the gallery is empty, or of another network.
    """
    gallery = Gallery(path, identity)
    if not len(gallery):
        raise GalleryError(f"{gallery.path}: nobody is in this gallery; encode photos first")
    return gallery


def chosen_threshold(gallery: Gallery, usual: float, settings: Settings) -> tuple[float, list[str]]:
    """Returns the usual threshold, or measures the one of the chosen false-accept rate.

    Args:
        gallery: the people who are known.
        usual: threshold without a false-accept rate, a distance of 0 to 2.
        settings: false_accept_rate, scoring, threshold (must be None if a rate is set).

    Returns:
        The threshold, and lines that explain it.

    Raises:
        ValueError: both threshold and false_accept_rate are set, or the gallery is too small.
    """
    lines = []
    if settings["false_accept_rate"] is not None:
        if settings["threshold"] is not None:
            raise ValueError("threshold and false_accept_rate exclude each other; set one to none")
        measured = gallery.calibrate(settings["false_accept_rate"], settings["scoring"])
        usual = measured.threshold
        accepted, recognised = 100 * measured.false_accepts, 100 * measured.true_accepts
        note = f"{recognised:.2f} % of the known recognised" + (f" ({measured.note})" if measured.note else "")
        lines.append(f"threshold {usual:.3f} at {accepted:.2f} % of strangers accepted, {note}")
    lines.append(f"known below distance {usual:.3f}, {settings['scoring']} of a person's photos")
    return usual, lines


def _name_photos(
    facenet: Embedder, paths: Paths, namer: Namer, columns: Sequence[str], base: Path, save: Save
) -> Iterator[str]:
    """Names the faces of photos, saves a picture of each and a table of all.

    Args:
        facenet: detector and network.
        paths: photos and folders of photos.
        namer: names embeddings.
        columns: of the table beside the faces themselves; the second is the measure that pictures show.
        base: path of the tables, without ending.
        save: called with each picture and its name.
    """
    faces, measure = [], columns[1]
    for photo, name in stream_photos(facenet, paths):
        answers = namer(photo.embedding) if len(photo.faces) else []
        said = [f"{answer['name']} {answer[measure]:.3f}" for answer in answers]
        yield f"{photo.source}: {', '.join(said) or 'no face found'}"
        labels = [f"{answer['name']} {answer[measure]:.2f}" for answer in answers]
        colours = [RED if answer["name"] == UNKNOWN else GREEN for answer in answers]
        save(draw_detections(photo.image, photo.faces, labels, colours), f"{name}_{base.name}.jpg")
        faces += [face | answer for face, answer in zip(records(photo), answers, strict=True)]
    write_csv(f"{base}.csv", faces, columns)
    write_json(f"{base}.json", faces)
    yield f"faces: {len(faces)}, listed in {base}.csv and {base}.json"
