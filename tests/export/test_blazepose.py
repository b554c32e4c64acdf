import json

import numpy as np
import pytest

from cliffvid.errors import ModelError
from cliffvid.export.folder.graph import Graph, to_bytes
from cliffvid.export.open.blazepose import add_blazepose
from cliffvid.export.open.sources import read_member
from cliffvid.models.manifest import BUNDLED

WIDTHS = {"landmarks": 195, "world": 117, "presence": 1}
TFLITE_NAMES = {"Identity": "landmarks", "Identity_1": "presence", "Identity_4": "world"}


@pytest.fixture(scope="module")
def tflite(sources):
    return read_member("blazepose", sources)


@pytest.fixture(scope="module")
def litert(tflite):
    """Google's own runtime, twice: float32 (256,256,3) image -> outputs by its plain kernels, and by its fast ones."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreters = []
    for kernels in (OpResolverType.BUILTIN_REF, OpResolverType.AUTO):
        interpreter = Interpreter(model_content=tflite, num_threads=1, experimental_op_resolver_type=kernels)
        interpreter.allocate_tensors()
        interpreters.append(interpreter)

    def run(image):
        results = []
        for interpreter in interpreters:
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
            interpreter.invoke()
            found = {detail["name"].split(":")[0]: detail["index"] for detail in interpreter.get_output_details()}
            results.append({meaning: interpreter.get_tensor(found[name])[0] for name, meaning in TFLITE_NAMES.items()})
        return results

    return run


@pytest.fixture(scope="module")
def converted(tflite, open_session):
    graph = Graph("blazepose")
    image = graph.input("image", "float32", ("N", 3, 256, 256))
    for name, value in add_blazepose(graph, tflite, image).items():
        graph.output(value, name, "float32", ("N", WIDTHS[name]))
    return open_session(to_bytes(graph.model()))


@pytest.mark.parametrize("kind", ["noise", "scenes"])
def test_agrees_with_litert(litert, converted, scenes, kind):
    if kind == "noise":
        images = np.random.default_rng(0).random((2, 256, 256, 3), dtype=np.float32)
    else:
        images = scenes(5, 4, 256).astype(np.float32) / 255
    bounds = json.loads((BUNDLED / "cliff-open" / "manifest.json").read_text())["parity"]["max_abs"]
    bounds = {"landmarks": bounds["landmarks_px"], "world": bounds["world_m"], "presence": bounds["presence"]}
    found = dict(zip(WIDTHS, converted.run(list(WIDTHS), {"image": images.transpose(0, 3, 1, 2)}), strict=True))
    for row, image in enumerate(images):
        plain, fast = litert(image)
        for name, wanted in plain.items():
            spread = np.abs(fast[name] - wanted).max()  # on noise rounding grows: LiteRT is 0.1 px from itself
            assert np.abs(found[name][row] - wanted).max() <= max(bounds[name], spread), name


def test_presence_is_a_probability(converted, scenes):
    images = scenes(5, 4, 256).astype(np.float32).transpose(0, 3, 1, 2) / 255
    (presence,) = converted.run(["presence"], {"image": images})
    assert np.all((presence >= 0) & (presence <= 1))


@pytest.mark.parametrize("data", [b"", b"\0" * 100])
def test_another_file_is_refused(data):
    graph = Graph("blazepose")
    with pytest.raises(ModelError, match=r"pose\.tflite: expected a TensorFlow Lite"):
        add_blazepose(graph, data, graph.input("image", "float32", ("N", 3, 256, 256)), "pose.tflite")
