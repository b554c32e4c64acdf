"""Both networks by onnxruntime, with inputs and outputs that stay on the device."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from types import ModuleType
from typing import Protocol
from unittest.mock import patch

import numpy as np

from cliffvid.machine import split_device
from cliffvid.models.backends import ort
from cliffvid.models.backends.ort_queue import Queue
from cliffvid.models.manifest import Manifest, read_manifest

from .notes import Notes, Watch, timed
from .plan import Plan, Precision


@dataclass(frozen=True)
class Way:
    """How a network is run: its file, options of CUDA's provider (None: cliffvid's own), and what these ask for."""

    precision: Precision
    options: Mapping[str, str] | None = None
    one_shape: bool = False  # a captured graph is of one batch size


NHWC, GRAPH = {"prefer_nhwc": "1"}, {"enable_cuda_graph": "1"}
WAYS = {
    "product fp32": Way("fp32"),
    "product fp16": Way("fp16"),
    "fp16": Way("fp16", {}),
    "fp16 nhwc": Way("fp16", NHWC),
    "tf32": Way("fp32", {}),
    "tf32 nhwc": Way("fp32", NHWC),
    "fp16 nhwc bias": Way("fp16", NHWC | {"fuse_conv_bias": "1"}),
    "fp16 graph": Way("fp16", GRAPH, one_shape=True),
    "fp16 nhwc graph": Way("fp16", NHWC | GRAPH, one_shape=True),
}
PRODUCT = "product fp32", "product fp16"
BATCHES, BATCH_OF_GRAPHS, QUICK = (1, 8, 16, 32, 64, 128), (16,), (1, 2)
SIZES = 8, 9, 10, 11, 12, 24, 9, 10, 8  # back to one that was had as well


class Network(Protocol):
    """What is used of an onnxruntime.InferenceSession, which has no types."""

    def io_binding(self) -> "Binding": ...
    def run_with_iobinding(self, binding: "Binding") -> None: ...


class Binding(Protocol):
    def bind_ortvalue_input(self, name: str, value: object) -> None: ...
    def bind_ortvalue_output(self, name: str, value: object) -> None: ...


def sessions(plan: Plan, notes: Notes) -> None:
    """Items a second of each network by each way to run it and batch."""
    ways = plan.ways or (tuple(WAYS) if plan.on_gpu else PRODUCT[:1])
    if unknown := set(ways) - set(WAYS):
        raise ValueError(f"no such way: {', '.join(sorted(unknown))}; there are {', '.join(WAYS)}")
    onnxruntime, manifests = ort.load(), [read_manifest(plan.nets / name) for name in (plan.detector, plan.regressor)]
    for name, manifest in ((name, manifest) for name in ways for manifest in manifests):
        way, session = WAYS[name], None
        batches = QUICK if plan.quick else BATCH_OF_GRAPHS if name == "fp16 graph" else BATCHES
        for batch in notes.in_time(batches):
            with notes.row(net=manifest.name, by=name, batch=batch) as row:
                if session is None or way.one_shape:
                    session = _opened(onnxruntime, plan, manifest, way)
                with Watch(plan.device) as watch:
                    times = timed(_call(onnxruntime, session, plan, manifest, batch), plan.quick)
                row |= {"per_s": batch / times.each_s, "ms": 1000 * times.each_s, "first_s": times.first_s}
                row |= watch.facts()
            if "error" in row:
                break  # larger ones would fail as well


def shapes(plan: Plan, notes: Notes) -> None:
    """Three calls of each batch size in a row: what the first one of a size costs, as sizes vary in a run."""
    onnxruntime, manifest = ort.load(), read_manifest(plan.nets / plan.regressor)
    for name in PRODUCT if plan.on_gpu else PRODUCT[:1]:
        session = None
        for batch in notes.in_time(QUICK if plan.quick else SIZES):
            with notes.row(net=manifest.name, by=name, batch=batch) as row:
                session = session or _opened(onnxruntime, plan, manifest, WAYS[name])
                run, moments = _call(onnxruntime, session, plan, manifest, batch), [perf_counter()]
                for _ in range(3):
                    run()
                    moments.append(perf_counter())
                row["calls_s"] = np.diff(moments).round(4).tolist()
            if "error" in row:
                break


@contextmanager
def provided(options: Mapping[str, str] | None) -> Iterator[None]:
    """Sessions that are opened meanwhile have these options of CUDA's provider; None: cliffvid's own."""
    if options is None:
        yield
        return

    def provider_of(queue: Queue, *_: object) -> tuple[str, dict[str, str]]:
        kind, number = queue.where
        return (ort.CUDA, {**options, "device_id": str(number)}) if kind == "cuda" else (ort.CPU, {})

    with patch.object(ort, "provider_of", provider_of):
        yield


def _opened(onnxruntime: ModuleType, plan: Plan, manifest: Manifest, way: Way) -> Network:
    with provided(way.options):
        path, queue = manifest.network(way.precision), ort.open_queue(onnxruntime, plan.device)
        session: Network = ort.open_network(onnxruntime, path, queue, 0, way.precision)
        return session


def _call(onnxruntime: ModuleType, session: Network, plan: Plan, manifest: Manifest, batch: int) -> Callable[[], None]:
    """A call that finds its inputs on the device and leaves its outputs there, each time in the same memory."""
    where, binding, rng = split_device(plan.device), session.io_binding(), np.random.default_rng(0)
    for name, row in manifest.row_shapes().items():
        drawn = rng.random((batch, *row), np.float32) * (255 if len(row) == 3 else 1)
        value = onnxruntime.OrtValue.ortvalue_from_numpy(drawn.astype(manifest.inputs[name].dtype), *where)
        binding.bind_ortvalue_input(name, value)
    for name, tensor in manifest.outputs.items():
        made = onnxruntime.OrtValue.ortvalue_from_shape_and_type((batch, *tensor.shape[1:]), np.float32, *where)
        binding.bind_ortvalue_output(name, made)
    return lambda: session.run_with_iobinding(binding)
