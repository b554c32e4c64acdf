"""Convert the backbone of an ONNX graph to float16."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cliffvid.errors import ModelError, UsageError
from cliffvid.models.manifest import MODEL_FILES, Manifest
from cliffvid.models.registry import find_model

# onnxruntime's CPU kernels use float16 weights, but float32 activations: PyTorch checks these for overflow.
HALF_ARITHMETIC = "float16 arithmetic"
HALVED = {"Conv", "Relu", "LeakyRelu", "Clip", "Add", "MaxPool", "Resize", "Concat"}  # operators of backbones


def export_fp16(name: str, models_dir: Path | None) -> Manifest:
    """Write model.fp16.onnx into a model's folder and return the model.

    A bundled model is copied first, see cliffvid.evaluate.precision.keep. Raises UsageError, ModelError or OutputError.
    """
    from cliffvid.evaluate.precision import keep  # these need FFmpeg, and ``halve`` does not

    from .int8 import with_float_weights

    manifest = find_model(None, name, models_dir)
    if not manifest.inputs:
        raise UsageError(f"{name}: a body, not a network; name a detector or a regressor")
    if why := manifest.left_out.get(MODEL_FILES["fp16"]):
        raise ModelError(f"{manifest.folder}: {MODEL_FILES['fp16']} was left out when it was made ({why})")
    model = halve(with_float_weights(onnx.load(manifest.network("fp32"))), manifest.folder)
    return keep(manifest, [], {MODEL_FILES["fp16"]: model.SerializeToString(deterministic=True)})


def halve(model: onnx.ModelProto, weights: Path) -> onnx.ModelProto:
    """Return a copy of a model with a float16 backbone; inputs, outputs, normalisation, decoding and head stay float32.

    Batch norms are folded into the kernels before rounding, so each weight is rounded once.
    Raises ModelError if a weight overflows float16; the message names the file ``weights``.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    kernels = {name for node in model.graph.node if node.op_type == "Conv" for name in node.input[1:]}
    for initializer in result.graph.initializer:
        if initializer.name in kernels:
            values = numpy_helper.to_array(initializer)
            if np.abs(values).max() > np.finfo(np.float16).max:
                raise ModelError(
                    f"{weights}: {initializer.name} has weights up to {np.abs(values).max():.3g}, which do not fit "
                    "float16; no trained network has such: check that the file is the published one"
                )
            initializer.CopyFrom(numpy_helper.from_array(values.astype(np.float16), initializer.name))
    given = {initializer.name for initializer in model.graph.initializer}
    half: set[str] = set()  # activations of the backbone: after a convolution, before the mean over pixels
    nodes, cast = [], {}
    for node in result.graph.node:
        inside = node.op_type == "Conv" or (node.op_type in HALVED and node.input[0] in half)
        half.update(node.output if inside else ())
        for place, value in enumerate(node.input):
            if node.op_type == "Clip" and inside and value in given:
                node.input[place] = _half_bound(result, value)
            elif value and value not in given and inside != (value in half):  # a value enters or leaves the backbone
                if value not in cast:
                    kind = TensorProto.FLOAT16 if inside else TensorProto.FLOAT
                    cast[value] = f"{value}_{'half' if inside else 'float'}"
                    nodes.append(helper.make_node("Cast", [value], [cast[value]], name=cast[value], to=kind))
                node.input[place] = cast[value]
        nodes.append(node)
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    onnx.checker.check_model(result, full_check=True)
    return result


def _half_bound(model: onnx.ModelProto, name: str) -> str:
    """Return the name of a float16 copy of a weight."""
    half = f"{name}_half"
    weights = {weight.name: weight for weight in model.graph.initializer}
    if half not in weights:
        values = numpy_helper.to_array(weights[name]).astype(np.float16)
        model.graph.initializer.append(numpy_helper.from_array(values, half))
    return half
