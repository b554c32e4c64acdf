"""What there is: the driver, libraries, packages; and what the card does at best."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import distributions

from ..harness import machine, versions
from .notes import Notes, timed
from .plan import Plan

QUERY = "name,driver_version,clocks.max.sm,clocks.max.mem,power.limit,pcie.link.gen.current,pcie.link.width.current"
LIBRARIES = "nvcuvid|libcuda.so|nvidia-encode|cudnn|cublas|libEGL"
COMMANDS = {
    "gpu": f"nvidia-smi --query-gpu={QUERY},mig.mode.current --format=csv,noheader; nvidia-smi",
    "cpu": "lscpu | head -25; nproc; free -g | head -2",
    "libraries": f"ldconfig -p | grep -E '{LIBRARIES}'",
    "decoder": "find /usr /opt -xdev -name 'libnvcuvid*' 2>/dev/null | head -5",
    "paths": "echo $PYTHONPATH; echo $LD_LIBRARY_PATH",
}
PACKAGES = "torch", "triton", "onnx", "numpy", "opencv", "pyarrow", "tensorrt", "av", "lap", "cuda", "nvidia", "py-spy"
COMMAND_S = 10
SIDE, QUICK_SIDE = 8192, 256  # of the matrices
BYTES, QUICK_BYTES = 1 << 30, 1 << 20


def env(plan: Plan, notes: Notes) -> None:
    """What the machine says of itself."""
    notes.add({"what": "machine", "first": str(machine()), "all": machine()})
    notes.add({"what": "python", "first": sys.version.split()[0], "all": versions()})
    found = {package.name.lower(): package.version for package in distributions()}
    wanted = {name: version for name, version in sorted(found.items()) if name.startswith(PACKAGES)}
    notes.add({"what": "packages", "first": f"{len(wanted)} of {len(found)}", "all": wanted})
    for name, command in notes.in_time(COMMANDS.items()):
        with notes.row(what=name) as row:
            done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=COMMAND_S)
            text = (done.stdout + done.stderr).strip()
            row |= {"first": text.partition("\n")[0][:100], "all": text[-6000:].splitlines()}


def roof(plan: Plan, notes: Notes) -> None:
    """Products of matrices by precision, and copies."""
    import torch

    if plan.on_gpu:
        notes.facts |= {"card": torch.cuda.get_device_name(plan.device), "cudnn": torch.backends.cudnn.version()}
    notes.facts["torch"] = torch.__version__
    device = torch.device(plan.device)
    wait: Callable[[], object] = torch.cuda.synchronize if plan.on_gpu else lambda: None
    side, size = (QUICK_SIDE, QUICK_BYTES) if plan.quick else (SIDE, BYTES)
    kinds = {"fp16": torch.float16, "bf16": torch.bfloat16, "tf32": torch.float32, "fp32": torch.float32}
    for name, dtype in notes.in_time(kinds.items()):
        with notes.row(what=f"product {name}", unit="TFLOP/s") as row:
            torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
            a, b = (torch.randn(side, side, device=device).to(dtype) for _ in "ab")
            row["value"] = 2 * side**3 / timed(partial(torch.matmul, a, b), plan.quick, wait).each_s / 1e12
    big = torch.empty(size, dtype=torch.uint8, device=device)
    other = torch.empty_like(big)
    with notes.row(what="copy there, read and written", unit="GB/s") as row:
        row["value"] = 2 * size / timed(partial(other.copy_, big), plan.quick, wait).each_s / 1e9
    for kind in notes.in_time(("pageable", "pinned")):
        with notes.row(what=f"upload, {kind}", unit="GB/s") as row:
            host = torch.ones(size // 10, dtype=torch.uint8, pin_memory=kind == "pinned")
            send = partial(big[: len(host)].copy_, host, non_blocking=True)
            row["value"] = len(host) / timed(send, plan.quick, wait).each_s / 1e9
