"""The published PyTorch networks, by the keys and shapes of their state dicts.

A network is listed here as {key: shape} and run with torch.nn.functional on such a state dict; the
ones loaded from it must have every weight set and give the same embeddings.
"""

import json

import numpy as np
import pytest

from nets.facenet import facenet
from tests.shared import need
from utils.weights.loading import load_weights
from utils.weights.torch_names import to_keras
from utils.weights.weight_files import WeightFile

MOBILENET_STAGES = (
    [(32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1)],
    [(256, 512, 2), *[(512, 512, 1)] * 5],
    [(512, 1024, 2), (1024, 1024, 1)],
)
IRESNET_STAGES = ((64, 64, 3), (64, 128, 4), (128, 256, 14), (256, 512, 3))
# module -> (channels in, out, kernel height, width); None for a branch that pools
INCEPTION_STEM = {
    "conv2d_1a": (3, 32, 3, 3), "conv2d_2a": (32, 32, 3, 3), "conv2d_2b": (32, 64, 3, 3),
    "conv2d_3b": (64, 80, 1, 1), "conv2d_4a": (80, 192, 3, 3), "conv2d_4b": (192, 256, 3, 3),
    "mixed_6a.branch0": (256, 384, 3, 3), "mixed_6a.branch1.0": (256, 192, 1, 1),
    "mixed_6a.branch1.1": (192, 192, 3, 3), "mixed_6a.branch1.2": (192, 256, 3, 3),
    "mixed_7a.branch0.0": (896, 256, 1, 1), "mixed_7a.branch0.1": (256, 384, 3, 3),
    "mixed_7a.branch1.0": (896, 256, 1, 1), "mixed_7a.branch1.1": (256, 256, 3, 3),
    "mixed_7a.branch2.0": (896, 256, 1, 1), "mixed_7a.branch2.1": (256, 256, 3, 3),
    "mixed_7a.branch2.2": (256, 256, 3, 3),
}  # fmt: skip
BLOCK35 = {
    "branch0": (256, 32, 1, 1), "branch1.0": (256, 32, 1, 1), "branch1.1": (32, 32, 3, 3),
    "branch2.0": (256, 32, 1, 1), "branch2.1": (32, 32, 3, 3), "branch2.2": (32, 32, 3, 3),
}  # fmt: skip
BLOCK17 = {
    "branch0": (896, 128, 1, 1), "branch1.0": (896, 128, 1, 1),
    "branch1.1": (128, 128, 1, 7), "branch1.2": (128, 128, 7, 1),
}  # fmt: skip
BLOCK8 = {
    "branch0": (1792, 192, 1, 1), "branch1.0": (1792, 192, 1, 1),
    "branch1.1": (192, 192, 1, 3), "branch1.2": (192, 192, 3, 1),
}  # fmt: skip
# block -> (its branches, channels of their concatenation and of its output)
INCEPTION_BLOCKS = {
    **{f"repeat_1.{i}": (BLOCK35, 96, 256) for i in range(5)},
    **{f"repeat_2.{i}": (BLOCK17, 256, 896) for i in range(10)},
    **{f"repeat_3.{i}": (BLOCK8, 384, 1792) for i in range(5)},
    "block8": (BLOCK8, 384, 1792),
}


def norm_keys(name, channels):
    kinds = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{kind}": (channels,) for kind in kinds} | {f"{name}.num_batches_tracked": ()}


