"""Verification pairs: LFW's pairs.txt with its images, and packed sets such as lfw.bin."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from utils.files.restricted_pickle import Array, load

EXTENSIONS = (".jpg", ".jpeg", ".png")
_PACKED_FOLDS = 10  # a packed set names no folds: its pairs are cut into ten in their order


class Pair(NamedTuple):
    """Two photos and the fold that they belong to (from 0); a photo is named "<Name>_<number>", as in "Ann_0003"."""

    first: str
    second: str
    same: bool
    fold: int


@dataclass(frozen=True)
class PairSet:
    """P pairs of U images, ready to be embedded and scored.

    Attributes:
        name: of the set, for the report.
        images: U distinct files in the order of their first use, or U encoded images as bytes.
        names: U names for messages.
        indices: (P, 2) int64 into `images`.
        labels: (P,) bool, true for the same person.
        folds: (P,) int64; pass them to `lfw_metrics.evaluate(folds=...)`.
        skipped: (pair, reason) of each pair that was left out.
    """

    name: str
    images: list[Any]
    names: list[str]
    indices: np.ndarray
    labels: np.ndarray
    folds: np.ndarray
    skipped: list[tuple[str, str]]

    def without(self, errors: Mapping[int, str]) -> "PairSet":
        """Returns the set without the pairs that need an image of {index: reason}."""
        bad = np.isin(self.indices, list(errors)).any(axis=1)
        skipped = [
            (" | ".join(self.names[i] for i in pair), next(errors[i] for i in pair if i in errors))
            for pair in self.indices[bad].tolist()
        ]
        kept = {name: getattr(self, name)[~bad] for name in ("indices", "labels", "folds")}
        return replace(self, skipped=self.skipped + skipped, **kept)


def load_pairs(
    lfw_dir_path: str | os.PathLike,
    lfw_pairs_path: str | os.PathLike,
    packed_path: str | os.PathLike | None = None,
    name: str | None = None,
) -> PairSet:
    """Returns the pairs of LFW, or of a packed set.

    Args:
        lfw_dir_path: folder of <Name>/<Name>_0001.jpg.
        lfw_pairs_path: LFW's pairs.txt, see `read_pairs`.
        packed_path: a packed set, see `read_packed`; if given, the other two are not read.
        name: of the set in reports; None takes that of the folder or file.

    Raises:
        ValueError: the pairs or images cannot be used; the message names the file or folder.
        OSError: a file cannot be read.
    """
    if packed_path is not None:
        pairs = _load_packed(Path(packed_path))
    elif Path(lfw_pairs_path).is_file():
        pairs = find_images(lfw_dir_path, read_pairs(lfw_pairs_path))
    else:
        raise ValueError(f"{lfw_pairs_path}: lfw_pairs_path is no file; it should be LFW's pairs.txt")
    return replace(pairs, name=name or pairs.name)


def check_pairs(pairs: PairSet, max_missing: float) -> None:
    """Raises an error if pairs cannot be cross-validated or too many are missing.

    Args:
        pairs: the set, with what was skipped.
        max_missing: largest share of skipped pairs, 0 to 1.

    Raises:
        ValueError: fewer than two folds, or more than the share `max_missing` skipped.
    """
    total = len(pairs.labels) + len(pairs.skipped)
    if len(np.unique(pairs.folds)) < 2:
        raise ValueError(f"{pairs.name}: its pairs are in one fold, the protocol needs two or more")
    if len(pairs.skipped) > max_missing * total:
        pair, reason = pairs.skipped[0]
        raise ValueError(
            f"{len(pairs.skipped)} of {total} pairs cannot be scored, more than max_missing "
            f"{max_missing:g}; the first is {pair}: {reason}"
        )


def read_pairs(path: str | os.PathLike) -> list[Pair]:
    """Reads a pairs file in LFW's format.

    The first line holds the number of folds and of pairs per kind and fold (`10 300`); a lone
    number (`500`, LFW's development sets) means one fold. Each fold then lists its same pairs
    (`name n1 n2`) and its different pairs (`name1 n1 name2 n2`). Fields are separated by tabs or
    spaces; a line with tabs may have spaces inside names. UTF-8.

    Raises:
        ValueError: A malformed line (the message gives file:line), or not the number of pairs
            that the first line promises.
        OSError: the file cannot be read.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    fold_count, per_kind = _parse_header(lines[0], path)
    pairs: list[Pair] = []
    for number, line in enumerate(lines[1:], start=2):
        if line.strip():
            pairs.append(_parse_pair(line, len(pairs) // (2 * per_kind), f"{path}:{number}"))
    expected = 2 * fold_count * per_kind
    if len(pairs) != expected:
        raise ValueError(
            f"{path}: the first line promises {expected} pairs "
            f"({fold_count} folds of {per_kind} same + {per_kind} different), found {len(pairs)}"
        )
    return pairs


def find_images(root: str | os.PathLike, pairs: list[Pair]) -> PairSet:
    """Resolves each photo to `<root>/<Name>/<Name>_0001` with .jpg, .jpeg or .png.

    A pair with a missing image is skipped and reported, so a partial or aligned copy of the set
    can be scored (detectors lose some faces).

    Raises:
        ValueError: `root` is not a folder, or no pair at all has both its images.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"{root}: not a folder; it should hold <Name>/<Name>_0001.jpg")
    files = {photo: _find_image(root, photo) for photo in dict.fromkeys(_photos(pairs))}
    kept = [pair for pair in pairs if files[pair.first] and files[pair.second]]
    if not kept:
        raise ValueError(f"{root}: no pair has both its images, as <Name>/<Name>_0001.jpg")
    skipped = []
    for pair in pairs:
        if missing := [photo for photo in dict.fromkeys(pair[:2]) if not files[photo]]:
            reason = f"no {', '.join(EXTENSIONS)} image of {' and '.join(missing)} in {root}"
            skipped.append((f"{pair.first} | {pair.second}", reason))
    used = list(dict.fromkeys(_photos(kept)))
    position = {photo: index for index, photo in enumerate(used)}
    return PairSet(
        name=f"LFW in {root}",
        images=[files[photo] for photo in used],
        names=used,
        indices=np.array([[position[pair.first], position[pair.second]] for pair in kept]),
        labels=np.array([pair.same for pair in kept]),
        folds=np.array([pair.fold for pair in kept]),
        skipped=skipped,
    )


def read_packed(path: str | os.PathLike) -> tuple[list[bytes], np.ndarray]:
    """Reads a packed verification set: lfw.bin, cfp_fp.bin, agedb_30.bin of the ArcFace data.

    Such a file is a pickle, from Python 2 or 3, of (encoded images, labels); images 2i and 2i + 1
    make pair i. Nothing in it is executed: only lists, tuples, bytes, numbers and uint8 or bool
    NumPy arrays are rebuilt, by code of this file; any other object is refused.

    Returns:
        2P encoded images (JPEG or PNG bytes) and labels (P,) bool, true for the same person.

    Raises:
        ValueError: not such a file; the message says what is wrong.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        try:
            content = load(file, encoding="bytes")
            if not (isinstance(content, list | tuple) and len(content) == 2):
                raise ValueError("expected (images, labels)")
            images, labels = (_elements(part) for part in content)
            images = [_raw(image) if isinstance(image, Array) else image for image in images]
        except (OverflowError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: not a packed pair file: {error}") from None
    if not all(isinstance(image, bytes) and image for image in images):
        raise ValueError(f"{path}: an image is not encoded bytes")
    if not all(isinstance(label, int) and label in (0, 1) for label in labels):
        raise ValueError(f"{path}: labels must be booleans, one per pair")
    if not labels or len(images) != 2 * len(labels):
        raise ValueError(f"{path}: {len(images)} images and {len(labels)} labels; need two images per label")
    return images, np.array(labels, dtype=bool)


def _load_packed(path: Path) -> PairSet:
    images, labels = read_packed(path)
    return PairSet(
        name=str(path),
        images=images,
        names=[f"image {index} of {path.name}" for index in range(len(images))],
        indices=np.arange(len(images)).reshape(-1, 2),
        labels=labels,
        folds=np.arange(len(labels)) * _PACKED_FOLDS // len(labels),
        skipped=[],
    )


def _photos(pairs: list[Pair]) -> Iterator[str]:
    return (photo for pair in pairs for photo in pair[:2])


def _find_image(root: Path, photo: str) -> Path | None:
    person = photo.rpartition("_")[0]
    candidates = (root / person / f"{photo}{extension}" for extension in EXTENSIONS)
    return next((path for path in candidates if path.is_file()), None)


def _parse_header(line: str, path: Path) -> tuple[int, int]:
    """Returns (folds, pairs per kind and fold) of a line `10 300` or `500`."""
    fields = line.split()
    if len(fields) not in (1, 2) or not all(field.isdecimal() and int(field) for field in fields):
        raise ValueError(f"{path}:1: expected `<folds> <pairs per kind>` as `10 300`, got {line!r}")
    fold_count, per_kind = map(int, ["1", *fields][-2:])
    return fold_count, per_kind


def _parse_pair(line: str, fold: int, where: str) -> Pair:
    fields = [field.strip() for field in line.split("\t")] if "\t" in line else line.split()
    same = len(fields) == 3
    if same:
        fields.insert(2, fields[0])
    if len(fields) != 4:
        raise ValueError(f"{where}: expected `name n1 n2` or `name1 n1 name2 n2`, got {line!r}")
    name_1, number_1, name_2, number_2 = fields
    if not (name_1 and name_2 and number_1.isdecimal() and number_2.isdecimal()):
        raise ValueError(f"{where}: expected names and whole image numbers, got {line!r}")
    return Pair(f"{name_1}_{int(number_1):04d}", f"{name_2}_{int(number_2):04d}", same, fold)


def _elements(part: object) -> list:
    """Returns a pickled list, tuple or bool array as a list, anything else as an empty one."""
    if isinstance(part, Array):
        return [byte != 0 for byte in _raw(part)]
    return list(part) if isinstance(part, list | tuple) else []


def _raw(array: Array) -> bytes:
    """Returns the bytes of a pickled array, whose type is checked."""
    if array.code not in ("u1", "b1") or len(array.shape) != 1:
        raise ValueError("an array in it is not one-dimensional uint8 or bool")
    return array.to_numpy((array.code,)).tobytes()
