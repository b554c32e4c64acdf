"""Build the open CLIFF-like head as ONNX nodes: landmarks of a crop -> SMPL-format pose, shape and camera.

A small residual network corrects a pose in three iterations. Its input is the residual between the posed body's
landmarks and the detected ones, in 3-D and in the image (iterative error feedback, Carreira et al. 2016; box and
camera as in CLIFF, Li et al. 2022). The weights are in open/head.npz. Lengths are metres, x right, y down, z forward.

On out-of-distribution landmarks the iterations may diverge. So an iteration after the first is kept only if its
error is not clearly larger than the smallest before it. The depth is bounded by the body's size in the image.
"""

from pathlib import Path

import numpy as np

from cliffvid.tables import Float32, Float64

from ..folder.graph import Graph
from .confidence import lay_confidence
from .landmarks import PARENTS, Landmarks

CROP_PX = 256
CENTRE_SCALE, SIZE_OFFSET, SIZE_SCALE = 2.8, 0.24, 0.06  # CLIFF's normalisation of the box, and its inverse:
BOX_SCALE, BOX_OFFSET = [1 / CENTRE_SCALE, 1 / CENTRE_SCALE, SIZE_SCALE], [0.0, 0.0, SIZE_OFFSET]
ROUNDS = 3
SEEN, USED = 39, 33  # landmarks of BlazePose; the last 6 are auxiliary ones for tracking
HIPS = (23, 24)
STATIC = USED * 3 + USED * 2 + USED + 3  # inputs that are the same in every iteration
STATE = 144 + 10  # rotations as 24 x 3 x 2, betas
LAYER_NORM_EPSILON = 1e-5
NEAREST_M = 0.2  # minimum depth in projections
SIDE_M = 4.0  # metres in space that weigh as much as one crop side in the image
WORSE = 1.15  # an iteration is kept unless its error exceeds the smallest before it by this factor
NEARER, FARTHER = 0.8, 1.25  # bounds of the depth, relative to that at which the landmarks' spread fits the image
SKIN = 0.03  # margin that extends the landmarks' box to the whole body, as a share of its longer side
BODY = {"rotmat": (24, 3, 3), "betas": (10,), "camera": (3,), "posed_xyxy": (4,), "posed_off": ()}  # of a person
ANSWERS = BODY | {"joint_confidence": (24,), "confidence": ()}


