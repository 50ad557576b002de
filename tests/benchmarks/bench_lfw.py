"""eval_LFW's way from files to embeddings beside the plain way, on the same photos.

python -m tests.benchmarks.bench_lfw LFW_FOLDER [photos]

The plain way takes photo by photo: Pillow, the detector's Keras network as a `tf.function` on the
photo at its own size, all anchors made anew and decoded, the alignment, then the recogniser by a
`tf.function`, or by `model.predict` as the originals do. Both sides use the shipped weights.
"""

import resource
import sys
import time
from functools import partial

import numpy as np
import tensorflow as tf

from facenet import Facenet
from nets.normalization import normalize
from retinaface import Retinaface
from utils.detection.anchors import Anchors, _anchors
from utils.detection.box_coding import decode
from utils.faces.choice import central_face
from utils.faces.photo_stream import cut_faces, detect_faces, embed_faces, face_stream
from utils.images.image_files import list_images, read_image
from utils.images.placement import pad_to_multiple


def ours(paths, facenet, detector):
    """Returns the embeddings of the photos' central faces."""
    stages = [
        partial(detect_faces, detect_batch=detector.detect_batch),
        partial(cut_faces, align=facenet.align),
        partial(embed_faces, embed_crops=facenet.embed_crops),
    ]
    return [photo.embedding for photo in face_stream(paths, stages)]


def plain(paths, facenet, detector, detect, embed):
    """The same, photo by photo."""
    found = []
    for path in paths:
        image = read_image(path)
        canvas = pad_to_multiple(image, 32)
        outputs = [o.numpy()[0] for o in detect(tf.constant(normalize(canvas[None], "caffe")))]
        _anchors.cache_clear()
        size = canvas.shape[:2]
        anchors = Anchors(detector.cfg, size).get_anchors()
        faces = decode(outputs, anchors, size, 0.5, 0.45, detector.cfg["variances"])
        if not len(faces):
            found.append(None)
            continue
        crop = facenet.align(image, faces.landmarks[central_face(faces, image.shape[:2])])
        found.append(np.asarray(embed(normalize(crop[None], facenet.normalization)))[0])
    return found


def main():
    """Prints photos per second of each way, whether they agree, and the peak of memory."""
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 600
    paths = list_images(sys.argv[1])[:count]
    facenet, detector = Facenet(detector=None), Retinaface(enlarge=False)
    detect = tf.function(detector.model, reduce_retracing=True)
    network = tf.function(facenet.model)
    ways = {
        "ours": partial(ours, facenet=facenet, detector=detector),
        "plain, tf.function": partial(plain, facenet=facenet, detector=detector, detect=detect, embed=network),
        "plain, model.predict": partial(
            plain, facenet=facenet, detector=detector, detect=detect, embed=partial(facenet.model.predict, verbose=0)
        ),
    }
    times, results = {}, {}
    for name, way in ways.items():
        way(paths[:8])
        start = time.perf_counter()
        results[name] = way(paths)
        times[name] = time.perf_counter() - start
    for name, seconds in times.items():
        ratio = seconds / times["ours"]
        print(f"{name:22} {len(paths) / seconds:7.1f} photos/s, {ratio:.2f} times ours")
    pairs = zip(results["ours"], results["plain, tf.function"], strict=True)
    cosines = [float(a @ b) for a, b in pairs if a is not None and b is not None]
    print(f"embeddings of both ways: cosine at least {min(cosines):.4f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of all ways together: {peak:.0f} MB")


if __name__ == "__main__":
    main()
