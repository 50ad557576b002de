"""Finds, follows and names the faces of a video, frame by frame."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from utils.faces.alignment import align
from utils.faces.detections import Detections
from utils.faces.embeddings import Embedder, unit_rows
from utils.gallery.index import Identity
from utils.images.placement import fit_within
from utils.video.name_votes import TrackName
from utils.video.tracking import Track, Tracker

_SIDE, _MARGIN = 24, 2  # pixels; the margin may lie outside the image

Detect = Callable[[np.ndarray], Detections]
Embed = Callable[[np.ndarray, np.ndarray], np.ndarray]

_ALIKE = 0.9  # correlation; a face that looks less like it did is looked at again


@dataclass(frozen=True)
class Recognition:
    """How faces get names.

    Attributes:
        embed: image (H, W, 3) uint8 and landmarks (n, 5, 2) of its faces -> (n, D) unit length.
        identify: such embeddings -> n identities.
        threshold: distance from which on `identify` says `UNKNOWN`.
        every: seconds after which a face that has a name is looked at again.
        min_face: pixels; a face that is smaller on its shorter side is followed, but not named.
    """

    embed: Embed
    identify: Callable[[np.ndarray], list[Identity]]
    threshold: float
    every: float = 0.5
    min_face: float = 20.0


@dataclass(frozen=True)
class SeenFace:
    """A face of a frame.

    Attributes:
        track: the same number for the same face in all frames.
        name: of the person or `UNKNOWN`; None if that is not settled, or nobody is recognised.
        distance: of the name, when the face was last recognised; infinite without one.
        box: (4,) float32 xyxy, pixels.
        landmarks: (5, 2) float32, pixels.
        score: of the detector.
    """

    track: int
    name: str | None
    distance: float
    box: np.ndarray
    landmarks: np.ndarray
    score: float


@dataclass
class _Known:
    """What is known of a track: its name, its look when it was last new or changed, and when it was recognised."""

    name: TrackName
    look: np.ndarray
    seconds: float


def embed_within(facenet: Embedder, flip: bool) -> Embed:
    """Returns a function of an image and its landmarks (n, 5, 2): the embeddings (n, D) of its faces.

    Args:
        facenet: aligns and embeds.
        flip: whether each face is looked at mirrored, too; the sum of both embeddings counts.
    """

    def embed(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        crops = [facenet.align(image, points) for points in landmarks]
        if not flip:
            return facenet.embed_crops(crops)
        mirrored = [crop[:, ::-1] for crop in crops]
        both = facenet.embed_crops([*crops, *mirrored]).reshape(2, len(crops), -1)
        return unit_rows(both.sum(axis=0))

    return embed


def detect_within(detect_batch: Callable[[list], list[Detections]], max_side: int) -> Detect:
    """Returns a detector of one image, which is made smaller first.

    Args:
        detect_batch: list of images -> list of Detections.
        max_side: the longest side, in pixels, that the detector sees.
    """

    def detect(image: np.ndarray) -> Detections:
        small, placed = fit_within(image, max_side, enlarge=False)
        return detect_batch([small])[0].to_original(placed).clip(image.shape[:2])

    return detect


class VideoRecognizer:
    """Follows faces; recognises each when it appears, when it changes, and now and again.

    Example:
        >>> recognizer = VideoRecognizer(detect_within(facenet.detect_batch, 640), None)
        >>> [face.track for face in recognizer(frame, 0.04)]
        [1, 2]

    Attributes:
        names_faces: whether faces are recognised at all.
    """

    def __init__(self, detect: Detect, recognition: Recognition | None, detect_every: int = 1, memory: float = 1.0):
        """Starts before the first frame.

        Args:
            detect: image (H, W, 3) uint8 RGB -> its faces.
            recognition: None to follow faces without naming them.
            detect_every: frames from one detection to the next; between, faces are moved on.
            memory: seconds that a face may be out of sight and keep its track.
        """
        self._detect, self._recognition, self._every = detect, recognition, detect_every
        self.names_faces = recognition is not None
        self._tracker, self._frames = Tracker(memory), 0

    def __call__(self, image: np.ndarray, now: float) -> list[SeenFace]:
        """Takes the next frame.

        Args:
            image: (H, W, 3) uint8 RGB, always of the same size.
            now: seconds of the video, rising.

        Returns:
            The faces that can be seen, oldest track first.
        """
        if self._frames % self._every == 0:
            faces = self._detect(image)
            tracks = self._tracker.update(faces, now)
            if self._recognition:
                self._recognize(self._recognition, image, faces, tracks, now)
        else:
            self._tracker.move(now)
        self._frames += 1
        # One detection may miss a face; a box that was detected once only may have been a mistake.
        shown = [t for t in self._tracker.tracks if t.missed <= (1 if t.hits > 1 else 0)]
        return [self._seen(track) for track in sorted(shown, key=lambda t: t.id)]

    def _seen(self, track: Track) -> SeenFace:
        name, distance = (track.known.name.name, track.known.name.distance) if track.known else (None, float("inf"))
        return SeenFace(track.id, name, distance, track.box, track.landmarks, track.score)

    def _recognize(
        self, how: Recognition, image: np.ndarray, faces: Detections, tracks: list[Track], now: float
    ) -> None:
        """Recognises the faces whose turn it is, all in one batch."""
        usable = [i for i in range(len(faces)) if _is_usable(faces, i, image, how.min_face)]
        looks = {i: appearance(image, faces.landmarks[i]) for i in usable}
        turn = [i for i in usable if _is_due(tracks[i].known, looks[i], now - how.every)]
        if not turn:
            return
        voting = []
        for i, embedding in zip(turn, how.embed(image, faces.landmarks[turn]), strict=True):
            known, changed = tracks[i].known, _has_changed(tracks[i].known, looks[i])
            if known and not known.name.see(embedding, changed) and known.name.is_another:
                self._tracker.renumber(tracks[i])
                known, changed = None, True
            if known is None:
                known = tracks[i].known = _Known(TrackName(how.threshold), looks[i], now)
                known.name.see(embedding)
            known.look, known.seconds = looks[i] if changed else known.look, now
            if not known.name.strange:
                voting.append(known.name)
        found = how.identify(np.stack([name.embedding for name in voting])) if voting else []
        for name, identity in zip(voting, found, strict=True):
            name.vote(identity)


def _has_changed(known: _Known | None, look: np.ndarray) -> bool:
    """Returns whether a face looks otherwise than when it was last new or changed."""
    return known is None or float(look @ known.look) < _ALIKE


def _is_due(known: _Known | None, look: np.ndarray, last: float) -> bool:
    """Returns whether it is a face's turn: new, changed, of open name, or not recognised since the second `last`."""
    return known is None or known.name.open or known.seconds <= last or _has_changed(known, look)


def _is_usable(faces: Detections, index: int, image: np.ndarray, min_face: float) -> bool:
    """Returns whether a face is large enough, and no landmark of it outside the image."""
    box, points = faces.boxes[index], faces.landmarks[index]
    inside = (points >= 0).all() and (points <= (image.shape[1], image.shape[0])).all()
    return bool(inside) and min(box[2:] - box[:2]) >= min_face


def appearance(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Describes an aligned face, whatever its place, size, brightness and contrast.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks: (5, 2) x, y in pixels.

    Returns:
        (400,) float32 of unit length and mean 0 (all 0 for a plain surface); the product of two is
        their correlation, about 0.98 for neighbouring frames of a face.
    """
    face = align(image, landmarks, _SIDE)[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY).astype(np.float32)
    values = grey.ravel() - grey.mean()
    return values / max(float(np.linalg.norm(values)), 1e-6)
