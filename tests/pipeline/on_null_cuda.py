"""Print, as JSON, what test_null_cuda.py asserts; runs in a process on the null CUDA."""

import gc
import itertools
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from unittest import mock

import av
import numpy as np

from bench.fakes import Injected, people_seen
from cliffvid import Options
from cliffvid.errors import CliffvidError, describe
from cliffvid.models.backends import ort
from cliffvid.models.manifest import BUNDLED, read_manifest
from cliffvid.models.session import open_session
from cliffvid.pipeline.networks import Models, open_models
from cliffvid.pipeline.video_run import open_run
from clips import X264
from nullcuda import inside
from toys import CANVAS, make_convolved

SIZE_WH = (1920, 1080)
FRAME_BATCH, FRAMES = 2, 59  # 30 batches, the last one not full
PEOPLE = (0, 1, 0, 3, 2, 0, 0, 1, 0, 0, 2)  # of frame after frame, over and over: batches of people vary


class Answering(Injected):
    """A network that really runs, and then answers rows that are given."""

    def __init__(self, session, rows: Iterator[dict[str, np.ndarray]]) -> None:
        super().__init__(session, None)
        self.rows = rows

    def run(self, inputs):
        answers = self.session.run(inputs)
        rows = list(itertools.islice(self.rows, len(next(iter(inputs.values())))))
        return {name: np.stack([row[name] for row in rows]) for name in answers} if rows else answers


def answering(models: Models) -> Models:
    """Return the networks, which see PEOPLE, upright."""
    seen = (people_seen(count, 4, (CANVAS, CANVAS * 9 // 16)) for count in itertools.cycle(PEOPLE))
    upright = {
        "rotmat": np.tile(np.eye(3, dtype=np.float32), (24, 1, 1)),
        "betas": np.zeros(10, np.float32),
        "camera": np.array([0.9, 0, 0], np.float32),
        "presence": np.float32(1),
    }
    regressor = Answering(models.regressor, itertools.repeat(upright))
    return replace(models, detector=Answering(models.detector, seen), regressor=regressor)


def grey_film(path: Path) -> Path:
    """Write a film of FRAMES grey frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=X264)
        stream.width, stream.height = SIZE_WH
        stream.codec_context.time_base = Fraction(1, 25)
        for index in range(FRAMES):
            planes = np.full((SIZE_WH[1] * 3 // 2, SIZE_WH[0]), 128, np.uint8)
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def run(film: Path, models_dir: Path, **more: str) -> dict[str, object]:
    """Count a whole run, from networks that are open to the last row."""
    options = Options(
        models_dir=models_dir,
        detector="toy-detector",
        regressor="toy-regressor",
        threads=1,
        frame_batch=FRAME_BATCH,
        person_batch=8,
        **{"device": "cuda"} | more,
    )
    inside.sessions.clear()
    with open_models(options) as models:
        inside.reset()
        before = len(inside.sessions)
        frames, people = rows_of(film, options, answering(models))
        gc.collect()  # decoders end as what refers to them goes
        counts = inside.counts()
    calls: Counter[str] = Counter()  # each network makes its pictures by a session of the same graph
    for session in inside.sessions:
        calls[session.title] += session.calls
    return counts | {
        "frames": frames,
        "people": people,
        "opened": len(inside.sessions) - before,
        "calls": calls,
        "on_cpu": [f"{session.title} {node}" for session in inside.sessions for node in session.on_cpu],
    }


def rows_of(film: Path, options: Options, models: Models) -> tuple[int, int]:
    """Return how many frames were read, and the rows of people."""
    with open_run(film, options, models) as run:
        people = sum(len(rows) for rows in run.bodies())
        return run.counts.decode.frames, people


def without_memory(whose: str) -> str:
    """Return what a network says that is opened and run while nothing can be allocated."""
    manifest = read_manifest(BUNDLED / "person-open")
    inside.full[whose].value = True
    try:
        with open_session(manifest, device="cuda") as session:
            session.run({"image": np.zeros((1, *manifest.row_shapes()["image"]), np.uint8)})
    except CliffvidError as error:
        return describe(error)
    finally:
        inside.full[whose].value = False
    return ""


def memory_of(strategy: str | None) -> int:
    """Return the bytes that running a network takes, whose memory grows by a strategy; None: as cliffvid has it."""
    manifest, plain = read_manifest(BUNDLED / "yolov3-tiny"), ort.provider_of

    def grown(*given):
        name, options = plain(*given)
        return name, options | ({"arena_extend_strategy": strategy} if strategy else {})

    inside.reset()
    with mock.patch.object(ort, "provider_of", grown), open_session(manifest, device="cuda") as session:
        session.run({"image": np.zeros((2, *manifest.row_shapes()["image"]), np.uint8)})
        return inside.counts()["allocated_bytes"]


def automatic() -> dict[str, object]:
    """Return what --precision auto says, and whether each network that it opened was allowed TensorFloat-32."""
    inside.sessions.clear()
    try:
        open_models(Options(device="cuda", precision="auto", detector="person-open", threads=1)).close()
    except CliffvidError as error:
        options = [session.get_provider_options().get("CUDAExecutionProvider") for session in inside.sessions]
        return {"words": describe(error), "tf32": [each["use_tf32"] for each in options if each]}
    return {}


def placed(name: str) -> list[str]:
    """Return the nodes of a network of the package that run on the CPU."""
    inside.sessions.clear()
    manifest = read_manifest(BUNDLED / name)
    with open_session(manifest, device="cuda") as session:
        session.pad_to(2)
        rows = {n: np.zeros((1, *row), manifest.inputs[n].dtype) for n, row in manifest.row_shapes().items()}
        session.run(rows)
        return inside.sessions[-1].on_cpu


def main(folder: Path) -> None:
    film, models_dir = grey_film(folder / "film.mp4"), make_convolved(folder / "toys")
    ways = {
        "planes": {"pixels": "planes"},
        "nvdec": {"pixels": "planes", "decode_device": "cuda"},
        "exact": {"pixels": "exact", "decode_device": "cuda"},  # NVDEC's frames come to the host
        "second": {"pixels": "planes", "decode_device": "cuda", "device": "cuda:1"},
    }
    found: dict[str, object] = {name: run(film, models_dir, **options) for name, options in ways.items()}
    found["auto"] = automatic()
    found["memory"] = {str(how): memory_of(how) for how in (None, "kSameAsRequested", "kNextPowerOfTwo")}
    found["full"] = {whose: without_memory(whose) for whose in inside.full}
    print(json.dumps(found | {name: placed(name) for name in ("person-open", "cliff-open", "yolov3-tiny")}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
