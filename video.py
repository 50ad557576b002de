"""Names the faces of a camera, a stream or a video file."""

import contextlib
import signal
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from utils.engine.devices import device_name
from utils.settings.command_line import from_command_line, run
from utils.settings.settings import describe

_defaults = {
    "source": "0",  # number of a camera, a video file, or an address (rtsp://, http://)
    "camera_size": None,  # width, height that a camera is asked for, as 1280,720; none: its own
    "frame_step": 1,  # of a file, take every n-th frame
    "max_seconds": None,  # stop at this second of the video; none: at its end
    # finding and following faces:
    "max_side": 960,  # pixels: longest side of what the detector sees; larger finds smaller faces
    "detect_every": 1,  # look for faces in every n-th frame only, move them on in the others
    "track_memory": 1.0,  # seconds that a face may be out of sight and still be the same track
    # detector; none: the default of retinaface.py:
    "detector": "retinaface",  # retinaface or mtcnn
    "detector_model_path": None,  # weights of the detector; mtcnn: folder with det1-3.npy
    "detector_backbone": None,  # of retinaface: mobilenet or resnet50
    "confidence": None,  # of retinaface: least score of a face, 0 to 1
    "nms_iou": None,  # of retinaface: of boxes that overlap more than this, the better one stays
    # naming; none: the default of facenet.py:
    "gallery_path": "gallery.h5",  # who is known, made by predict.py --mode encode; none: nobody
    "model_path": None,  # weights of the recognition network, any format of the README
    "backbone": None,  # a name of nets/backbones.py: arcface_mobilefacenet, mobilenet, ...
    "threshold": None,  # largest distance of one person's photos, 0 to 2
    # share of strangers that may get a name, 0 to 1, for which the threshold is measured on the
    # gallery; none: threshold as it is
    "false_accept_rate": None,
    "scoring": "mean",  # distance to a person's nearest photo, or to their mean
    "recognize_every": 0.5,  # seconds after which a face that has a name is looked at again
    "flip": True,  # look at a face mirrored, too: fewer strangers get a name, takes a little longer
    "min_face": 20,  # pixels: a face smaller than this is boxed, but not named
    # results:
    "output": None,  # video to write, with boxes and names: .mp4, .mkv, .mov or .avi
    "csv_path": None,  # table to write: who was seen when
    "preview_port": None,  # show the picture at http://127.0.0.1:PORT/; 0 takes a free port
    "show": True,  # open a window where there is a display
    "engine": "auto",  # auto, litert or keras, see utils/engine/engine.py
    "precision": None,  # of the weights on a CPU: float32, float16 or int8 (fast); none: float32
}
_POSITIVE = ("max_side", "detect_every", "frame_step")
_NOT_NEGATIVE = ("track_memory", "recognize_every", "min_face", "max_seconds")
_GREY = (120, 120, 120)  # of a face without a name yet
_SAVE_EVERY = 30.0  # seconds of a live picture after which the table is written again


def main():
    """Opens the source, the networks and the outputs, then goes from frame to frame."""
    from utils.video.source import open_source, public_name

    settings = from_command_line(
        _defaults, __file__, __doc__, positional=("source", "camera, file or address", "?")
    )
    check(settings)
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


def check(settings):
    """Refuses settings that cannot work."""
    for key in _POSITIVE + _NOT_NEGATIVE:
        least, value = (1 if key in _POSITIVE else 0), settings[key]
        if value is None and _defaults[key] is None:
            continue
        if not isinstance(value, int | float) or value < least:
            raise ValueError(f"{key} {value!r}: at least {least} expected")
    if settings["output"] is not None:
        settings["output"] = str(settings["output"])
    size = settings["camera_size"]
    if size is not None and (np.shape(size) != (2,) or min(size) < 1):
        raise ValueError(f"camera_size {size!r}: width, height expected, such as 1280,720")
    if settings["detector"] not in ("retinaface", "mtcnn"):
        raise ValueError(f"detector {settings['detector']!r} is not retinaface or mtcnn")


def can_show(settings):
    """Whether there can be a window; without one, something else must show or keep the result."""
    from utils.video.window import why_no_window

    reason = why_no_window()
    others = (settings[key] is not None for key in ("output", "csv_path", "preview_port"))
    if reason and not any(others):
        raise ValueError(
            f"no window, as {reason}; give --output seen.mp4, --csv_path seen.csv or "
            "--preview_port 8000"
        )
    return reason is None


def complain(line):
    """Prints a line on stderr, above a progress bar."""
    from tqdm import tqdm

    tqdm.write(f"{Path(__file__).name}: {line}", file=sys.stderr)


def build_recognizer(settings):
    """Returns what finds, follows and, where there is a gallery, names the faces."""
    from utils.face_models import build_detector, build_facenet
    from utils.video.recognizer import VideoRecognizer, detect_within

    # Frames are made smaller once, before the detector, which then takes them as they are.
    chosen = {**settings, "input_shape": None, "letterbox_image": False}
    path = settings["gallery_path"]
    if path is not None and not Path(path).exists():
        if path != _defaults["gallery_path"]:
            raise FileNotFoundError(2, "no such gallery; make it by predict.py --mode encode", path)
        print(f"{path}: no gallery, so faces get no names (predict.py --mode encode makes it)")
        path = None
    if path is None:
        detector, recognition = build_detector(chosen), None
    else:
        detector = build_facenet(chosen)
        recognition = build_recognition(detector, settings)
    return VideoRecognizer(
        detect_within(detector.detect_batch, settings["max_side"]),
        recognition,
        settings["detect_every"],
        settings["track_memory"],
    )


