"""Compares, detects and measures faces: one script, several modes."""

import os
import sys
from functools import partial
from pathlib import Path

from utils.engine.devices import device_name
from utils.engine.stopwatch import seconds_per_call
from utils.face_models import build_detector, build_facenet
from utils.faces.face_table import write_detections_csv
from utils.files.unique_names import UniqueNames
from utils.settings.command_line import from_command_line, run
from utils.settings.settings import describe

_defaults = {
    # verify, detect, dir_predict, fps, summary; naming people: encode, recognize, classify_train,
    # classify or cluster; export
    "mode": "verify",
    # recognition network; none: the default of facenet.py:
    "model_path": None,  # weights of the recognition network, any format of the README
    "backbone": None,  # a name of nets/backbones.py: arcface_mobilefacenet, mobilenet, ...
    "threshold": None,  # largest distance of one person's photos, 0 to 2
    # detector; none: the default of retinaface.py:
    "detector": "retinaface",  # retinaface, mtcnn, none (verify, encode: photos are crops)
    "detector_model_path": None,  # weights of the detector; mtcnn: folder with det1-3.npy
    "detector_backbone": None,  # of retinaface: mobilenet or resnet50
    "confidence": None,  # of retinaface: least score of a face, 0 to 1
    "nms_iou": None,  # of retinaface: of boxes that overlap more than this, the better one stays
    "input_shape": None,  # of retinaface: height, width, 3 that a photo is scaled to fit
    "letterbox_image": None,  # of retinaface: scale to input_shape (yes) or original size (no)
    # naming people:
    "gallery_path": "gallery.h5",  # the people who are known; made by encode
    "gallery_dir": "gallery",  # encode: folder of their photos, <person>/*.jpg or <person>_1.jpg
    "scoring": "mean",  # recognize: distance to a person's nearest photo, or to their mean
    "take_largest": False,  # encode: of several faces on a photo use the largest, or none (no)
    # recognize: share of strangers that may get a name, 0 to 1, for which the threshold is measured
    # on the gallery; none: threshold as it is
    "false_accept_rate": None,
    "classifier_path": "classifier.h5",  # made by classify_train from the gallery
    "train_images": None,  # classify_train: photos of each person; the rest tests; none: all
    "min_images": 2,  # classify_train: people with fewer photos are left out
    "cluster_method": "agglomerative",  # cluster: agglomerative or dbscan
    "cluster_threshold": None,  # cluster: distance, 0 to 2; none: threshold, of dbscan 0.8 of it
    # files:
    "dir_origin_path": "img",  # dir_predict, cluster: folder of photos
    "dir_save_path": "img_out",  # where pictures and tables go
    "show": True,  # open a window with the picture where there is a display
    "test_interval": 100,  # fps: how many times a photo is run
    "engine": "auto",  # auto, litert or keras, see utils/engine/engine.py
    # of the weights on a CPU, and of export to tflite: float32, float16 (half the size) or int8 (a
    # quarter, fast; the README says what it costs); none: float32. mtcnn runs in float32
    "precision": None,
    # export:
    "network": "all",  # recognizer, detector or all
    "format": "onnx",  # tflite, onnx (needs tf2onnx) or saved_model
    "export_dir": "export",  # where the networks go, each with a JSON file that says how to use it
}
_SAMPLES = {
    "verify": ["img/1_001.jpg", "img/1_002.jpg"],
    "detect": ["img/group.jpg"],
    "recognize": ["img/group.jpg"],
    "classify": ["img/group.jpg"],
    "fps": ["img/group.jpg"],
    "export": ["img/1_001.jpg", "img/1_002.jpg", "img/group.jpg"],
}
PICTURE_HEIGHT = 480  # pixels, of verify's picture


