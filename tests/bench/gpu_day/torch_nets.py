"""The baseline: both networks in torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ..eager import torch_networks
from .notes import Notes, timed
from .plan import Plan

CANVAS_HW, CROP_HW = (416, 416), (256, 192)


@dataclass(frozen=True)
class Kind:
    """A precision: whether TensorFloat-32 stands in for float32, and whether what can be is float16."""

    name: str
    tf32: bool
    half: bool


KINDS = Kind("fp32", False, False), Kind("tf32", True, False), Kind("fp16 autocast", True, True)
Batches: TypeAlias = Mapping[str, tuple[int, ...]]
BATCHES = {"yolov3": (1, 16, 64), "cliff-hr48": (1, 16, 64, 128)}
COMPILED = {"yolov3": (64,), "cliff-hr48": (64,)}
QUICK = dict.fromkeys(BATCHES, (1,))


def eagerly(plan: Plan, notes: Notes) -> None:
    """Operator by operator, by precision and batch."""
    _measure(plan, notes, "torch eager", KINDS, BATCHES, lambda network: network)


def compiled(plan: Plan, notes: Notes) -> None:
    """By torch.compile in float16: compiling takes most of the step."""
    mode = "max-autotune-no-cudagraphs" if plan.autotune else "default"
    _measure(plan, notes, "torch compile", KINDS[-1:], COMPILED, lambda network: torch.compile(network, mode=mode))


def _measure(
    plan: Plan,
    notes: Notes,
    how: str,
    kinds: tuple[Kind, ...],
    batches: Batches,
    made: Callable[[nn.Module], Callable[..., object]],
) -> None:
    device = torch.device(plan.device)
    torch.zeros(1, device=device)  # says at once that there is none
    networks = dict(zip(BATCHES, torch_networks(plan.work), strict=True))
    torch.backends.cudnn.benchmark = True
    for name, network in networks.items():
        there = network.to(device)
        for kind in kinds:
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = kind.tf32
            model = made(there.to(memory_format=torch.channels_last if kind.half else torch.contiguous_format))
            for batch in notes.in_time((QUICK if plan.quick else batches)[name]):
                with notes.row(net=name, by=f"{how} {kind.name}", batch=batch) as row:
                    row |= _figures(plan, model, _given(name, batch, device, kind.half), kind.half)


def _figures(plan: Plan, model: Callable[..., object], given: tuple[Tensor, ...], half: bool) -> dict[str, object]:
    kind = plan.device.split(":")[0]
    if plan.on_gpu:
        torch.cuda.reset_peak_memory_stats()

    def run() -> None:
        with torch.inference_mode(), torch.autocast(kind, torch.float16, enabled=half):
            model(*given)

    times = timed(run, plan.quick, torch.cuda.synchronize if plan.on_gpu else lambda: None)
    found = {"per_s": len(given[0]) / times.each_s, "first_s": times.first_s}
    return {**found, "gb_most": torch.cuda.max_memory_allocated() / 1e9} if plan.on_gpu else {**found}


def _given(name: str, batch: int, device: torch.device, half: bool) -> tuple[Tensor, ...]:
    if name == "yolov3":
        image = torch.rand(batch, 3, *CANVAS_HW, device=device)
        return (image.contiguous(memory_format=torch.channels_last) if half else image,)
    return torch.rand(batch, *CROP_HW, 3, device=device) * 255, torch.rand(batch, 3, device=device)
