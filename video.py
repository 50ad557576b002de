"""Names the faces of a camera, a stream or a video file."""

import contextlib
import sys
from functools import partial
from pathlib import Path

from tqdm import tqdm

from utils.engine.devices import device_name
from utils.engine.stopwatch import FrameRate
from utils.settings.command_line import from_command_line, run
from utils.settings.settings import describe

_defaults = {
    "source": "0",  # number of a camera, a video file, or an address (rtsp://, http://)
    "camera_size": None,  # width, height that a camera is asked for, such as 1280,720; none: its own
    "frame_step": 1,  # of a file, take every n-th frame
    "max_seconds": None,  # stop at this second of the video; none: at its end
    # finding and following faces:
    "max_side": 960,  # pixels: longest side of what the detector sees; larger finds smaller faces
    "detect_every": 1,  # look for faces in every n-th frame only, move them on in the others
    "track_memory": 1.0,  # seconds that a face may be out of sight and still be the same track
    # detector; none: the default of retinaface.py:
    "detector": "retinaface",  # what finds the faces
    "detector_model_path": None,  # weights of the detector; mtcnn: folder with det1-3.npy
    "detector_backbone": None,  # of retinaface; none: what the weights are of
    "detector_confidence": None,  # of retinaface: least score of a face
    "detector_nms_iou": None,  # of retinaface: of two boxes that overlap more than this, the better one stays
    "detector_precision": None,  # of retinaface: number format of its weights on a CPU; int8 is fast
    # naming; none: the default of facenet.py:
    "gallery_path": "gallery.h5",  # who is known, made by predict.py --mode encode; none: nobody
    "model_path": None,  # weights in any format of the README, or a published name
    "backbone": None,  # a name of nets/backbones.py; none: what the weights are of
    "precision": None,  # number format of the recognition network's weights on a CPU; int8 is fast
    "threshold": None,  # largest distance of one person's photos
    # share of strangers that may get a name, for which the threshold is measured on the gallery;
    # none: threshold as it is
    "false_accept_rate": None,
    "scoring": "mean",  # distance to a person's nearest photo, or to the mean of all
    "recognize_every": 0.5,  # seconds after which a face that has a name is looked at again
    "flip": True,  # look at a face mirrored, too: fewer strangers get a name, takes a little longer
    "min_face": 20,  # pixels: a face smaller than this is boxed, but not named
    # results:
    "output": None,  # video to write, with boxes and names: .mp4, .mkv, .mov or .avi
    "csv_path": None,  # table to write: who was seen when
    "preview_port": None,  # show the picture at http://127.0.0.1:PORT/; 0 takes a free port
    "show": True,  # open a window where there is a display
    "engine": "auto",  # see utils/engine/engine.py
}
_PRECISIONS = ("float32", "float16", "int8", None)
_choices = {
    "detector": ("retinaface", "mtcnn"),
    "detector_backbone": ("mobilenet", "resnet50", None),
    "detector_precision": _PRECISIONS,
    "precision": _PRECISIONS,
    "scoring": ("nearest", "mean"),
    "engine": ("auto", "keras", "litert"),
}
_ranges = {
    "frame_step": (1, None),
    "max_seconds": (0, None),
    "max_side": (1, None),
    "detect_every": (1, None),
    "track_memory": (0, None),
    "detector_confidence": (0, 1),
    "detector_nms_iou": (0, 1),
    "threshold": (0, 2),
    "false_accept_rate": (0, 1),
    "recognize_every": (0, None),
    "min_face": (0, None),
}
_SAVE_EVERY = 30.0  # seconds of a live picture after which the table is written again


def main():
    """Opens the source, the networks and the outputs, then goes from frame to frame."""
    positional = ("source", "camera, file or address", "?")
    settings = from_command_line(_defaults, __file__, __doc__, positional=positional, choices=_choices, ranges=_ranges)
    from utils.video.outputs import can_show, open_outputs, stopped_by_signals
    from utils.video.source import open_source, public_name

    sees = settings["show"] and can_show(settings)
    source, size = str(settings["source"]), settings["camera_size"]
    with contextlib.ExitStack() as stack:
        video = open_source(source, settings["frame_step"], size, say=complain)
        stack.callback(video.close)
        shown = {key: value for key, value in settings.items() if value is not None}
        shown["source"] = public_name(source) if "://" in source else source
        print(describe(shown, f"video.py on {device_name()}", _defaults))
        recognizer = build_recognizer(settings)
        outputs = open_outputs(settings, video, sees, stack)

        def stop():
            video.stop()
            outputs.end()

        with stopped_by_signals(stop):
            watch(video, recognizer, outputs, settings)


