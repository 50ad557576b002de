import subprocess
import sys
from pathlib import Path

from nets.facenet import facenet
from nets.retinaface import RetinaFace
from utils.config import cfg_mnet
from utils.weights.loading import save_weights

# Keras itself takes matplotlib and scikit-learn where they are installed, so "not imported" cannot
# be tested: that they are not missed can.
HEAVY = ["matplotlib", "onnxruntime", "pandas", "sklearn", "tensorboard", "tf2onnx", "torch"]
CODE = """
import sys
sys.modules.update(dict.fromkeys({heavy}))  # to import one of them is an error now
import numpy as np
import facenet, predict, retinaface
photo = np.zeros((64, 64, 3), np.uint8)
facenet.Facenet(model_path={recognizer!r}, detector=None, engine="litert").embed(photo)
retinaface.Retinaface(model_path={detector!r}, engine="keras", enlarge=False).detect(photo)
"""


def test_first_embedding_and_detection_need_nothing_heavy(tmp_path):
    recognizer, detector = (str(tmp_path / name) for name in ("r.weights.h5", "d.weights.h5"))
    save_weights(facenet(backbone="arcface_mobilefacenet"), recognizer)
    save_weights(RetinaFace(cfg_mnet), detector)
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(heavy=HEAVY, recognizer=recognizer, detector=detector)],
        cwd=Path(__file__).resolve().parents[1],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
