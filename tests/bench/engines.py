"""Each network by each runtime in each precision, beside torch eager in float32."""

import numpy as np

from cliffvid.errors import CliffvidError
from cliffvid.evaluate.quality import compare
from cliffvid.machine import usable_cores
from cliffvid.models.manifest import read_manifest
from cliffvid.models.session import KNOWN, open_session

from .harness import Case, Result, take_turns
from .nets import random_nets

BATCHES = {"random-yolov3": (1, 4), "random-cliff-hr48": (1, 8)}
CANVASES = {"square": (416, 416), "frame": (256, 416)}  # height and width: what a 16:9 frame needs of the square


def engines(repeats: int) -> Result:
    """Items a second of YOLOv3-416 and CLIFF-HR48 with random weights, all on the CPU and all cores."""
    nets, cores = random_nets(), usable_cores()
    result = Result("engines", "item", {"repeats": repeats, "threads": cores, "weights": "random"})
    from .eager import eager

    asked = {"random-yolov3": eager(nets, cores)[0], "random-cliff-hr48": eager(nets, cores)[1]}
    for name, batches in BATCHES.items():
        manifest = read_manifest(nets / name)
        sessions = {}
        for backend, precision in ((b, p) for b, known in KNOWN.items() for p in known.precisions):
            try:
                sessions[backend, precision] = open_session(manifest, backend, "cpu", cores, precision)
            except CliffvidError as error:
                result.settings.setdefault("left out", {})[f"{name} {backend} {precision}"] = str(error)
        shapes = CANVASES if manifest.task == "detect" else {"": None}
        for batch in batches:
            groups = []
            for shape, canvas in shapes.items():
                given = _inputs(manifest, batch, canvas)
                what = f"{name.removeprefix('random-')}{f' {shape}' if shape else ''}, batch {batch}"
                cases = [Case(f"{what}: torch eager fp32", lambda g=given, n=name: asked[n](*g.values()), batch)]
                for (backend, precision), session in sessions.items():
                    run = lambda session=session, given=given: session.run(given)  # noqa: E731
                    cases.append(Case(f"{what}: {backend} {precision}", run, batch))
                groups.append(cases)
            take_turns([case for cases in groups for case in cases], repeats)
            for eagerly, *others in groups:
                result.rows += [case.facts() for case in (eagerly, *others)]
                for case in others:
                    result.ratios[f"{case.name}, times torch eager"] = eagerly.median_s / case.median_s
        _judge(result, name, manifest, sessions)
        for session in sessions.values():
            session.close()
    _promise(result)
    return result


def _inputs(manifest, batch: int, canvas: tuple[int, int] | None) -> dict[str, np.ndarray]:
    from .random_nets import patches

    rng = np.random.default_rng(0)
    given = {}
    for name, tensor in manifest.inputs.items():
        shape = (batch, *canvas, 3) if canvas else (batch, *tensor.shape[1:])
        if len(shape) == 4:
            given[name] = patches(batch, shape[1:3]).astype(tensor.dtype)
        else:
            given[name] = rng.uniform(-1, 1, shape).astype(tensor.dtype)
    return given


def _judge(result: Result, name: str, manifest, sessions: dict) -> None:
    reference = next(iter(sessions.values()))
    samples = [_inputs(manifest, 8, CANVASES["square"] if manifest.task == "detect" else None)]
    for (backend, precision), session in sessions.items():
        if session is not reference:
            found = compare(manifest, reference, session, samples)
            short = {key: float(f"{value:.3g}") for key, value in found.items()}
            result.quality[f"{name} {backend} {precision} (random weights)"] = short


def _promise(result: Result) -> None:
    goals = {
        "yolov3 square, batch 1: onnxruntime fp32": ">= 1.25",
        "cliff-hr48, batch 8: openvino bf16": ">= 2.4",
        "cliff-hr48, batch 8: openvino int8": ">= 4",
    }
    wanted = {f"{case}, times torch eager": goal for case, goal in goals.items()}
    result.goals = {name: goal for name, goal in wanted.items() if name in result.ratios}
    per_s = {row["case"]: row["per_s"] for row in result.rows}
    name = "yolov3 by onnxruntime fp32, the frame's canvas, times the square's"
    case = "yolov3 {}, batch 1: onnxruntime fp32"
    result.ratios[name] = per_s[case.format("frame")] / per_s[case.format("square")]
    result.goals[name] = ">= 1.5"
