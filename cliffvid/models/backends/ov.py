"""Run networks with OpenVINO on the CPU; compiled networks are kept in the user's cache folder."""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Protocol, Self

import numpy as np

from ... import optional
from ...errors import BackendError
from ...tables import Array
from ..manifest import Manifest
from ..session import Arrays, Facts, as_taken, check_tensors, no_rows, not_loaded

CONVOLUTIONS = {"Convolution", "GroupConvolution"}


class Axis(Protocol):
    """One axis of a value's shape. OpenVINO has no types."""

    is_static: bool

    def get_length(self) -> int: ...


class ElementType(Protocol):
    """The type of a value's numbers."""

    def to_dtype(self) -> type[np.generic]: ...


class OvPort(Protocol):
    """An output of a node, or an input of a network."""

    any_name: str
    names: set[str]
    partial_shape: list[Axis]
    element_type: ElementType

    def get_node(self) -> "Node": ...
    def get_target_inputs(self) -> set["Reader"]: ...
    def add_names(self, names: set[str]) -> None: ...


class Reader(Protocol):
    """An input of a node."""

    def get_node(self) -> "Node": ...
    def get_source_output(self) -> OvPort: ...
    def replace_source_output(self, value: OvPort) -> None: ...


class Node(Protocol):
    """An operation of a network."""

    def get_name(self) -> str: ...
    def get_type_name(self) -> str: ...
    def inputs(self) -> list[Reader]: ...
    def outputs(self) -> list[OvPort]: ...
    def output(self, index: int) -> OvPort: ...


class Model(Protocol):
    """A network read from a file."""

    inputs: list[OvPort]
    outputs: list[OvPort]

    def get_ordered_ops(self) -> list[Node]: ...
    def get_parameters(self) -> list[Node]: ...
    def get_results(self) -> list[Node]: ...


class Held(Protocol):
    """An OpenVINO array."""

    data: Array


class Request(Protocol):
    """An inference request, which runs a compiled network."""

    model_inputs: list[OvPort]
    model_outputs: list[OvPort]

    def start_async(self, inputs: Mapping[str, object], share_inputs: bool) -> None: ...
    def wait(self) -> None: ...
    def get_tensor(self, port: OvPort) -> Held: ...


class Property(Protocol):
    """A setting of a compiled network."""

    def to_string(self) -> str: ...


class Compiled(Protocol):
    """A network compiled for a device."""

    def get_property(self, name: str) -> Property: ...
    def create_infer_request(self) -> Request: ...


class Core(Protocol):
    """OpenVINO's compiler."""

    def compile_model(self, model: Model, device_name: str, config: Mapping[str, object]) -> Compiled: ...


def open_session(manifest: Manifest, device: str, threads: int, precision: str) -> "OvSession":
    openvino = optional.load("openvino", 'pip install "cliffvid[openvino]"')
    return OvSession(openvino, manifest, device, threads, precision)


