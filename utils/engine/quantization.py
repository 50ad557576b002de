"""Stores the weights of a LiteRT network in fewer bits; no calibration images are needed.

"float16" halves the file; the weights become float32 again when it is loaded. "int8" quarters it:
convolution and dense kernels get 8 bits, with one scale an output channel, and XNNPACK quantises
their inputs as they come, one scale an image (dynamic range quantisation).

TensorFlow's converter does as much, but to depthwise kernels, too, for which XNNPACK has no such
kernel: networks of depthwise convolutions fall into dozens of parts and run slower than in float32.
Its full-integer mode needs calibration images and has no fast PReLU.
"""

import collections
from collections.abc import Iterator
from typing import Any

import numpy as np

PRECISIONS = ("float32", "float16", "int8")

_LEAST = 1024  # elements of a tensor that is worth it
_LARGEST_HALF = 65504.0
_LEVELS = 127
# Operators that take int8 weights with float inputs, and the version of theirs that does.
_INT8_VERSIONS = {"CONV_2D": 5, "FULLY_CONNECTED": 12}
_HALF_VERSION = 3  # of DEQUANTIZE, the first that takes float16


def quantize(content: bytes, precision: str) -> bytes:
    """Returns a LiteRT flatbuffer with its large constants in `precision`; float32 as it is.

    Args:
        content: flatbuffer of a float32 network.
        precision: one of `PRECISIONS`.

    Returns:
        A flatbuffer with the same inputs and outputs, float32.

    Raises:
        ValueError: an unknown precision.
        ModuleNotFoundError: ai-edge-litert is not installed.
    """
    check_precision(precision)
    if precision == "float32":
        return content
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for graph in model.subgraphs:
        (_halve if precision == "float16" else _to_int8)(model, graph, schema)
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def check_precision(precision: str) -> None:
    """Raises ValueError if `precision` is not one of PRECISIONS."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")


def round_to_int8(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rounds weights (C, ...) to int8, symmetric about 0, one scale an output channel.

    Returns:
        int8 (C, ...), -127..127, and float32 scales (C,): their product is near the weights.
    """
    largest = np.abs(weights).reshape(len(weights), -1).max(axis=1)
    scales = np.where(largest > 0, largest / _LEVELS, 1).astype(np.float32)
    rounded = np.rint(weights / scales.reshape(-1, *[1] * (weights.ndim - 1)))
    return np.clip(rounded, -_LEVELS, _LEVELS).astype(np.int8), scales


def _large_constants(model: Any, graph: Any, schema: Any) -> Iterator[tuple[int, Any, np.ndarray]]:
    """Yields (index, tensor, values) of the float32 constants with a buffer of their own."""
    owners = collections.Counter(t.buffer for g in model.subgraphs for t in g.tensors)
    for index, tensor in enumerate(graph.tensors):
        data = model.buffers[tensor.buffer].data
        large = tensor.buffer and data is not None and len(data) >= 4 * _LEAST
        if large and tensor.type == schema.TensorType.FLOAT32 and owners[tensor.buffer] == 1:
            yield index, tensor, np.frombuffer(data.tobytes(), "<f4").reshape(tensor.shape)


def _to_int8(model: Any, graph: Any, schema: Any) -> None:
    uses = collections.defaultdict(list)  # tensor -> (operator, place among its inputs)
    for operator in graph.operators:
        for place, index in enumerate(operator.inputs):
            uses[int(index)].append((operator, place))
    versions = {getattr(schema.BuiltinOperator, k): v for k, v in _INT8_VERSIONS.items()}
    for index, tensor, values in _large_constants(model, graph, schema):
        codes = [model.operatorCodes[operator.opcodeIndex] for operator, _ in uses[index]]
        kernel = all(place == 1 for _, place in uses[index])
        if not (kernel and codes and all(code.builtinCode in versions for code in codes)):
            continue
        rounded, scales = round_to_int8(values)
        model.buffers[tensor.buffer].data = rounded.reshape(-1).view(np.uint8)
        tensor.type = schema.TensorType.INT8
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = scales
        tensor.quantization.zeroPoint = np.zeros(len(scales), np.int64)
        for code, (operator, _) in zip(codes, uses[index], strict=True):
            code.version = max(code.version, versions[code.builtinCode])
            if hasattr(operator.builtinOptions, "asymmetricQuantizeInputs"):
                operator.builtinOptions.asymmetricQuantizeInputs = True


def _halve(model: Any, graph: Any, schema: Any) -> None:
    """Stores constants as float16, each with an operator that LiteRT runs once, on loading."""
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    code.version = _HALF_VERSION
    model.operatorCodes.append(code)
    operators = []
    for index, tensor, values in list(_large_constants(model, graph, schema)):
        if not np.abs(values).max() <= _LARGEST_HALF:
            continue
        half = schema.TensorT()
        half.name, half.shape = tensor.name + b"/float16", tensor.shape
        half.type, half.buffer = schema.TensorType.FLOAT16, tensor.buffer
        model.buffers[half.buffer].data = values.astype("<f2").reshape(-1).view(np.uint8)
        tensor.buffer = 0  # the empty one: the value is computed
        operator = schema.OperatorT()
        operator.opcodeIndex = len(model.operatorCodes) - 1
        operator.inputs = np.array([len(graph.tensors)], np.int32)
        operator.outputs = np.array([index], np.int32)
        graph.tensors.append(half)
        operators.append(operator)
    graph.operators[:0] = operators
