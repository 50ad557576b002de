"""How a face looks, in a few pixels: enough to notice that it has changed."""

import cv2
import numpy as np

from utils.faces.alignment import align

_SIDE, _MARGIN = 24, 2  # pixels; the margin may lie outside the image


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