def build_recognition(facenet, settings):
    """Returns how faces get names of the gallery, and prints who is known at which threshold."""
    from utils.gallery.nearest import normalized
    from utils.gallery.photo_naming import chosen_threshold, filled_gallery, summary
    from utils.video.recognizer import Recognition

    gallery = filled_gallery(settings["gallery_path"], facenet.identity)
    threshold, notes = chosen_threshold(gallery, facenet.threshold, settings)
    print(summary(gallery), *notes, sep="\n")

    def embed(image, landmarks):
        crops = [facenet.align(image, points) for points in landmarks]
        if not settings["flip"]:
            return facenet.embed_crops(crops)
        mirrored = [crop[:, ::-1] for crop in crops]
        both = facenet.embed_crops([*crops, *mirrored]).reshape(2, len(crops), -1)
        return normalized(both.sum(axis=0))

    identify = partial(gallery.identify, threshold=threshold, scoring=settings["scoring"])
    return Recognition(
        embed, identify, threshold, settings["recognize_every"], settings["min_face"]
    )


@dataclass
class Outputs:
    """Where pictures go; None is left out."""

    window: object = None
    preview: object = None
    writer: object = None

    def __bool__(self):
        """Whether a picture is wanted at all."""
        return any((self.window, self.preview, self.writer))

    def put(self, picture, seconds):
        """Shows and writes a picture."""
        if self.writer:
            self.writer.write(picture, seconds)
        if self.preview:
            self.preview.show(picture)
        if self.window:
            self.window.show(picture)

    def end(self):
        """Ends a pause of the window, too."""
        if self.window:
            self.window.closed = True

    def poll(self):
        """Lets the window react while there is no new picture."""
        if self.window:
            self.window.poll()

    @property
    def closed(self):
        """Whether the user has closed the window."""
        return self.window is not None and self.window.closed


def open_outputs(settings, video, sees, stack):
    """Returns the Outputs of the settings; the stack closes them."""
    from utils.video.preview_server import PreviewServer
    from utils.video.window import Window
    from utils.video.writer import VideoWriter

    outputs, output = Outputs(), settings["output"]
    if output is not None:
        if Path(output).exists() and Path(output).resolve() == Path(settings["source"]).resolve():
            raise ValueError(f"{output}: output and source are the same file")
        outputs.writer = stack.enter_context(VideoWriter(output, video.fps))
    if settings["preview_port"] is not None:
        outputs.preview = stack.enter_context(PreviewServer(settings["preview_port"]))
        print(f"preview: {outputs.preview.address}", flush=True)
    if sees:
        outputs.window = Window(f"{video.name} - q ends")
        stack.callback(outputs.window.close)
    return outputs


@contextlib.contextmanager
def stopped_by_signals(stop):
    """Lets Ctrl-C and SIGTERM end the work after the frame at hand; the second one, at once."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    before = {}

    def ask(number, _):
        signal.signal(number, before[number])
        stop()

    for number in (getattr(signal, name) for name in names if hasattr(signal, name)):
        # what nohup, or a shell in the background, has switched off stays so
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            before[number] = signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def watch(video, recognizer, outputs, settings):
    """Goes through the frames until the video, the user or max_seconds ends them."""
    from tqdm import tqdm

    from utils.engine.stopwatch import FrameRate
    from utils.video.sightings import Sightings

    if video.live:
        video.restart()  # what it showed while the networks were built is over
    sightings, rate, saved = Sightings(video.start), FrameRate(), 0.0
    save = partial(save_table, sightings, settings, recognizer.names_faces)
    save()  # where it cannot be written, better now than in the end
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
                    except OSError as error:  # open in another program, say; there is a next time
                        complain(str(error))
            if outputs.closed:
                break
    finally:
        save()
    report(video, outputs, sightings, rate, settings)


def save_table(sightings, settings, named):
    """Writes the CSV, if one is wanted."""
    if settings["csv_path"] is not None:
        sightings.write(settings["csv_path"], named)


def draw(image, faces, fps):
    """Returns the picture with boxes, names and the frame rate."""
    from utils.faces.detections import Detections
    from utils.gallery.gallery import UNKNOWN
    from utils.pictures.drawing import GREEN, RED, draw_detections

    labels, colours = [], []
    for face in faces:
        known = face.name not in (None, UNKNOWN)
        labels.append(f"{face.name} {face.distance:.2f}" if known else face.name or "")
        colours.append(GREEN if known else RED if face.name else _GREY)
    found = Detections(
        np.array([face.box for face in faces]).reshape(-1, 4),
        np.array([face.score for face in faces]),
        np.array([face.landmarks for face in faces]).reshape(-1, 5, 2),
    )
    return draw_detections(image, found, labels, colours, note=f"{fps:.1f} fps")


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
