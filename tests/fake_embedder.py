"""A detector and network for tests: the colour of an image says how many faces, and whose."""

import numpy as np

from utils.faces.detections import Detections
from utils.images.image_files import save_image


class FakeEmbedder:
    """Red: number of faces. Green: whose, an angle of the embedding. Blue: of no meaning."""

    detector = "fake"

    def __init__(self, weights="aa"):
        self.identity = {"weights": weights, "backbone": "fake"}
        self.detected = self.embedded = 0

    def detect_batch(self, images):
        self.detected += len(images)
        return [self._faces(image) for image in images]

    def _faces(self, image):
        count = int(image[0, 0, 0])
        sides = np.arange(1.0, count + 1)  # the last face is the largest, the first the best
        boxes = np.stack([0 * sides, 0 * sides, sides, sides], axis=1).reshape(-1, 4)
        points = np.repeat(sides[:, None, None], 5, axis=1).repeat(2, axis=2).reshape(-1, 5, 2)
        return Detections(boxes, np.linspace(0.9, 0.5, count), points)

    def align(self, image, landmarks):
        return np.array([image[0, 0, 1], landmarks[0, 0]])

    def face_crops(self, images):
        return [np.array([image[0, 0, 1], 1]) for image in images]

    def embed_crops(self, crops):
        self.embedded += len(crops)
        return np.stack([embedding(green, face) for green, face in crops])


def embedding(green, face=1):
    angle, face = float(green) * np.pi / 512, float(face)
    return np.float32([np.cos(angle), np.sin(angle) * np.cos(face), np.sin(angle) * np.sin(face)])


def photo(path, green, faces=1, blue=0):
    """Writes a photo of that person and number of faces; `blue` makes other content."""
    save_image(path, np.full((8, 8, 3), (faces, green, blue), np.uint8))
    return path
