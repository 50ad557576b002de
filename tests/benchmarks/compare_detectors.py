"""How well one detector finds the faces of another: recall and precision at IoU 0.5 by face size.

python -m tests.benchmarks.compare_detectors REFERENCE_WEIGHTS WEIGHTS PHOTO_OR_FOLDER... [limit]

A face of the reference is found if the other detector has one that overlaps it by half; each may
be used once, the best overlap first. The subject of a photo is its face nearest the centre,
weighted with its size, as in eval_LFW.py. Landmark errors are the mean over five points, as a share
of the width of the reference's box.
"""

import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from retinaface import Retinaface
from utils.faces.boxes import iou
from utils.faces.choice import central_face
from utils.faces.photo_stream import face_stream
from utils.images.image_files import list_images

SIZES = (0, 16, 32, 64, 128, 10**6)  # of a face's shorter side, pixels


def match(reference, other):
    """Pairs boxes of two Detections, the best overlap first; returns their indices (M, 2)."""
    overlaps = iou(reference.boxes, other.boxes)
    pairs = []
    while overlaps.size and overlaps.max() >= 0.5:
        row, column = np.unravel_index(overlaps.argmax(), overlaps.shape)
        pairs.append((row, column))
        overlaps[row], overlaps[:, column] = 0, 0
    return np.array(pairs, int).reshape(-1, 2)


def sides(faces):
    """The shorter sides of boxes, in pixels."""
    return np.minimum(*(faces.boxes[:, 2:] - faces.boxes[:, :2]).T)


def landmark_errors(reference, other):
    """Mean distance of the landmarks of paired faces, as a share of the reference's width."""
    distances = np.linalg.norm(reference.landmarks - other.landmarks, axis=2).mean(axis=1)
    return distances / (reference.boxes[:, 2] - reference.boxes[:, 0])


def compare(reference, other, paths):
    """Runs both detectors over photos.

    Returns:
        (side, found, subject) of the reference's faces, (side, true) of the other's: pixels,
        whether a face of the one has a partner, and whether it is the subject of its photo;
        landmark errors of the pairs.
    """

    def detect(photos):
        images = [photo.image for photo in photos]
        both = zip(reference.detect_batch(images), other.detect_batch(images), strict=True)
        for photo, faces in zip(photos, both, strict=True):
            photo.faces = faces

    rows, columns, errors = [], [], []
    for photo in tqdm(face_stream(paths, [detect]), total=len(paths), unit="photo"):
        if photo.error:
            continue
        a, b = photo.faces
        pairs = match(a, b)
        numbers = np.arange(len(a))
        subject = central_face(a, photo.image.shape[:2]) if len(a) else -1
        rows.append((sides(a), np.isin(numbers, pairs[:, 0]), numbers == subject))
        columns.append((sides(b), np.isin(np.arange(len(b)), pairs[:, 1])))
        errors.append(landmark_errors(a[pairs[:, 0]], b[pairs[:, 1]]))
    stacked = [[np.concatenate(part) for part in zip(*x, strict=True)] for x in (rows, columns)]
    return *stacked, np.concatenate(errors)


def main():
    """Prints the table."""
    words = sys.argv[1:]
    limit = int(words.pop()) if words[-1].isdigit() else None
    reference, other = (Retinaface(model_path=path, enlarge=False) for path in words[:2])
    paths = []
    for path in map(Path, words[2:]):
        paths += list_images(path) if path.is_dir() else [path]
    if limit:
        paths = np.random.default_rng(0).permutation(paths)[:limit].tolist()
    (size, found, subject), (other_size, true), errors = compare(reference, other, paths)
    print(f"{len(paths)} photos; reference {len(size)} faces, other {len(other_size)}")
    print("shorter side     faces  recall   other  precision")
    for low, high in [*zip(SIZES[:-1], SIZES[1:], strict=True), (0, 10**6)]:
        inside, also = (size >= low) & (size < high), (other_size >= low) & (other_size < high)
        recall = found[inside].mean() if inside.any() else np.nan
        precision = true[also].mean() if also.any() else np.nan
        name = f"{low}..{high}" if (low, high) != (0, 10**6) else "all"
        print(f"{name:14} {inside.sum():7} {recall:7.4f} {also.sum():7} {precision:10.4f}")
    print(f"subjects: {subject.sum()}, recall {found[subject].mean():.4f}")
    print(f"landmarks: mean error {100 * errors.mean():.2f} % of the face's width")


if __name__ == "__main__":
    main()
