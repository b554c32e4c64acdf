"""What a process that feeds a GPU does for each frame, where the GPU, the networks and decoding cost nothing."""

import tempfile
from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, process_time
from types import SimpleNamespace
from unittest import mock

import numpy as np

from cliffvid.cuda import Buffer
from cliffvid.models.backends.ort_images import Pictures
from cliffvid.models.backends.ort_queue import Queue
from cliffvid.options import Options
from cliffvid.pending import pending_among
from cliffvid.pipeline.networks import Models
from cliffvid.pipeline.process import process
from cliffvid.tables import VideoInfo
from cliffvid.video.deinterlace import DisplayedFrame
from cliffvid.video.images.gpu import Surface
from cliffvid.video.images.orientation import UPRIGHT
from cliffvid.video.images.yuv import YuvImage
from cliffvid.video.reader import Source

from .fakes import Constant, constant_models, people_seen
from .harness import Case, Result, take_turns

PEOPLE = (0, 1, 2, 3, 10)
SIZES = (16, 64), (64, 256)  # batches of frames and of people: the second is the largest that ``auto`` tries on a GPU
FOUND = 8  # candidates of each person, as YOLOv3 has them
FRAMES = 640
FED = 8 * FRAMES  # by each of several processes
PROCESSES = (1, 2, 3)
GOALS_MS = {3: 0.25, 10: 0.45}


def host_gpu(repeats: int, people: tuple[int, ...] = PEOPLE, fed: int = FED) -> Result:
    """CPU time a frame of the thread that feeds the GPU, and frames/s of several such processes at the same time."""
    result, found = Result("host-gpu", "frame", {"repeats": repeats, "candidates a person": FOUND}), {}
    settle_allocator()
    with tempfile.TemporaryDirectory() as folder:
        cases = []
        for kind, size, count in product(FRAMES_OF, SIZES, people):
            name = f"{kind}, batches of {size[0]} and {size[1]}, {count} people"

            def work(name=name, kind=kind, size=size, count=count) -> None:
                found[name] = feed(Path(folder), kind, size, count, FRAMES) / FRAMES

            cases.append(Case(name, work, FRAMES))
        take_turns(cases, repeats, clock=process_time)
        result.rows = [case.facts() for case in cases]
        for case in cases:
            result.ratios[f"CPU ms a frame, {case.name}"] = 1000 * min(case.seconds) / FRAMES
        best = "CPU ms a frame, surfaces, batches of 64 and 256"
        wanted = {f"{best}, {count} people": f"<= {most}" for count, most in GOALS_MS.items()}
        result.goals = {name: goal for name, goal in wanted.items() if name in result.ratios}
        for count in PROCESSES if fed else ():
            rates = [fed * count / seconds_of(count, Path(folder), fed) for _ in range(repeats)]
            result.quality[f"frames/s of {count} processes, surfaces, 3 people"] = round(max(rates))
    result.quality |= {f"people found a frame, {name}": rows for name, rows in found.items()}
    return result


def settle_allocator() -> None:
    """Leave the allocator as opening networks does: glibc keeps freed arrays that are smaller than one freed before.

    Otherwise the system clears new memory for every array of 128 KB, which takes as long as filling it.
    """
    weights = np.ones(30 << 20, np.uint8)
    del weights


def feed(folder: Path, kind: str, size: tuple[int, int], people: int, frames: int, prefetch: int = 0) -> int:
    """Process as many frames as if on a GPU and return the rows written."""
    options = Options(overwrite=True, pixels="planes", frame_batch=size[0], person_batch=size[1], prefetch=prefetch)
    options = options if kind == "planes" else Options(**vars(options) | {"decode_device": "cuda"})
    with mock.patch("cliffvid.pipeline.video_run.open_input_video", lambda *_: NullVideo(kind, frames)):
        return process(folder / "film.mp4", folder / "a.parquet", options, models=null_models(people)).people


def seconds_of(processes: int, folder: Path, frames: int) -> float:
    """Return the time in which each of several processes feeds so many frames, its threads as by default."""
    context = get_context("spawn")
    ready = context.Barrier(processes + 1)
    workers = [context.Process(target=_fed, args=(ready, folder / str(i), frames)) for i in range(processes)]
    for worker in workers:
        worker.start()
    ready.wait()
    start = perf_counter()
    ready.wait()
    seconds = perf_counter() - start
    for worker in workers:
        worker.join()
    return seconds


