"""MTCNN: finds faces and five landmarks with a cascade of three small networks.

P-Net looks at 12x12 cells of an image pyramid and proposes boxes; R-Net and O-Net look at the
proposals at 24x24 and 48x48, keep the faces and correct the boxes. Zhang et al., "Joint Face
Detection and Alignment Using Multitask Cascaded Convolutional Networks", IEEE Signal Processing
Letters 23(10), 2016.

Boxes are the authors': pixels are counted from 1 and the last one is included, so that x1, y1 to
x2, y2 are pixels x1 - 1 to x2 - 1 of the array; landmarks count from 0. Where ports of the authors'
code differ (averaging for the resize, fractional boxes between stages) this follows the one of
facenet-pytorch and gives its boxes to 1e-3 pixels; beyond the border crops are black, as the
authors have it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from nets.normalization import normalize
from utils.detection.nms import nms
from utils.detection.summed_area import SummedArea
from utils.engine.engine import compile_engine
from utils.faces.detections import Detections
from utils.images.image_files import ImageSource, read_image
from utils.settings.settings import override
from utils.weights.location import locate
from utils.weights.networks import mtcnn

# of P-Net: pixels that a cell sees, and from one to the next; of the others: side of their input
PNET_CELL, PNET_STRIDE, RNET_SIDE, ONET_SIDE = 12, 2, 24, 48
_NMS_IN_LEVEL = 0.5
_NMS = 0.7  # across levels, after R-Net and after O-Net
# P-Net sees levels of nearly any size. Cut into strips of a bounded size whose sides are rounded
# up, they need little memory, and levels of other photos need the same few shapes.
_STRIP_PIXELS = 2**18
_STRIP_MULTIPLE = 32
_STRIP_SHAPES = 16  # that stay compiled


class Mtcnn:
    """The MTCNN detector; settings are the keys of `_defaults`.

    Raises:
        FileNotFoundError: the folder `model_path` lacks a weight file.
        ValueError: an unknown setting, a value out of range, or a file of other weights.
    """

    _defaults: dict[str, Any] = {
        # folder with det1.npy, det2.npy and det3.npy; "mtcnn" downloads the published ones, once
        "model_path": "model_data",
        "thresholds": (0.6, 0.7, 0.7),  # least score, 0 to 1, that P-, R- and O-Net let pass
        "factor": 0.709,  # side of a pyramid level divided by that of the level before, 0 to 1
        "min_face_size": 20,  # side of the smallest face, pixels; twice that is far faster
        "engine": "auto",  # auto, litert or keras; see utils.engine.engine
    }

    def __init__(self, **overrides: Any) -> None:
        """Builds the networks and loads their weights."""
        settings = override(self._defaults, overrides, "Mtcnn")
        _check(**settings)
        self.model_path = locate(settings["model_path"], self._defaults["model_path"])
        self.thresholds: Sequence[float] = settings["thresholds"]
        self.factor: float = settings["factor"]
        self.min_face_size: float = settings["min_face_size"]
        self.engine: str = settings["engine"]
        networks = mtcnn(self.model_path)
        self._pnet = compile_engine(networks[0], self.engine, sizes=_STRIP_SHAPES)
        self._rnet, self._onet = (compile_engine(network, self.engine) for network in networks[1:])

    def __repr__(self) -> str:
        """Returns what the detector is made of: weights and engine."""
        return f"Mtcnn({self.model_path}, engine {self._onet.name})"

    def detect(self, image: ImageSource) -> Detections:
        """Returns the faces of one image: a path, a PIL image or an (H, W, 3) uint8 RGB array."""
        return self.detect_batch([image])[0]

    def detect_batch(self, images: Sequence[ImageSource]) -> list[Detections]:
        """Finds the faces of several images of any sizes.

        R-Net and O-Net see the candidates of all images together.

        Args:
            images: paths, PIL images or (H, W, 3) uint8 RGB arrays.

        Returns:
            The Detections of each image; boxes and landmarks may reach beyond the image.

        Raises:
            ImageError: an image cannot be read.
        """
        tables, candidates = [], []
        for image in map(read_image, images):
            tables.append(SummedArea(image))
            candidates.append(self._run_pnet(tables[-1], image.shape[:2]))
        outputs = _crop_and_run(self._rnet, tables, candidates, RNET_SIDE)
        candidates = list(map(self._decode_rnet, candidates, outputs))
        outputs = _crop_and_run(self._onet, tables, candidates, ONET_SIDE)
        return list(map(self._decode_onet, candidates, outputs))

    def _run_pnet(self, table: SummedArea, size: tuple[int, int]) -> np.ndarray:
        """Returns the square boxes (N, 4) that P-Net proposes for an image of a (height, width)."""
        found = [np.zeros((0, 9), np.float32)]
        for scale in pyramid_scales(size, self.min_face_size, self.factor):
            height, width = (int(np.ceil(side * scale)) for side in size)
            level = table.resize((height, width))
            prob, offsets = run_in_strips(self._pnet, normalize(level, "fixed"))
            proposals = cells_to_boxes(prob[..., 1], offsets, scale, self.thresholds[0])
            found.append(proposals[nms(proposals[:, :4], proposals[:, 4], _NMS_IN_LEVEL)])
        proposals = np.concatenate(found)
        proposals = proposals[nms(proposals[:, :4], proposals[:, 4], _NMS)]
        # The authors count the sides one pixel short at this stage, though not at the next two.
        sides = proposals[:, 2:4] - proposals[:, :2]
        return square(move_edges(proposals[:, :4], proposals[:, 5:], sides))

    def _decode_rnet(self, boxes: np.ndarray, outputs: tuple[np.ndarray, ...]) -> np.ndarray:
        """Returns the corrected square boxes (M, 4) of the candidates (N, 4) that R-Net lets pass."""
        prob, offsets = outputs
        scores = prob[:, 1]
        passed = np.flatnonzero(scores > self.thresholds[1])
        passed = passed[nms(boxes[passed], scores[passed], _NMS)]
        boxes = boxes[passed]
        return square(move_edges(boxes, offsets[passed], _sides(boxes)))

    def _decode_onet(self, boxes: np.ndarray, outputs: tuple[np.ndarray, ...]) -> Detections:
        """Returns the faces among the candidates (N, 4): those that O-Net lets pass."""
        prob, offsets, landmarks = outputs
        passed = np.flatnonzero(prob[:, 1] > self.thresholds[2])
        boxes, scores = boxes[passed], prob[passed, 1]
        sides = _sides(boxes)
        corrected = move_edges(boxes, offsets[passed], sides)
        points = landmarks[passed].reshape(-1, 5, 2) * sides[:, None] + boxes[:, None, :2] - 1
        kept = nms(corrected, scores, _NMS, mode="min")
        return Detections(corrected[kept], scores[kept], points[kept])


def _crop_and_run(
    net: Callable, tables: Sequence[SummedArea], candidates: Sequence[np.ndarray], side: int
) -> Iterator[tuple[np.ndarray, ...]]:
    """Cuts the candidates of all images out and runs R-Net or O-Net on the crops together.

    Args:
        net: (M, side, side, 3) normalised -> arrays (M, ...).
        tables: of the images.
        candidates: boxes (N, 4) of each image.
        side: of the network's input, pixels.

    Yields:
        The outputs (N, ...) for each image.
    """
    if not candidates:
        return iter(())
    edges = [np.floor(boxes).astype(int) - (1, 1, 0, 0) for boxes in candidates]
    crops = [table.crop_resize(boxes, side) for table, boxes in zip(tables, edges, strict=True)]
    outputs = net(normalize(np.concatenate(crops), "fixed"))
    ends = np.cumsum([len(boxes) for boxes in candidates])[:-1]
    return zip(*(np.split(output, ends) for output in outputs), strict=True)


def pyramid_scales(size: tuple[int, int], min_face_size: float, factor: float) -> list[float]:
    """Returns the scales of the pyramid levels, largest first.

    On the first level the smallest face has the 12 pixels of a P-Net cell; the last level is the
    smallest that is at least one cell high and wide.

    Args:
        size: (height, width) of the image, pixels.
        min_face_size: pixels.
        factor: of a level's side to that of the level before, between 0 and 1.

    Returns:
        The scales; none if the image is smaller than the smallest face.
    """
    scale, scales = PNET_CELL / min_face_size, []
    while min(size) * scale >= PNET_CELL:
        scales.append(scale)
        scale *= factor
    return scales


def run_in_strips(net: Callable, level: np.ndarray, strip_pixels: int = _STRIP_PIXELS) -> list[np.ndarray]:
    """Runs P-Net on a level in strips of rows of one size, which overlap by what a cell sees.

    Where the height or width is odd, the last cell sees one row or column of grey.

    Args:
        net: (n, h, w, 3) -> arrays (n, h', w', D), as nets.mtcnn.pnet.
        level: (H, W, 3) float32, normalised, at least one cell high and wide.
        strip_pixels: about the most pixels of a strip.

    Returns:
        The outputs for the whole level, (rows of cells, columns of cells, D) each.
    """
    height, width = level.shape[:2]
    rows, columns = _cell_count(height), _cell_count(width)
    overlap = PNET_CELL - PNET_STRIDE
    padded_width = _round_up(width)
    strips = -(-height * padded_width // strip_pixels)
    strip_height = _round_up(-(-rows // strips) * PNET_STRIDE + overlap)
    step = strip_height - overlap
    starts = range(0, rows * PNET_STRIDE, step)
    padded = np.zeros((starts[-1] + strip_height, padded_width, 3), np.float32)
    padded[:height, :width] = level
    outputs = net(np.stack([padded[start : start + strip_height] for start in starts]))
    return [output.reshape(-1, *output.shape[2:])[:rows, :columns] for output in outputs]


def _cell_count(length: int) -> int:
    return -(-(length - PNET_CELL) // PNET_STRIDE) + 1


def _round_up(length: int) -> int:
    return -(-length // _STRIP_MULTIPLE) * _STRIP_MULTIPLE


def cells_to_boxes(scores: np.ndarray, offsets: np.ndarray, scale: float, threshold: float) -> np.ndarray:
    """Turns the cells of a P-Net output that pass the threshold into boxes in the image.

    Args:
        scores: (h, w) face scores.
        offsets: (h, w, 4) of the edges.
        scale: of the pyramid level.
        threshold: least score.

    Returns:
        (N, 9) float32: the cell x1, y1, x2, y2 in pixels of the image, its score and offsets.
    """
    rows, columns = np.nonzero(scores >= threshold)
    cells = np.float32(PNET_STRIDE) * np.stack([columns, rows], axis=1).astype(np.float32)
    first, last = (np.floor((cells + edge) / np.float32(scale)) for edge in (1, PNET_CELL))
    return np.concatenate([first, last, scores[rows, columns, None], offsets[rows, columns]], axis=1)


def move_edges(boxes: np.ndarray, offsets: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Returns boxes (N, 4) with edges moved by offsets (N, 4) times their widths and heights (N, 2)."""
    return boxes + offsets * np.tile(sides, 2)


def square(boxes: np.ndarray) -> np.ndarray:
    """Returns boxes (N, 4) made square about their centres by the longer side, without empty ones."""
    sides = boxes[:, 2:] - boxes[:, :2]
    longer = sides.max(axis=1, keepdims=True)
    first = boxes[:, :2] + sides * 0.5 - longer * 0.5
    return np.concatenate([first, first + longer], axis=1)[longer[:, 0] > 0]


def _sides(boxes: np.ndarray) -> np.ndarray:
    """Returns widths and heights (N, 2) in pixels; the last pixel belongs to the box."""
    return boxes[:, 2:] - boxes[:, :2] + 1


def _check(thresholds: Sequence[float], factor: float, min_face_size: float, **_: Any) -> None:
    """Raises ValueError on a value out of range."""
    if len(thresholds) != 3 or not all(0 <= value <= 1 for value in thresholds):
        raise ValueError(f"Mtcnn: thresholds {thresholds}: three numbers from 0 to 1 expected")
    if not 0 < factor < 1:
        raise ValueError(f"Mtcnn: factor {factor}: a number between 0 and 1 expected")
    if not min_face_size > 0:
        raise ValueError(f"Mtcnn: min_face_size {min_face_size}: a number of pixels expected")
