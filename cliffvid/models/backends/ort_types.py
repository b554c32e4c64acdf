"""Describe what is used of onnxruntime; the package has no types."""

from typing import Protocol

import numpy as np

from ...tables import Array


class OrtValue(Protocol):
    """An array on a device."""

    def shape(self) -> list[int]: ...
    def data_ptr(self) -> int: ...
    def numpy(self) -> Array: ...


class OrtTensor(Protocol):
    """Description of an input or output of an InferenceSession."""

    name: str
    type: str
    shape: list[int | str | None]


class OrtBinding(Protocol):
    """Memory that an InferenceSession takes its inputs from and writes its outputs to."""

    def bind_input(
        self,
        name: str,
        device_type: str,
        device_id: int,
        element_type: type[np.generic],
        shape: tuple[int, ...],
        buffer_ptr: int,
    ) -> None: ...
    def bind_cpu_input(self, name: str, arr_on_cpu: Array) -> None: ...
    def bind_output(
        self,
        name: str,
        device_type: str,
        device_id: int,
        element_type: type[np.generic] | None = None,
        shape: tuple[int, ...] | None = None,
        buffer_ptr: int | None = None,
    ) -> None: ...


class OrtNetwork(Protocol):
    """An InferenceSession of onnxruntime."""

    def get_providers(self) -> list[str]: ...
    def get_inputs(self) -> list[OrtTensor]: ...
    def get_outputs(self) -> list[OrtTensor]: ...
    def run(self, output_names: list[str], input_feed: dict[str, Array]) -> list[Array]: ...
    def io_binding(self) -> OrtBinding: ...
    def run_with_iobinding(self, iobinding: OrtBinding, run_options: object = None) -> None: ...