def _fed(ready, folder: Path, frames: int) -> None:
    settle_allocator()
    folder.mkdir(exist_ok=True)
    feed(folder, "surfaces", SIZES[-1], 3, 128, prefetch=2)  # warm-up
    ready.wait()
    feed(folder, "surfaces", SIZES[-1], 3, frames, prefetch=2)
    ready.wait()


class Anything:
    """An object of onnxruntime or CUDA that takes every call and does nothing."""

    def __getattr__(self, name: str):
        return lambda *_: Anything()


class NullGpu(Anything):
    """A Gpu whose memory is this machine's."""

    def __init__(self, number: int) -> None:
        self.number = number

    def buffer(self, size: int) -> Buffer:
        memory = np.zeros(size, np.uint8)
        return Buffer(memory.ctypes.data, memory.ctypes.data, memory)


class NullValue:
    """An OrtValue without memory."""

    def __init__(self, shape: tuple[int, ...], dtype: type) -> None:
        self._shape, self._dtype = shape, dtype

    def data_ptr(self) -> int:
        return 1 << 20

    def shape(self) -> list[int]:
        return list(self._shape)

    def numpy(self) -> np.ndarray:
        return np.zeros(self._shape, self._dtype)

    @classmethod
    def ortvalue_from_numpy(cls, array: np.ndarray, *_) -> "NullValue":
        return cls(array.shape, array.dtype.type)

    @classmethod
    def ortvalue_from_shape_and_type(cls, shape, dtype, *_) -> "NullValue":
        return cls(tuple(shape), dtype)


class NullGpuNetwork(Constant):
    """A session on a GPU: it asks for its pending inputs, and answers the same to everything."""

    backend, device = "onnxruntime", "cuda"

    def __init__(self, session: Constant, answers: dict[str, np.ndarray]) -> None:
        super().__init__(session.manifest, answers)
        runtime = SimpleNamespace(OrtValue=NullValue, RunOptions=Anything)
        with mock.patch("cliffvid.models.backends.ort_queue.Gpu", NullGpu):
            self.pictures = Pictures(runtime, lambda *_: Anything(), lambda: Queue(runtime, "cuda"), "cuda")

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        for name, pending in pending_among(inputs).items():
            self.pictures.make(pending, self.manifest.inputs[name].dtype)
        return super().run(inputs)


def null_models(people: int) -> Models:
    """The networks of ``constant_models`` on a GPU; each person is found ``FOUND`` times, at nearly one place."""
    models = constant_models(people)
    answer = {name: np.zeros_like(rows) for name, rows in people_seen(people).items()}
    rng, seen = np.random.default_rng(0), people_seen(people)
    for name, rows in seen.items():
        answer[name][: people * FOUND] = np.repeat(rows[:people], FOUND, axis=0)
    count = people * FOUND
    answer["box_px"][:count] += rng.normal(0, 2, (count, 4)).astype(np.float32)
    answer["objectness"][:count] = np.tile(0.95 - 0.02 * np.arange(FOUND), people)
    detector, regressor = models.detector, models.regressor
    return Models(
        NullGpuNetwork(detector, answer), NullGpuNetwork(regressor, regressor.answers), pictures_on_device=True
    )


def _surfaces() -> Iterator[Surface]:
    planes = [SimpleNamespace(buffer_ptr=1 << 30, line_size=2048)] * 2
    device = null_models(0).detector.pictures
    while True:
        yield Surface(SimpleNamespace(width=1920, height=1080, planes=planes), "bt709", False, UPRIGHT, device)


def _planes() -> Iterator[YuvImage]:
    luma, chroma = np.zeros((1080, 1920), np.uint8), np.zeros((540, 960), np.uint8)
    while True:
        yield YuvImage(luma, chroma, chroma, "bt709", False, UPRIGHT)


FRAMES_OF = {"surfaces": _surfaces, "planes": _planes}


class NullVideo(Source):
    """A 1080p video whose frames are there at once."""

    def __init__(self, kind: str, frames: int) -> None:
        self.path, self._frames, self._images = Path("film.mp4"), frames, FRAMES_OF[kind]()
        self.info = VideoInfo(self.path, "mp4", "h264", 1920, 1080, Fraction(30), Fraction(1, 15360), None, frames)

    def _shown(self, *_) -> Iterator[DisplayedFrame]:
        for index, image in zip(range(self._frames), self._images, strict=False):
            yield DisplayedFrame(image, index, 512 * index, index / 30, False)

    def __exit__(self, *_) -> None: ...
