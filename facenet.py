"""Finds, aligns and embeds faces; tells whether two photos show the same person."""

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from nets import BACKBONE_NAMES
from nets.normalization import NORMALIZATIONS, normalize
from utils.engine.engine import compile_engine
from utils.faces.alignment import align
from utils.faces.detections import Detections, EmbeddedFaces, NoFaceError
from utils.faces.photo_stream import Photo, Stage, cut_faces, embed_faces, face_stream
from utils.faces.verdict import Verdict
from utils.images.image_files import ImageError, ImageSource, read_image
from utils.images.placement import letterbox, resize
from utils.settings.settings import override
from utils.weights.cards import model_identity, read_card
from utils.weights.location import locate
from utils.weights.networks import named_backbone, recognizer

if TYPE_CHECKING:
    import keras

    from retinaface import Retinaface
    from utils.detection.mtcnn import Mtcnn
    from utils.weights.loading import LoadReport

DEFAULT_THRESHOLD = 1.1
DETECTORS = ("retinaface", "mtcnn", None)

Images = ImageSource | Sequence[ImageSource]


class Facenet:
    """Face recogniser: an image in, an embedding of unit length out.

    Example:
        >>> from utils.files.project import beside_project
        >>> photos = [beside_project(f"img/1_00{number}.jpg") for number in (1, 2)]
        >>> facenet = Facenet()
        >>> round(facenet.detect_image(*photos), 2)  # a distance, 0 to 2
        0.86
        >>> facenet.verify(*photos).same
        True
        >>> facenet.faces(beside_project("img/group.jpg")).embeddings.shape
        (4, 128)
    """

    _defaults: dict[str, Any] = {
        # weights in any format of the README, or a published name: python -m utils.weights download list
        "model_path": "model_data/arcface_mobilefacenet.weights.h5",
        "backbone": None,  # a name of nets/backbones.py; none: what the weights are of
        "input_shape": None,  # height, width, 3 of the network; none: the backbone's own
        "normalization": None,  # unit, symmetric, fixed, per_image; none: what the weights want
        "letterbox_image": True,  # a crop keeps its ratio, with grey bars; no: it is stretched
        "detector": "retinaface",  # retinaface, mtcnn, or none: the image is a face crop already
        "detector_model_path": None,  # weights of the detector (mtcnn: folder); none: its own
        # other settings of the detector, each its own key after `detector_`; none: its own default
        "detector_backbone": None,
        "detector_confidence": None,
        "detector_nms_iou": None,
        "detector_input_shape": None,
        "detector_letterbox_image": None,
        "detector_precision": None,
        # largest distance of one person's photos, 0 to 2; none: that of the card beside the weights
        # (see calibrate.py), else 1.1, at which 0.2 % of LFW's pairs of different people and 94 %
        # of the others pass with the published MobileFaceNet
        "threshold": None,
        "batch_size": 32,  # faces that the network sees at once
        "engine": "auto",  # auto, litert or keras, see utils/engine/engine.py
        "precision": "float32",  # number format of the weights on a CPU: float32, float16 (half) or int8 (fast)
    }

    _choices = {"backbone": (*BACKBONE_NAMES, None), "normalization": (*NORMALIZATIONS, None)}

    def __init__(self, **overrides: Any) -> None:
        """Builds the network to fit the weights, and the detector.

        Args:
            **overrides: settings to change, keys of `_defaults`.

        Raises:
            ValueError: unknown setting, a value that is not allowed, or weights that do not fit.
            FileNotFoundError: no weights at model_path.
            DownloadError: the published weights of that name cannot be downloaded.
        """
        settings = override(self._defaults, overrides, "Facenet", self._choices, {"batch_size": (1, None)})
        if settings["detector"] not in DETECTORS:
            raise ValueError(f"Facenet: detector {settings['detector']!r} is not retinaface, mtcnn or none")
        if settings["input_shape"] is not None and len(settings["input_shape"]) != 3:
            raise ValueError(f"Facenet: input_shape {settings['input_shape']}: height, width, 3 expected")
        self.model_path = locate(settings["model_path"], self._defaults["model_path"])
        self.letterbox_image: bool = settings["letterbox_image"]
        self.detector: str | None = settings["detector"]
        self.batch_size: int = settings["batch_size"]
        self.engine: str = settings["engine"]
        self.precision: str = settings["precision"]
        self.threshold = _threshold(settings["threshold"], self.model_path)
        self._source = recognizer(self.model_path, settings["backbone"], settings["input_shape"])
        self._network = compile_engine(self._source, self.engine, precision=self.precision)
        facts = self._network.facts
        self.backbone = named_backbone(self._source, facts, settings["backbone"])
        self.input_shape: tuple[int, int, int] = tuple(facts["shape"][1:])
        self.normalization: str = settings["normalization"] or facts["normalization"]
        self.embedding_size: int = facts["embedding_size"]
        self._detector = build_detector(settings, enlarge=False) if self.detector else None

    @property
    def model(self) -> "keras.Model":
        """The Keras network: normalised (B, H, W, 3) in, L2-normalised (B, D) out. It is built when it is asked for."""
        return self._source.built().model

    @property
    def load_report(self) -> "LoadReport":
        """What loading the weights into `model` did."""
        return self._source.built().report

    def __repr__(self) -> str:
        """Returns what the recogniser is made of: backbone, weights, engine and detector."""
        engine = f"engine {self._network.name}"
        return f"Facenet({self.backbone}, {self.model_path}, {engine}, detector {self._detector!r})"

    def embed(self, images: Images) -> np.ndarray:
        """Embeds the face of each image.

        With a detector it is the largest face, aligned by its landmarks; if there are several, a
        warning names the image. Without one the whole image is taken for a face crop. Photos are
        read while the networks work, `batch_size` at a time, so that any number fits in memory.

        Args:
            images: one image or a list: paths, PIL images or (H, W, 3) uint8 RGB arrays.

        Returns:
            (N, D) float32, rows of unit length.

        Raises:
            NoFaceError: the detector finds no face in an image.
            ImageError: an image cannot be read.
        """
        stages: list[Stage] = [self._cut, partial(embed_faces, embed_crops=self.embed_crops)]
        embeddings = [np.zeros((0, self.embedding_size), np.float32)]
        # one thread: a PIL image may be there twice, and two must not load it at once
        for photo in face_stream(_as_list(images), stages, self.batch_size, threads=1):
            if photo.error:
                raise ImageError(photo.error)
            if photo.embedding is None:
                raise NoFaceError(f"{_name(photo.source)}: no face found")
            embeddings.append(photo.embedding[None])
        return np.concatenate(embeddings)

    def find_face(self, images: Images) -> list[Detections]:
        """Finds the face of each image that `embed` takes: the largest.

        Args:
            images: as for `embed`.

        Returns:
            A list of Detections of no or one face. Where an image has several, a warning names it.

        Raises:
            ValueError: there is no detector.
            ImageError: an image cannot be read.
        """
        photos = [Photo(image, read_image(image)) for image in _as_list(images)]
        self._find(photos)
        return [photo.faces or Detections.empty() for photo in photos]

    def _find(self, photos: list[Photo]) -> None:
        """Finds the largest face of each Photo; a warning names one with several."""
        found = self.detect_batch([photo.image for photo in photos if photo.image is not None])
        for photo, faces in zip(photos, found, strict=True):
            if len(faces) > 1:
                text = f"{_name(photo.source)}: {len(faces)} faces found, the largest is taken"
                warnings.warn(text, stacklevel=2)
            photo.faces = faces.largest()

    def detect_batch(self, images: Sequence[ImageSource]) -> list[Detections]:
        """Finds all faces of many images, in pixels of each; ValueError without a detector."""
        if self._detector is None:
            raise ValueError("Facenet: finding faces needs a detector, which is none")
        return self._detector.detect_batch(images)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the embeddings; equal where they can be compared, see `cards.model_identity`."""
        network = self.model_path, self.backbone, self.input_shape, self.normalization
        detector = self.detector, getattr(self._detector, "model_path", None)
        return model_identity(*network, *detector, self.letterbox_image)

    def face_crops(self, images: Images, faces: Sequence[Detections] | None = None) -> list[np.ndarray | None]:
        """Cuts out the face of each image, as the network wants it, before normalisation.

        Args:
            images: as for `embed`.
            faces: what `find_face` returned for them; None to find them now.

        Returns:
            A list of (H, W, 3) uint8 crops; None for an image without a face.
        """
        images = _as_list(images)
        photos = [Photo(image, read_image(image)) for image in images]
        for photo, found in zip(photos, faces or [], strict=faces is not None):
            photo.faces = found
        self._cut(photos)
        return [photo.crop for photo in photos]

    def _cut(self, photos: list[Photo]) -> None:
        """Cuts out the face of each Photo, if it has one."""
        if self._detector is None:
            for photo in photos:
                photo.crop = None if photo.image is None else self._whole(photo.image)
            return
        if unknown := [photo for photo in photos if photo.faces is None]:
            self._find(unknown)
        cut_faces(photos, self.align)

    def align(self, image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """Returns the face with these landmarks (5, 2), warped to the network's input, (H, W, 3) uint8."""
        height, width = self.input_shape[:2]
        face = align(image, landmarks, max(height, width))
        return face if height == width else resize(face, (height, width))

    def _whole(self, image: np.ndarray) -> np.ndarray:
        """Fits a whole image to the network's input, as the originals do with face crops."""
        size = self.input_shape[:2]
        return letterbox(image, size)[0] if self.letterbox_image else resize(image, size)

    def embed_crops(self, crops: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Embeds faces that are cut out already.

        Args:
            crops: (N, H, W, 3) uint8 RGB of the network's input size, or a list of such.

        Returns:
            (N, D) float32, rows of unit length.
        """
        rows = [np.zeros((0, self.embedding_size), np.float32)]
        for start in range(0, len(crops), self.batch_size):
            batch = np.stack(list(crops[start : start + self.batch_size]))
            rows.append(np.asarray(self._network(normalize(batch, self.normalization))))
        return np.concatenate(rows)

    def detect_image(self, image_1: ImageSource, image_2: ImageSource) -> float:
        """Returns the Euclidean distance, 0 to 2, of the embeddings of two images' faces.

        Up to `threshold` they are taken for the same person, see `verify`. It raises what `embed` raises.
        """
        first, second = self.embed([image_1, image_2])
        return float(np.linalg.norm(first - second))

    def verify(self, image_1: ImageSource, image_2: ImageSource) -> Verdict:
        """Returns whether two images show the same person; raises what `embed` raises."""
        distance = self.detect_image(image_1, image_2)
        return Verdict(distance <= self.threshold, distance, self.threshold)

    def faces(self, image: ImageSource) -> EmbeddedFaces:
        """Finds, aligns and embeds all faces of one image.

        Raises:
            ValueError: there is no detector.
            ImageError: the image cannot be read.
        """
        image = read_image(image)
        (found,) = self.detect_batch([image])
        crops = [self.align(image, landmarks) for landmarks in found.landmarks]
        return EmbeddedFaces(found, self.embed_crops(crops))


def build_facenet(settings: Mapping[str, Any]) -> Facenet:
    """Builds a Facenet from a script's settings.

    Args:
        settings: of them, the keys of `Facenet` count, `detector_*` among them; the value None keeps its default,
            but for `detector`, where it means that images are face crops.

    Raises:
        ValueError: a value that does not fit, or a `detector_` key that the detector does not have.
        FileNotFoundError: no weights there.
    """
    chosen = {key: settings[key] for key in Facenet._defaults if settings.get(key) is not None}
    return Facenet(**{**chosen, "detector": settings["detector"]})


def build_detector(settings: Mapping[str, Any], enlarge: bool | None = None) -> "Retinaface | Mtcnn":
    """Builds the face detector that settings describe.

    Args:
        settings: `detector` is "retinaface" or "mtcnn"; a key that starts with `detector_` is one of that wrapper's,
            without the prefix; `engine` is its engine. None keeps the wrapper's default; other keys do not count.
        enlarge: whether RetinaFace scales small images up; None keeps its default. MTCNN has no such setting.

    Raises:
        ValueError: no or an unknown detector, or a `detector_` key that it does not have.
        FileNotFoundError: no weights there.
    """
    name = settings.get("detector")
    wrapper = _detector_class(name)
    given = [key for key in settings if key.startswith(("detector_", "engine")) and settings[key] is not None]
    own = {key.removeprefix("detector_"): settings[key] for key in given}
    if foreign := [key for key in own if key not in wrapper._defaults]:
        raise ValueError(f"detector_{foreign[0]}: {name} has no such setting; leave it none")
    if enlarge is not None and name == "retinaface":
        own["enlarge"] = enlarge
    return wrapper(**own)


def _detector_class(name: str | None) -> Any:
    if name == "retinaface":
        from retinaface import Retinaface

        return Retinaface
    if name == "mtcnn":
        from utils.detection.mtcnn import Mtcnn

        return Mtcnn
    raise ValueError(f"detector {name!r}: retinaface or mtcnn is needed here")


def _threshold(given: float | None, model_path: str) -> float:
    """Returns the threshold that is given, else that of the card beside the weights, else 1.1."""
    threshold = read_card(model_path).get("threshold", DEFAULT_THRESHOLD) if given is None else given
    if not isinstance(threshold, int | float) or not 0 <= threshold <= 2:
        raise ValueError(f"Facenet: threshold {threshold!r}: a distance, 0 to 2, expected")
    return threshold


def _as_list(images: Images) -> Sequence[ImageSource]:
    if isinstance(images, (list, tuple)):
        return images
    if isinstance(images, np.ndarray) and images.ndim == 4:
        return list(images)
    return [cast(ImageSource, images)]


def _name(image: ImageSource) -> str:
    """Returns what to call an image in a message."""
    if isinstance(image, np.ndarray):
        return "the image array"
    return str(getattr(image, "filename", "") or image)
