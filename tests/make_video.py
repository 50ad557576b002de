"""Makes a video of real photos whose faces and names are known, frame by frame.

    python -m tests.make_video PHOTOS IDENTITIES DETECTOR_WEIGHTS FOLDER

PHOTOS is a folder of photos, IDENTITIES a text file with a line "file identity" for each. Into
FOLDER go video.mp4 (20 s of 25 frames, 1280x720), truth.json and gallery/<identity>/*.jpg, other
photos of those who are to be known. The camera pans and zooms over walls of photos; one wall fades
into the next.
"""

import json
import shutil
import sys
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np

from utils.images.image_files import read_image
from utils.images.placement import resize

SIZE = (720, 1280)  # height, width of the video
FPS, SECONDS = 25, 20
WALLS, FADE = 5, 0.6  # scenes, and seconds that one fades into the next
COLUMNS, ROWS = 4, 2  # photos of a wall
TILE = (460, 400)  # height, width of a photo on it
LEAST_FACE = 60  # pixels on the wall
VISIBLE = 0.6  # share of a wall in the blend from which on its faces count as visible


def main():
    """Makes it with the usual numbers of people."""
    photos, identities, weights, folder = sys.argv[1:]
    from retinaface import Retinaface

    detector = Retinaface(model_path=weights, enlarge=False)
    cast = choose(Path(photos), read_identities(identities), detector)
    write(cast, Path(folder))


def read_identities(path):
    """Returns {identity: [file name]} of a text file."""
    people = defaultdict(list)
    for line in Path(path).read_text().splitlines():
        name, identity = line.split()
        people[identity].append(name)
    return people


def choose(photos, people, detector, known=8, strangers=3, encoded=5, shown=3, seed=0):
    """Draws people, by chance, and photos of them with one face that is large enough.

    Nothing that recognises is asked, so the draw favours nobody.

    Returns:
        {"gallery": {identity: [path]}, "shown": [(name or None, path, Detections)]}; None is the
        name of a stranger.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(sorted(people))
    cast = {"gallery": {}, "shown": []}
    taken = 0
    for identity in order:
        is_known = len(cast["gallery"]) < known
        wanted = encoded + shown if is_known else shown
        files = rng.permutation(sorted(people[identity]))
        good = [g for g in (single_face(photos / name, detector) for name in files) if g][:wanted]
        if len(good) < wanted:
            continue
        if is_known:
            cast["gallery"][str(identity)] = [path for path, _ in good[:encoded]]
            cast["shown"] += [(str(identity), *pair) for pair in good[encoded:]]
        else:
            cast["shown"] += [(None, *pair) for pair in good]
            taken += 1
        if taken == strangers:
            return cast
    raise ValueError(f"{photos}: not enough people with {encoded + shown} photos")


def single_face(path, detector):
    """Returns the path and the face of a photo, or None if there are not exactly one large face."""
    image = read_image(path)
    faces = detector.detect(image)
    scale = min(TILE[0] / image.shape[0], TILE[1] / image.shape[1])
    if len(faces) != 1 or min(faces.boxes[0, 2:] - faces.boxes[0, :2]) * scale < LEAST_FACE:
        return None
    return path, faces


def write(cast, folder, seed=0):
    """Writes the gallery, the video and the truth."""
    for identity, paths in cast["gallery"].items():
        (folder / "gallery" / identity).mkdir(parents=True, exist_ok=True)
        for path in paths:
            shutil.copy(path, folder / "gallery" / identity)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(cast["shown"]))
    parts = np.array_split(order, WALLS)
    walls = [build_wall([cast["shown"][i] for i in part], rng) for part in parts]
    cameras = [draw_camera(wall[0].shape, rng) for wall in walls]
    truth = []
    writer = cv2.VideoWriter(str(folder / "video.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), FPS, SIZE[::-1])
    for number in range(SECONDS * FPS):
        image, faces = render(walls, cameras, number / FPS)
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        truth.append(faces)
    writer.release()
    (folder / "truth.json").write_text(json.dumps(truth))


def build_wall(shown, rng):
    """Hangs photos on a wall; returns it and its faces [(name, box)] in its pixels."""
    wall = np.full((ROWS * TILE[0], COLUMNS * TILE[1], 3), 70, np.uint8)
    places = rng.permutation(COLUMNS * ROWS)[: len(shown)]
    faces = []
    for place, (name, path, found) in zip(places, shown, strict=True):
        image = read_image(path)
        scale = min(TILE[0] / image.shape[0], TILE[1] / image.shape[1]) * 0.96
        photo = resize(image, (int(image.shape[0] * scale), int(image.shape[1] * scale)))
        y, x = (place // COLUMNS) * TILE[0] + 5, (place % COLUMNS) * TILE[1] + 5
        wall[y : y + photo.shape[0], x : x + photo.shape[1]] = photo
        factor = np.array([photo.shape[1] / image.shape[1], photo.shape[0] / image.shape[0]] * 2)
        faces.append((name, found.boxes[0] * factor + [x, y, x, y]))
    return wall, faces


def draw_camera(shape, rng):
    """Two views (x, y, width) of a wall, in its pixels: where the camera starts and ends."""
    views = []
    for _ in range(2):
        width = rng.uniform(0.65, 0.95) * shape[1]
        height = width * SIZE[0] / SIZE[1]
        views.append([rng.uniform(0, shape[1] - width), rng.uniform(0, shape[0] - height), width])
    return np.array(views)


def render(walls, cameras, seconds):
    """Returns the frame at that second and its faces, as dicts of name, box and visible."""
    span = SECONDS / WALLS
    weights = [fade(seconds, i, span) for i in range(WALLS)]
    blend, faces = np.zeros((*SIZE, 3), np.float32), []
    for i, weight in enumerate(weights):
        if weight > 0:
            progress = (seconds - i * span + FADE) / (span + FADE)
            image, seen = view(*walls[i], cameras[i], progress)
            blend += weight * image
            faces += [{**face, "visible": face["inside"] and weight >= VISIBLE} for face in seen]
    return np.clip(blend + 0.5, 0, 255).astype(np.uint8), faces


def fade(seconds, index, span):
    """The share of wall `index` in the blend: it fades in during the end of the one before."""
    rising = 1.0 if index == 0 else np.clip((seconds - index * span + FADE) / FADE, 0, 1)
    last = index == WALLS - 1
    falling = 1.0 if last else np.clip(((index + 1) * span - seconds) / FADE, 0, 1)
    return float(min(rising, falling))


def view(wall, faces, camera, progress):
    """What the camera sees of a wall, and the faces there."""
    x, y, width = camera[0] + (camera[1] - camera[0]) * np.clip(progress, 0, 1)
    scale = SIZE[1] / width
    matrix = np.array([[scale, 0, -x * scale], [0, scale, -y * scale]])
    image = cv2.warpAffine(wall, matrix, SIZE[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    seen = []
    for name, box in faces:
        placed = (box - [x, y, x, y]) * scale
        inside = bool((placed >= 0).all() and (placed <= [*SIZE[::-1], *SIZE[::-1]]).all())
        if placed[2] > 0 and placed[3] > 0 and placed[0] < SIZE[1] and placed[1] < SIZE[0]:
            seen.append({"name": name, "box": placed.round(2).tolist(), "inside": inside})
    return image, seen


if __name__ == "__main__":
    main()