def read_head(path: Path) -> dict[str, Float32]:
    """Return the trained weights as float32, by name. ``weight`` matrices are (out, in), stored as float16."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name].astype(np.float32) for name in file.files}


class Head:
    """Builder of the head's nodes in ``graph``. N is the number of people; all values are float32."""

    def __init__(self, graph: Graph, numbers: dict[str, Float32], body: Landmarks) -> None:
        self.graph, self.numbers, self.body = graph, numbers, body

    def linear(self, value: str, name: str) -> str:
        weight = self.graph.weight(self.numbers[f"{name}_weight"].T, f"{name}_weight")
        return self.graph.op("Add", self.graph.op("MatMul", value, weight), self.numbers[f"{name}_bias"])

    def norm(self, value: str, name: str) -> str:
        scale, bias = self.numbers[f"{name}_weight"], self.numbers[f"{name}_bias"]
        return self.graph.op("LayerNormalization", value, scale, bias, axis=-1, epsilon=LAYER_NORM_EPSILON)

    def gelu(self, value: str) -> str:
        op = self.graph.op
        bell = op("Add", op("Erf", op("Div", value, float(np.sqrt(2)))), 1.0)
        return op("Mul", op("Mul", value, bell), 0.5)

    def correction(self, fixed: str, changing: str) -> str:
        """Return the update (N,154) of the state; ``fixed`` (N,448): the static inputs' part of the first layer."""
        op = self.graph.op
        hidden = op("Add", fixed, op("MatMul", changing, "input_changing"))
        for block in ("block0", "block1"):
            inner = self.gelu(self.linear(self.norm(hidden, f"{block}_norm"), f"{block}_first"))
            hidden = op("Add", hidden, self.linear(inner, f"{block}_second"))
        return self.linear(self.norm(hidden, "last_norm"), "output")

    def split_input_layer(self) -> None:
        """Register the first layer's two weights, with the inputs' fixed scales (powers of two) multiplied in."""
        points, pixels = USED * 3, USED * 2
        scale = np.ones(STATIC + STATE + points + pixels, np.float32)
        scale[: points + pixels] = 2
        scale[STATIC + STATE :][:points] = 4
        scale[STATIC + STATE :][points:] = 8
        weight = (self.numbers["input_weight"] * scale).T
        self.graph.weight(weight[:STATIC], "input_static")
        self.graph.weight(weight[STATIC:], "input_changing")

    def lay(self, landmarks_px: str, world: str, bbox_info: str) -> tuple[str, ...]:
        """Return the values of ANSWERS from ``landmarks_px`` (N,39,5), ``world`` (N,117) and ``bbox_info`` (N,3).

        ``posed_xyxy``: the posed body's box in the image, as x / z and y / z. ``posed_off``: the distance of its
        landmarks from the detected ones there, relative to the spread of these.
        """
        op = self.graph.op
        self.split_input_layer()
        box = op("Add", op("Mul", bbox_info, BOX_SCALE), BOX_OFFSET)  # centre x, y and side, over the focal length
        centre, side = op("Split", box, [2, 1], outputs=2, axis=1)
        seen = op("Slice", landmarks_px, [0], [USED], [1])
        position, _, logit, _ = op("Split", seen, [2, 1, 1, 1], outputs=4, axis=2)
        position = op("Sub", op("Div", position, float(CROP_PX)), 0.5)
        visible = op("Reshape", op("Sigmoid", logit), [-1, USED])
        points = op("Slice", op("Reshape", world, [-1, SEEN, 3]), [0], [USED], [1])
        points = op("MatMul", self.centred(points), self.turned_to_ray(centre))
        self.side = op("Unsqueeze", side, [2])
        self.image = op("Add", op("Unsqueeze", centre, [1]), op("Mul", position, self.side))  # x / z and y / z
        self.prepare_translation(visible)
        flat = [op("Reshape", points, [-1, USED * 3]), op("Reshape", position, [-1, USED * 2])]
        fixed = op("MatMul", op("Concat", *flat, visible, box, axis=1), "input_static")
        fixed = op("Add", fixed, self.numbers["input_bias"])
        start = np.concatenate([self.numbers["mean_rot6d"], np.zeros(10, np.float32)])[None]
        state = op("Expand", start, op("Concat", op("Shape", bbox_info, start=0, end=1), [STATE], axis=0))
        result = self.evaluate(self.graph.constant(start))  # constant: runtimes fold it on loading
        missed = self.residuals(points, result)
        kept: tuple[str, str] | None = None
        for _ in range(ROUNDS):
            flat = [op("Reshape", each, [-1, USED * size]) for each, size in zip(missed, (3, 2), strict=True)]
            state = op("Add", state, self.correction(fixed, op("Concat", state, *flat, axis=1)))
            result = self.evaluate(state)
            missed = self.residuals(points, result)
            kept = self.better(kept, self.answer(result), self.cost(*missed))
        assert kept is not None, "there are rounds"
        rotmat, betas, origin, shown = op("Split", kept[0], [24 * 9, 10, 3, USED * 2], outputs=4, axis=1)
        confidence = lay_confidence(self.graph, self.numbers, rotmat, betas, visible)
        rotmat, shown = op("Reshape", rotmat, [-1, 24, 3, 3]), op("Reshape", shown, [-1, USED, 2])
        return rotmat, betas, self.camera(origin, centre, side), *self.fit(shown), *confidence

    def answer(self, result: dict[str, str]) -> str:
        """Return (N,295): rotmat, betas, the body's origin, and its landmarks projected into the image."""
        op = self.graph.op
        rotmat, shown = op("Reshape", result["rotmat"], [-1, 24 * 9]), op("Reshape", result["shown"], [-1, USED * 2])
        return op("Concat", rotmat, result["betas"], result["origin"], shown, axis=1)

    def fit(self, shown: str) -> tuple[str, str]:
        """Return ``posed_xyxy`` (N,4) and ``posed_off`` (N,) for the posed body's projected landmarks (N,33,2)."""
        op = self.graph.op
        low, high = (op(kind, shown, axes=[1], keepdims=0) for kind in ("ReduceMin", "ReduceMax"))
        skin = op("Mul", op("ReduceMax", op("Sub", high, low), axes=[1], keepdims=1), SKIN)
        box = op("Concat", op("Sub", low, skin), op("Add", high, skin), axis=1)
        missed = op("Sub", self.image, shown)
        off = op("Sqrt", op("Div", self.weighted_sum(missed, missed), self.spread))
        return box, op("Reshape", off, [-1])

    def cost(self, apart: str, missed: str) -> str:
        """Return the error (N,1) in metres: the `residuals` of the landmarks, weighted by visibility."""
        op = self.graph.op
        apart = op("ReduceL2", apart, axes=[2], keepdims=1)
        missed = op("ReduceL2", missed, axes=[2], keepdims=1)
        both = op("Add", apart, op("Mul", missed, SIDE_M))
        return op("Reshape", op("MatMul", self.mean_weight, both), [-1, 1])

    def better(self, kept: tuple[str, str] | None, answer: str, cost: str) -> tuple[str, str]:
        """Return the answer to keep, the previous one or the later iteration's, and the lowest cost so far."""
        if kept is None:
            return answer, cost
        op = self.graph.op
        before, least = kept
        good = op("Less", cost, op("Mul", least, WORSE))
        return op("Where", good, answer, before), op("Min", least, cost)

    def centred(self, points: str) -> str:
        """Return points (N,33,3) relative to the middle of the hips."""
        op = self.graph.op
        return op("Sub", points, self.hip_middle(points))

    def hip_middle(self, points: str) -> str:
        share = np.zeros((1, USED))
        share[:, HIPS] = 0.5
        return self.graph.op("MatMul", share, points)

    def turned_to_ray(self, centre: str) -> str:
        """Return (N,3,3), for multiplication from the right: smallest rotation from the z axis to the ray (x, y, 1).

        Rodrigues' formula with the axis (-y, x, 0) of the unit ray (x, y, z):
        I + [[-k x x, -k x y, x], [-k x y, -k y y, y], [-x, -y, z - 1]], k = 1 / (1 + z). Returned transposed.
        """
        op = self.graph.op
        length = op("Sqrt", op("Add", op("ReduceSum", op("Mul", centre, centre), [1], keepdims=1), 1.0))
        ray = op("Div", centre, length)
        depth = op("Div", 1.0, length)
        column, row = op("Unsqueeze", ray, [2]), op("Unsqueeze", ray, [1])
        gain = op("Unsqueeze", op("Div", 1.0, op("Add", depth, 1.0)), [2])
        corner = op("Sub", np.eye(2), op("Mul", op("Mul", column, row), gain))
        upper = op("Concat", corner, op("Neg", column), axis=2)
        return op("Concat", upper, op("Concat", row, op("Unsqueeze", depth, [2]), axis=2), axis=1)

    def evaluate(self, state: str) -> dict[str, str]:
        """Return the body of a state (N,154): rotmat; betas; points (N,33,3), relative to the middle of the hips;
        ``origin`` (N,3), in the camera; ``shown`` (N,33,2), the points projected into the image."""
        op = self.graph.op
        rotation, betas = op("Split", state, [144, 10], outputs=2, axis=1)
        rotmat = self.rotations(rotation)
        absolute = self.posed_points(rotmat, betas)
        hip = self.hip_middle(absolute)
        points = op("Sub", absolute, hip)
        translation = self.translation(points)
        plane, depth = op("Split", op("Add", points, translation), [2, 1], outputs=2, axis=2)
        shown = op("Div", plane, op("Max", depth, NEAREST_M))
        origin = op("Reshape", op("Sub", translation, hip), [-1, 3])
        return {"rotmat": rotmat, "betas": betas, "points": points, "origin": origin, "shown": shown}

    def rotations(self, six: str) -> str:
        """Return (N,24,3,3) from (N,144): two columns each, orthonormalised (Zhou et al. 2019), and their product."""
        op = self.graph.op
        first, second = op("Split", op("Reshape", six, [-1, 24, 3, 2]), [1, 1], outputs=2, axis=3)
        first = self.unit(first)
        overlap = op("ReduceSum", op("Mul", first, second), [2], keepdims=1)
        second = self.unit(op("Sub", second, op("Mul", overlap, first)))
        next_, last = [1, 2, 0], [2, 0, 1]
        ahead = op("Mul", op("Gather", first, next_, axis=2), op("Gather", second, last, axis=2))
        behind = op("Mul", op("Gather", first, last, axis=2), op("Gather", second, next_, axis=2))
        return op("Concat", first, second, op("Sub", ahead, behind), axis=3)

    def unit(self, vector: str) -> str:
        op = self.graph.op
        return op("Div", vector, op("Add", op("ReduceL2", vector, axes=[2], keepdims=1), 1e-8))

    def posed_points(self, rotmat: str, betas: str) -> str:
        """Return landmarks (N,33,3) of the posed body, by forward kinematics with homogeneous 4 x 4 transforms.

        A fixed 25th joint is the parent of the root and of itself. In each step of pointer doubling a joint takes the
        transform and the parent of its parent, so 3 steps of one product cover 8 generations.
        """
        op = self.graph.op
        shape = op("Add", op("MatMul", betas, self.shape_directions()), self.shape_mean())
        bones, points = op("Split", op("Reshape", shape, [-1, 25 + USED, 4, 1]), [25, USED], outputs=2, axis=1)
        still = np.zeros((25, 4, 3))
        still[24, :3] = np.eye(3)
        padded = op("Add", op("Pad", rotmat, [0, 0, 0, 0, 0, 1, 1, 0], mode="constant"), still)
        transform = op("Concat", padded, bones, axis=3)
        parent = np.array([24, *PARENTS[1:], 24])
        while (parent[self.body.joint] != 24).any():
            transform = op("MatMul", op("Gather", transform, parent, axis=1), transform)
            parent = parent[parent]
        placed = op("MatMul", op("Gather", transform, self.body.joint, axis=1), points)
        return op("Slice", op("Reshape", placed, [-1, USED, 4]), [0], [3], [2])

    def shape_mean(self) -> Float64:
        """Return (232,): 25 bones and 33 landmarks relative to their joint, homogeneous, of the mean shape."""
        return self.homogeneous(self.body.joints_m, self.body.points_m, 1.0).ravel()

    def shape_directions(self) -> Float64:
        """Return (10,232): the change of `shape_mean` per unit of each beta."""
        changes = [
            self.homogeneous(self.body.joint_directions_m[..., beta], self.body.point_directions_m[..., beta], 0.0)
            for beta in range(10)
        ]
        return np.stack([change.ravel() for change in changes])

    def homogeneous(self, joints: Float64, points: Float64, last: float) -> Float64:
        bones = np.concatenate([joints[:1], joints[1:] - joints[PARENTS[1:]], np.zeros((1, 3))])
        offsets = np.concatenate([bones, points - joints[self.body.joint]])
        return np.concatenate([offsets, np.full((25 + USED, 1), last)], axis=1)

    def prepare_translation(self, visible: str) -> None:
        """Compute weights, mean and spread of the image points for `translation`."""
        op = self.graph.op
        weight = op("Add", op("Mul", visible, visible), 1e-3)
        self.weight = op("Unsqueeze", weight, [1])  # (N,1,33)
        ones = op("Pad", self.image, [0, 0, 0, 0, 0, 1], 1.0, mode="constant")
        sums, total = op("Split", op("MatMul", self.weight, ones), [2, 1], outputs=2, axis=2)
        self.mean_weight = op("Div", self.weight, total)
        self.mean = op("Div", sums, total)  # (N,1,2)
        offset = op("Sub", self.image, self.mean)
        self.spread = op("Max", self.weighted_sum(offset, offset), 1e-9)  # (N,1,1)
        self.pull = op("Neg", op("Div", offset, self.spread))
        self.bounds = [op("Mul", self.spread, factor**2) for factor in (1 / NEARER, 1 / FARTHER)]

    def weighted_sum(self, one: str, other: str) -> str:
        """Return the weighted sum (N,1,1) of products (N,33,2), by MatMul: reducing one row may round differently."""
        op = self.graph.op
        return op("ReduceSum", op("MatMul", self.weight, op("Mul", one, other)), [2], keepdims=1)

    def translation(self, points: str) -> str:
        """Return the position (N,1,3) of the hips: the weighted least-squares fit of the points to the image.

        It minimises the sum of w |t_xy - u t_z - a|^2 with a = u Z - X. With u' = u minus its weighted mean:
        t_z = -sum(w u' a) / sum(w u' u'), t_xy = mean(a) + mean(u) t_z. If X is very unlike u, this t_z is close to 0,
        with a huge body at the lens. So t_z is bounded around sqrt(sum(w X' X') / sum(w u' u')).
        """
        op = self.graph.op
        plane, depth = op("Split", points, [2, 1], outputs=2, axis=2)
        miss = op("Sub", op("Mul", self.image, depth), plane)
        away = self.weighted_sum(self.pull, miss)
        # The initial points are the same for all; without the expansion one product would take all rows at once.
        plane = op("Expand", plane, op("Shape", self.image))
        offset = op("Sub", plane, op("MatMul", self.mean_weight, plane))
        extent = self.weighted_sum(offset, offset)
        nearest, farthest = [op("Sqrt", op("Div", extent, bound)) for bound in self.bounds]
        away = op("Min", op("Max", away, nearest), farthest)
        across = op("Add", op("MatMul", self.mean_weight, miss), op("Mul", self.mean, away))
        return op("Concat", across, away, axis=2)

    def residuals(self, points: str, result: dict[str, str]) -> tuple[str, str]:
        """Return differences of detected and posed landmarks: (N,33,3) in metres and (N,33,2) in crop sides."""
        op = self.graph.op
        missed = op("Clip", op("Div", op("Sub", self.image, result["shown"]), self.side), -1.0, 1.0)
        return op("Sub", points, result["points"]), missed

    def camera(self, origin: str, centre: str, side: str) -> str:
        """Return CLIFF's weak-perspective camera (N,3) (s, tx, ty) of the crop, for the body's ``origin`` (N,3)."""
        op = self.graph.op
        plane, depth = op("Split", origin, [2, 1], outputs=2, axis=1)
        scale = op("Div", 2.0, op("Mul", side, depth))
        return op("Concat", scale, op("Sub", plane, op("Mul", centre, depth)), axis=1)