def main():
    """Runs the mode of the settings."""
    modes = {
        "verify": verify,
        "detect": detect,
        "dir_predict": dir_predict,
        "fps": fps,
        "summary": summary,
        "encode": encode,
        "recognize": recognize,
        "classify_train": classify_train,
        "classify": classify,
        "cluster": cluster,
        "export": export,
    }
    settings = from_command_line(
        _defaults, __file__, __doc__, positional=("images", "photos, or the folder", "*")
    )
    if settings["mode"] not in modes:
        raise ValueError(f"mode {settings['mode']!r} is not one of {', '.join(modes)}")
    shown = {key: value for key, value in settings.items() if value is not None}
    print(describe(shown, f"predict.py on {device_name()}", _defaults))
    modes[settings["mode"]](settings)


def verify(settings):
    """Tells whether two photos show the same person, with a picture of both."""
    facenet, unique = build_facenet(settings), UniqueNames()
    for first, second in photo_groups(settings, 2):
        distance, picture = compare(facenet, first, second)
        same = distance <= facenet.threshold
        verdict = "same person" if same else "different people"
        print(f"{first} | {second}: {verdict}, distance {distance:.3f}, ", end="")
        print(f"threshold {facenet.threshold:.3f}")
        caption = f"{verdict}: distance {distance:.3f}, threshold {facenet.threshold:.3f}"
        name = unique(f"{first.stem}_{second.stem}_verify")
        finish(settings, picture(caption, same), f"{name}.jpg")


def compare(facenet, first, second):
    """Returns the distance of two photos and a function (caption, same) -> picture."""
    from utils.faces.detections import Detections, NoFaceError
    from utils.images.image_files import read_image
    from utils.images.placement import fit_within
    from utils.pictures.drawing import draw_detections, side_by_side

    photos = [read_image(first), read_image(second)]
    drawn = photos
    if facenet.detector is None:
        crops = facenet.face_crops(photos)
    else:
        faces = facenet.find_faces([first, second])
        for path, found in zip((first, second), faces, strict=True):
            if not len(found):
                raise NoFaceError(f"{path}: no face found")
        crops = facenet.face_crops(photos, faces)
        drawn = []
        for photo, found in zip(photos, faces, strict=True):
            shown, placed = fit_within(photo, PICTURE_HEIGHT)
            boxes, points = placed.apply(found.boxes), placed.apply(found.landmarks)
            drawn.append(draw_detections(shown, Detections(boxes, found.scores, points), [""]))
    embeddings = facenet.embed_crops(crops)
    distance = float(((embeddings[0] - embeddings[1]) ** 2).sum() ** 0.5)

    def picture(caption, same):
        colour = (0, 128, 0) if same else (190, 0, 0)
        return side_by_side(drawn, caption, colour, PICTURE_HEIGHT)

    return distance, picture


def detect(settings):
    """Boxes every face of each photo."""
    from utils.images.image_files import read_image
    from utils.pictures.drawing import draw_detections

    detector, unique = build_detector(settings), UniqueNames()
    for (path,) in photo_groups(settings, 1):
        image = read_image(path)
        faces = detector.detect(image)
        print(f"{path}: {len(faces) or 'no'} face{'' if len(faces) == 1 else 's'} found")
        for row in faces.to_array():
            print("  x1 {:.0f}  y1 {:.0f}  x2 {:.0f}  y2 {:.0f}  score {:.3f}".format(*row[:5]))
        name = unique(f"{path.stem}_detect")
        finish(settings, draw_detections(image, faces), f"{name}.jpg")


def dir_predict(settings):
    """Boxes the faces of every photo of a folder; writes the pictures and faces.csv."""
    from tqdm import tqdm

    from utils.images.image_files import ImageError, list_images, read_image, save_image
    from utils.pictures.drawing import draw_detections

    folder = one_folder(settings, "dir_origin_path")
    paths = list_images(folder)
    if not paths:
        raise ValueError(f"{folder}: no photos in this folder")
    target = Path(settings["dir_save_path"])
    detector = build_detector(settings)
    rows, unreadable = [], []
    for path in tqdm(paths, unit="photo"):
        try:
            image = read_image(path)
        except ImageError as error:
            unreadable.append(str(error))
            continue
        faces = detector.detect(image)
        name = path.relative_to(folder)
        rows += [(name, *row.tolist()) for row in faces.to_array()]
        save_image(target / name.parent / f"{name.name}_detect.jpg", draw_detections(image, faces))
    write_detections_csv(target / "faces.csv", rows)
    for line in unreadable:
        print(f"left out: {line}", file=sys.stderr)
    print(f"{len(rows)} faces in {len(paths) - len(unreadable)} photos: {target / 'faces.csv'}")
    if len(unreadable) == len(paths):
        raise ValueError(f"{folder}: none of its {len(paths)} photos can be read")


