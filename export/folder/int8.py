"""Quantise a network's convolutions to int8, calibrated on its real inputs."""

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from cliffvid.errors import ModelError
from cliffvid.evaluate.precision import ask, keep
from cliffvid.evaluate.quality import Batch
from cliffvid.models.manifest import MODEL_FILES, Manifest
from cliffvid.options import Options

CALIBRATED_ON = 128  # maximum frames or people for calibration


def export_int8(
    name: str, video: Path, options: Options, say: Callable[[str], None] = lambda line: None
) -> tuple[Manifest, list[Batch]]:
    """Write model.int8.onnx, calibrated on a video, into a model's folder; return the model and the evaluation data.

    A bundled model is copied first, see cliffvid.evaluate.precision.keep. Raises UsageError, InputError, ModelError,
    BackendError or OutputError.
    """
    say(f"asking {name} in float32 about {video}")
    manifest, asked, judged = ask(name, video, options)
    used, count = [], 0
    for batch in asked:
        used.append(batch)
        count += len(next(iter(batch.values())))
        if count >= CALIBRATED_ON:
            break
    say(f"calibrating on {count} {'frames' if manifest.task == 'detect' else 'people'}, which takes a minute or two")
    model = quantise(onnx.load(manifest.network("fp32")), used)
    return keep(manifest, [], {MODEL_FILES["int8"]: model.SerializeToString(deterministic=True)}), judged


def quantise(model: onnx.ModelProto, batches: list[Batch]) -> onnx.ModelProto:
    """Return a model with inputs and kernels of convolutions in symmetric int8; the rest stays float32.

    Scales come from the largest value in ``batches``, for kernels per output channel. Quantisation is written as
    QuantizeLinear/DequantizeLinear pairs on inputs and kernels only; biases stay float. TensorRT's parser accepts
    this, and OpenVINO turns it into 8-bit arithmetic. onnxruntime's CPU kernels need other pairs, so it is slow there.

    Kernels use 129 of the 256 steps: CPUs without VNNI add pairs of products in 16 bits, which overflow silently with
    the full range.

    Kept in float32: the last convolutions, as in bfloat16 (see cliffvid.models.backends.ov.cut), and those with a
    concatenation as input, which OpenVINO 2026.4 quantises with wrong scales.
    """
    if not any(node.op_type == "Conv" for node in model.graph.node):
        raise ModelError("a network without convolutions: there is nothing to put into 8 bits")
    result = _quantised(with_float_weights(model), batches)
    result.producer_name, result.producer_version = model.producer_name, model.producer_version
    onnx.checker.check_model(result, full_check=True)
    return result


def _quantised(model: onnx.ModelProto, batches: list[Batch]) -> onnx.ModelProto:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Calibration(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self.batches = iter(batches)

        def get_next(self) -> Batch | None:
            return next(self.batches, None)

    log = logging.getLogger()
    level = log.level
    log.setLevel(logging.ERROR)  # else it suggests pre-processing that these graphs do not need
    try:
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "model.onnx"
            quantize_static(
                model,
                file,
                Calibration(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,  # for kernels
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                op_types_to_quantize=["Conv"],
                nodes_to_exclude=kept_float(model),
                extra_options={
                    "ActivationSymmetric": True,
                    "WeightSymmetric": True,
                    "QuantizeBias": False,
                    "OpTypesToExcludeOutputQuantization": ["Conv"],
                },
            )
            return onnx.load(file)
    finally:
        log.setLevel(level)


def with_float_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy with all weights in float32; the model may store them as float16 with a Cast."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    given = {weight.name: weight for weight in model.graph.initializer}
    nodes, cast = [], {}
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in given and node.attribute[0].i == TensorProto.FLOAT:
            values = numpy_helper.to_array(given[node.input[0]]).astype(np.float32)
            cast[node.output[0]] = numpy_helper.from_array(values, node.output[0])
        else:
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    del result.graph.node[:], result.graph.initializer[:]
    result.graph.node.extend(nodes)
    kept = [weight for name, weight in (given | cast).items() if name in used]
    result.graph.initializer.extend(kept)
    return result


def kept_float(model: onnx.ModelProto) -> list[str]:
    """Return the names of convolutions that no other one follows, and of those with a concatenation as input."""
    concatenated = {value for node in model.graph.node if node.op_type == "Concat" for value in node.output}
    followed: set[str] = set()  # values that lead to a convolution
    kept = []
    for node in reversed(model.graph.node):
        leads = bool(followed.intersection(node.output))
        if node.op_type == "Conv" and (not leads or node.input[0] in concatenated):
            kept.append(node.name)
        if node.op_type == "Conv" or leads:
            followed.update(node.input)
    return kept
