"""Who is it, out of 100: rank-1, true and false accepts of a gallery; SVM beside nearest neighbour.

python -m tests.benchmarks.bench_identification CLS_TRAIN_TXT [WEIGHTS...]

The list is of aligned faces (txt_annotation.py --align). 100 people with 10 photos or more give 5
photos to the gallery and 5 others as probes; 500 photos of other people are strangers. The
threshold is measured on the gallery alone, at a false accept rate of 1 %. The SVM takes the people
with 20 photos or more: 10 train, the others test. The ten worst confusions go to a picture.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facenet import Facenet
from utils.datasets.cls_list import read_cls_txt
from utils.gallery import classifier
from utils.gallery.gallery import Gallery
from utils.images.image_files import read_image, save_image
from utils.pictures.drawing import contact_sheet

PEOPLE, EACH, STRANGERS, FAR = 100, 5, 500, 0.01
OUTPUT = Path("logs/bench")


def embed(weights, paths):
    """Returns (N, D) embeddings of aligned faces."""
    chosen = {} if weights is None else {"model_path": weights}
    network = Facenet(detector=None, **chosen)
    chunks = [paths[i : i + 256] for i in range(0, len(paths), 256)]
    return np.concatenate([network.embed(list(chunk)) for chunk in tqdm(chunks, unit="chunk")])


def divide(labels, rng):
    """Returns the positions of the gallery's photos, of the probes and of the strangers."""
    people, counts = np.unique(labels, return_counts=True)
    known = rng.permutation(people[counts >= 2 * EACH])[:PEOPLE]
    photos = [rng.permutation(np.flatnonzero(labels == person))[: 2 * EACH] for person in known]
    others = np.flatnonzero(~np.isin(labels, known))
    return (
        np.concatenate([chosen[:EACH] for chosen in photos]),
        np.concatenate([chosen[EACH:] for chosen in photos]),
        rng.permutation(others)[:STRANGERS],
    )


def identify(embeddings, labels, rng, scoring):
    """Prints rank-1 and the rates; returns (probe, gallery photo) of the ten worst confusions."""
    known, probes, strangers = divide(labels, rng)
    with tempfile.TemporaryDirectory() as folder:
        gallery = Gallery(Path(folder, "gallery.h5"))
        for person in np.unique(labels[known]):
            gallery.add(str(person), embeddings[known[labels[known] == person]])
        threshold = gallery.calibrate(FAR, scoring).threshold
        found = gallery.identify(embeddings[probes], threshold=threshold, scoring=scoring)
        other = gallery.identify(embeddings[strangers], threshold=threshold, scoring=scoring)
    own = [str(label) for label in labels[probes]]
    rank_1 = np.mean([one.nearest == name for one, name in zip(found, own, strict=True)])
    true = np.mean([one.name == name for one, name in zip(found, own, strict=True)])
    false = np.mean([one.name != "unknown" for one in other])
    print(
        f"{scoring}: rank-1 {100 * rank_1:.1f} %; at {threshold:.3f} (FAR {100 * FAR:g} % on the "
        f"gallery) {100 * true:.1f} % of {len(probes)} named rightly, {100 * false:.1f} % of "
        f"{len(strangers)} strangers named"
    )
    wrong = [i for i in range(len(found)) if found[i].nearest != own[i]]
    worst = sorted(wrong, key=lambda i: found[i].distance)[:10]
    pairs = []
    for i in worst:
        theirs = known[labels[known] == int(found[i].nearest)]
        near = theirs[np.argmax(embeddings[theirs] @ embeddings[probes[i]])]
        pairs.append((probes[i], near))
    return pairs


def classify(embeddings, labels, seed=0):
    """Prints the accuracy of the SVM and of the nearest neighbour on the same split."""
    many = classifier.enough_images(labels, 20)
    embeddings, labels = embeddings[many], labels[many].astype(str)
    train, test = classifier.split(labels, 10, seed)
    svm = classifier.train(embeddings[train], labels[train])
    nearest = train[np.argmax(embeddings[test] @ embeddings[train].T, axis=1)]
    print(
        f"SVM {100 * svm.accuracy(embeddings[test], labels[test]):.1f} %, nearest neighbour "
        f"{100 * np.mean(labels[nearest] == labels[test]):.1f} %; {len(np.unique(labels))} people, "
        f"{len(train)} photos train, {len(test)} test"
    )


def main():
    """Prints the figures of each weight file and writes its ten worst confusions."""
    paths, labels = read_cls_txt(sys.argv[1])
    for weights in sys.argv[2:] or [None]:
        print(f"weights: {weights or 'shipped'}")
        embeddings = embed(weights, paths)
        pairs = identify(embeddings, labels, np.random.default_rng(0), "nearest")
        identify(embeddings, labels, np.random.default_rng(0), "mean")
        classify(embeddings, labels)
        target = OUTPUT / f"confusions_{Path(weights).stem if weights else 'shipped'}.jpg"
        images = [np.hstack([read_image(paths[i]) for i in pair]) for pair in pairs]
        if images:
            sheet = contact_sheet(images, "left: probe, right: the face it was taken for", side=192)
            save_image(target, sheet)
            print(f"worst confusions: {target}")


if __name__ == "__main__":
    main()
