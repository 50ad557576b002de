"""RetinaFace's outputs, one row an anchor, turned into faces."""

import numpy as np

from utils.detection.box_coding import decode_boxes, decode_landmarks
from utils.detection.nms import nms
from utils.faces.detections import Detections


def decode(boxes, scores, landmarks, anchors, size, confidence, nms_iou, variances):
    """Turns one image's network outputs into faces.

    Only the anchors above `confidence` are decoded.

    Args:
        boxes: (A, 4) codes of `utils.detection.box_coding`.
        scores: (A, 2) softmax, the face at index 1.
        landmarks: (A, 10) codes.
        anchors: (A, 4) xyxy, fractions.
        size: (height, width) of the network's input in pixels.
        confidence: least score.
        nms_iou: threshold of the suppression.
        variances: of the coding.

    Returns:
        Detections in pixels of the network's input.
    """
    chosen = np.flatnonzero(scores[:, 1] > confidence)
    chosen = chosen[np.argsort(-scores[chosen, 1], kind="stable")]
    if not chosen.size:
        return Detections.empty()
    scale = np.float32([size[1], size[0]])
    xyxy = decode_boxes(boxes[chosen], anchors[chosen], variances) * np.tile(scale, 2)
    points = decode_landmarks(landmarks[chosen], anchors[chosen], variances) * np.tile(scale, 5)
    found = Detections(xyxy, scores[chosen, 1], points.reshape(-1, 5, 2))
    return found[nms(found.boxes, found.scores, nms_iou)]
