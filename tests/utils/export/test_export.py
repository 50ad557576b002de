import json
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers

from nets.backbones import BACKBONES
from nets.facenet import facenet
from nets.normalization import normalize
from nets.retinaface import RetinaFace
from tests.shared import need
from utils.config import cfg_mnet, cfg_re50
from utils.detection.mtcnn import Mtcnn
from utils.export import export as export_module
from utils.export.export import export, mtcnn_subjects, recognizer_subject, retinaface_subject, subjects
from utils.export.formats import SUFFIXES, open_exported
from utils.images.image_files import read_image
from utils.images.placement import letterbox
from utils.weights.loading import load_weights
from utils.weights.weight_files import read_weight_file

MTCNN = object.__new__(Mtcnn)
MTCNN.model_path = Path("folder")


def wrapper(model, normalization="symmetric", path="weights.h5"):
    """Stands in for Facenet: a network of Keras and NumPy around it."""
    size = model.input_shape[1:3]
    return SimpleNamespace(
        model=model,
        model_path=path,
        input_shape=(*size, 3),
        normalization=normalization,
        threshold=1.1,
        face_crops=lambda photos: [letterbox(photo, size)[0] for photo in photos],
        embed_crops=lambda crops: model(normalize(crops, normalization), training=False).numpy(),
    )


def small_recognizer():
    inputs = keras.Input((6, 8, 3), name="image")
    x = layers.Dense(4, name="dense")(layers.Flatten(name="flatten")(inputs))
    return keras.Model(inputs, layers.UnitNormalization(name="unit")(x), name="small")


@pytest.fixture
def subject():
    photos = [np.random.default_rng(0).integers(0, 256, (30, 20, 3)).astype(np.uint8)] * 2
    return recognizer_subject(wrapper(small_recognizer()), photos)


def test_writes_the_network_and_its_facts(subject, tmp_path):
    lines = list(export(subject, tmp_path / "new", "tflite"))
    path = tmp_path / "new" / "small.tflite"
    facts = json.loads((tmp_path / "new" / "small.tflite.json").read_text())
    assert facts["input_shape"] == ["batch", 6, 8, 3]
    assert facts["normalization"] == "built in: x / 127.5 - 1"
    assert facts["outputs"] == {"embedding": "(batch, D) float32 of length 1"}
    assert facts["landmarks_template"][0] == [round(38.2946 * 8 / 112, 4), round(51.6963 / 14, 4)]
    assert facts["checked_with"].startswith("ai-edge-litert ")
    assert 0 <= facts["largest_differences"]["embedding"] < 1e-5
    assert f"{path.stat().st_size:,} bytes" in lines[0] and "embedding" in lines[1]
    assert sorted(file.name for file in path.parent.iterdir()) == ["small.tflite", "small.tflite.json"]


@pytest.mark.parametrize("wrong", [lambda x: x + 2e-3, lambda x: x * np.nan])
def test_a_network_that_answers_otherwise_is_not_written(subject, tmp_path, monkeypatch, wrong):
    def answers(images):
        return {"embedding": wrong(subject.expected(images)["embedding"])}

    monkeypatch.setattr(export_module, "open_exported", lambda path, kind: answers)
    with pytest.raises(ValueError, match="small.tflite: embedding .* off Keras's, more than"):
        list(export(subject, tmp_path, "tflite"))
    assert not list(tmp_path.iterdir())


def test_other_results_are_noticed(subject):
    with pytest.raises(ValueError, match="small: results {}, not {'embedding': \\(2, 4\\)}"):
        export_module.differences(lambda images: {}, subject)


def test_a_missing_runtime_is_named(subject, tmp_path, monkeypatch):
    def missing(path, kind):
        raise ModuleNotFoundError("no module")

    monkeypatch.setattr(export_module, "open_exported", missing)
    lines = list(export(subject, tmp_path, "tflite"))
    assert lines[1].strip() == "not checked: pip install ai-edge-litert"
    facts = json.loads((tmp_path / "small.tflite.json").read_text())
    assert facts["checked_with"] is None and facts["largest_differences"] == {}


