"""Where the published weights are, and what is known of each file.

Addresses were taken from the projects' own pages (READMEs and source files). Where a comment says "derived", the page
names the file, and the address is that of its place in the repository. Checksums are given only where a second public
source has the same one; sizes likewise. Weights carry the terms of their training data too: CASIA-WebFace, VGGFace2 and
WIDER FACE are for research.
"""

import dataclasses
import difflib
from typing import Any


@dataclasses.dataclass(frozen=True)
class PublishedWeights:
    """One published weight file.

    Attributes:
        name: what a user types.
        url: of the file; None where the project's page links no address that a program can fetch.
        file_name: under which it is stored here; differs from the published one where two projects use the same.
        page: where it is described.
        about: what it is and how good, in the words of a table.
        licence: of the repository; "none stated" if its page says nothing.
        size: bytes, or None.
        sha256: hexadecimal, or None.
    """

    name: str
    url: str | None
    file_name: str
    page: str
    about: str
    licence: str = "none stated"
    size: int | None = None
    sha256: str | None = None


_GITHUB = "https://github.com"
_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"
_V1 = "releases/download/v1.0"
# repository -> what our names have behind the backbone's, and the ending of its files
_ARCFACE = {"arcface-tf2": ("", "h5"), "arcface-keras": ("_keras", "h5"), "arcface-pytorch": ("_torch", "pth")}


def _github(
    name: str, repository: str, path: str, about: str, file_name: str | None = None, **known: Any
) -> PublishedWeights:
    """Returns the entry of a file that a GitHub repository holds, or has released, at this path."""
    page = f"{_GITHUB}/{repository}"
    return PublishedWeights(name, f"{page}/{path}", file_name or path.rpartition("/")[2], page, about, **known)


def _facenet(name: str, accuracy: str) -> PublishedWeights:
    about = f"FaceNet 128-D, CASIA-WebFace, 160x160, LFW {accuracy} %"
    return _github(name, "bubbliiiing/facenet-keras", f"{_V1}/{name}.h5", about)


def _inception_512(name: str, published: str, dataset: str, accuracy: str) -> PublishedWeights:
    about = f"FaceNet 512-D (David Sandberg's, in PyTorch), {dataset}, 160x160, LFW {accuracy} %"
    return _github(name, "timesler/facenet-pytorch", f"releases/download/v2.2.9/{published}", about, licence="MIT")


def _arcface(repository: str, backbone: str, accuracy: str) -> PublishedWeights:
    suffix, ending = _ARCFACE[repository]
    name, about = f"{backbone}{suffix}", f"ArcFace, CASIA-WebFace, 112x112, LFW {accuracy} %"
    return _github(name, f"bubbliiiing/{repository}", f"{_V1}/{backbone}.{ending}", about, f"{name}.{ending}")


def _retinaface_mobilenet(name: str, repository: str, commit: str, note: str) -> PublishedWeights:
    path, about = (
        f"raw/{commit}/model_data/retinaface_mobilenet025.h5",
        f"RetinaFace MobileNet-0.25, WIDER FACE ({note})",
    )
    return _github(name, f"bubbliiiing/{repository}", path, about, f"{name}.h5")


def _mtcnn(number: int, network: str, size: int, sha256: str) -> PublishedWeights:
    path = f"raw/e9d4e8eca95829e5607236fa30a0556b40813f62/src/align/det{number}.npy"
    name, about = f"mtcnn_{network}", f"MTCNN {network}"
    return _github(name, "davidsandberg/facenet", path, about, licence="MIT", size=size, sha256=sha256)