def encode(settings):
    """Builds or updates the gallery from a folder of photos of known people."""
    from utils.gallery import photo_naming

    folder = one_folder(settings, "gallery_dir")
    say(photo_naming.encode(build_facenet(settings), folder, settings))


def one_folder(settings, key):
    """Returns the folder of the command line, or that of the settings' key."""
    given = settings["images"] or [settings[key]]
    if len(given) > 1:
        raise ValueError(f"mode {settings['mode']} takes one folder, {len(given)} given")
    return Path(given[0])


def recognize(settings):
    """Names every face of photos by the gallery."""
    from utils.gallery import photo_naming

    paths, save = photos_to_name(settings)
    say(photo_naming.recognize(build_facenet(settings), paths, settings, save))


def classify_train(settings):
    """Trains the SVM on the gallery."""
    from utils.gallery import photo_naming

    say(photo_naming.classify_train(settings))


def classify(settings):
    """Names every face of photos by the SVM."""
    from utils.gallery import photo_naming

    paths, save = photos_to_name(settings)
    say(photo_naming.classify(build_facenet(settings), paths, settings, save))


def cluster(settings):
    """Groups the faces of a folder by person."""
    from utils.gallery import grouping

    paths = settings["images"] or [settings["dir_origin_path"]]
    say(grouping.group(build_facenet(settings), paths, settings))


def photos_to_name(settings):
    """Returns photos and folders, and a function of a picture and its name that saves it."""
    paths = [path for group in photo_groups(settings, 1, repeat=False) for path in group]
    one = len(paths) == 1 and not paths[0].is_dir()
    return paths, partial(finish, {**settings, "show": settings["show"] and one})


def say(lines):
    """Prints each line as soon as it is there."""
    for line in lines:
        print(line, flush=True)


def fps(settings):
    """Times detection of one photo and recognition of one crop."""
    from utils.images.image_files import read_image

    if settings["test_interval"] < 1:
        raise ValueError(f"test_interval {settings['test_interval']}: at least 1 expected")
    detector = build_detector(settings)
    (path,) = next(photo_groups(settings, 1, repeat=False))
    image = read_image(path)
    timed = {f"{settings['detector']} on {path}": lambda: detector.detect(image)}
    facenet = build_facenet({**settings, "detector": None})
    crop = facenet.face_crops(image)
    timed[f"{facenet.backbone} on one crop"] = lambda: facenet.embed_crops(crop)
    for name, call in timed.items():
        seconds = seconds_per_call(call, settings["test_interval"])
        print(f"{name}: {1000 * seconds:.2f} ms, {1 / seconds:.1f} FPS")


def summary(settings):
    """Prints layers, parameters and FLOPs of the recognition network and the detector."""
    from nets.facenet import facenet
    from nets.retinaface import RetinaFace
    from utils.config import cfg_mnet, cfg_re50
    from utils.export.summary import flops

    detectors = {None: cfg_mnet, "mobilenet": cfg_mnet, "resnet50": cfg_re50}
    if settings["detector_backbone"] not in detectors:
        raise ValueError(
            f"detector_backbone {settings['detector_backbone']!r}: mobilenet, resnet50"
        )
    cfg = detectors[settings["detector_backbone"]]
    size = (*(input_size(settings) or (640, 640)), 3)
    recogniser = facenet(backbone=settings["backbone"] or "arcface_mobilefacenet")
    for model in (recogniser, RetinaFace(cfg, input_shape=size)):
        model.summary(line_length=110)
        print(
            f"{model.name}: {len(model.layers)} layers, {model.count_params():,} parameters, "
            f"{flops(model) / 1e9:.3f} GFLOPs at {model.input_shape[1]}x{model.input_shape[2]}\n"
        )


