import json

import numpy as np
import pytest

import calibrate
from nets.facenet import facenet
from utils.images.image_files import save_image
from utils.weights.loading import save_weights


def test_the_card_is_what_facenet_uses(tmp_path, monkeypatch, capsys):
    from facenet import Facenet

    rng, lines = np.random.default_rng(0), []
    for index in range(6):
        save_image(tmp_path / f"{index}.png", rng.integers(0, 256, (112, 112, 3), np.uint8))
        lines.append(f"{index // 2};{tmp_path / f'{index}.png'}\n")
    (tmp_path / "list.txt").write_text("".join(lines))
    weights = tmp_path / "net.weights.h5"
    network = facenet(backbone="arcface_mobilefacenet")
    save_weights(network, weights, backbone="arcface_mobilefacenet", symmetric=False)
    arguments = ["--model_path", str(weights), "--annotation_path", str(tmp_path / "list.txt")]
    arguments += ["--false_accept_rate", "0.2", "--engine", "keras"]
    monkeypatch.setattr("sys.argv", ["calibrate.py", *arguments])
    calibrate.main()
    assert "6 faces of 3 people, 3 pairs of one person and 12 of two" in capsys.readouterr().out
    card = json.loads((tmp_path / "net.json").read_text())
    assert card["network"] == "arcface_mobilefacenet" and card["embedding_size"] == 128
    assert card["false_accept_rate"] <= 0.2 and (tmp_path / "net.png").exists()
    chosen = {"model_path": str(weights), "detector": None, "engine": "keras"}
    assert Facenet(**chosen).threshold == card["threshold"]
    assert Facenet(**chosen, threshold=0.5).threshold == 0.5


def test_few_pairs_are_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(calibrate, "held_out", lambda settings: (["a"] * 4, np.array([0, 0, 1, 1])))
    embeddings = np.float32([[1, 0], [0.8, 0.6], [0, 1], [-1, 0]])
    network = type("Network", (), {})()
    monkeypatch.setattr(calibrate, "embed", lambda settings, paths: (network, embeddings))
    monkeypatch.setattr(calibrate, "save", lambda *_: ["card"])
    monkeypatch.setattr("sys.argv", ["calibrate.py"])
    calibrate.main()
    assert "too few faces to be sure" in capsys.readouterr().out


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_a_share_that_cannot_be(share):
    settings = calibrate._defaults | {"val_people": share}
    with pytest.raises(ValueError, match="val_people .*: above 0 and at most 1 expected"):
        calibrate.held_out(settings)