def test_precision_is_part_of_the_name(subject, tmp_path):
    list(export(subject, tmp_path, "tflite", "int8"))
    assert (tmp_path / "small_int8.tflite").is_file()


@pytest.mark.parametrize(
    ("facenet", "detector", "expected"),
    [
        (None, None, []),
        ("facenet", None, ["recognizer facenet"]),
        ("facenet", MTCNN, ["recognizer facenet", "pnet of folder", "onet of folder"]),
        (None, SimpleNamespace(), ["retinaface (64, 96)"]),
    ],
)
def test_what_is_exported(monkeypatch, facenet, detector, expected):
    makers = {
        "recognizer_subject": lambda facenet, photos: f"recognizer {facenet}",
        "mtcnn_subjects": lambda folder, photos: [f"{net} of {folder}" for net in ("pnet", "onet")],
        "retinaface_subject": lambda detector, photos, size: f"retinaface {size}",
    }
    for name, make in makers.items():
        monkeypatch.setattr(export_module, name, make)
    assert list(subjects(facenet, detector, [], (64, 96))) == expected


def test_detector_of_odd_size_is_refused():
    detector = SimpleNamespace(cfg=cfg_mnet)
    with pytest.raises(ValueError, match=r"input_shape \[640, 650\]: multiples of 32 expected"):
        retinaface_subject(detector, [], (640, 650))


# Every network on real photos


def settled(model, seed=0):
    """Gives random weights whose features neither vanish nor explode."""
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.path.endswith(("moving_mean", "beta")):
            weight.assign(rng.normal(0, 0.1, weight.shape))
        elif weight.path.endswith(("moving_variance", "gamma")):
            weight.assign(rng.uniform(0.8, 1.2, weight.shape))
    return model


def subject_of(name, photos):
    """Returns the network of that name, with published weights where they lie in ../shared."""
    if name in ("pnet", "rnet", "onet"):
        found = mtcnn_subjects(need("weights/det1.npy").parent, photos)
        return next(subject for subject in found if subject.model.name == name)
    if name.startswith("retinaface"):
        cfg = cfg_mnet if name.endswith("mobilenet") else cfg_re50
        path = need("weights/retinaface_mobilenet025_tf2.h5")
        model = RetinaFace(cfg)
        load_weights(model, path) if cfg is cfg_mnet else settled(model)
        detector = SimpleNamespace(model=model, cfg=cfg, model_path=path, confidence=0.5, nms_iou=0.45)
        return retinaface_subject(detector, photos)
    spec = BACKBONES[name]
    if name == "arcface_mobilefacenet":
        weights = read_weight_file(need("weights/arcface_mobilefacenet.pth"))
        model = facenet(backbone=name, symmetric=True)
        load_weights(model, weights)
    else:
        model = settled(facenet(backbone=name))
    return recognizer_subject(wrapper(model, spec.normalization), photos)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SUFFIXES)
@pytest.mark.parametrize("name", ["pnet", "rnet", "onet", "retinaface_mobilenet", "retinaface_resnet50", *BACKBONES])
def test_every_network_agrees_on_real_photos(name, kind, tmp_path):
    if kind == "onnx":
        for package in ("tf2onnx", "onnxruntime"):
            pytest.importorskip(package, reason=f"needs: pip install {package}")
    photos = [read_image(f"img/{file}") for file in ("1_001.jpg", "2_001.jpg", "group.jpg")]
    subject = subject_of(name, photos)
    lines = list(export(subject, tmp_path, kind))
    print("\n".join(lines))
    run = open_exported(tmp_path / f"{subject.model.name}{SUFFIXES[kind]}", kind)
    assert max(export_module.differences(run, subject).values()) <= 1e-3
