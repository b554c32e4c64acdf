"""onnxruntime's TensorRT provider: what TensorRT does not take runs by CUDA. Needs onnxruntime-gpu and TensorRT 10."""

from ..models import Manifest
from ..parity import prove
from .ort import TENSORRT, OrtSession, load

BATCH = 8  # of the proof


def open_session(manifest: Manifest, device: str, threads: int, precision: str) -> OrtSession:
    """Raises ModelError for answers that differ from the samples': the provider says nothing of TensorFloat-32."""
    session = OrtSession(load(), manifest, TENSORRT, device, threads, precision)
    prove(session, BATCH)
    return session
