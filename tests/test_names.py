"""The names that users of the originals hold on to, wherever the code behind them lives."""

import importlib

import pytest


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("facenet", "Facenet"),
        ("nets.facenet", "facenet"),
        ("nets.retinaface", "RetinaFace"),
        ("retinaface", "Retinaface"),
        ("utils.alignment", "align"),
        ("utils.anchors", "Anchors"),
        ("utils.config", "cfg_mnet"),
        ("utils.config", "cfg_re50"),
        ("utils.gallery", "Gallery"),
        ("utils.lfw_metrics", "evaluate"),
        ("utils.mtcnn", "Mtcnn"),
        ("utils.weights", "load_weights"),
        ("utils.widerface_metrics", "evaluate"),
    ],
)
def test_name_is_where_users_look_for_it(module, name):
    assert getattr(importlib.import_module(module), name)
