import subprocess
import sys
from pathlib import Path

import pytest

from utils.files import digests
from utils.files.digests import code_digest, digest, weights_digest


def test_digest_is_of_the_content(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"abc")
    assert digest(path) == digest(b"abc") != digest(b"abd")
    assert len(digest(b"")) == digests.DIGEST_BYTES


def test_weights_digest(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"abc")
    (tmp_path / "b.pth").write_bytes(b"abc")
    (tmp_path / "c.pth").write_bytes(b"abd")
    names = [weights_digest(tmp_path / f"{name}.pth") for name in "abc"]
    assert names[0] == names[1] != names[2]
    with pytest.raises(FileNotFoundError, match="d.pth"):
        weights_digest(tmp_path / "d.pth")


def test_weights_digest_of_a_checkpoint_and_of_a_folder(tmp_path):
    for name in ("model.index", "model.data-00000-of-00001", "det1.npy", "det2.npy"):
        (tmp_path / name).write_bytes(name.encode())
    checkpoint, folder = weights_digest(tmp_path / "model"), weights_digest(tmp_path)
    (tmp_path / "model.data-00000-of-00001").write_bytes(b"other")
    (tmp_path / "notes.txt").write_bytes(b"other")
    assert weights_digest(tmp_path / "model") != checkpoint
    assert weights_digest(tmp_path) == folder
    (tmp_path / "det1.npy").write_bytes(b"det2.npy")
    assert weights_digest(tmp_path) != folder


def test_all_files_of_a_checkpoint_count_and_nothing_beside_it(tmp_path):
    for end in ("index", "meta", "data-00000-of-00001"):
        (tmp_path / f"model.{end}").write_bytes(end.encode())
    names = {weights_digest(tmp_path / name) for name in ("model", "model.meta", "model.index")}
    (tmp_path / "model.json").write_bytes(b"a card")
    (tmp_path / "model.tflite").write_bytes(b"compiled")
    names.add(weights_digest(tmp_path / "model"))
    assert len(names) == 1
    (tmp_path / "model.data-00000-of-00001").write_bytes(b"other")  # the graph of another step is the same
    assert weights_digest(tmp_path / "model.meta") not in names


def test_the_wrappers_code_is_covered():
    files = set()
    waiting = [Path("facenet.py")]
    while waiting:
        path = waiting.pop()
        if path not in files:
            files.add(path)
            waiting += digests._imported((digests.PROJECT / path).read_bytes())
    names = {path.name for path in files}
    assert {"alignment.py", "backbones.py", "mobilefacenet.py", "mtcnn.py", "engine.py"} <= names
    assert code_digest(("facenet",)) != code_digest(("retinaface",))


def test_tensorflow_is_not_needed():
    code = "import sys, utils.evaluation.embedder, eval_LFW; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=digests.PROJECT)


def test_code_digest_follows_imports(tmp_path, monkeypatch):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    write("top.py", "import numpy\nfrom utils.a import f\n")
    write("utils/a.py", "def f():\n    from utils import b as other\n    return other\n")
    write("utils/b.py", "import utils.c\n")
    write("utils/c.py", "from top import f\n")
    write("utils/d.py", "")
    monkeypatch.setattr(digests, "PROJECT", tmp_path)

    def now():
        code_digest.cache_clear()
        return code_digest(("top",))

    names = [now()]
    write("utils/d.py", "x = 1\n")
    assert now() == names[0]
    for name in ("utils/c.py", "utils/b.py", "utils/a.py", "top.py"):
        write(name, (tmp_path / name).read_text() + "x = 1\n")
        names.append(now())
    assert len(set(names)) == 5
    code_digest.cache_clear()


def test_code_digest_in_an_installed_package(tmp_path):
    """The modules are then called faces.utils...; what they import must still be followed."""
    package = tmp_path / "faces"
    for name in ("digests", "project"):
        source = (digests.PROJECT / f"utils/files/{name}.py").read_text()
        path = package / f"utils/files/{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source.replace("from utils.", "from faces.utils."))
    (package / "__init__.py").write_text("")  # comes before an installed package of this name
    (package / "facenet.py").write_text("from faces.nets import a\n")
    (package / "nets").mkdir()
    code = "from faces.utils.files.digests import code_digest; print(code_digest(('facenet',)))"

    def now(text):
        (package / "nets/a.py").write_text(text)
        done = subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, capture_output=True, text=True)
        return done.stdout

    assert now("x = 1") == now("x = 1") != now("x = 2")


@pytest.mark.parametrize(
    "module",
    [
        "facenet",
        "nets.backbones",
        "nets.mobilefacenet",
        "nets.normalization",
        "utils.engine.engine",
        "utils.evaluation.embedder",
        "utils.faces.alignment",
        "utils.faces.choice",
        "utils.faces.photo_stream",
        "utils.images.image_files",
        "utils.images.placement",
        "utils.weights.loading",
    ],
)
def test_code_of_an_embedding_is_covered(module):
    assert_covered(module, ("facenet", "utils.evaluation.embedder"))


@pytest.mark.parametrize(
    "module",
    [
        "nets.mtcnn",
        "nets.retinaface",
        "retinaface",
        "utils.config",
        "utils.detection.anchors",
        "utils.detection.box_coding",
        "utils.detection.mtcnn",
        "utils.detection.nms",
        "utils.images.placement",
    ],
)
def test_code_of_a_detection_is_covered(module):
    assert_covered(module, ("retinaface", "utils.detection.mtcnn"))


def assert_covered(module, roots):
    """Changes a module in a copy of the project; the digest of the code must change with it."""
    path = digests.PROJECT / f"{module.replace('.', '/')}.py"
    read_bytes = Path.read_bytes
    before = code_digest(roots)
    with pytest.MonkeyPatch.context() as patch:
        code_digest.cache_clear()
        patch.setattr(Path, "read_bytes", lambda p: read_bytes(p) + (b"\n" if p == path else b""))
        after = code_digest(roots)
    code_digest.cache_clear()
    assert after != before