def complain(line):
    """Prints a line on stderr, above a progress bar."""
    tqdm.write(f"{Path(__file__).name}: {line}", file=sys.stderr)


def build_recognizer(settings):
    """Returns what finds, follows and, where there is a gallery, names the faces."""
    from facenet import build_detector, build_facenet
    from utils.video.recognizer import VideoRecognizer, detect_within

    chosen = dict(settings)
    if settings["detector"] == "retinaface":
        # Frames are made smaller once, before the detector, which then takes them as they are.
        chosen["detector_letterbox_image"] = False
    path = settings["gallery_path"]
    if path is not None and not Path(path).exists():
        if path != _defaults["gallery_path"]:
            raise FileNotFoundError(2, "no such gallery; make it by predict.py --mode encode", path)
        print(f"{path}: no gallery, so faces get no names (predict.py --mode encode makes it)")
        path = None
    network = build_detector(chosen) if path is None else build_facenet(chosen)
    detect = detect_within(network.detect_batch, settings["max_side"])
    recognition = None if path is None else build_recognition(network, settings)
    return VideoRecognizer(detect, recognition, settings["detect_every"], settings["track_memory"])


def build_recognition(network, settings):
    """Returns how faces get names of the gallery, and prints who is known at which threshold."""
    from utils.gallery.photo_naming import chosen_threshold, filled_gallery, summary
    from utils.video.recognizer import Recognition, embed_within

    gallery = filled_gallery(settings["gallery_path"], network.identity)
    threshold, notes = chosen_threshold(gallery, network.threshold, settings)
    print(summary(gallery), *notes, sep="\n")
    embed = embed_within(network, settings["flip"])
    identify = partial(gallery.identify, threshold=threshold, scoring=settings["scoring"])
    return Recognition(embed, identify, threshold, settings["recognize_every"], settings["min_face"])


def watch(video, recognizer, outputs, settings):
    """Goes through the frames until the video, the user or max_seconds ends them."""
    from utils.video.outputs import draw
    from utils.video.sightings import Sightings

    if video.live:
        video.restart()  # What it showed while the networks were built is over.
    sightings, rate, saved = Sightings(video.start), FrameRate(), 0.0

    def save():
        if settings["csv_path"] is not None:
            sightings.write(settings["csv_path"], recognizer.names_faces)

    save()  # If it cannot be written, the user should know now, not at the end.
    last = float("inf") if settings["max_seconds"] is None else settings["max_seconds"]
    bar = tqdm(video, total=video.count, unit="frame", disable=True if video.live else None)
    try:
        for frame in bar:
            if frame is None:
                outputs.poll()
            elif frame.seconds >= last:
                break
            else:
                faces = recognizer(frame.image, frame.seconds)
                sightings.add(faces, frame.seconds)
                fps = rate.tick()
                if outputs:
                    outputs.put(draw(frame.image, faces, fps), frame.seconds)
                if video.live and frame.seconds - saved >= _SAVE_EVERY:
                    saved = frame.seconds
                    try:
                        save()
                    except OSError as error:  # Perhaps another program holds it.
                        complain(str(error))
            if outputs.closed:
                break
    finally:
        save()
    report(video, outputs, sightings, rate, settings)


def report(video, outputs, sightings, rate, settings):
    """Prints what was done and where it is."""
    tracks = len({row.track for row in sightings.rows})
    dropped = f", {video.dropped} left out to keep up" if video.live else ""
    print(f"{rate.count} frames{dropped}, {rate.mean:.1f} fps, {tracks} faces followed")
    if outputs.writer and outputs.writer.frames:
        print(f"video: {outputs.writer.path}")
    if settings["csv_path"] is not None:
        print(f"table: {settings['csv_path']}")


if __name__ == "__main__":
    run(main)
