"""onnxruntime, on the CPU or by its CUDA provider."""

from typing import Self

import numpy as np

from ..errors import BackendError, ModelError
from ..models import Manifest
from . import check_tensors, no_rows

DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(float16)": "float16"}


def open_session(manifest: Manifest, device: str, threads: int, precision: str) -> "OrtSession":
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError('onnxruntime is not installed: pip install "cliffvid[cpu]" (or [gpu])') from error
    return OrtSession(onnxruntime, manifest, device, threads, precision)


class OrtSession:
    """A Session by onnxruntime; see backends.Session."""

    backend = "onnxruntime"

    def __init__(self, onnxruntime, manifest: Manifest, device: str, threads: int, precision: str) -> None:
        self.manifest, self.device, self.precision = manifest, device, precision
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors are raised as well
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Two networks take turns here: threads that spin after each call cost 1.28x time and 1.3x CPU when measured.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        provider = "CPUExecutionProvider"
        if device == "cuda":
            provider = "CUDAExecutionProvider"
            # Without this a provider that fails to load is replaced by the CPU without a word.
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        if provider not in onnxruntime.get_available_providers():
            raise BackendError('this onnxruntime is built without CUDA: pip install "cliffvid[gpu]" in place of [cpu]')
        model = str(manifest.network(precision))
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=[provider])
        except Exception as error:  # onnxruntime raises a dozen unrelated classes
            if device == "cuda":
                raise BackendError(
                    f'onnxruntime has no working CUDA provider: pip install "cliffvid[gpu]", check the driver ({error})'
                ) from error
            raise ModelError(f"{model}: onnxruntime cannot load it ({error}); export the model again") from error
        if provider not in self._session.get_providers():
            raise BackendError(f"onnxruntime did not load {provider}; it has {self._session.get_providers()}")
        for side, promised, found in (
            ("input", manifest.inputs, self._session.get_inputs()),
            ("output", manifest.outputs, self._session.get_outputs()),
        ):
            check_tensors(manifest, side, promised, {t.name: (DTYPES.get(t.type, t.type), t.shape) for t in found})
        self._outputs = list(manifest.outputs)

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if len(next(iter(inputs.values()))) == 0:
            return no_rows(self.manifest)
        inputs = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        return dict(zip(self._outputs, self._session.run(self._outputs, inputs), strict=True))

    def close(self) -> None:
        self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()
