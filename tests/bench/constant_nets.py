"""Networks on disk that answer the same to everything: for measuring what is not theirs, in any process."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from bench.fakes import constant_models
from cliffvid.export.folder.graph import to_bytes
from cliffvid.export.folder.model_folder import tensor, with_manifest
from cliffvid.files import write_folder

KINDS = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}


def constant_nets(folder: Path, people: int) -> tuple[str, str]:
    """Makes model folders of ``constant_models(people)`` in ``folder``; returns their names."""
    models = constant_models(people)
    for session in (models.detector, models.regressor):
        manifest = session.manifest
        said = {name: getattr(manifest, name) for name in ("name", "task", "rank", "summary", "licence", "body")}
        for side in ("inputs", "outputs"):
            tensors = getattr(manifest, side).items()
            said[side] = {name: tensor(t.dtype, list(t.shape), [], t.unit) for name, t in tensors}
        said |= {name: asdict(rule) for name, rule in manifest.rules.items()}
        write_folder(folder / manifest.name, with_manifest(said, {"model.onnx": to_bytes(_network(session))}))
    return models.detector.manifest.name, models.regressor.manifest.name


def _network(session):
    """Each output is its one row, as often as there are rows of the first input."""
    manifest, nodes, rows = session.manifest, [], {}
    first = next(iter(manifest.inputs))
    nodes.append(helper.make_node("Shape", [first], ["count"], start=0, end=1))
    for name, row in session.answers.items():
        rows[f"{name}.row"], rows[f"{name}.shape"] = row[None], np.array(row.shape, np.int64)
        nodes.append(helper.make_node("Concat", ["count", f"{name}.shape"], [f"{name}.all"], axis=0))
        nodes.append(helper.make_node("Expand", [f"{name}.row", f"{name}.all"], [name]))
    inputs, outputs = (
        [helper.make_tensor_value_info(name, KINDS[t.dtype], list(t.shape)) for name, t in side.items()]
        for side in (manifest.inputs, manifest.outputs)
    )
    graph = helper.make_graph(
        nodes, "constant", inputs, outputs, [numpy_helper.from_array(row, name) for name, row in rows.items()]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
