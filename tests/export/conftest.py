import fcntl
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import needs

sys.path.insert(0, str(Path(__file__).parent))  # for reference_head and darknet_files


@pytest.fixture(scope="session")
def sources():
    """The folder with the downloaded packages; skips without it unless CLIFFVID_REQUIRE names "sources"."""
    from cliffvid.export.open.sources import default_folder, have_sources

    folder = Path(os.environ.get("CLIFFVID_SOURCES") or default_folder())
    if not have_sources(folder):
        needs.lacks("sources", f"no packages in {folder}: set CLIFFVID_SOURCES, or run `cliffvid export open` once")
    return folder


@pytest.fixture(scope="session")
def open_session():
    """onnxruntime on the CPU for the bytes of a model, with warnings kept quiet."""
    import onnxruntime

    def open_bytes(model: bytes, threads: int = 1):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    return open_bytes


@pytest.fixture(scope="session")
def scenes():
    """Function of (seed, count, size): uint8 RGB images with edges, gradients and a little noise."""
    import cv2

    def draw(seed: int, count: int, size: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        images = []
        for _ in range(count):
            image = cv2.resize(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8), (size, size))
            for _ in range(6):  # limbs of a sort
                start, end = rng.integers(0, size, (2, 2)).tolist()
                cv2.line(image, start, end, rng.integers(0, 256, 3).tolist(), max(size // 12, 1), cv2.LINE_AA)
            noise = rng.integers(-8, 9, image.shape)
            images.append(np.clip(image.astype(np.int64) + noise, 0, 255).astype(np.uint8))
        return np.stack(images)

    return draw


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Function of a backbone: the checkpoint, and the folder exported from it, once for all processes of the tests."""
    from cliffvid.export.cliff.export import export_cliff
    from synthetic import make_cliff_checkpoint

    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made"

    def make(backbone):
        folder = shared / backbone
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint, network = folder / f"{backbone}.pt", folder / "engines" / f"cliff-{backbone}"
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not network.is_dir():
                make_cliff_checkpoint(checkpoint, backbone)
                assert export_cliff(checkpoint, folder / "engines") == network
        return checkpoint, network

    return make