def export(settings):
    """Writes the networks for use elsewhere, each checked against Keras on photos."""
    from utils.export.formats import check_format

    if settings["network"] not in ("recognizer", "detector", "all"):
        raise ValueError(f"network {settings['network']!r} is not recognizer, detector or all")
    precision = settings["precision"] or "float32"
    check_format(settings["format"], precision)
    from utils.export import export
    from utils.images.image_files import read_image

    photos = [read_image(path) for path in settings["images"] or _SAMPLES["export"]]
    target = settings["export_dir"], settings["format"], precision
    for subject in export_subjects(settings, photos):
        say(export.export(subject, *target))


def export_subjects(settings, photos):
    """Yields the networks of the settings, to be checked with the photos."""
    from utils.export import export

    plain = {**settings, "engine": "keras", "precision": None}
    if settings["network"] != "detector":
        facenet = build_facenet({**plain, "detector": None})
        yield export.recognizer_subject(facenet, photos)
    if settings["network"] == "recognizer" or settings["detector"] is None:
        return
    if settings["detector"] == "mtcnn":
        folder = settings["detector_model_path"] or "model_data"
        yield from export.mtcnn_subjects(folder, photos)
    else:
        size = input_size(settings)
        yield export.retinaface_subject(build_detector(plain), photos, size)


def input_size(settings):
    """Returns height and width of input_shape, None without one."""
    shape = settings["input_shape"]
    if shape is None:
        return None
    if not isinstance(shape, list | tuple) or len(shape) < 2:
        raise ValueError(f"input_shape {shape!r}: height, width, 3 expected, such as 640,640,3")
    return shape[:2]


def photo_groups(settings, count, repeat=True):
    """Yields lists of `count` paths: from the command line, or asked for, or the samples.

    At a prompt a bad path is asked for again; an empty answer to the first question ends the loop
    after at least one round, and takes the sample photos before.
    """
    given = [Path(path) for path in settings["images"]]
    if given and len(given) % count:
        raise ValueError(f"mode {settings['mode']} takes {count} photos, {len(given)} given")
    if given:
        yield from (given[i : i + count] for i in range(0, len(given), count))
        return
    samples = [Path(path) for path in _SAMPLES[settings["mode"]]]
    if os.environ.get("CI") or not sys.stdin.isatty():
        print(f"no photos given: {', '.join(map(str, samples))}")
        yield samples
        return
    asked = ask(count, f"Enter for {' '.join(map(str, samples))}")
    yield asked or samples
    while repeat and (asked := ask(count, "Enter to end")):
        yield asked


def ask(count, empty):
    """Asks for `count` photos until each can be read; returns None for an empty first answer."""
    from utils.images.image_files import ImageError, read_image

    answers = []
    while len(answers) < count:
        try:
            number = f" {len(answers) + 1}" if count > 1 else ""
            text = input(f"Photo{number}{'' if answers else f' ({empty})'}: ").strip().strip("'\"")
        except EOFError:
            if answers:
                raise ValueError(f"{count} photos needed, {len(answers)} given") from None
            return None
        if not text and not answers:
            return None
        try:
            read_image(text)
        except ImageError as error:
            print(error)
            continue
        answers.append(Path(text))
    return answers


def finish(settings, picture, name):
    """Saves a picture and shows it where there is a display."""
    from PIL import Image

    from utils.images.image_files import save_image

    path = Path(settings["dir_save_path"]) / name
    save_image(path, picture)
    print(f"  picture: {path}")
    display = sys.platform in ("win32", "darwin") or os.environ.get("DISPLAY")
    if settings["show"] and display and not os.environ.get("CI"):
        Image.fromarray(picture).show(title=name)


if __name__ == "__main__":
    run(main)
