"""Finds faces and their five landmarks with RetinaFace."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nets.normalization import normalize
from utils.detection.anchors import Anchors
from utils.detection.box_coding import decode
from utils.engine.engine import compile_engine
from utils.engine.stopwatch import seconds_per_call
from utils.faces.detections import Detections
from utils.images.image_files import ImageSource, read_image
from utils.images.placement import Letterbox, fit_within, letterbox, pad_to_multiple
from utils.pictures.drawing import draw_detections
from utils.settings.settings import override
from utils.weights.location import locate
from utils.weights.networks import DETECTORS, named_backbone, retinaface

if TYPE_CHECKING:
    import keras

    from utils.weights.loading import LoadReport

STRIDE = 32  # of the coarsest feature map; the network wants multiples of it
GREY = 128  # bars of the original's letterbox
MEAN_PIXEL = (124, 117, 104)  # RGB, about 0 after normalisation, as the convolutions' own padding


class Retinaface:
    """Face detector.

    Example:
        >>> from utils.files.project import beside_project
        >>> detections = Retinaface().detect(beside_project("img/group.jpg"))
        >>> detections.boxes.shape, detections.landmarks.shape
        ((4, 4), (4, 5, 2))
    """

    _defaults: dict[str, Any] = {
        # weights in any format of the README, or a published name: python -m utils.weights download list
        "model_path": "model_data/retinaface_mobilenet025.weights.h5",
        "backbone": None,  # mobilenet (width 0.25, fast) or resnet50; none: what the weights are of
        "confidence": 0.5,  # least score of a face, 0 to 1
        "nms_iou": 0.45,  # of two boxes that overlap more than this, the better one stays
        "input_shape": [1280, 1280, 3],  # height, width that an image is scaled to fit; pixels
        "letterbox_image": True,  # scale to input_shape, ratio kept; no: original size
        "enlarge": True,  # scale small images up, too: finds smaller faces, takes longer
        "square": False,  # fill input_shape with grey bars as the original does; slower
        "batch_size": 8,  # images of one size that the network sees at once
        "engine": "auto",  # auto, litert or keras, see utils/engine/engine.py
        "precision": "float32",  # number format of the weights on a CPU: float32, float16 (half) or int8 (fast)
    }

    _ranges = {"confidence": (0, 1), "nms_iou": (0, 1), "input_shape": (1, None), "batch_size": (1, None)}

    def __init__(self, **overrides: Any) -> None:
        """Builds the network that fits the weights, and loads them.

        Args:
            **overrides: settings to change, keys of `_defaults`.

        Raises:
            ValueError: unknown setting, a value that is not allowed, or weights that do not fit.
            FileNotFoundError: no weights at model_path.
            DownloadError: the published weights of that name cannot be downloaded.
        """
        settings = override(self._defaults, overrides, "Retinaface", ranges=self._ranges)
        if settings["backbone"] not in (None, *DETECTORS):
            raise ValueError(f"Retinaface: backbone {settings['backbone']!r} is not mobilenet or resnet50")
        if len(settings["input_shape"]) < 2:
            raise ValueError(f"Retinaface: input_shape {settings['input_shape']}: height, width expected")
        self.model_path = locate(settings["model_path"], self._defaults["model_path"])
        self.confidence: float = settings["confidence"]
        self.nms_iou: float = settings["nms_iou"]
        self.input_shape: Sequence[int] = settings["input_shape"]
        self.letterbox_image: bool = settings["letterbox_image"]
        self.enlarge: bool = settings["enlarge"]
        self.square: bool = settings["square"]
        self.batch_size: int = settings["batch_size"]
        self.engine: str = settings["engine"]
        self.precision: str = settings["precision"]
        self._source = retinaface(self.model_path, settings["backbone"])
        self._network = compile_engine(self._source, self.engine, precision=self.precision)
        self.backbone = named_backbone(self._source, self._network.facts, settings["backbone"])
        self.cfg: Mapping[str, Any] = DETECTORS[self.backbone]

    @property
    def model(self) -> "keras.Model":
        """The Keras network, see `nets.retinaface.RetinaFace`. It is built when it is asked for."""
        return self._source.built().model

    @property
    def load_report(self) -> "LoadReport":
        """What loading the weights into `model` did."""
        return self._source.built().report

    def __repr__(self) -> str:
        """Returns what the detector is made of: backbone, weights and engine."""
        return f"Retinaface({self.backbone}, {self.model_path}, engine {self._network.name})"

    def detect(self, image: ImageSource) -> Detections:
        """Returns the faces of one image: a path, a PIL image or an (H, W, 3) RGB uint8 array."""
        return self.detect_batch([image])[0]

    def detect_batch(self, images: Sequence[ImageSource]) -> list[Detections]:
        """Finds the faces of many images, images of one size together.

        Args:
            images: paths, PIL images or (H, W, 3) uint8 RGB arrays, of any sizes.

        Returns:
            A list of Detections in the pixels of each image, boxes within it, best face first.

        Raises:
            ImageError: an image cannot be read; names it.
        """
        results = [Detections.empty()] * len(images)
        waiting: dict[tuple, list] = {}  # canvas size -> [(index, canvas, letterbox, image size)]
        for index, source in enumerate(images):
            image = read_image(source)
            canvas, placed = self._place(image)
            group = waiting.setdefault(canvas.shape[:2], [])
            group.append((index, canvas, placed, image.shape[:2]))
            if len(group) == self.batch_size:
                self._run(waiting.pop(canvas.shape[:2]), results)
        for group in waiting.values():
            self._run(group, results)
        return results

    def _place(self, image: np.ndarray) -> tuple[np.ndarray, Letterbox]:
        """Scales and pads an image as the settings say.

        A square letterbox wastes its bars, so only as much is padded as the strides need. An image that was scaled to
        the limit is offset as it would be in the middle of that square, modulo the stride, so that the anchors fall
        on the same pixels.

        Returns:
            The canvas, (H, W, 3) uint8, sides multiples of STRIDE, and its Letterbox.
        """
        if not self.letterbox_image:
            return pad_to_multiple(image, STRIDE, MEAN_PIXEL), Letterbox()
        limit = self.input_shape[0], self.input_shape[1]
        if self.square:
            canvas, placed = letterbox(image, limit, resample="linear")
            return pad_to_multiple(canvas, STRIDE, GREY), placed
        scaled, placed = fit_within(image, limit, enlarge=self.enlarge)
        bars = [have - side for have, side in zip(limit, scaled.shape[:2], strict=True)]
        if min(bars) > 0:  # smaller than the limit: not scaled
            return pad_to_multiple(scaled, STRIDE, MEAN_PIXEL), placed
        top, left = (bar // 2 % STRIDE for bar in bars)
        canvas = pad_to_multiple(scaled, STRIDE, GREY, top, left)
        return canvas, dataclasses.replace(placed, top=top, left=left)

    def _run(self, group: list[tuple], results: list) -> None:
        """Puts one group of equally large canvases through the network."""
        canvases = np.stack([canvas for _, canvas, _, _ in group])
        size = canvases.shape[1:3]
        anchors = Anchors(self.cfg, size).get_anchors()
        outputs = self._network(normalize(canvases, "caffe"))
        for (index, _, placed, image_size), *codes in zip(group, *outputs, strict=True):
            found = decode(codes, anchors, size, self.confidence, self.nms_iou, self.cfg["variances"])
            results[index] = found.to_original(placed).clip(image_size)

    def detect_image(self, image: ImageSource) -> np.ndarray:
        """Returns the image, (H, W, 3) uint8 RGB, with boxes, scores and landmarks drawn."""
        image = read_image(image)
        return draw_detections(image, self.detect(image))

    def get_map_txt(self, image: ImageSource) -> np.ndarray:
        """Returns (N, 15) float32: x1 y1 x2 y2 score, then five landmarks x y; pixels."""
        return self.detect(image).to_array()

    def get_FPS(self, image: ImageSource, test_interval: int) -> float:  # noqa: N802
        """Returns the seconds that one detection takes, averaged over `test_interval` runs."""
        if test_interval < 1:
            raise ValueError(f"test_interval {test_interval}: at least 1 expected")
        image = read_image(image)
        return seconds_per_call(lambda: self.detect(image), test_interval)