_ENTRIES = (
    _facenet("facenet_mobilenet", "97.86"),
    _facenet("facenet_inception_resnetv1", "99.02"),
    _inception_512("inception_resnetv1_vggface2", "20180402-114759-vggface2.pt", "VGGFace2", "99.65"),
    _inception_512("inception_resnetv1_casia", "20180408-102900-casia-webface.pt", "CASIA-WebFace", "99.05"),
    _arcface("arcface-tf2", "arcface_mobilenet", "99.11"),
    _arcface("arcface-tf2", "arcface_mobilefacenet", "98.78"),
    _arcface("arcface-tf2", "arcface_iresnet50", "98.93"),
    _arcface("arcface-keras", "arcface_mobilenet", "99.00"),
    _arcface("arcface-keras", "arcface_mobilefacenet", "99.02"),
    _arcface("arcface-keras", "arcface_iresnet50", "98.98"),
    _arcface("arcface-pytorch", "arcface_mobilenet", "99.11"),
    _arcface("arcface-pytorch", "arcface_mobilefacenet", "98.78"),
    _arcface("arcface-pytorch", "arcface_iresnet50", "98.93"),
    _retinaface_mobilenet(  # derived
        "retinaface_mobilenet025",
        "retinaface-keras",
        "4694cb3bbba334db8acfec950c180821fc64519e",
        "its page reports 88.94 / 86.76 / 73.83 %",
    ),
    _retinaface_mobilenet(  # derived
        "retinaface_mobilenet025_tf2",
        "retinaface-tf2",
        "5f7b90285f4671d07f054e25dcf4cdc08cde7ee9",
        "trained separately from retinaface_mobilenet025",
    ),
    PublishedWeights(
        "retinaface_resnet50",
        None,
        "retinaface_resnet50.h5",
        f"{_GITHUB}/bubbliiiing/retinaface-keras",
        "RetinaFace ResNet-50, WIDER FACE (94.69 / 93.08 / 84.31 %)",
    ),
    PublishedWeights(
        "imagenet_mobilenet025",
        f"{_KERAS}/mobilenet/mobilenet_2_5_224_tf_no_top.h5",
        "mobilenet_2_5_224_tf_no_top.h5",
        "https://keras.io/api/applications/mobilenet/",
        "MobileNet-0.25, ImageNet: to start the training of RetinaFace from",
        licence="Apache-2.0",
        size=2108140,
        sha256="dbdb03ee2a22fd895301636cd328b234bb3a9952358f436d82f46b81e0d5b0bf",
    ),
    _github(  # derived
        "imagenet_resnet50",
        "fchollet/deep-learning-models",
        "releases/download/v0.2/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "ResNet-50, ImageNet, with the layer names of RetinaFace: to start its training from",
        licence="MIT",
    ),
    # derived, all three
    _mtcnn(1, "pnet", 27368, "3285cf7a3de2651c5784cb9e32013f5919aae95fd1ed1bc371dd9691affb39af"),
    _mtcnn(2, "rnet", 401681, "716b8b83e42476791c9096f14dbb09fefc88bf5c7ec876b1683f9acd52b3f39c"),
    _mtcnn(3, "onet", 1557360, "396ead803d85d3443307ff8f45fb6aed2536579b415a4f4d4cb8f93ea6b1476a"),
)

REGISTRY = {entry.name: entry for entry in _ENTRIES}
SETS = {"mtcnn": ("mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet")}


def find(name: str) -> tuple[PublishedWeights, ...]:
    """Returns the files that a name stands for: one, or those of a set such as "mtcnn".

    Raises:
        ValueError: an unknown name; says the nearest one.
    """
    names = SETS.get(name, (name,))
    if names[0] in REGISTRY:
        return tuple(REGISTRY[member] for member in names)
    near = difflib.get_close_matches(name, [*REGISTRY, *SETS], n=1)
    hint = f"did you mean {near[0]}?" if near else "'list' shows the names"
    raise ValueError(f"no published weights are called {name!r}; {hint}")


def describe() -> str:
    """Returns a table of all names, one a line."""
    lines = [f"{name:<30}{', '.join(members)}" for name, members in SETS.items()]
    for entry in REGISTRY.values():
        by_hand = "; by hand" if entry.url is None else ""
        lines.append(f"{entry.name:<30}{entry.about}; licence: {entry.licence}{by_hand}")
    return "\n".join(lines)
