"""Exports networks: what each file says of itself, and its check against Keras.

The check runs photos through the exported file and through the way that the wrappers go: NumPy
before and after the Keras network.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nets.mtcnn import onet, pnet, rnet
from nets.normalization import normalize
from utils.detection.anchors import Anchors
from utils.detection.box_coding import decode_boxes, decode_landmarks
from utils.detection.mtcnn import Mtcnn
from utils.export.formats import RUNTIMES, SUFFIXES, Run, open_exported, runtime, write_exported
from utils.export.serving import serve_mtcnn, serve_recognizer, serve_retinaface
from utils.faces.alignment import ARCFACE_TEMPLATE
from utils.files.atomic_file import replacing
from utils.files.digests import digest
from utils.images.placement import fit_within, letterbox, pad_to_multiple, resize
from utils.weights.loading import load_weights
from utils.weights.networks import MTCNN_FILES

LARGEST_DIFFERENCES = {"float32": 1e-3, "float16": 2e-2}
"""Between an exported file's results and Keras's; lengths are of vectors, or fractions of images.
With int8 it is only reported."""

STRIDE = 32  # of RetinaFace's coarsest feature map
_CHECKED_SIZE = 640  # pixels of the longer side of a photo in the check of a detector
_FORMULAS = {
    "pixels": "none",
    "unit": "x / 255",
    "symmetric": "x / 127.5 - 1",
    "fixed": "(x - 127.5) / 128",
    "per_image": "(x - mean) / max(std, 1 / sqrt(n)) of each image",
    "caffe": "BGR minus (103.939, 116.779, 123.68)",
}
_MTCNN_OUTPUTS = {
    "scores": "float32, 0 to 1, of each cell or crop",
    "offsets": "float32, of left, top, right, bottom, in widths and heights of the box",
    "landmarks": "(batch, 10) float32 x1 y1 ... y5, in widths and heights of the box",
}


@dataclass(frozen=True)
class Subject:
    """A network to export.

    Attributes:
        model: of `utils.export.serving`.
        batches: of photos to check it with, each (B, H, W, 3) float32 pixels.
        expected: (B, H, W, 3) pixels -> its results by name, as the wrappers compute them.
        facts: JSON values: what its user has to know.
    """

    model: Any
    batches: Sequence[np.ndarray]
    expected: Callable[[np.ndarray], Mapping[str, np.ndarray]]
    facts: Mapping


def subjects(
    facenet: Any, detector: Any, photos: Sequence[np.ndarray], size: tuple[int, int] | None
) -> Iterator[Subject]:
    """Yields the networks to export: the recogniser, then those of the detector.

    Args:
        facenet: a `Facenet` without detector; None for no recogniser.
        detector: a `Retinaface`, or an `Mtcnn`, which has three networks; None for no detector.
        photos: (H, W, 3) uint8 RGB, to check each network with.
        size: (height, width) that the exported RetinaFace takes; None for any.

    Raises:
        ValueError: see `retinaface_subject`.
    """
    if facenet is not None:
        yield recognizer_subject(facenet, photos)
    if isinstance(detector, Mtcnn):
        yield from mtcnn_subjects(detector.model_path, photos)
    elif detector is not None:
        yield retinaface_subject(detector, photos, size)


def recognizer_subject(facenet: Any, photos: Sequence[np.ndarray]) -> Subject:
    """Returns the network of a `Facenet` without detector; the photos serve as crops."""
    height, width = facenet.input_shape[:2]
    template = ARCFACE_TEMPLATE.astype(float) * (max(height, width) / 112)
    facts = {
        **_input_facts(facenet.model_path, facenet.normalization),
        "crop": "the face, warped so that its five landmarks (left eye, right eye, nose, left and "
        "right corner of the mouth, left in the image) come nearest landmarks_template",
        "landmarks_template": np.round(template, 4).tolist(),
        "outputs": {"embedding": "(batch, D) float32 of length 1"},
        "comparison": "Euclidean distance of two embeddings; one person up to threshold",
        "threshold": facenet.threshold,
    }
    crops = np.stack(facenet.face_crops(photos))
    return Subject(
        serve_recognizer(facenet.model, facenet.normalization),
        [crops.astype(np.float32)],
        lambda images: {"embedding": facenet.embed_crops(images.astype(np.uint8))},
        facts,
    )


def retinaface_subject(retinaface: Any, photos: Sequence[np.ndarray], size: tuple[int, int] | None = None) -> Subject:
    """Returns the network of a `Retinaface`.

    Args:
        retinaface: the detector.
        photos: (H, W, 3) uint8.
        size: (height, width) that the exported network takes; None for any.

    Raises:
        ValueError: a side of `size` is not a multiple of STRIDE.
    """
    if size is not None and any(side % STRIDE for side in size):
        raise ValueError(f"input_shape {list(size)}: multiples of {STRIDE} expected")
    cfg = retinaface.cfg
    facts = {
        **_input_facts(retinaface.model_path, "caffe"),
        "size": f"height and width are multiples of {STRIDE}; keep the photo's ratio, pad right "
        "and bottom with the pixel (124, 117, 104)",
        "outputs": {
            "boxes": "(batch, A, 4) float32 x1 y1 x2 y2, fractions of width and height",
            "scores": "(batch, A) float32, 0 to 1",
            "landmarks": "(batch, A, 5, 2) float32 x y, fractions: left eye, right eye, nose, left "
            "and right corner of the mouth, left in the image",
        },
        "anchors": {key: cfg[key] for key in ("steps", "min_sizes", "variances")},
        "decoding": "built in",
        "suppression": "left to do: keep scores above confidence; of two boxes whose intersection "
        "over union exceeds nms_iou, the better one stays",
        "confidence": retinaface.confidence,
        "nms_iou": retinaface.nms_iou,
    }

    def expected(images: np.ndarray) -> dict[str, np.ndarray]:
        anchors = Anchors(cfg, images.shape[1:3]).get_anchors()
        outputs = retinaface.model(normalize(images, "caffe"), training=False)
        codes, scores, points = map(np.asarray, outputs)
        landmarks = decode_landmarks(points, anchors, cfg["variances"]).reshape(len(images), -1, 5, 2)
        boxes = decode_boxes(codes, anchors, cfg["variances"])
        return {"boxes": boxes, "scores": scores[..., 1], "landmarks": landmarks}

    batches = [_detector_batch(photo, size) for photo in photos]
    return Subject(serve_retinaface(retinaface.model, cfg, size), batches, expected, facts)


def mtcnn_subjects(folder: str | os.PathLike, photos: Sequence[np.ndarray]) -> Iterator[Subject]:
    """Yields P-, R- and O-Net with the weights det1-3.npy of a folder."""
    builders, sides = (pnet, rnet, onet), (None, 24, 48)
    for build, name, side in zip(builders, MTCNN_FILES, sides, strict=True):
        network, path = build(), Path(folder, name)
        load_weights(network, path)
        served = serve_mtcnn(network)
        facts = {
            **_input_facts(path, "fixed"),
            "outputs": {result: _MTCNN_OUTPUTS[result] for result in served.output},
            "cascade": "image pyramid, suppression and crops are left to do: utils/detection/mtcnn.py",
        }
        if side is None:
            batches = [_detector_batch(photo, None) for photo in photos]
        else:
            batches = [np.stack([resize(photo, (side, side)) for photo in photos]).astype(np.float32)]

        def expected(images: np.ndarray, network: Any = network) -> dict[str, np.ndarray]:
            prob, *others = network(normalize(images, "fixed"), training=False)
            return dict(zip(_MTCNN_OUTPUTS, map(np.asarray, (prob[..., 1], *others)), strict=False))

        yield Subject(served, batches, expected, facts)


def _input_facts(weights: str | os.PathLike, normalization: str) -> dict[str, Any]:
    return {
        "weights": Path(weights).name,
        "weights_digest": digest(weights).hex() if Path(weights).is_file() else None,
        "input": "image: (batch, height, width, 3) float32, RGB pixels, 0 to 255",
        "normalization": f"built in: {_FORMULAS[normalization]}",
    }


def _detector_batch(photo: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    if size is not None:
        return letterbox(photo, size)[0][None].astype(np.float32)
    fitted = fit_within(photo, _CHECKED_SIZE, enlarge=False)[0]
    return pad_to_multiple(fitted, STRIDE)[None].astype(np.float32)


def export(subject: Subject, folder: str | os.PathLike, kind: str, precision: str = "float32") -> Iterator[str]:
    """Writes a network and, beside it, a JSON file of its facts; yields lines that say where.

    Args:
        subject: the network.
        folder: where the files go.
        kind: "tflite", "onnx" or "saved_model".
        precision: of the weights, TFLite only.

    Raises:
        ValueError: the written network answers otherwise than Keras; there is no file then.
        Exception: see `write_exported`.
    """
    name = subject.model.name + ("" if precision == "float32" else f"_{precision}")
    path = Path(folder, name + SUFFIXES[kind])
    found: dict[str, float] = {}

    def check(temporary: Path) -> None:
        try:
            found.update(differences(open_exported(temporary, kind), subject))
        except ModuleNotFoundError:
            return
        limit = LARGEST_DIFFERENCES.get(precision, np.inf)
        if not max(found.values()) <= limit:
            raise ValueError(f"{path}: {_listed(found)} off Keras's, more than {limit:g}")

    write_exported(subject.model, path, kind, precision, check)
    facts = {
        "network": subject.model.name,
        "format": kind,
        "precision": precision,
        "input_shape": ["batch", *subject.model.input_shape[1:]],
        **subject.facts,
        "checked_with": runtime(kind) if found else None,
        "largest_differences": found,
    }
    with replacing(path.with_name(path.name + ".json")) as temporary:
        temporary.write_text(json.dumps(facts, indent=2, ensure_ascii=False), encoding="utf-8")
    size = sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())
    yield f"{path}: {size:,} bytes; {path.name}.json says how to use it"
    checked = f"checked with {runtime(kind)}: {_listed(found)} off Keras's at most"
    yield f"  {checked if found else f'not checked: pip install {RUNTIMES[kind]}'}"


def differences(run: Run, subject: Subject) -> dict[str, float]:
    """Returns the largest difference of each result from the expected one, NaN for NaN.

    It is relative where the expected value exceeds 1: a box that large reaches beyond the image.

    Raises:
        ValueError: results of other names or shapes.
    """
    largest: dict[str, float] = {}
    for images in subject.batches:
        got, expected = run(images), subject.expected(images)
        shapes = [{k: np.shape(v) for k, v in values.items()} for values in (got, expected)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"{subject.model.name}: results {shapes[0]}, not {shapes[1]}")
        for name, values in expected.items():
            difference = np.abs(got[name] - values) / np.maximum(np.abs(values), 1)
            largest[name] = float(np.maximum(largest.get(name, 0), difference.max(initial=0)))
    return largest


def _listed(found: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.1e}" for name, value in found.items())