class OvSession:
    """A Network on OpenVINO, see session.py."""

    backend = "openvino"

    def __init__(self, openvino: ModuleType, manifest: Manifest, device: str, threads: int, precision: str) -> None:
        self.manifest, self.device, self.precision = manifest, device, precision
        core = openvino.Core()
        if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise BackendError("--precision bf16: this processor has no bfloat16; choose another precision")
        path = str(manifest.network(precision))
        try:
            model: Model = core.read_model(path)
            _check(manifest, model)
            parts = [(model, "f32")]
            if precision == "bf16":
                trunk, rest = cut(openvino, model)
                parts = [(trunk, "bf16"), (rest, "f32")] if trunk is not None else parts
            self._parts: list[Request] = [_compiled(core, *part, threads) for part in parts]
        except RuntimeError as error:  # OpenVINO raises nothing else
            raise not_loaded(path, "OpenVINO", error) from error

    def run(self, inputs: Arrays) -> Arrays:
        if len(next(iter(inputs.values()))) == 0:
            return no_rows(self.manifest)
        given: dict[str, object] = {**as_taken(self.manifest, inputs)}
        made: dict[str, Held] = {}
        for request in self._parts:
            takes = [tensor.any_name for tensor in request.model_inputs]
            # infer() does not raise when memory runs out: it returns the outputs of the run before
            request.start_async({name: given[name] for name in takes}, share_inputs=True)
            request.wait()
            made |= {name: request.get_tensor(tensor) for tensor in request.model_outputs for name in tensor.names}
            given |= made
        # the request writes its next outputs into the same memory
        return {name: made[name].data.copy() for name in self.manifest.outputs}

    def close(self) -> None:
        self._parts = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def cut(openvino: ModuleType, model: Model) -> tuple[Model | None, Model]:
    """Split a network in two: what leads to convolutions, and the last convolutions with all that follows.

    ``model`` is used up. Where bfloat16 is allowed, OpenVINO uses it for the whole network, and rounds the outputs of
    the last convolutions to 8 bits. cliff-open's landmarks become whole pixels, and its rotations are off by 7 degrees
    instead of 1.4 (median on the example clip). The last convolutions are a hundredth of the work. Networks without
    convolutions have no first part: None.
    """
    nodes = model.get_ordered_ops()
    runs: set[str] = set()  # nodes that depend on an input; others are weights, or made of weights alone
    for node in nodes:
        sources = [value.get_source_output().get_node().get_name() for value in node.inputs()]
        if node.get_type_name() == "Parameter" or runs.intersection(sources):
            runs.add(node.get_name())
    leads: set[str] = set()  # those of them that a convolution needs
    for node in reversed(nodes):
        readers = [reader.get_node() for value in node.outputs() for reader in value.get_target_inputs()]
        to_convolution = any(reader.get_type_name() in CONVOLUTIONS or reader.get_name() in leads for reader in readers)
        if node.get_name() in runs and to_convolution:
            leads.add(node.get_name())
    handed_on: list[tuple[OvPort, list[Reader]]] = []  # values, and their readers beyond the cut
    for node in nodes:
        for value in node.outputs() if node.get_name() in leads and node.get_type_name() != "Parameter" else ():
            beyond = [r for r in value.get_target_inputs() if r.get_node().get_name() not in leads]
            if beyond:
                handed_on.append((value, beyond))
    if not handed_on:
        return None, model
    parameters, results = model.get_parameters(), model.get_results()
    trunk: Model = openvino.Model(
        [openvino.op.Result(value) for value, _ in handed_on],
        [parameter for parameter in parameters if parameter.get_name() in leads],
        "trunk",
    )
    entries = []
    for number, (value, beyond) in enumerate(handed_on):
        entry = openvino.op.Parameter(value.element_type, value.partial_shape)
        entry.output(0).set_names({f"handed_on_{number}"})
        trunk.outputs[number].add_names({f"handed_on_{number}"})
        entries.append(entry)
        for reader in beyond:
            reader.replace_source_output(entry.output(0))
    kept = [p for p in parameters if any(r.get_node().get_name() not in leads for r in p.output(0).get_target_inputs())]
    return trunk, openvino.Model(results, entries + kept, "rest")


def _compiled(core: Core, model: Model, precision: str, threads: int) -> Request:
    """Return a request for a network in an OpenVINO precision, which is always set: the default is bfloat16."""
    import platformdirs

    config: dict[str, object] = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "CACHE_DIR": str(Path(platformdirs.user_cache_dir("cliffvid")) / "openvino"),
    }
    compiled = core.compile_model(model, "CPU", config)
    used = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if used != precision:
        raise BackendError(f"OpenVINO runs in {used} instead of {precision}; use onnxruntime")
    return compiled.create_infer_request()


def _check(manifest: Manifest, model: Model) -> None:
    """Raise ModelError unless the network is what the manifest says."""
    for side, promised, found in (
        ("input", manifest.inputs, model.inputs),
        ("output", manifest.outputs, model.outputs),
    ):
        facts: dict[str, Facts] = {}
        for tensor in found:  # a tensor also has the names of those folded into it
            name = next((name for name in tensor.names if name in promised), tensor.any_name)
            shape = [axis.get_length() if axis.is_static else None for axis in tensor.partial_shape]
            facts[name] = np.dtype(tensor.element_type.to_dtype()).name, shape
        check_tensors(manifest, side, promised, facts)