def conv_key(name, channels_in, channels_out, height, width, groups=1):
    return {f"{name}.weight": (channels_out, channels_in // groups, height, width)}


def embedding_keys(dense):
    return (
        norm_keys("bn2", 512) | {f"{dense}.weight": (512, 25088), f"{dense}.bias": (512,)} | norm_keys("features", 512)
    )


def arcface_mobilenet_keys():
    keys = conv_key("stage1.0.0", 3, 32, 3, 3) | norm_keys("stage1.0.1", 32)
    for stage, blocks in enumerate(MOBILENET_STAGES, start=1):
        for i, (before, after, _) in enumerate(blocks, start=stage == 1):
            name = f"stage{stage}.{i}"
            keys |= conv_key(f"{name}.0", before, before, 3, 3, groups=before)
            keys |= norm_keys(f"{name}.1", before)
            keys |= conv_key(f"{name}.3", before, after, 1, 1) | norm_keys(f"{name}.4", after)
    keys |= conv_key("sep", 1024, 512, 1, 1) | norm_keys("sep_bn", 512) | {"prelu.weight": (512,)}
    return keys | embedding_keys("linear")


def iresnet_keys(stages=IRESNET_STAGES):
    keys = conv_key("conv1", 3, 64, 3, 3) | norm_keys("bn1", 64) | {"prelu.weight": (64,)}
    for stage, (before, after, blocks) in enumerate(stages, start=1):
        for i in range(blocks):
            name, channels = f"layer{stage}.{i}", before if i == 0 else after
            keys |= norm_keys(f"{name}.bn1", channels)
            keys |= conv_key(f"{name}.conv1", channels, after, 3, 3)
            keys |= norm_keys(f"{name}.bn2", after) | {f"{name}.prelu.weight": (after,)}
            keys |= conv_key(f"{name}.conv2", after, after, 3, 3) | norm_keys(f"{name}.bn3", after)
            if i == 0:
                keys |= conv_key(f"{name}.downsample.0", before, after, 1, 1)
                keys |= norm_keys(f"{name}.downsample.1", after)
    return keys | embedding_keys("fc")


def inception_keys():
    convs, keys = dict(INCEPTION_STEM), {}
    for block, (branches, mixed, channels) in INCEPTION_BLOCKS.items():
        convs |= {f"{block}.{branch}": shape for branch, shape in branches.items()}
        keys |= conv_key(f"{block}.conv2d", mixed, channels, 1, 1)
        keys |= {f"{block}.conv2d.bias": (channels,)}
    for name, shape in convs.items():
        keys |= conv_key(f"{name}.conv", *shape) | norm_keys(f"{name}.bn", shape[1])
    keys |= {"last_linear.weight": (512, 1792)} | norm_keys("last_bn", 512)
    return keys | {"logits.weight": (7, 512), "logits.bias": (7,)}


def mobilefacenet_keys():
    keys = json.loads(need("refs/torch_arcface_mobilefacenet_state.json").read_text())
    return {key: tuple(shape) for key, shape in keys}


def under_arcface(keys):
    return {f"arcface.{key}": shape for key, shape in keys.items()}


NETWORKS = {
    "arcface_mobilefacenet": (mobilefacenet_keys, 128),
    "arcface_mobilenet": (lambda: under_arcface(arcface_mobilenet_keys()), 512),
    "arcface_iresnet50": (lambda: under_arcface(iresnet_keys()), 512),
    "inception_resnetv1": (inception_keys, 512),
}


def random_state(keys, seed=0):
    """Weights under which activations neither vanish nor explode; gammas of either sign."""
    rng, state = np.random.default_rng(seed), {}
    for key, shape in keys.items():
        kind = key.rpartition(".")[2]
        if not shape:
            state[key] = np.int64(12)
        elif kind == "running_var":
            state[key] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        elif len(shape) > 1:
            fan = float(np.prod(shape[1:]))
            state[key] = rng.standard_normal(shape, np.float32) * np.float32(fan**-0.5)
        elif kind == "weight":
            state[key] = (rng.choice([-1, 1, 1], shape) * rng.uniform(0.5, 1.5, shape)).astype("f4")
        else:
            state[key] = rng.normal(0, 0.1, shape).astype(np.float32)
    return state


@pytest.fixture(scope="module", params=NETWORKS)
def loaded(request):
    """A network's name, random state dict, model filled from it, and load report."""
    make_keys, size = NETWORKS[request.param]
    state = random_state(make_keys())
    source = WeightFile("net.pth", "torch", *to_keras(state))
    model = facenet(backbone=request.param, embedding_size=size, symmetric=True)
    return request.param, state, model, source, load_weights(model, source)


def test_every_weight_is_loaded_and_every_key_used(loaded):
    name, state, model, source, report = loaded
    assert source.network() == name
    settings = source.build_settings()
    assert settings["symmetric"] and settings["embedding_size"] == NETWORKS[name][1]
    assert settings.get("normalization") == ("fixed" if name.startswith("inception") else None)
    weights = [key for key, array in state.items() if array.ndim and "logits" not in key]
    gammas = sum(key.endswith(("bn.weight",)) for key in weights)  # folded into kernels
    folded = gammas if name == "inception_resnetv1" else 0
    assert len(report.loaded) == len(weights) - folded
    assert len(report.loaded) == sum(len(layer.weights) for layer in model.layers)
    assert set(report.unused) == set(state) - set(weights)


def test_same_embedding_as_pytorch(loaded):
    torch = pytest.importorskip("torch")
    name, state, model, _, _ = loaded
    if name not in FORWARD:
        pytest.skip("tests/nets/test_published.py compares it with recorded outputs")
    size = model.input_shape[1]
    images = np.random.default_rng(7).uniform(-1, 1, (1, size, size, 3)).astype(np.float32)
    tensors = {k.removeprefix("arcface."): torch.from_numpy(np.asarray(v)) for k, v in state.items()}
    with torch.inference_mode():
        expected = FORWARD[name](torch.from_numpy(images.transpose(0, 3, 1, 2)), tensors)
        expected = torch.nn.functional.normalize(expected).numpy()
    assert np.abs(expected).max() < 0.5  # no number drowns the others
    np.testing.assert_allclose(np.asarray(model(images)), expected, atol=2e-5)


def _norm(x, state, name, epsilon):
    from torch.nn import functional

    keys = ("running_mean", "running_var", "weight", "bias")
    return functional.batch_norm(x, *(state[f"{name}.{k}"] for k in keys), eps=epsilon)


def _embed(x, state, dense):
    from torch.nn import functional

    x = _norm(x, state, "bn2", 1e-5).flatten(1)
    x = functional.linear(x, state[f"{dense}.weight"], state[f"{dense}.bias"])
    return _norm(x, state, "features", 1e-5)


def arcface_mobilenet_forward(x, state):
    from torch.nn.functional import conv2d, prelu, relu6

    x = conv2d(x, state["stage1.0.0.weight"], padding=1)
    x = relu6(_norm(x, state, "stage1.0.1", 1e-5))
    for stage, blocks in enumerate(MOBILENET_STAGES, start=1):
        for i, (before, _, stride) in enumerate(blocks, start=stage == 1):
            name = f"stage{stage}.{i}"
            x = conv2d(x, state[f"{name}.0.weight"], None, stride, 1, groups=before)
            x = relu6(_norm(x, state, f"{name}.1", 1e-5))
            x = conv2d(x, state[f"{name}.3.weight"])
            x = relu6(_norm(x, state, f"{name}.4", 1e-5))
    x = _norm(conv2d(x, state["sep.weight"]), state, "sep_bn", 1e-5)
    return _embed(prelu(x, state["prelu.weight"]), state, "linear")


def iresnet_forward(x, state):
    from torch.nn.functional import conv2d, prelu

    x = _norm(conv2d(x, state["conv1.weight"], padding=1), state, "bn1", 1e-5)
    x = prelu(x, state["prelu.weight"])
    for stage, (_, _, blocks) in enumerate(IRESNET_STAGES, start=1):
        for i in range(blocks):
            name, stride = f"layer{stage}.{i}", 2 if i == 0 else 1
            y = conv2d(_norm(x, state, f"{name}.bn1", 1e-5), state[f"{name}.conv1.weight"], padding=1)
            y = prelu(_norm(y, state, f"{name}.bn2", 1e-5), state[f"{name}.prelu.weight"])
            y = conv2d(y, state[f"{name}.conv2.weight"], stride=stride, padding=1)
            y = _norm(y, state, f"{name}.bn3", 1e-5)
            if i == 0:
                x = conv2d(x, state[f"{name}.downsample.0.weight"], stride=2)
                x = _norm(x, state, f"{name}.downsample.1", 1e-5)
            x = x + y
    return _embed(x, state, "fc")


def inception_forward(x, state):
    from torch import cat
    from torch.nn.functional import conv2d, linear, max_pool2d, relu

    def conv(x, name, stride=1, same=True):
        kernel = state[f"{name}.conv.weight"]
        padding = tuple(side // 2 for side in kernel.shape[2:]) if same else 0
        return relu(_norm(conv2d(x, kernel, None, stride, padding), state, f"{name}.bn", 1e-3))

    def residual(x, name, scale, branches, activate=True):
        ends = []
        for count, branch in zip(branches, ("branch0", "branch1", "branch2"), strict=False):
            y = x
            for part in [""] if branch == "branch0" else [f".{i}" for i in range(count)]:
                y = conv(y, f"{name}.{branch}{part}")
            ends.append(y)
        weight, bias = state[f"{name}.conv2d.weight"], state[f"{name}.conv2d.bias"]
        x = x + scale * conv2d(cat(ends, 1), weight, bias)
        return relu(x) if activate else x

    x = conv(x, "conv2d_1a", 2, same=False)
    x = conv(conv(x, "conv2d_2a", same=False), "conv2d_2b")
    x = conv(conv(max_pool2d(x, 3, 2), "conv2d_3b"), "conv2d_4a", same=False)
    x = conv(x, "conv2d_4b", 2, same=False)
    for i in range(5):
        x = residual(x, f"repeat_1.{i}", 0.17, (1, 2, 3))
    name = "mixed_6a.branch"
    last = conv(conv(x, f"{name}1.0"), f"{name}1.1")
    ends = conv(x, f"{name}0", 2, same=False), conv(last, f"{name}1.2", 2, same=False)
    x = cat([*ends, max_pool2d(x, 3, 2)], 1)
    for i in range(10):
        x = residual(x, f"repeat_2.{i}", 0.1, (1, 3))
    name = "mixed_7a.branch"
    ends = [conv(conv(x, f"{name}{i}.0"), f"{name}{i}.1", 2, same=False) for i in (0, 1)]
    last = conv(conv(x, f"{name}2.0"), f"{name}2.1")
    ends += [conv(last, f"{name}2.2", 2, same=False), max_pool2d(x, 3, 2)]
    x = cat(ends, 1)
    for i in range(5):
        x = residual(x, f"repeat_3.{i}", 0.2, (1, 3))
    x = residual(x, "block8", 1.0, (1, 3), activate=False).mean((2, 3))
    return _norm(linear(x, state["last_linear.weight"]), state, "last_bn", 1e-3)


FORWARD = {
    "arcface_mobilenet": arcface_mobilenet_forward,
    "arcface_iresnet50": iresnet_forward,
    "inception_resnetv1": inception_forward,
}


def test_prefixes_and_training_head_are_dropped():
    keys = arcface_mobilenet_keys()
    plain, _ = to_keras(random_state(keys))
    state = random_state({f"module.arcface.{key}": shape for key, shape in keys.items()})
    state["module.head.weight"] = np.zeros((5, 512), np.float32)
    layers, ignored = to_keras(state)
    assert set(layers) == set(plain)
    assert "module.head.weight" in ignored
    assert all(key.endswith("num_batches_tracked") for key in ignored if "head" not in key)


def test_layouts():
    rng = np.random.default_rng(0)
    keys = arcface_mobilenet_keys()
    state = random_state(keys)
    state["linear.weight"] = rng.normal(size=keys["linear.weight"]).astype(np.float32)
    layers, _ = to_keras(state)
    conv, depthwise = state["stage1.1.3.weight"], state["stage1.1.0.weight"]
    assert layers["conv_pw_1"][0][0, 0, 5, 7] == conv[7, 5, 0, 0]
    assert layers["conv_dw_1"][0][2, 1, 9, 0] == depthwise[9, 0, 2, 1]
    assert layers["sep_prelu"][0].shape == (1, 1, 512)
    # (channel, row, column) of the flattened 512 x 7 x 7 map
    row, column, channel = 2, 5, 300
    here = (row * 7 + column) * 512 + channel
    there = channel * 49 + row * 7 + column
    assert layers["linear"][0][here, 3] == state["linear.weight"][3, there]


@pytest.mark.parametrize("keys", [{}, {"fc.weight": (2, 3)}, {"encoder.layer.0.weight": (4, 4)}])
def test_keys_of_no_known_network_are_refused(keys):
    with pytest.raises(ValueError, match="no known network"):
        to_keras(random_state(keys))
