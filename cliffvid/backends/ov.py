"""OpenVINO on the CPU, in float32; keeps compiled networks in the user's cache folder."""

from pathlib import Path
from typing import Self

import numpy as np

from ..errors import BackendError, ModelError
from ..models import Manifest
from . import check_tensors, no_rows

# Always told: where the processor has bfloat16 that is OpenVINO's own default, and the bundled regressor's rotations
# are then wrong by up to 0.55.
PRECISION_HINT = "f32"


def open_session(manifest: Manifest, device: str, threads: int, precision: str) -> "OvSession":
    try:
        import openvino
    except ImportError as error:
        raise BackendError('openvino is not installed: pip install "cliffvid[openvino]"') from error
    return OvSession(openvino.Core(), manifest, device, threads, precision)


class OvSession:
    """A Session by OpenVINO; see backends.Session."""

    backend = "openvino"

    def __init__(self, core, manifest: Manifest, device: str, threads: int, precision: str) -> None:
        import platformdirs

        self.manifest, self.device, self.precision = manifest, device, precision
        config = {
            "INFERENCE_PRECISION_HINT": PRECISION_HINT,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "CACHE_DIR": str(Path(platformdirs.user_cache_dir("cliffvid")) / "openvino"),
        }
        model = str(manifest.network(precision))
        try:
            compiled = core.compile_model(core.read_model(model), "CPU", config)
        except Exception as error:  # OpenVINO raises RuntimeError for everything
            raise ModelError(f"{model}: OpenVINO cannot load it ({error}); export the model again") from error
        used = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if used != PRECISION_HINT:
            raise BackendError(f"OpenVINO was told to run in {PRECISION_HINT} and runs in {used}; use onnxruntime")
        for side, promised, found in (
            ("input", manifest.inputs, compiled.inputs),
            ("output", manifest.outputs, compiled.outputs),
        ):
            facts = {}
            for tensor in found:  # a tensor keeps the names of what was folded into it too
                name = next((name for name in tensor.names if name in promised), tensor.any_name)
                shape = [axis.get_length() if axis.is_static else None for axis in tensor.partial_shape]
                facts[name] = np.dtype(tensor.element_type.to_dtype()).name, shape
            check_tensors(manifest, side, promised, facts)
        self._request = compiled.create_infer_request()

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if len(next(iter(inputs.values()))) == 0:
            return no_rows(self.manifest)
        inputs = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        self._request.infer(inputs, share_inputs=True)
        # the request writes its next answers into the same memory
        return {name: self._request.get_tensor(name).data.copy() for name in self.manifest.outputs}

    def close(self) -> None:
        self._request = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()
